"""The declared outcomes of each request; `answers` says what comes with them."""

from __future__ import annotations

from typing import Literal

__all__ = ["AccountOutcome", "CodeOutcome", "ExchangeOutcome", "ModelsOutcome", "PollOutcome", "RevokeOutcome"]

CodeOutcome = Literal["code", "unreachable", "refused"]
PollOutcome = Literal[
    "granted", "authorization_pending", "slow_down", "unreachable", "access_denied", "expired_token", "refused"
]
ExchangeOutcome = Literal["tokens", "revoked", "unrecognized", "not_processed", "in_doubt", "misconfigured"]
RevokeOutcome = Literal["revoked", "unsupported", "failed"]
ModelsOutcome = Literal["models", "unchanged", "rejected", "forbidden", "unavailable"]
AccountOutcome = Literal["account", "rejected", "forbidden", "unavailable"]
