"""Sign in once to the Kimi CLI's platforms, stay signed in, and hand every process a token that works.

    from kimi_auth import BearerAuth, Session

    session = Session()
    client = httpx.AsyncClient(auth=BearerAuth(session))

Every name is loaded when it is first used: `import kimi_auth` costs nothing and loads no third-party module.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the one in `typing` would cost the fast lane of `kimi-auth token` a quarter of its time

if TYPE_CHECKING:
    from ._version import __version__
    from .clients import BearerAuth
    from .credential.single_flight import signals_deferred
    from .errors import (
        AccessDenied,
        Blocked,
        ClientRefused,
        CodeExpired,
        ConfigError,
        CorruptCredential,
        CredentialLocked,
        InvalidKey,
        KimiAuthError,
        LockLost,
        LoginCancelled,
        ModelsPending,
        NotSignedIn,
        Revoked,
        SignInEnded,
        StorageError,
        StoreUnwritable,
        Unreachable,
        WrongIssuer,
    )
    from .session import Session
    from .token import Token

__all__ = [
    "AccessDenied",
    "BearerAuth",
    "Blocked",
    "ClientRefused",
    "CodeExpired",
    "ConfigError",
    "CorruptCredential",
    "CredentialLocked",
    "InvalidKey",
    "KimiAuthError",
    "LockLost",
    "LoginCancelled",
    "ModelsPending",
    "NotSignedIn",
    "Revoked",
    "Session",
    "SignInEnded",
    "StorageError",
    "StoreUnwritable",
    "Token",
    "Unreachable",
    "WrongIssuer",
    "__version__",
    "signals_deferred",
]

_HOMES = {
    "BearerAuth": "clients",
    "Session": "session",
    "Token": "token",
    "__version__": "_version",
    "signals_deferred": "credential.single_flight",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
