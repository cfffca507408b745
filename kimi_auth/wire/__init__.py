"""The wire: every HTTP request of kimi-auth, and the meaning of its answers. No request raises for a server or network
error."""

from .answers import (
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
from .located import LocatedClient
from .models_api import fetch_models, fetch_models_sync
from .oauth import OAuthClient
from .rules import Facts, Row, Table, columns, decide, markdown
from .sanitize import clean, is_loopback, retry_after_s, safe_url
from .tables import TABLES
from .verdict import RawResponse, code_answer, exchange_answer, models_answer, poll_answer, revoke_answer

__all__ = [
    "TABLES",
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
    "clean",
    "code_answer",
    "columns",
    "decide",
    "device_headers",
    "device_id",
    "exchange_answer",
    "fetch_models",
    "fetch_models_sync",
    "is_loopback",
    "markdown",
    "models_answer",
    "poll_answer",
    "retry_after_s",
    "revoke_answer",
    "safe_url",
]
