"""Sign in once to the Kimi CLI's platforms, stay signed in, and hand every process a token that works.

    from kimi_auth import BearerAuth, Session

    session = Session()
    client = httpx.AsyncClient(auth=BearerAuth(session))

These names are the public surface: a session, and all that its methods take, return and raise. Every name is loaded when
it is first used: `import kimi_auth` costs nothing and loads no third-party module.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the one in `typing` would cost the fast lane of `kimi-auth token` a quarter of its time

if TYPE_CHECKING:
    from ._version import __version__
    from .clients import BearerAuth, TokenSource
    from .clock import Clock
    from .credential.single_flight import drain, signals_deferred
    from .credential.status import LoginReport, LogoutReport, Status, Verdict
    from .errors import (
        AccessDenied,
        AmbiguousHome,
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
        NoSuchAccount,
        NotSignedIn,
        Revoked,
        SignInEnded,
        StorageError,
        StoreUnwritable,
        Unreachable,
        WrongIssuer,
    )
    from .login.view import LoginView, Notice, PrintingView, SilentView
    from .machine import Observer
    from .models import Catalogue, Change, ModelEntry
    from .models.sync import Synced
    from .platform_models import PlatformModels
    from .platforms import Platform
    from .session import Session
    from .store import Binding, CredentialStore
    from .token import Token
    from .wire import DeviceCode, OAuthServer

__all__ = [
    "AccessDenied",
    "AmbiguousHome",
    "BearerAuth",
    "Binding",
    "Blocked",
    "Catalogue",
    "Change",
    "ClientRefused",
    "Clock",
    "CodeExpired",
    "ConfigError",
    "CorruptCredential",
    "CredentialLocked",
    "CredentialStore",
    "DeviceCode",
    "InvalidKey",
    "KimiAuthError",
    "LockLost",
    "LoginCancelled",
    "LoginReport",
    "LoginView",
    "LogoutReport",
    "ModelEntry",
    "ModelsPending",
    "NoSuchAccount",
    "NotSignedIn",
    "Notice",
    "OAuthServer",
    "Observer",
    "Platform",
    "PlatformModels",
    "PrintingView",
    "Revoked",
    "Session",
    "SignInEnded",
    "SilentView",
    "Status",
    "StorageError",
    "StoreUnwritable",
    "Synced",
    "Token",
    "TokenSource",
    "Unreachable",
    "Verdict",
    "WrongIssuer",
    "__version__",
    "drain",
    "signals_deferred",
]

_HOMES = {
    "_version": ("__version__",),
    "clients": (
        "BearerAuth",
        "TokenSource",
    ),
    "clock": ("Clock",),
    "credential.single_flight": (
        "drain",
        "signals_deferred",
    ),
    "credential.status": (
        "LoginReport",
        "LogoutReport",
        "Status",
        "Verdict",
    ),
    "login.view": (
        "LoginView",
        "Notice",
        "PrintingView",
        "SilentView",
    ),
    "machine": ("Observer",),
    "models": (
        "Catalogue",
        "Change",
        "ModelEntry",
    ),
    "models.sync": ("Synced",),
    "platform_models": ("PlatformModels",),
    "platforms": ("Platform",),
    "session": ("Session",),
    "store": (
        "Binding",
        "CredentialStore",
    ),
    "token": ("Token",),
    "wire": (
        "DeviceCode",
        "OAuthServer",
    ),
}
"""The names of each module; a name in none of them is an error."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((module for module, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
