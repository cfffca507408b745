"""The errors that only a command line has, in the form of every other one: usage, findings, `run`'s command; and which of them ends it."""

from __future__ import annotations

from typing import ClassVar

from kimi_auth.credential.classify import NO_TOKEN
from kimi_auth.credential.status import Status
from kimi_auth.errors import KimiAuthError
from kimi_auth.support.language import tr

__all__ = ["CommandNotFound", "CommandNotRunnable", "Findings", "Usage", "status_error", "stuck"]


class Usage(KimiAuthError):
    """The command line names something that does not exist."""

    code = "usage"
    exit_status = 2
    default_hint: ClassVar[str] = tr("see: kimi-auth --help")


class Findings(KimiAuthError):
    """A check has found something; what, stands in the output."""

    code = "findings"
    exit_status = 1


class CommandNotFound(KimiAuthError):
    """`run` was given a command that is not there (POSIX shells: 127)."""

    code = "command_not_found"
    exit_status = 127
    default_hint: ClassVar[str] = tr("check its name and PATH")


class CommandNotRunnable(KimiAuthError):
    """`run` was given a file that cannot be run (POSIX shells: 126)."""

    code = "command_not_runnable"
    exit_status = 126
    default_hint: ClassVar[str] = tr("make it executable: chmod +x")


def stuck(status: Status) -> bool:
    """Whether a command reports an error of the store, not of the login: no token can be had, because the store cannot be
    asked or cannot take the next pair."""
    return status.state == "expired" and status.store_error is not None


def status_error(status: Status) -> KimiAuthError | None:
    """The error with which a command ends on this status: why no token can be had; None where one can, be it after a
    renewal, which its store takes."""
    if stuck(status):
        return status.store_error
    return (status.error or NO_TOKEN[status.state]()) if status.state in NO_TOKEN else None
