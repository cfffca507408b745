"""Invariants after every scenario, from two sides that know nothing of each other: the server's log, and what the disk
and the processes hold. `violations` gives one line for each thing that is wrong.

    I1  no refresh token is sent twice, except in declared recovery
    I2  a rotated token that a live process received is on disk
    I4  nothing transient signs anybody out
    I5  an older credential never overwrites a newer one
    I6  a logout is final
    I7  the client never causes a reuse revocation of a login that another process still validly holds
    I8  a walk ends fresh or signed out only if the record on disk says so
    I9  at most one process is in the locked region
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from kimi_auth.token import fingerprint as pair_of

from .stage import Pair, Stage

__all__ = ["violations"]

UNSPENT = {429}
"""Answers that prove that the token was not spent."""

LOCKED = {"token_refresh": "rereading", "sign_out": "emptying"}
"""The machines that are walked with the lock held, and where each begins."""


@dataclass(frozen=True)
class Evidence:
    """`dead_owners`: requests whose process was killed between sending and storing, so that their answer had no reader."""

    stage: Stage
    record: Pair
    dead_owners: int

    def walked(self, source: str, event: str) -> int:
        return sum(worker.walked(source, event) for worker in self.stage.workers)


def violations(stage: Stage, *, dead_owners: int = 0) -> list[str]:
    """The violations on this stage, now that its processes have ended."""
    evidence = Evidence(stage, stage.look(), dead_owners)
    return [f"{name}: {line}" for name, check in CHECKS.items() for line in check(evidence)]


def _sent_once(evidence: Evidence) -> Iterator[str]:
    sends = [entry for entry in evidence.stage.sends if entry["status"] not in UNSPENT]
    # A request that the server threw away unread does not name its token; it was that of the requests around it.
    tokens = {entry["tokens"]["refresh_token"] for entry in sends if "refresh_token" in entry["tokens"]}
    again = len(sends) - max(len(tokens), 1)
    declared = evidence.walked("token_refresh.reclaiming", "claimed")
    if again > declared:
        yield f"{again} times a refresh token was sent again, and {declared} recoveries were declared"
    announced = evidence.walked("token_refresh.looking_again", "unchanged")
    if len(evidence.stage.sends) > announced:
        yield f"{len(evidence.stage.sends)} requests, and {announced} looks at a claim before them"


def _stored(evidence: Evidence) -> Iterator[str]:
    stage = evidence.stage
    for worker in stage.workers:
        unread = worker.walked("token_refresh.exchanging", "tokens") - worker.walked("token_refresh.staging")
        if unread and not worker.was_killed:
            yield f"worker {worker.pid} received a pair and never wrote it: {worker.story()}"
    alive = {token for family in stage.families if family["alive"] for token in family["refresh"]}
    log = [entry["tokens"].get("new_refresh_token") for entry in list(stage.state.log)]
    given = [token for token in log if token in alive]
    is_ours = not stage.written and evidence.record.refresh and not evidence.dead_owners
    staged = stage.store.peek_claim(stage.snapshot.fp).staged if stage.snapshot.fp else None
    if given and is_ours and given[-1] != evidence.record.refresh and staged is None:
        yield "the newest pair that the server gave is not on disk"


def _kept(evidence: Evidence) -> Iterator[str]:
    stage, fp = evidence.stage, evidence.stage.snapshot.fp
    is_good = any(line["alive"] and evidence.record.refresh in line["refresh"] for line in stage.families)
    if is_good and stage.store.revoked_mark(fp) is not None:
        yield "a pair that the server would take is recorded as refused"
    last = next((pair for pair in reversed(stage.seen) if pair.refresh), None)
    ended = _signed_out(evidence) or stage.written
    if last is not None and not evidence.record.refresh and not ended:
        yield "the login is gone, and nobody signed out"


def _newest(evidence: Evidence) -> Iterator[str]:
    stage = evidence.stage
    ranks = [stage.order[pair.refresh] for pair in stage.seen if pair.refresh]
    for before, after in pairwise(ranks):
        if after < before:
            yield f"pair {after} was written over pair {before}"
    theirs = stage.written[-1] if stage.written else ""
    if theirs and evidence.record.refresh and stage.order[evidence.record.refresh] < stage.order[theirs]:
        yield "the login of another program was overwritten by an older one"


def _final(evidence: Evidence) -> Iterator[str]:
    if _signed_out(evidence) and evidence.record.refresh and not _logins(evidence):
        yield "somebody signed out, and a credential is there again"
    if evidence.stage.written and not evidence.stage.written[-1] and evidence.record.refresh and not _logins(evidence):
        yield "another program signed out, and a credential is there again"


def _not_reused(evidence: Evidence) -> Iterator[str]:
    lost = [f["family"] for f in evidence.stage.families if f["revoked_because"] == "refresh token used twice"]
    if len(lost) > evidence.dead_owners:
        yield f"the server revoked {len(lost)} logins because a token came twice"


def _truthful(evidence: Evidence) -> Iterator[str]:
    stage = evidence.stage
    known = {entry["tokens"].get("new_access_token") for entry in list(stage.state.log)} | {
        p.access for p in stage.seen
    }
    for worker in stage.workers:
        for result in worker.results:
            if result.access and result.access not in known:
                yield f"worker {worker.pid} gave out a token that was never on disk"
            if result.error == "not_signed_in" and evidence.record.refresh and not _logins(evidence):
                yield f"worker {worker.pid} says that nobody is signed in"
            fp = pair_of(stage.snapshot.token) if stage.snapshot.token else ""
            if result.error == "revoked" and fp and evidence.record.refresh and stage.store.revoked_mark(fp) is None:
                yield f"worker {worker.pid} says that the login has ended, and nothing on disk says so"


def _alone(evidence: Evidence) -> Iterator[str]:
    regions: list[tuple[float, float, int]] = []
    for worker in evidence.stage.workers:
        latest: dict[tuple[int, str], tuple[float, float, int]] = {}
        for edge in worker.edges:
            if LOCKED.get(edge.machine) == edge.source:
                regions.extend(latest.pop(key) for key in [(edge.pid, edge.machine)] if key in latest)
                latest[edge.pid, edge.machine] = edge.at_s - edge.seconds, edge.at_s, edge.pid
            elif (edge.pid, edge.machine) in latest:
                began_s = latest[edge.pid, edge.machine][0]
                latest[edge.pid, edge.machine] = began_s, edge.at_s, edge.pid
        regions.extend(latest.values())
    for (_, ended_s, first), (begins_s, _, second) in pairwise(sorted(regions)):
        if first != second and begins_s < ended_s:
            yield f"workers {first} and {second} were in the locked region together"


def _private(evidence: Evidence) -> Iterator[str]:
    folder = evidence.stage.store.path.parent
    for path in folder.iterdir() if folder.is_dir() else ():
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) != 0o600:
            yield f"{path.name} has mode {stat.S_IMODE(found.st_mode):o}"


def _quiet(evidence: Evidence) -> Iterator[str]:
    for worker in evidence.stage.workers:
        said = worker.stderr()
        if "emulated-" in said:
            yield f"worker {worker.pid} wrote a secret to stderr"
        if "Traceback" in said and "KeyboardInterrupt" not in said:
            yield f"worker {worker.pid} wrote a traceback: {said}"


def _signed_out(evidence: Evidence) -> bool:
    return evidence.walked("sign_out.emptying", "emptied") > 0


def _logins(evidence: Evidence) -> bool:
    return evidence.walked("device_login.persisting", "stored") > 0


CHECKS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "I1": _sent_once,
    "I2": _stored,
    "I4": _kept,
    "I5": _newest,
    "I6": _final,
    "I7": _not_reused,
    "I8": _truthful,
    "I9": _alone,
    "private": _private,
    "quiet": _quiet,
}
