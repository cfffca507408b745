"""Injection: how a token gets, and stays, in the client that is running. It knows no Session, only a `TokenSource`."""

from .bearer import NOT_RESENT, BearerAuth
from .keeper import keep
from .source import TokenSource
from .targets import Target, Targets, as_target

__all__ = ["NOT_RESENT", "BearerAuth", "Target", "Targets", "TokenSource", "as_target", "keep"]
