"""Worlds whose credential rests elsewhere than in files of ours alone: beside a kimi-code, and in a store with sessions."""

from __future__ import annotations

import pytest

from kimi_auth.machine import Library
from kimi_auth.proof.ablations import ABLATIONS, Ablation, world_without
from kimi_auth.proof.effects import OWNS, Config, Effect
from kimi_auth.proof.explore import explore
from kimi_auth.proof.export.compare import NOT_COMPARED
from kimi_auth.proof.export.model import NotExportable, exported
from kimi_auth.proof.kimi_code import KIMI_CODE
from kimi_auth.proof.proofs import checker_figures
from kimi_auth.proof.replay import replayed
from kimi_auth.proof.rules import ACROSS_HOSTS, RULES
from kimi_auth.proof.sessions import SESSIONS
from kimi_auth.proof.state import (
    CLOSED,
    DEAD,
    EXPIRED,
    EXPIRING,
    LEFT,
    NO_CLAIM,
    TOMBSTONE,
    Pair,
    Process,
    Shared,
)
from kimi_auth.proof.stores import APART
from kimi_auth.proof.verdicts import Verdict, visit_config
from kimi_auth.proof.workers import Pool
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import BESIDE, GONE_BACK, WORLDS
from kimi_auth.proof.worlds import SESSIONS as ON_SESSIONS

ELSEWHERE = {name: config for name, config in WORLDS.items() if config.store != "files"}
LACKING = [ablation for ablation in ABLATIONS if ablation.config.lacks]
SOON = [ablation for ablation in LACKING if "settles" not in ablation.breaks and ablation.config.upsets < 2]
"""Those whose counterexample is found at once; `test_walks` plays the others as they are kept."""

FEW = {
    "two hosts, an upset": ON_SESSIONS,
    "a store that goes back": GONE_BACK,
    "a store that goes back, two hosts": GONE_BACK._replace(hosts=2),
}


@pytest.mark.parametrize("name", FEW)
def test_a_store_with_sessions(machines: Library, name: str) -> None:
    """Sessions end alone, hosts are cut off, leases end, the store restarts or goes back: no rule is broken, all settles."""
    report = explore(World(machines, FEW[name]))
    assert report.holds, "\n\n".join(map(str, report.stories.values()))


def test_the_other_program_is_counted_apart(machines: Library, pool: Pool) -> None:
    """kimi-code's own faults are no verdict on ours: they are counted, named as its own, and told."""
    config = BESIDE._replace(rejections=False)
    report = pool.submit(visit_config, machines.data(), config).result()
    assert report is not None
    assert report.holds, "\n\n".join(map(str, report.stories.values()))
    assert report.apart["kimi-code: I7"] > 0
    assert all(rule.startswith(APART) and rule.removeprefix(APART) in RULES for rule in report.apart)
    verdict = Verdict("beside", config, report)
    assert "counted apart, kimi-code: I" in " ".join(verdict.lines(200))
    (run,) = checker_figures(machines, [verdict], [])["runs"]
    assert run["apart"] == report.apart


@pytest.mark.parametrize("ablation", SOON, ids=lambda ablation: ablation.part)
def test_a_counterexample_can_be_played(machines: Library, ablation: Ablation) -> None:
    """Each course of a world that lacks a part is possible there, step by step, and every frame shows a disk."""
    rule = min(ablation.breaks)
    found = explore(world_without(ablation, machines), liveness=False, seek=frozenset({rule}))
    frames = replayed(world_without(ablation, machines), found.stories[rule].steps)
    assert len(frames) == len(found.stories[rule].steps) + 1


@pytest.mark.parametrize("name", ELSEWHERE)
def test_they_are_not_exported(machines: Library, name: str) -> None:
    """The export has files only, and says so; so do the ablations that it leaves out."""
    with pytest.raises(NotExportable, match="files only"):
        exported(machines, ELSEWHERE[name])
    assert {ablation.part for ablation in LACKING} <= NOT_COMPARED.keys()


def test_the_rules_across_hosts(machines: Library) -> None:
    """Every invariant by number says what it means across hosts, and the figures carry it to the pages."""
    assert {"I1", "I2", "I4", "I5", "I6", "I7", "I8", "I9", "I10"} <= ACROSS_HOSTS.keys() <= RULES.keys()
    rows = checker_figures(machines, [], [])["invariants"]
    assert {row["name"]: row["across hosts"] for row in rows if "across hosts" in row} == ACROSS_HOSTS


# --- hooks -------------------------------------------------------------------------------------------------------------

OPEN = Pair(0, phase=EXPIRED, sent=1, owner=2, met=(0,))
"""Its claim is open, and its owner, process 2 on the other host, is at work."""


def in_store(pair: Pair, **changes: object) -> Shared:
    return Shared(0, (pair, Pair(0)), locks=1)._replace(**changes)  # type: ignore[arg-type]


