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
from kimi_auth.cli.doctor.borders import border, release
from kimi_auth.cli.doctor.check import Check
from kimi_auth.cli.options import components_of
from kimi_auth.cli.status_words import duration
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
AHEAD_MAX_S = 60.0
"""No program stamps its lock further ahead; kimi-code waits for 60 s."""

RC_FILE = "server/rc.json"
TEMPORARY = re.compile(r".+\.json\.tmp\.(\d+)\.[0-9a-f]{8}")
NO_LOCK = "KIMI_DISABLE_OAUTH_LOCK"
THEIR_LOCK = tr("lock of kimi-code")


def home(session: Session, found: Status) -> Iterator[Check]:
    """Checks whose home it is, and what makes sharing it unsafe."""
    chosen = components_of(session).home
    if chosen.kind is not KIMI_CODE:
        if found.other_home:
            told = tr("{kind}'s; {other} holds a login too", kind=chosen.kind.name, other=found.other_home)
            yield Check(tr("home"), told)
        return
    why = tr(": {reason}", reason=chosen.why) if chosen.why else ""
    too = tr("; {other} holds a login too", other=found.other_home) if found.other_home else ""
    yield Check(tr("home"), tr("{kind}'s, shared with it", kind=chosen.kind.name) + why + too)
    mount = files.mount_at(chosen.path)
    if mount and (crossed := border(mount, release())):
        yield Check(tr("home"), *crossed)
    if os.environ.get(NO_LOCK) == "1":
        words = tr(
            "{name}=1: a kimi-code that is started here takes no lock, and both can spend one refresh token",
            name=NO_LOCK,
        )
        yield Check(THEIR_LOCK, words, f"unset {NO_LOCK}")


def pairs(session: Session, found: Status) -> Iterator[Check]:
    """Checks for one pair in two homes: whichever renews first ends the login of the other, and a logout would end both."""
    home = components_of(session).home
    homes = {one.path: one for one in (choose(os.environ, kind) for kind in KINDS) if one.path != home.path}
    for _, other in sorted(homes.items()):
        for record in sorted(other.path.glob("credentials/*.json")):
            if not found.fp or _fp(record) != found.fp:
                continue
            if KIMI_CODE in {home.kind, other.kind} and home.kind is not other.kind:
                step = tr("keep one of them: kimi-auth adopt (kimi-code's), or kimi-auth adopt --move (the other one)")
            else:
                step = tr("remove the copy: {command}", command=f"rm {shlex.quote(str(record))}")
            told = tr("this login's pair is in {path} too: the first renewal ends the other copy", path=record)
            yield Check(tr("pairs"), told, step)


def peer_lock(session: Session, _: Status) -> Iterator[Check]:
    """Checks kimi-code's lock directories: this login's, and those of others that are no good."""
    parts = components_of(session)
    if parts.home.kind is not KIMI_CODE or parts.platform.oauth is None:
        return
    path = parts.share_dir / f"{parts.key}.lock"
    try:
        seen = path.lstat()
    except OSError:
        yield Check(THEIR_LOCK, tr("free"))
    else:
        holder = parts.store.holder() or tr("a process that has just ended")
        yield _unusable(path, seen) or Check(THEIR_LOCK, _age(seen) or tr("held by {holder}", holder=holder))
    for other in sorted(set(path.parent.glob("*.lock")) - {path}):
        with suppress(OSError):
            if check := _unusable(other, other.lstat()):
                yield check


def _age(seen: os.stat_result) -> str:
    """That a lock was left behind; "" for one whose time may still move."""
    age_s = time.time() - seen.st_mtime
    if age_s < STILL_S:
        return ""
    return tr("left behind {time} ago by a process that has ended; the next renewal removes it", time=duration(age_s))


def _unusable(path: Path, seen: os.stat_result) -> Check | None:
    """The finding about a lock that kimi-code can never take, or not for a long time."""
    quoted = shlex.quote(str(path))
    if not stat.S_ISDIR(seen.st_mode):
        return Check(THEIR_LOCK, tr("{path} is no directory: kimi-code can never renew", path=path), f"rm {quoted}")
    owner = path.parent.lstat().st_uid
    if seen.st_uid not in {owner, os.geteuid()}:
        words = tr("{path} belongs to uid {uid}: a process of another user made it", path=path, uid=seen.st_uid)
        return Check(THEIR_LOCK, words, f"sudo rmdir {quoted}")
    with suppress(OSError):
        if os.listdir(path):  # noqa: PTH208
            words = tr("{path} is not empty: once left behind, no program can remove it", path=path)
            return Check(THEIR_LOCK, words, f"rm -r {quoted}")
    if (ahead_s := seen.st_mtime - time.time()) > AHEAD_MAX_S:
        words = tr(
            "{path} is stamped {time} ahead of this host's clock: for so long kimi-code cannot renew",
            path=path,
            time=duration(ahead_s),
        )
        return Check(THEIR_LOCK, words, tr("close every kimi-code, then: {command}", command=f"rmdir {quoted}"))
    return None


def leftovers(session: Session, _: Status) -> Iterator[Check]:
    """Checks for unfinished writes of kimi-code, which hold a pair; their writers are named in them."""
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
    """Checks the clock of the disk against ours: kimi-code compares them to tell that its lock is stale."""
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
    """Checks for Remote Control (`kimi rc`, or switched on in a session), which has taken the refresh token at its
    start: after the next rotation, its own or ours, it holds a stale one. It names itself in a file; its command line
    is no evidence, since kimi-code replaces that by its name."""
    parts = components_of(session)
    if parts.home.kind is not KIMI_CODE:
        return
    pid = _json(parts.share_dir / RC_FILE).get("pid")
    if type(pid) is not int or pid <= 0 or not Path(f"/proc/{pid}").exists():
        return
    evidence = tr(
        "`kimi rc` runs (pid {pid}): it keeps the refresh token of its start, and any renewal makes that stale", pid=pid
    )
    yield Check(tr("remote control"), evidence, tr("after a renewal start it again: kill {pid}", pid=pid))


def _is_dead(path: Path) -> bool:
    """True for an old unfinished write whose writer has ended, or runs on another host: no write takes that long."""
    found = TEMPORARY.fullmatch(path.name)
    is_old = found is not None and time.time() - path.lstat().st_mtime > STILL_S
    return is_old and found is not None and not Path(f"/proc/{found[1]}").exists()


def _fp(record: Path) -> str:
    try:
        token = parse_record(_json(record))
    except RecordError:
        return ""
    return "" if token.is_empty else fingerprint(token)


def _json(path: Path) -> dict[str, object]:
    """What the home's other program says in a small JSON file of its own; {} where there is none."""
    import json

    try:
        found = files.read_bounded(path, RECORD_FILE_MAX_BYTES, follow=True)
        value = json.loads(found.data) if found else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
