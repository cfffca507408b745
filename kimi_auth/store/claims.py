"""A claim's bytes, and what a claim that is found means.

A claim is a promise on disk: "the rotation of this pair is being sent". Its first line never changes and says whose it
is; what follows completes one JSON object, at first with nothing, later with the answer, which makes it the heir:

    {"claim": {"v": 1, "fp": …, "boot": …, "boottime_s": …, "pid": …, "host": …, "met": {}}
    }                                                                       then NULs up to 16 KiB, or
    , "access_token": …, …, "sha256": …}                                    and nothing more

So a write of the answer that is cut off anywhere still says who wrote it, and an heir is a record as it stands: renamed
onto the credential it only has two keys that every reader ignores. `sha256` covers the record's own keys.

`met` says when (`CLOCK_BOOTTIME`, seconds) each other boot first met this claim unfinished, so that every host measures
the wait on its own clock and none starts another one's wait again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kimi_auth.token import RecordError, Token, parse_record

from .contract import Claim

__all__ = ["ALLOCATE", "WAIT_S", "Owner", "answer", "judge", "met", "parse", "start", "unfinished"]

ALLOCATE = 16_384
"""Bytes taken from the disk for a claim before anything is sent: room for the answer."""

WAIT_S = 75.0
"""How long the owner of a claim of another boot may still be alive: one request's deadline and some."""

LINE_END = b"\n"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Owner:
    """Who made the claim on pair `fp`: boot id, `CLOCK_BOOTTIME` seconds, process, host; and who `met` it since."""

    fp: str
    boot: str
    boottime_s: float
    pid: int = 0
    host: str = ""
    met: Mapping[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return f"pid {self.pid} on {self.host}" if self.pid else ""


def start(owner: Owner) -> bytes:
    """The first line: what every state of the claim begins with."""
    about = {
        "v": VERSION,
        "fp": owner.fp,
        "boot": owner.boot,
        "boottime_s": owner.boottime_s,
        "pid": owner.pid,
        "host": owner.host,
        "met": dict(owner.met),
    }
    return json.dumps({"claim": about}).removesuffix("}").encode() + LINE_END


def unfinished(owner: Owner) -> bytes:
    """A claim before the answer, NULs up to its full size."""
    return (start(owner) + b"}" + LINE_END).ljust(ALLOCATE, b"\0")


def answer(token: Token) -> bytes:
    """What follows the first line once the answer is there."""
    record = token.record()
    rest = json.dumps({**record, "sha256": _checksum(record)}).removeprefix("{")
    return b", " + rest.encode() + LINE_END


def parse(data: bytes, fp: str) -> tuple[Owner | None, Token | None]:
    """Whose claim on pair `fp` these bytes are and the heir in them; None for what is missing, torn or of another pair."""
    line, end, _ = data.partition(LINE_END)
    owner = _owner(_json(line + b"}"), fp) if end else None
    return owner, _heir(_json(data)) if owner else None


def judge(owner: Owner | None, heir: Token | None, fp: str, boot: str, boottime_s: float) -> Claim:
    """What the claim on pair `fp` means to somebody on `boot` at `boottime_s` who holds the lock.

    Nobody of this boot can still be at work: he would hold the lock. Of another boot, or of one that cannot be told,
    nothing is known; the wall clock never decides.
    """
    words = owner.words if owner else ""
    if heir:
        return Claim("heir", fp, heir, owner=words)
    if owner and boot and owner.boot == boot:
        return Claim("interrupted", fp, owner=words)
    met_at_s = _met_at_s(owner, boot, boottime_s)
    left_s = WAIT_S if met_at_s is None else met_at_s + WAIT_S - boottime_s
    return Claim("elsewhere", fp, wait_s=left_s, owner=words) if left_s > 0 else Claim("interrupted", fp, owner=words)


def met(owner: Owner | None, fp: str, boot: str, boottime_s: float) -> Owner | None:
    """The owner as he must be written when somebody on `boot` meets his claim first; None when that is on disk already."""
    if _met_at_s(owner, boot, boottime_s) is not None:
        return None
    known = owner or Owner(fp, "", 0.0)
    return replace(known, met={**known.met, boot: boottime_s})


def _met_at_s(owner: Owner | None, boot: str, boottime_s: float) -> float | None:
    at_s = owner.met.get(boot) if owner else None
    return at_s if at_s is not None and at_s <= boottime_s else None  # later than now: written by another clock


def _json(data: bytes) -> object:
    try:
        value: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value


def _owner(value: object, fp: str) -> Owner | None:
    about = value.get("claim") if isinstance(value, dict) else None
    if not isinstance(about, dict) or about.get("fp") != fp:
        return None
    boot, host, pid, seen = about.get("boot"), about.get("host"), about.get("pid"), about.get("met")
    return Owner(
        fp,
        boot if isinstance(boot, str) else "",
        _boottime_s(about.get("boottime_s")) or 0.0,
        pid if isinstance(pid, int) else 0,
        "".join(filter(str.isprintable, host)) if isinstance(host, str) else "",
        _times(seen) if isinstance(seen, dict) else {},
    )


def _times(seen: dict[str, object]) -> dict[str, float]:
    return {boot: at_s for boot, value in seen.items() if (at_s := _boottime_s(value)) is not None}


def _boottime_s(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else None


def _heir(value: object) -> Token | None:
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
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
