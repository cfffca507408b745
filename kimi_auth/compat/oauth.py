"""Stands in for `kimi_cli.auth.oauth`: every name of it that the rest of the Kimi CLI uses."""

from __future__ import annotations

from kimi_auth.compat.credentials import (
    OAuthDeviceExpired,
    OAuthError,
    OAuthRef,
    OAuthToken,
    OAuthUnauthorized,
    delete_tokens,
    load_tokens,
    save_tokens,
)
from kimi_auth.compat.host import share_dir
from kimi_auth.compat.manager import KIMI_CODE_OAUTH_KEY, OAuthManager
from kimi_auth.compat.signing import OAuthEvent, login_kimi_code, logout_kimi_code
from kimi_auth.platforms import Registry
from kimi_auth.wire import device_id

__all__ = [
    "KIMI_CODE_CLIENT_ID",
    "KIMI_CODE_OAUTH_KEY",
    "OAuthDeviceExpired",
    "OAuthError",
    "OAuthEvent",
    "OAuthManager",
    "OAuthRef",
    "OAuthToken",
    "OAuthUnauthorized",
    "delete_tokens",
    "get_device_id",
    "load_tokens",
    "login_kimi_code",
    "logout_kimi_code",
    "save_tokens",
]

_oauth = Registry().get("kimi-code").oauth
assert _oauth is not None
KIMI_CODE_CLIENT_ID = _oauth.client_id
"""The public client (RFC 6749 §2.1) that the Kimi CLI is to the server."""


def get_device_id() -> str:
    """The 32 hex digits that name this device for the Kimi CLI, made when first asked for."""
    return device_id(share_dir())
