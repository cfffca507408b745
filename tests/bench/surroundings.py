"""A home of its own, a login in it, and the Kimi CLI's configuration for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kimi_auth.clock import SystemClock
from kimi_auth.store import CredentialStore, FileStore
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

__all__ = ["LIFE_S", "at_home", "file_store", "pair", "session_of_kimi_cli", "sign_in", "sign_in_at"]

LIFE_S = 36_000.0
"""So long that nothing has to be renewed while a table is measured."""

NOWHERE = "http://127.0.0.1:9"
"""An OAuth host that answers no one: a measurement without a server must not ask one."""


@contextmanager
def at_home() -> Iterator[Path]:
    """A folder that is HOME and holds the share dir, for this process and those that it starts; gone afterwards.

    No telemetry, no keyring, no browser, no proxy: they would be measured too. Bytecode is kept, as for everything that was installed.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="kimi-auth-bench-", ignore_cleanup_errors=True) as name:
        foreign = (
            "kimi_",
            "openai_",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "pythonpath",
            "virtual_env",
            "pythondontwrite",
        )
        for variable in before:
            if variable.lower().startswith(foreign):
                del os.environ[variable]
        os.environ |= {
            "HOME": name,
            "KIMI_SHARE_DIR": f"{name}/.kimi",
            "KIMI_CODE_OAUTH_HOST": NOWHERE,
            "KIMI_DISABLE_TELEMETRY": "1",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "BROWSER": "true",
        }
        try:
            yield Path(name)
        finally:
            os.environ.clear()
            os.environ.update(before)


def file_store(share_dir: Path) -> FileStore:
    return FileStore(share_dir, clock=SystemClock())


def pair(number: int = 0, *, left_s: float = LIFE_S, issuer: str = NOWHERE) -> Token:
    """A pair of the size that servers give, which no server knows."""
    access, refresh = f"access-{number}-".ljust(900, "a"), f"refresh-{number}-".ljust(900, "r")
    return Token(access, refresh, time.time() + left_s, LIFE_S, "kimi-code", "Bearer", issuer)


def sign_in(store: CredentialStore, token: Token) -> Token:
    """Stores `token` as a login would."""
    with store.locked(None):
        store.put(token)
    return token


def sign_in_at(emulator: Emulator, share_dir: Path, *, left_s: float = LIFE_S) -> Token:
    """A new login of the emulator in `share_dir`, whose access token has `left_s` seconds left."""
    grant = emulator.state.poll(emulator.state.issue_code().device_code)
    ends_at_s = time.time() + left_s
    token = Token(
        grant.access_token, grant.refresh_token, ends_at_s, LIFE_S, grant.scope, "Bearer", emulator.oauth_host
    )
    return sign_in(file_store(share_dir), token)


def session_of_kimi_cli(environ: Mapping[str, str] = os.environ) -> tuple[Any, str]:
    """The Kimi CLI's own manager of tokens for the share dir of this environment, and the key of its login.

    Raises ImportError where the Kimi CLI is not installed.
    """
    from kimi_cli.auth.oauth import KIMI_CODE_OAUTH_KEY, OAuthManager  # type: ignore[import-not-found,unused-ignore]
    from kimi_cli.config import LLMProvider, OAuthRef, get_default_config  # type: ignore[import-not-found,unused-ignore]
    from pydantic import SecretStr

    config = get_default_config()
    config.providers["managed:kimi-code"] = LLMProvider(
        type="kimi",
        base_url=environ.get("KIMI_CODE_BASE_URL", NOWHERE),
        api_key=SecretStr(""),
        oauth=OAuthRef(storage="file", key=KIMI_CODE_OAUTH_KEY),
    )
    return OAuthManager(config), KIMI_CODE_OAUTH_KEY
