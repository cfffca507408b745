"""The two kinds of homes, as data: where each keeps what, how it spells a record, and which other program writes there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kimi_auth.clock import Clock
from kimi_auth.selection import (
    CODE_HOME_DEFAULT,
    CODE_HOME_VARIABLES,
    HOME_KIMI_CLI,
    HOME_KIMI_CODE,
    SHARE_DIR_DEFAULT,
    SHARE_DIR_VARIABLES,
)
from kimi_auth.store.formats import bounded, encode_record
from kimi_auth.store.layout import Layout
from kimi_auth.support.language import tr
from kimi_auth.token import Token

__all__ = ["KIMI_CLI", "KIMI_CODE", "KINDS", "Kind", "slot"]

DEFAULT_ADDRESSES = ("https://auth.kimi.com", "https://api.kimi.com/coding/v1")


class Kind(NamedTuple):
    """`name`: its word on the command line. `directory`: where it is by default. `variable`: what moves it. `writer`: the
    other program that writes there. `patience_s`: how long a caller without a token waits for
    the locks, where that is longer than the usual patience.

    `slot(platform key, OAuth host, API base)`: the key of a login. `layout(home, that key, clock)`: how its record is
    kept. `binds_by_slot`: the key alone says which host a login belongs to. `owns_config`: kimi-auth keeps config.toml up
    to date; else it is written only when asked. `dashed_id`: the form of a new `device_id`. `lends_end`: a lent record says
    when its token ends; kimi-code would try to renew it before.
    """

    name: str
    directory: str
    variable: str
    writer: str
    slot: Callable[[str, str, str], str]
    layout: Callable[[Path, str, Clock], Layout]
    patience_s: float = 0.0
    binds_by_slot: bool = False
    owns_config: bool = True
    dashed_id: bool = False
    lends_end: bool = True


def slot(oauth_host: str, api_base: str) -> str:
    """The key of a login in kimi-code's kind of home: one for each pair of addresses, the usual pair has a short one."""
    addresses = (oauth_host.strip().rstrip("/"), api_base.strip().rstrip("/"))
    if addresses == DEFAULT_ADDRESSES:
        return "oauth/kimi-code"
    # JSON.stringify: no spaces, and no escapes but those of JSON itself.
    import hashlib  # with OpenSSL: the usual addresses do without

    text = json.dumps(
        dict(zip(("oauthHost", "baseUrl"), addresses, strict=True)), separators=(",", ":"), ensure_ascii=False
    )
    return f"oauth/kimi-code-env-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _encode_for_kimi_code(token: Token) -> bytes:
    """How kimi-code's kind of home spells a record; `signed_out_at` tells our logout from its own tombstone."""
    record = token.record()
    record.pop("issuer", None)
    keys = ("access_token", "refresh_token", "expires_at", "scope", "token_type", "expires_in")
    spelt = {key: record.pop(key) for key in keys} | record
    spelt |= {key: _whole(spelt[key]) for key in ("expires_at", "expires_in", "signed_out_at") if key in spelt}
    return bounded(json.dumps(spelt, indent=2, ensure_ascii=False).encode() + b"\n")


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) else value


def _kimi_code_layout(home: Path, key: str, clock: Clock) -> Layout:
    from .directory_lock import DirectoryLock

    lock = DirectoryLock(home / key, clock)
    return Layout(encode=_encode_for_kimi_code, keeps_sign_out=True, peer_lock=lock)


KIMI_CLI = Kind(
    name=HOME_KIMI_CLI,
    directory=SHARE_DIR_DEFAULT,
    variable=SHARE_DIR_VARIABLES[0],
    writer=tr("the Kimi CLI"),
    slot=lambda key, _host, _base: key,
    layout=lambda _home, _key, _clock: Layout(encode=encode_record),
)

KIMI_CODE = Kind(
    name=HOME_KIMI_CODE,
    directory=CODE_HOME_DEFAULT,
    variable=CODE_HOME_VARIABLES[0],
    writer="kimi-code",
    patience_s=110.0,  # it may hold its lock for 93 s: three tries of 30 s and their pauses
    slot=lambda _key, host, base: slot(host, base),
    layout=_kimi_code_layout,
    binds_by_slot=True,
    owns_config=False,
    dashed_id=True,
    lends_end=False,
)

KINDS = {kind.name: kind for kind in (KIMI_CLI, KIMI_CODE)}