CLAIMS = {
    # the claim that process 1 finds: what it may do
    "closed": (OPEN._replace(owner=CLOSED), "interrupted"),
    "its owner died on this host": (OPEN._replace(owner=DEAD, witness=1), "interrupted"),
    "its owner died on another host": (OPEN._replace(owner=DEAD + 1), "in_flight"),
    "that one has been silent": (OPEN._replace(owner=DEAD + 1, met=(2,)), "interrupted"),
    "its owner could not close it": (OPEN._replace(owner=LEFT), "in_flight"),
    "silent, with a witness": (OPEN._replace(met=(2,), witness=1), "in_flight"),
    "silent, while the token works": (OPEN._replace(met=(2,), phase=EXPIRING), "in_flight"),
    "silent": (OPEN._replace(met=(2,)), "interrupted"),
    "silent while the store was down": (OPEN._replace(met=(3,)), "interrupted"),
    "at work": (OPEN, "in_flight"),
    "its answer is on this host's disk": (OPEN._replace(spill=1, answer=1), "staged"),
    "its answer is on another host's disk": (OPEN._replace(spill=2, answer=1), "in_flight"),
    "the store has gone back": (OPEN._replace(owner=NO_CLAIM, refused_by=1), "unwritable"),
    "none": (OPEN._replace(owner=NO_CLAIM), "claimed"),
}


@pytest.mark.parametrize(("pair", "outcome"), CLAIMS.values(), ids=CLAIMS)
def test_a_claim_in_a_store(pair: Pair, outcome: str) -> None:
    """When an unfinished claim may be recovered; and nothing is claimed without the fence, or without the store."""
    me = Process(1, 1, record=0)
    assert outcomes("sessions", "claim", in_store(pair), me) == {outcome}
    without = {"staged"} if outcome == "staged" else {outcome} if outcome == "unwritable" else {"unwritable"}
    for shared in (in_store(pair, locks=2), in_store(pair, away=1)):
        assert outcomes("sessions", "claim", shared, me) == without


def test_an_answer_outlives_the_store() -> None:
    """While the store is away the answer is spilled and the claim stays open; the next walk of that host installs it."""
    me = Process(1, 1, record=0, pair=1, marks=OWNS)
    away = in_store(OPEN._replace(owner=1), away=1)
    (staged,) = effects("sessions", "stage", away, me)
    assert (staged.outcome, staged.shared.pairs[0].spill, staged.shared.pairs[0].answer) == ("staged", 1, 1)
    assert outcomes("sessions", "commit", staged.shared, me) == {"unwritable"}
    back = SESSIONS.leave(ON_SESSIONS, staged.shared._replace(away=0), me)
    assert back.pairs[0].owner == LEFT
    (done,) = effects("sessions", "commit", back._replace(locks=2), Process(3, 1, record=0, claim="staged", pair=1))
    assert (done.outcome, done.shared.record, done.broken) == ("committed", 1, ())


LOCKS = {
    # the bits of the locks: what a walk that wants them finds
    "both are free": (0, "acquired"),
    "another process of ours": (2 | 32, "busy"),
    "kimi-code": (64, "busy"),
    "kimi-code has taken it over": (2 | 64, "busy"),
}


@pytest.mark.parametrize(("locks", "outcome"), LOCKS.values(), ids=LOCKS)
def test_both_locks_or_neither(locks: int, outcome: str) -> None:
    """A busy lock of either program lets go of both; a lost one sends and claims nothing, and the rest of it is let go."""
    me = Process(1, 1, record=0, event="renew")
    shared = Shared(0, (Pair(0, phase=EXPIRED),), locks=locks)
    (effect,) = effects("kimi-code", "hold_credential", shared, me)
    assert (effect.outcome, effect.shared.locks) == (outcome, 2 | 32 if outcome == "acquired" else locks)
    if locks == 2 | 64:
        assert outcomes("kimi-code", "claim", shared, me) == {"unwritable"}
        assert outcomes("kimi-code", "exchange", shared, me) == {"not_processed"}


def test_a_tombstone_with_an_answer_beside_it() -> None:
    """The refusal that a kimi-code recorded came of our rotation: the staged answer is the login. Without one it is over."""
    me = Process(1, 1, event="renew")
    over = Shared(TOMBSTONE, (Pair(0, phase=EXPIRED, owner=CLOSED),), locks=2 | 32)
    kept = over._replace(pairs=(over.pairs[0]._replace(staged=1), Pair(0)))
    assert outcomes("kimi-code", "inspect", over, me) == outcomes("kimi-code", "reread", over, me) == {"revoked"}
    assert outcomes("kimi-code", "inspect", kept, me) == {"expired"}
    (seen,) = effects("kimi-code", "reread", kept, me)
    (found,) = effects("kimi-code", "claim", kept, seen.process)
    (done,) = effects("kimi-code", "commit", kept, found.process)
    assert (seen.outcome, found.outcome, done.outcome, done.shared.record) == ("renewable", "staged", "committed", 1)


def effects(store: str, hook: str, shared: Shared, process: Process) -> list[Effect]:
    config: Config = ON_SESSIONS if store == "sessions" else BESIDE
    there = SESSIONS if store == "sessions" else KIMI_CODE
    return list(there.hooks[hook](config, shared, process))


def outcomes(store: str, hook: str, shared: Shared, process: Process) -> set[str | None]:
    return {effect.outcome for effect in effects(store, hook, shared, process)}
