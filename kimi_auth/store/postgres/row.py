"""A row of the table, and what it means: pure functions, but for the question whether an owner lives."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import NamedTuple

from kimi_auth.errors import CorruptCredential, StorageError
from kimi_auth.store import claims, formats
from kimi_auth.store.contract import Backoff, Binding, Claim, RevokedMark, Snapshot, Stamp
from kimi_auth.store.owners import Owner, is_certainly_dead, printable
from kimi_auth.support.language import tr
from kimi_auth.token import RecordError, Token, fingerprint, lifetime_s, parse_record, window_s

from .encryption import Cipher
from .spill import Seen

__all__ = ["Row", "decode_owner", "encode_owner", "encode_staged", "encode_token"]

DUE_JITTER = 0.1
WITNESSED_S = 5.0
"""How long a caller waits before it asks again whether the session of a silent owner still stands."""

UNSEEN = "-"
"""The fingerprint that `sql.READ_ACCESS` gives to a record: a reader sees none."""

_APART = ("access_token", "refresh_token", "expires_at", "signed_out_at")
"""Keys of a record that have columns of their own."""


class Row(NamedTuple):
    """One answer of the database, under the names of `sql`; `key` is None where the table has no such row."""

    key: str | None
    access: bytes | None
    refresh: bytes | None
    about: str | None
    expires_at: float | None
    signed_out_at: float | None
    fp: str | None
    generation: int | None
    claim_fp: str | None
    claim_nonce: str | None
    claim_owner: str | None
    claim_closed: bool | None
    staged: bytes | None
    claim_age_s: float | None
    is_dated: bool
    is_witnessed: bool
    revoked_fp: str | None
    revoked_at: float | None
    revoked_message: str | None
    backoff: str | None
    binding: str | None
    fence: int | None
    holder: str | None
    lease_left_s: float | None
    now_s: float
    is_writable: bool
    asides: int

    def __repr__(self) -> str:
        return f"Row({self.key!r}, fp={self.fp}, generation={self.generation}, fence={self.fence})"

    @property
    def stamp(self) -> Stamp:
        return (self.generation or 0,) if self.fp else ()

    @property
    def seen(self) -> Seen:
        """Its generation, and its pair."""
        return Seen(self.generation or 0, "" if self.fp == formats.EMPTY_FP else self.fp or "")

    def snapshot(self, location: str, cipher: Cipher) -> Snapshot:
        """What this row means as a record, by itself. One that is encrypted with a key that is not here cannot be asked
        for: it is neither absent nor corrupt, so no login and no logout writes over it."""
        if not self.fp:
            return Snapshot("absent")
        try:
            token = self._token(cipher)
            self.answer(cipher)
        except StorageError as no_key:
            return Snapshot("unreachable", self.stamp, problem=no_key)
        # The answer to a pair under another fingerprint could not be committed: such a row must not be sent.
        if token is None or self.fp not in {UNSEEN, fingerprint(token)}:
            problem = CorruptCredential(tr("{location}: the row is no credential", location=location))
            return Snapshot("corrupt", self.stamp, problem=problem)
        return Snapshot("present", self.stamp, token, fingerprint(token))

    def _token(self, cipher: Cipher) -> Token | None:
        """The pair that the row means; None if its columns hold none that can be understood. Raises StorageError where its key
        is not here."""
        key, fp = self.key or "", None if self.fp == UNSEEN else self.fp
        try:
            record = json.loads(self.about or "")
            if not isinstance(record, dict):
                return None
            record |= {
                "access_token": _text(cipher.open("access", key, fp, self.access)),
                "refresh_token": _text(cipher.open("refresh", key, fp, self.refresh)),
                "expires_at": self.expires_at or 0.0,
            }
            return parse_record(record | ({"signed_out_at": self.signed_out_at} if self.signed_out_at else {}))
        except (ValueError, RecursionError, RecordError):
            return None

    def answer(self, cipher: Cipher) -> Token | None:
        """The answer that is staged in a row; None for none, or a torn one. Raises StorageError where its key is not here."""
        if not self.staged:
            return None
        try:
            return parse_record(json.loads(cipher.open("staged", self.key or "", self.claim_fp or "", self.staged)))
        except (ValueError, RecursionError, RecordError):
            return None

    def claim(self, fp: str | None, me: Callable[[], Owner], passed_s: float, cipher: Cipher) -> Claim:
        """The claim on pair `fp`, None for the one that is there, `passed_s` seconds after this row was read. `me` asks the
        kernel, for an owner to compare with only."""
        if not self.claim_nonce or (fp is not None and fp != self.claim_fp):
            return Claim("none", fp or "")
        owner = decode_owner(self.claim_owner)
        found = Claim("none", self.claim_fp or "", owner=owner.text, nonce=self.claim_nonce)
        try:
            staged = self.answer(cipher)
        except StorageError:  # there is an answer: its pair must not be sent again
            return found._replace(state="in_flight", wait_s=WITNESSED_S)
        if staged is not None:
            return found._replace(state="staged", staged=staged)
        if self.claim_closed or is_certainly_dead(owner, me()):
            return found._replace(state="interrupted")
        # Time of another incarnation proves nothing: the database may have been away for longer than the wait.
        age_s = (self.claim_age_s or 0.0) + passed_s if self.is_dated else 0.0
        left_s = max(0.0, claims.WAIT_S - age_s)
        return found._replace(state="in_flight", wait_s=left_s or (WITNESSED_S if self.is_witnessed else 0.0))

    def mark(self, fp: str) -> RevokedMark | None:
        if not fp or self.revoked_fp != fp:
            return None
        return RevokedMark(self.revoked_at or 0.0, self.revoked_message or "")

    def shared_backoff(self) -> Backoff:
        return formats.decode_backoff((self.backoff or "").encode())

    def host(self) -> Binding | None:
        return None if self.binding is None else formats.decode_binding(self.binding.encode())

    def holding(self, passed_s: float) -> Owner | None:
        """Who has the row's lease, `passed_s` seconds after this row was read; None if it is free."""
        if not self.holder or (self.lease_left_s or 0.0) <= passed_s:
            return None
        return decode_owner(self.holder)


