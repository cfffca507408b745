"""A claim's bytes, and what a claim that is found means.

A claim is a write-ahead intent: "the rotation of this pair is being sent". Its first line never changes and names its owner;
the rest completes one JSON object, at first with nothing, then with a word of its owner, or with the answer:

    {"claim": {"v": 1, "fp": …, "nonce": …, "boot": …, "namespace": …, "pid": …, "started": …, "host": …}
    }                                                                       open; then NULs up to 68 KiB
    , "closed": true}                                                       its owner sends nothing more under it
    , "access_token": …, …, "sha256": …}                                    the answer, and nothing more

So a write of the answer that is cut off anywhere still says who wrote it, and an answer is a record as it lies there:
renamed onto the credential it only has two keys that every reader ignores. `sha256` covers the record's own keys.

Only its owner writes into a claim; who takes it over makes a new one, with a nonce of its own, in its place. So that every
host measures the wait for a silent owner on its own clock, each boot that meets a claim notes when it did (`CLOCK_BOOTTIME`,
seconds) in a file beside it: `{"v": 1, "nonce": …, "met": {boot: seconds}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from kimi_auth.token import RECORD_FILE_MAX_BYTES, RecordError, Token, parse_record

from .contract import Claim
from .owners import Owner, is_certainly_dead, printable

__all__ = [
    "ALLOCATE",
    "CLOSED",
    "WAIT_S",
    "Found",
    "Header",
    "Meetings",
    "answer",
    "decode_meetings",
    "encode_meetings",
    "judge",
    "new",
    "parse",
    "start",
    "unfinished",
]

ALLOCATE = RECORD_FILE_MAX_BYTES
"""Bytes taken from the disk for a claim before anything is sent: room for any answer that a record may hold."""

WAIT_S = 75.0
"""How long the owner of a claim may still be at work when it cannot be told: one request's deadline (60 s) and some."""

MEETINGS_MAX = 64
"""Boots whose dates are kept for one claim."""

LINE_END = b"\n"
CLOSED = b', "closed": true}' + LINE_END
VERSION = 1
_NONCE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: the claim `nonce` on pair `fp`, made by `owner`."""

    fp: str
    nonce: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class Found:
    """A claim as it was found. `line`: its first line as it lies there, b"" if that is not a claim's.

    An unreadable claim has an unknown owner, and a nonce that is made of its bytes.
    """

    header: Header
    line: bytes = b""
    is_closed: bool = False
    answer: Token | None = None


@dataclass(frozen=True, slots=True)
class Meetings:
    """When (`CLOCK_BOOTTIME`, seconds) each boot first met the claim `nonce`."""

    nonce: str = ""
    met: Mapping[str, float] = field(default_factory=dict)

    def met_at_s(self, nonce: str, boot: str, boottime_s: float) -> float | None:
        """When `boot` first met the claim `nonce`; None if it has not, or if that was written by another clock."""
        at_s = self.met.get(boot) if nonce == self.nonce else None
        return at_s if at_s is not None and at_s <= boottime_s else None

    def now_met(self, nonce: str, boot: str, boottime_s: float) -> Meetings:
        """The same, where `boot` has just met the claim `nonce`."""
        known = self.met if nonce == self.nonce else {}
        latest = sorted(known.items(), key=lambda item: item[1])[-(MEETINGS_MAX - 1) :]
        return Meetings(nonce, {**dict(latest), boot: boottime_s})


def new(fp: str, owner: Owner) -> Header:
    """A header with a nonce that no other claim has."""
    from secrets import token_hex  # with hashlib and OpenSSL: only what writes a claim needs them

    return Header(fp, token_hex(8), owner)


def start(header: Header) -> bytes:
    """The first line: what every state of the claim begins with."""
    owner = header.owner
    about = {
        "v": VERSION,
        "fp": header.fp,
        "nonce": header.nonce,
        "boot": owner.boot,
        "namespace": owner.namespace,
        "pid": owner.pid,
        "started": owner.started,
        "host": owner.host,
    }
    return json.dumps({"claim": about}).removesuffix("}").encode() + LINE_END


def unfinished(header: Header) -> bytes:
    """A claim before the answer."""
    return start(header) + b"}" + LINE_END


def answer(token: Token) -> bytes:
    """What follows the first line once the answer is there."""
    record = token.record()
    rest = json.dumps({**record, "sha256": _checksum(record)}).removeprefix("{")
    return b", " + rest.encode() + LINE_END


def parse(data: bytes, fp: str) -> Found:
    """The claim on pair `fp` that these bytes are; what is missing, torn or of another pair is unknown."""
    line, end, rest = data.partition(LINE_END)
    header = _header(_json(line + b"}"), fp) if end else None
    if header is None:
        import hashlib

        return Found(Header(fp, hashlib.sha256(data).hexdigest()[:16], Owner()))
    return Found(header, line + end, rest.startswith(CLOSED), _answer(_json(data)))


def judge(found: Found, meetings: Meetings, me: Owner, boottime_s: float) -> Claim:
    """What a claim means to the process `me` at `boottime_s`.

    Only what its owner said of it, or the kernel says of its owner, makes it recoverable at once. Whoever is silent may
    still be sending, whatever lock is held; the wall clock never decides.
    """
    header = found.header
    claim = partial(Claim, fp=header.fp, owner=header.owner.words, nonce=header.nonce)
    if found.answer:
        return claim("heir", heir=found.answer)
    if found.is_closed or is_certainly_dead(header.owner, me):
        return claim("interrupted")
    met_at_s = meetings.met_at_s(header.nonce, me.boot, boottime_s)
    left_s = WAIT_S if met_at_s is None else max(0.0, met_at_s + WAIT_S - boottime_s)
    return claim("in_flight", wait_s=left_s)


def encode_meetings(meetings: Meetings) -> bytes:
    """The bytes of the file that lies beside a claim."""
    return json.dumps({"v": VERSION, "nonce": meetings.nonce, "met": dict(meetings.met)}).encode() + LINE_END


def decode_meetings(data: bytes) -> Meetings:
    """The meetings in `data`; what cannot be read has not happened, and the wait begins again."""
    value = _json(data)
    nonce, met = (value.get("nonce"), value.get("met")) if isinstance(value, dict) else (None, None)
    if not isinstance(nonce, str) or not isinstance(met, dict):
        return Meetings()
    return Meetings(nonce, {boot: float(at_s) for boot, at_s in met.items() if _is_boottime(at_s)})


def _json(data: bytes) -> object:
    try:
        value: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value


def _header(value: object, fp: str) -> Header | None:
    about = value.get("claim") if isinstance(value, dict) else None
    if not isinstance(about, dict) or about.get("fp") != fp:
        return None
    nonce = about.get("nonce")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):  # it is part of a file's name
        return None
    texts = {
        key: printable(text) if isinstance(text := about.get(key), str) else ""
        for key in ("boot", "namespace", "started", "host")
    }
    pid = about.get("pid")
    return Header(fp, nonce, Owner(pid=pid if type(pid) is int and 0 < pid < 1 << 31 else 0, **texts))


def _is_boottime(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12


def _answer(value: object) -> Token | None:
    if not isinstance(value, dict):
        return None
    record = {key: part for key, part in value.items() if key not in {"claim", "sha256"}}
    if value.get("sha256") != _checksum(record):
        return None
    try:
        return parse_record(record)
    except RecordError:
        return None


def _checksum(record: Mapping[str, object]) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
