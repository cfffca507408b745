"""How renewals go: the last one, one that is under way or was left behind, and what keeps the next one waiting."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth.cli.doctor.check import LOGIN, RENEW, Check
from kimi_auth.cli.doctor.credential import file_of
from kimi_auth.cli.options import components_of
from kimi_auth.cli.status_words import claim_of, duration, is_too_long, login_ends
from kimi_auth.credential.status import Status
from kimi_auth.errors import ClientRefused
from kimi_auth.support.language import counted, tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["backoff", "claim", "lately", "lock"]

MOMENT_S = 1.0
LOOKS = 10
"""Every renewal holds the lock for a moment: it is a finding when one process has it this long, looked at so
often."""

RENEWAL_S = 75.0
"""How long a renewal may take: one request's deadline and some. A process killed sooner loses the answer."""

ELSEWHERE = "(according to its claim)"
"""The end of a lock holder's description if that process is on another host or unknown."""

CLAIMS = {
    "interrupted": tr("a renewal was started and its process has ended: the answer is unknown"),
    "in_flight": tr("a renewal was started, and its process may still be running: the answer is unknown"),
    "staged": tr("a renewed pair is staged, and not committed yet"),
}


def lately(session: Session, found: Status) -> Iterator[Check]:
    """Checks when the pair was renewed last, as far as it was by us."""
    if found.fp:
        yield from _unusual(session, found)
        ago_s = time.time() - found.renewed_at_s
        yield Check(
            tr("last renewal"),
            tr("{time} ago", time=duration(ago_s)) if found.renewed_at_s else tr("none yet since the sign-in"),
        )


def _unusual(session: Session, found: Status) -> Iterator[Check]:
    """Findings about the next renewals: a refresh token that ends soon or is missing, a token whose end cannot be right."""
    if session.platform.oauth is None:
        return
    if found.ends_soon and found.renewable:
        anew = tr("{renew}; if the date stays: {login} --force", renew=RENEW, login=LOGIN)
        step = LOGIN if found.refresh_ends_at_s <= time.time() else anew
        yield Check(tr("refresh token"), login_ends(found, time.time()), step)
    if not found.renewable:
        evidence = tr("the record has no refresh token: the login ends with this token")
        yield Check(tr("renewal"), evidence, tr("sign in again: {login} --force", login=LOGIN))
    elif is_too_long(found):
        left, granted = duration(found.left_s), duration(found.lifetime_s)
        told = (
            tr("{left} left, though the server granted {granted}", left=left, granted=granted)
            if found.left_s
            else tr("expires_at is {expires_at:.0f}", expires_at=found.expires_at_s)
        )
        yield Check(
            tr("token"), tr("{told}: another clock, or another unit of time, wrote expires_at", told=told), RENEW
        )


def lock(session: Session, found: Status) -> Iterator[Check]:
    """Checks which process holds the credential's lock for a renewal, and does not give it back."""
    holder = components_of(session).store.holder()
    if stopped := _stopped(holder):
        yield Check(
            tr("lock"),
            tr("held by {holder}, which is stopped", holder=_who(holder)),
            tr("resume it: kill -CONT {pid}", pid=stopped),
        )
        return
    if holder and (since_s := _under_way_s(session, found)) is not None:
        yield Check(
            tr("lock"),
            tr(
                "held by {holder}, for a renewal that began {time} ago",
                holder=_who(holder),
                time=duration(since_s),
            ),
        )
        return
    for _ in range(LOOKS):
        if not holder:
            yield Check(tr("lock"), tr("free"))
            return
        time.sleep(MOMENT_S / LOOKS)
        holder = now if (now := components_of(session).store.holder()) == holder else ""
    pid = _pid(holder)
    step = tr("if it does not end soon: kill {pid}", pid=pid) if pid else tr("wait for that process, or end it")
    yield Check(tr("lock"), tr("held by {holder}", holder=_who(holder)), step)


def claim(session: Session, found: Status) -> Iterator[Check]:
    """Checks for a renewal that was begun and not finished."""
    if not claim_of(found):
        if found.fp and not found.claim:
            yield Check(tr("claim"), tr("none: no unfinished renewal"))
        return
    again = session.status()  # it may have been finished between the look at the claim and the one at the lock
    if not again.claim or again.fp != found.fp:
        yield Check(tr("claim"), tr("a renewal has just been finished"))
    elif again.holder:
        yield Check(tr("claim"), tr("a renewal is in progress, by {holder}", holder=_who(again.holder)))
    else:
        yield Check(tr("claim"), CLAIMS.get(again.claim, again.claim), RENEW)


def backoff(session: Session, found: Status) -> Iterator[Check]:
    """Checks for failures that keep every process from trying the next renewal for a while."""
    if not found.retry_at_s:
        return
    known = components_of(session).store.backoff()
    left = duration(found.retry_at_s - time.time())
    failures = known.failures or known.unrecognized_count
    many = counted(failures, tr("one failure"), tr("{number} failures"))
    why = tr(" after {failures}", failures=many) if failures else ""
    step = (
        ClientRefused.default_hint
        if known.code == ClientRefused.code
        else tr("check the network, then: {renew}", renew=RENEW)
    )
    said = tr(": {reason}", reason=known.message) if known.message else ""
    yield Check(tr("backoff"), tr("no renewal for {time}{why}", time=left, why=why) + said, step)


def _under_way_s(session: Session, found: Status) -> float | None:
    """How long ago the renewal that doctor finds under way began, in seconds; None where there is none that could still be."""
    path = file_of(session)
    if path is None or not found.claim:
        return None
    try:
        ago_s = time.time() - path.with_name(f"{path.stem}.{found.fp}.next").stat().st_mtime
    except OSError:
        return None
    return max(0.0, ago_s) if ago_s < RENEWAL_S else None


def _pid(holder: str) -> str:
    found = re.match(r"pid (\d+)", holder)
    return found[1] if found else ""


def _stopped(holder: str) -> str:
    """The pid of the holder that `lock` found, if it is stopped (SIGSTOP, Ctrl-Z), "" if not or unknown. Linux:
    proc(5)."""
    pid = "" if holder.endswith(ELSEWHERE) else _pid(holder)
    try:
        states = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return pid if states[0] in {"T", "t"} else ""


def _who(holder: str) -> str:
    """The holder without the name of its host, which is often a person's."""
    return tr("{holder} of another host", holder=holder.partition(" on ")[0]) if holder.endswith(ELSEWHERE) else holder