def encode_token(token: Token, now_s: float, key: str, cipher: Cipher) -> dict[str, object]:
    """The columns of a pair that is installed in the row `key` at `now_s`, database time. Raises StoreUnwritable for one that no
    reader would accept."""
    formats.encode_record(token)
    record, fp = token.record(), fingerprint(token)
    return {
        "access": cipher.seal("access", key, fp, _bytes(token.access_token)),
        "refresh": cipher.seal("refresh", key, fp, _bytes(token.refresh_token)),
        "about": json.dumps({key: value for key, value in record.items() if key not in _APART}),
        "expires_at": token.expires_at_s,
        "signed_out_at": token.signed_out_at_s or None,
        "new": fp,
        "due_in_s": _due_in_s(token, now_s),
    }


def encode_staged(token: Token, key: str, fp: str, cipher: Cipher) -> bytes:
    """The columns of an answer to the pair `fp`, which is not the pair of the row `key` yet."""
    return cipher.seal("staged", key, fp, json.dumps(token.record()).encode())


def encode_owner(owner: Owner, line: int = 0) -> str:
    """The columns of a process in a claim of the row or, with the number of its line to the database, in its lease."""
    return json.dumps(owner._asdict() | ({"line": line} if line else {}))


def decode_owner(text: str | None) -> Owner:
    """The process in a claim or a lease of the row; unknown parts are empty."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return Owner()
    texts = {
        key: printable(part) if isinstance(part := value.get(key), str) else ""
        for key in ("boot", "namespace", "started", "host")
    }
    pid = value.get("pid")
    return Owner(pid=pid if type(pid) is int and 0 < pid < 1 << 31 else 0, **texts)


def _due_in_s(token: Token, now_s: float) -> float | None:
    """The column that says when a fleet should renew the row: as the window begins, up to a tenth of that time earlier,
    so that logins of one moment spread. None for a pair that cannot be renewed."""
    if not token.refresh_token or not token.expires_at_s:
        return None
    left_s = token.expires_at_s - window_s(token) - now_s
    early_s = random.random() * DUE_JITTER * (lifetime_s(token) - window_s(token))  # noqa: S311 - no secret
    return min(max(0.0, left_s - early_s), 1e9)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes | None) -> str:
    return bytes(data or b"").decode("utf-8", "surrogatepass")
