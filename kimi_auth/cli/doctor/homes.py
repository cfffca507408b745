"""The home: whose it is, which other program writes there, and what that program's lock and files say. Ends nothing and
removes nothing."""

from __future__ import annotations

import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth import files
from kimi_auth.cli.doctor.check import Check
from kimi_auth.cli.options import components_of
from kimi_auth.cli.status import duration
from kimi_auth.credential.status import Status
from kimi_auth.home import KIMI_CODE, KINDS, choose
from kimi_auth.support.language import counted, tr
from kimi_auth.token import RECORD_FILE_MAX_BYTES, RecordError, fingerprint, parse_record

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["home", "leftovers", "pairs", "peer_lock", "remote_control", "skew"]

SKEW_S = 2.0
"""kimi-code compares a lock's time with its own clock, and takes over what looks 5 s old."""

STILL_S = 30.0
TEMPORARY = re.compile(r".+\.json\.tmp\.(\d+)\.[0-9a-f]{8}")
NO_LOCK = "KIMI_DISABLE_OAUTH_LOCK"
THEIR_LOCK = tr("lock of kimi-code")


def home(session: Session, found: Status) -> Iterator[Check]:
    """Whose home it is, and what makes sharing it unsafe."""
    chosen = components_of(session).home
    if chosen.kind is not KIMI_CODE:
        if chosen.other:
            told = tr("{kind}'s; {other} holds a login too", kind=chosen.kind.name, other=chosen.other)
            yield Check(tr("home"), told)
        return
    why = tr(": {reason}", reason=chosen.why) if chosen.why else ""
    yield Check(tr("home"), tr("{kind}'s, shared with it", kind=chosen.kind.name) + why)
    if os.environ.get(NO_LOCK) == "1":
        words = tr(
            "{name}=1: a kimi-code that is started here takes no lock, and both can spend one refresh token",
            name=NO_LOCK,
        )
        yield Check(THEIR_LOCK, words, f"unset {NO_LOCK}")


def pairs(session: Session, found: Status) -> Iterator[Check]:
    """One pair in two homes: whichever renews first ends the login of the other."""
    here = components_of(session).share_dir
    others = {choose(os.environ, kind).path for kind in KINDS} - {here}
    for other in sorted(others):
        for record in sorted(other.glob("credentials/*.json")):
            if found.fp and _fp(record) == found.fp:
                step = tr(
                    "keep one of them: kimi-auth logout --home {home}, then sign in again there",
                    home=shlex.quote(str(other)),
                )
                told = tr("this login's pair is in {path} too: the first renewal ends the other copy", path=record)
                yield Check(tr("pairs"), told, step)


def peer_lock(session: Session, _: Status) -> Iterator[Check]:
    """kimi-code's lock directory: free, held, left behind, or something that can be no lock."""
    parts = components_of(session)
    if parts.home.kind is not KIMI_CODE or parts.platform.oauth is None:
        return
    path = parts.share_dir / f"{parts.key}.lock"
    try:
        seen = path.lstat()
    except OSError:
        yield Check(THEIR_LOCK, tr("free"))
        return
    if not stat.S_ISDIR(seen.st_mode):
        words = tr("{path} is no directory: kimi-code can never renew", path=path)
        yield Check(THEIR_LOCK, words, f"rm {shlex.quote(str(path))}")
        return
    age_s = time.time() - seen.st_mtime
    if age_s < STILL_S:
        holder = parts.store.holder() or tr("a process that has just ended")
        yield Check(THEIR_LOCK, tr("held by {holder}", holder=holder))
    else:
        words = tr(
            "left behind {time} ago by a process that has ended; the next renewal removes it", time=duration(age_s)
        )
        yield Check(THEIR_LOCK, words)


def leftovers(session: Session, _: Status) -> Iterator[Check]:
    """Unfinished writes of kimi-code, which hold a pair; their writers are named in them."""
    parts = components_of(session)
    if parts.home.kind is not KIMI_CODE:
        return
    names = []
    with suppress(OSError):
        names = [path.name for path in (parts.share_dir / "credentials").iterdir() if _is_dead(path)]
    if names:
        quoted = " ".join(shlex.quote(str(parts.share_dir / "credentials" / name)) for name in sorted(names))
        yield Check(
            tr("unfinished writes"),
            counted(
                len(names),
                tr("1 file of a kimi-code that has ended"),
                tr("{number} files of a kimi-code that has ended"),
            ),
            f"rm {quoted}",
        )


def skew(session: Session, _: Status) -> Iterator[Check]:
    """The clock of the disk against ours: a lock is told stale by comparing them."""
    parts = components_of(session)
    if parts.home.kind is not KIMI_CODE:
        return
    probe = files.temporary(parts.share_dir / files.PROBE)
    try:
        before_s = time.time()
        files.create(probe, b"")
        off_s = probe.stat().st_mtime - before_s
        late_s = time.time() - before_s
    except OSError:
        return
    finally:
        files.remove(probe)
    if not -SKEW_S < off_s < SKEW_S + late_s:
        words = tr(
            "the file system's clock differs from this host's by {seconds:.0f} s: live locks can look stale",
            seconds=off_s,
        )
        yield Check(tr("clocks"), words, tr("set both clocks by NTP, or sign in with a home on a local disk"))
    else:
        yield Check(tr("clocks"), tr("the file system's and this host's agree"))


def remote_control(session: Session, _: Status) -> Iterator[Check]:
    """`kimi rc` has taken the refresh token at its start: after the next rotation, its own or ours, it holds a stale one."""
    parts = components_of(session)
    if parts.home.kind is not KIMI_CODE:
        return
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            is_rc = b"rc" in words[1:4] and any(b"kimi" in word for word in words[:3])
            if is_rc and _home_of(process) == parts.share_dir.resolve():
                pid = process.name
                evidence = tr(
                    "`kimi rc` runs (pid {pid}): it keeps the refresh token of its start, and any renewal makes that stale",
                    pid=pid,
                )
                yield Check(tr("remote control"), evidence, tr("after a renewal start it again: kill {pid}", pid=pid))


def _home_of(process: Path) -> Path:
    """kimi-code's home for a process of ours, by its environment. Raises OSError for another user's."""
    pairs = (word.partition(b"=") for word in (process / "environ").read_bytes().split(b"\0"))
    environ = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    return Path(environ.get(KIMI_CODE.variable) or f"{environ.get('HOME', '')}/.kimi-code").resolve()


def _is_dead(path: Path) -> bool:
    """True for an old unfinished write whose writer has ended, or runs on another host: no write takes that long."""
    found = TEMPORARY.fullmatch(path.name)
    is_old = found is not None and time.time() - path.lstat().st_mtime > STILL_S
    return is_old and found is not None and not Path(f"/proc/{found[1]}").exists()


def _fp(record: Path) -> str:
    import json

    try:
        found = files.read_bounded(record, RECORD_FILE_MAX_BYTES, follow=True)
        token = parse_record(json.loads(found.data)) if found else None
    except (OSError, ValueError, RecordError, RecursionError):
        return ""
    return "" if token is None or token.is_empty else fingerprint(token)
