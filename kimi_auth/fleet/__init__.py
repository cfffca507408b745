"""Keeps every login of a table fresh: `kimi-auth store keep`, for services that hold many people's logins."""

from __future__ import annotations

from .keeper import Keeper, Limits

__all__ = ["Keeper", "Limits"]
