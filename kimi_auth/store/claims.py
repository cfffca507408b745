"""The bytes of a claim, and the meaning of a claim that is found.

A write-ahead claim states: "the rotation of this pair is being sent". Its first line never changes and names its owner;
the rest completes one JSON object: empty at first, later closed by its owner, or the answer:

    {"claim": {"v": 1, "fp": …, "nonce": …, "boot": …, "namespace": …, "pid": …, "started": …, "host": …}
    }                                                                       open; then NULs up to 68 KiB
    , "closed": true}                                                       its owner sends nothing more under it
    , "access_token": …, …, "sha256": …}                                    the answer, and nothing more

So a torn write of the answer still names its writer, and a complete answer is a valid record: renamed onto the
credential it only has two extra keys, which every reader ignores. `sha256` covers the record's own keys.

Only its owner writes into a claim; a process that takes it over replaces it by a new one with its own nonce. Every host
measures the wait for a silent owner on its own clock, because wall clocks disagree: each boot that meets a claim notes
when it did (`CLOCK_BOOTTIME`, seconds) in a file beside it: `{"v": 1, "nonce": …, "met": {boot: seconds}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

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
    "classify",
    "decode_meetings",
    "encode_meetings",
    "new",
    "parse",
    "start",
    "unfinished",
]

ALLOCATE = RECORD_FILE_MAX_BYTES
"""Bytes allocated on disk for a claim before anything is sent, enough for any valid answer: a disk that fills up during
the exchange must not lose the pair."""

WAIT_S = 75.0
"""How long an owner of unknown state may still be sending, in seconds: one request's deadline (60 s) and a margin."""

MEETINGS_MAX = 64
"""Limit of boots noted for one claim, so that its file stays below the read limit."""

LINE_END = b"\n"
CLOSED = b', "closed": true}' + LINE_END
VERSION = 1
_NONCE = re.compile(r"[0-9a-f]{16}")


class Header(NamedTuple):
    """The first line: the claim `nonce` on pair `fp`, made by `owner`."""

    fp: str
    nonce: str
    owner: Owner


class Found(NamedTuple):
    """A claim as read from disk. `line`: the bytes of its first line, b"" if that is not a claim's.

    An unreadable claim has an unknown owner, and a nonce derived from its bytes.
    """

    header: Header
    line: bytes = b""
    is_closed: bool = False
    answer: Token | None = None


_NOT_MET: Mapping[str, float] = {}


class Meetings(NamedTuple):
    """When (`CLOCK_BOOTTIME`, seconds) each boot first met the claim `nonce`."""

    nonce: str = ""
    met: Mapping[str, float] = _NOT_MET

    def met_at_s(self, nonce: str, boot: str, boottime_s: float) -> float | None:
        """When `boot` first met the claim `nonce`; None if never, or if another clock wrote the time."""
        at_s = self.met.get(boot) if nonce == self.nonce else None
        return at_s if at_s is not None and at_s <= boottime_s else None

    def now_met(self, nonce: str, boot: str, boottime_s: float) -> Meetings:
        """A copy of the meetings in which `boot` has just met the claim `nonce`."""
        known = self.met if nonce == self.nonce else {}
        # Of too many boots the earliest are dropped; such a boot starts its wait again, which is late but never wrong.
        latest = sorted(known.items(), key=lambda item: item[1])[-(MEETINGS_MAX - 1) :]
        return Meetings(nonce, {**dict(latest), boot: boottime_s})


def new(fp: str, owner: Owner) -> Header:
    """The header of a claim, with a new random nonce."""
    from secrets import token_hex  # with hashlib and OpenSSL: only what writes a claim needs them

    return Header(fp, token_hex(8), owner)


def start(header: Header) -> bytes:
    """The first line of a claim's bytes, common to every state of it."""
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
    # The object stays open: a later write appends to it and never touches the line that names the owner.
    return json.dumps({"claim": about}).removesuffix("}").encode() + LINE_END


def unfinished(header: Header) -> bytes:
    """A claim before the answer."""
    return start(header) + b"}" + LINE_END


def answer(token: Token) -> bytes:
    """The bytes after the first line of a claim that holds the answer."""
    record = token.record()
    rest = json.dumps({**record, "sha256": _checksum(record)}).removeprefix("{")
    return b", " + rest.encode() + LINE_END


def parse(data: bytes, fp: str) -> Found:
    """Parses the claim on pair `fp`. Missing, torn or foreign headers count as an unknown owner."""
    line, end, rest = data.partition(LINE_END)
    header = _header(_json(line + b"}"), fp) if end else None
    if header is None:
        # Derived from the bytes, so that a take-over can still prove that it replaces this claim and no later one.
        import hashlib

        return Found(Header(fp, hashlib.sha256(data).hexdigest()[:16], Owner()))
    return Found(header, line + end, rest.startswith(CLOSED), _answer(_json(data)))


def classify(found: Found, meetings: Meetings, me: Owner, boottime_s: float) -> Claim:
    """The meaning of a claim to the process `me` at `boottime_s`.

    A claim is recoverable at once only if its owner closed it, or the kernel reports its owner dead. A silent owner may
    still be sending, whatever lock is held. The wall clock never decides.
    """
    header = found.header
    claim = partial(Claim, fp=header.fp, owner=header.owner.text, nonce=header.nonce)
    # Whether its owner lives does not matter: the answer is complete, and to install it twice changes nothing.
    if found.answer:
        return claim("staged", staged=found.answer)
    if found.is_closed or is_certainly_dead(header.owner, me):
        return claim("interrupted")
    # A claim that this boot has not met yet gets the full wait: its age on another host's clock proves nothing here.
    met_at_s = meetings.met_at_s(header.nonce, me.boot, boottime_s)
    left_s = WAIT_S if met_at_s is None else max(0.0, met_at_s + WAIT_S - boottime_s)
    return claim("in_flight", wait_s=left_s)


def encode_meetings(meetings: Meetings) -> bytes:
    """The bytes of the meetings file beside a claim."""
    return json.dumps({"v": VERSION, "nonce": meetings.nonce, "met": dict(meetings.met)}).encode() + LINE_END


def decode_meetings(data: bytes) -> Meetings:
    """The meetings with claims in `data`; unreadable ones are dropped, and the wait starts again."""
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
    # A claim file that was copied or renamed to another pair's name proves nothing about that pair.
    if not isinstance(about, dict) or about.get("fp") != fp:
        return None
    nonce = about.get("nonce")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):  # it becomes part of a file name: no path separators
        return None
    texts = {
        key: printable(text) if isinstance(text := about.get(key), str) else ""
        for key in ("boot", "namespace", "started", "host")
    }
    pid = about.get("pid")
    # A bool is an int in Python, and a larger pid would raise OverflowError in os.kill.
    return Header(fp, nonce, Owner(pid=pid if type(pid) is int and 0 < pid < 1 << 31 else 0, **texts))


def _is_boottime(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12


def _answer(value: object) -> Token | None:
    if not isinstance(value, dict):
        return None
    record = {key: part for key, part in value.items() if key not in {"claim", "sha256"}}
    # A power cut can leave a prefix of the answer or old blocks; a wrong pair as the record would lose the login.
    if value.get("sha256") != _checksum(record):
        return None
    try:
        return parse_record(record)
    except RecordError:
        return None


def _checksum(record: Mapping[str, object]) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
