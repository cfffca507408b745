"""The wire: every HTTP request of kimi-auth, and the meaning of its answers. No request raises for a server or network
error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.support.lazily import lazily

if TYPE_CHECKING:
    from .account_api import fetch_account
    from .answers import (
        AccountOutcome,
        Answer,
        CodeOutcome,
        DeviceCode,
        Endpoints,
        ExchangeOutcome,
        Grant,
        ModelsOutcome,
        ModelsPage,
        PollOutcome,
        RevokeOutcome,
    )
    from .contract import OAuthServer, TokenHint
    from .device import device_headers, device_id
    from .interpret import code_answer, exchange_answer, models_answer, poll_answer, revoke_answer
    from .located import LocatedClient
    from .models_api import fetch_models, fetch_models_sync
    from .oauth import OAuthClient
    from .response import RawResponse
    from .rules import Facts, Row, Table, columns, decide, markdown
    from .tables import TABLES

__all__ = [
    "TABLES",
    "AccountOutcome",
    "Answer",
    "CodeOutcome",
    "DeviceCode",
    "Endpoints",
    "ExchangeOutcome",
    "Facts",
    "Grant",
    "LocatedClient",
    "ModelsOutcome",
    "ModelsPage",
    "OAuthClient",
    "OAuthServer",
    "PollOutcome",
    "RawResponse",
    "RevokeOutcome",
    "Row",
    "Table",
    "TokenHint",
    "code_answer",
    "columns",
    "decide",
    "device_headers",
    "device_id",
    "exchange_answer",
    "fetch_account",
    "fetch_models",
    "fetch_models_sync",
    "markdown",
    "models_answer",
    "poll_answer",
    "revoke_answer",
]

__getattr__ = lazily(
    __name__,
    {
        "account_api": ("fetch_account",),
        "answers": (
            "AccountOutcome",
            "Answer",
            "CodeOutcome",
            "DeviceCode",
            "Endpoints",
            "ExchangeOutcome",
            "Grant",
            "ModelsOutcome",
            "ModelsPage",
            "PollOutcome",
            "RevokeOutcome",
        ),
        "contract": ("OAuthServer", "TokenHint"),
        "device": ("device_headers", "device_id"),
        "located": ("LocatedClient",),
        "models_api": ("fetch_models", "fetch_models_sync"),
        "oauth": ("OAuthClient",),
        "rules": ("Facts", "Row", "Table", "columns", "decide", "markdown"),
        "tables": ("TABLES",),
        "response": ("RawResponse",),
        "interpret": ("code_answer", "exchange_answer", "models_answer", "poll_answer", "revoke_answer"),
    },
)
