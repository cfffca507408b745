"""One credential in the states that the contract table names: on the simulated world, in memory, and in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.credential.contracts import CredentialContext, Need
from kimi_auth.credential.ports import Ports
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.errors import ConfigError, StoreUnwritable, Unreachable
from kimi_auth.machine import Library
from kimi_auth.proof import effects as simulated
from kimi_auth.proof import state as st
from kimi_auth.proof.hooks_outside import HOOKS
from kimi_auth.proof.workers import Pool, side_by_side
from kimi_auth.store import Backoff, Claim, FileStore, MemoryStore, RevokedMark, claims, owners
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token, fingerprint
from kimi_auth.wire import Answer

ISSUER = "https://simulated.example"
OTHER_NONCE = "0123456789abcdef"
LIFE_S = 900.0
LEFT_S = {"fresh": LIFE_S, "expiring": 300.0, "expired": 0.0}
WRITES = {
    "claim",
    "renew_claim",
    "withdraw_claim",
    "stage",
    "commit",
    "put",
    "sign_out",
    "tidy",
    "mark_revoked",
    "set_backoff",
}


@dataclass(frozen=True)
class Given:
    """A situation. `record`: p (the pair that the walk works on), r (another login's), empty, absent, corrupt or foreign.

    `seen`: the record as the walk read it last. `claim`: on p: none, ours (this walk's), open (its owner is at work), closed,
    dead (its owner is, as the kernel says), silent (nothing is known of its owner), met (silent, met just now), waited
    (silent, met 75 s ago), staged (it holds q). `found`: what the claim hook answered. `pair`: what the
    server gave. `lock`: free or taken, as a walk finds it that does not hold it yet. `fault`: what becomes of a request.
    `awaits`: what the walk waits for: backoff, claim (of another owner), recovery, or nothing.
    """

    record: str = "p"
    seen: str = "p"
    phase: str = "expired"
    claim: str = "none"
    found: str = ""
    pair: str = ""
    revoked: bool = False
    held: bool = False
    rejected: bool = False
    unrecognized: int = 0
    full: bool = False
    need: str = ""
    recoveries: int = 0
    lock: str = "free"
    fault: str = ""
    awaits: str = ""


@dataclass(frozen=True)
class Facts:
    """What a hook left behind, as far as anybody can tell. Of p: `claim` (none, incomplete, staged), `refused`, `rejected`,
    `unrecognized`. `pair`: what the walk now holds of the server."""

    record: str
    claim: str
    revoked: bool
    held: bool
    rejected: bool
    unrecognized: int
    pair: str


# --- the simulated world -------------------------------------------------------------------------------------------------

RECORDS = {"p": 0, "r": 2, "empty": st.EMPTY, "absent": st.ABSENT, "corrupt": st.CORRUPT, "foreign": st.FOREIGN}
NAMES = {number: name for name, number in RECORDS.items()} | {1: "q", 3: "new", st.NOTHING: ""}
PHASES = {"fresh": st.FRESH, "expiring": st.EXPIRING, "expired": st.EXPIRED}
CLAIMS = {
    "none": (st.NO_CLAIM, st.NOTHING, ()),
    "ours": (1, st.NOTHING, (0,)),
    "open": (1, st.NOTHING, (0,)),
    "closed": (st.CLOSED, st.NOTHING, (0,)),
    "dead": (st.GONE, st.NOTHING, (0,)),
    "silent": (st.GONE, st.NOTHING, (0,)),
    "met": (st.GONE, st.NOTHING, (1,)),
    "waited": (st.GONE, st.NOTHING, (2,)),
    "staged": (1, 1, (0,)),
}
ENDED_LOGIN = {"revoked"}
AWAITS = {
    "": 0,
    "backoff": simulated.AWAITS_BACKOFF,
    "claim": simulated.AWAITS_CLAIM,
    "recovery": simulated.RECOVERS,
}


def on_the_model(activity: str, given: Given) -> dict[str, list[Facts]]:
    """The answers that the simulated hook may give, and the state after each."""
    owner, staged, met = CLAIMS[given.claim]
    p = st.Pair(
        0,
        phase=PHASES[given.phase],
        revoked=given.revoked,
        denied=given.fault in ENDED_LOGIN or activity == "record_revoked",
        rejected=given.rejected,
        unrecognized=given.unrecognized,
        owner=owner,
        staged=staged,
        met=met,
        sent=given.fault != "",
    )
    alive = 0 if given.fault in ENDED_LOGIN else st.ALIVE
    shared = st.Shared(
        RECORDS[given.record],
        (p, st.Pair(0), st.Pair(1)),
        (alive, st.ALIVE),
        held=int(given.held),
        full=int(given.full),
        locks=0 if given.lock == "free" else 2,
    )
    process = st.Process(
        1,
        1,
        event="logout",
        need=given.need,
        bearer=0 if given.need else st.NOTHING,
        record=RECORDS[given.seen],
        claim=given.found,
        pair={"q": 1, "p": 0, "": st.NOTHING}[given.pair],
        recoveries=given.recoveries,
        stage=simulated.FIRST_SENDING if activity == "exchange" else 0,
        marks=AWAITS[given.awaits] | (simulated.OWNS if given.claim == "ours" else 0),
    )
    config = simulated.Config(processes=1, gives_up=True, hidden=True)
    answers: dict[str, list[Facts]] = {}
    for effect in HOOKS[activity](config, shared, process):
        pair = effect.shared.pairs[0]
        claim = "none" if pair.owner == st.NO_CLAIM else "staged" if pair.staged >= 0 else "incomplete"
        facts = Facts(
            NAMES[effect.shared.record],
            claim,
            bool(pair.revoked),
            bool(effect.shared.held),
            bool(pair.rejected),
            pair.unrecognized,
            NAMES[effect.process.pair],
        )
        answers.setdefault(effect.outcome or "", []).append(facts)
    return answers


# --- the real hooks ------------------------------------------------------------------------------------------------------


@dataclass
class BootClock:
    """A clock that stands still, and sleeps by moving on; the machine can be started anew."""

    wall: float = 1_800_000_000.0
    boottime: float = 1_000.0
    boot: str = "boot-a"

    def wall_s(self) -> float:
        return self.wall

    def monotonic_s(self) -> float:
        return self.boottime

    def boottime_s(self) -> float:
        return self.boottime

    def boot_id(self) -> str:
        return self.boot

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.boottime += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class FullDisk:
    """A store whose medium takes no writes while `full`."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.full = False

    def __getattr__(self, name: str) -> Any:
        if name in WRITES and self.full:
            return self._refuse
        return getattr(self._store, name)

    def _refuse(self, *_: object) -> None:
        raise StoreUnwritable("the disk is full: a test wants it so")


@dataclass
class Real:
    """The real hooks over a real store and the simulated server."""

    store: FullDisk
    spoil: Callable[[], None]
    other: Callable[[], AbstractContextManager[bool]]
    clock: BootClock
    leave: Callable[[claims.Found], None]
    config: ConfigError | None = None
    served: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = SimulatedServer(self.clock)
        effects = Ports(
            self.store,  # type: ignore[arg-type]
            self.server,
            self.clock,
            ISSUER,
            keeps_trying=lambda tried_s: tried_s < 3,
            luck=lambda: 0.0,
        )
        self.work = CredentialHooks(effects, serve=self.served.append, config=self)

    def restore(self) -> bool:
        """What a logout does to the configuration."""
        if self.config is not None:
            raise self.config
        return True

    def run(self, activity: str, given: Given) -> tuple[str, Facts]:
        """The hook's answer in that situation, and the state after it."""
        pairs, ctx = self._arrange(given)
        hook = getattr(self.work, activity)
        if activity.startswith("hold_credential"):
            taken = self.other() if given.lock == "taken" else _nothing()
            with taken, hook(ctx) as (outcome, after):
                pass
        else:
            with self.store.locked(0) as held:
                assert held
                outcome, after = hook(ctx)
        return outcome, self._facts(pairs, after)

    def _arrange(self, given: Given) -> tuple[dict[str, Token], CredentialContext]:
        store = self.store
        now_s = self.clock.wall_s()
        issued = self.server.issue()
        issuer = "https://elsewhere.example" if "foreign" in (given.record, given.seen) else ISSUER
        p = Token(issued.access_token, issued.refresh_token, now_s + LEFT_S[given.phase], LIFE_S, issuer=issuer)
        q, r = (Token(f"access-{name}", f"refresh-{name}", now_s + LIFE_S, LIFE_S, issuer=ISSUER) for name in "qr")
        pairs = {"p": p, "q": q, "r": r}
        fp = fingerprint(p)
        with store.locked(0):
            store.put(p)
            nonce = self._leave_claim(given.claim, fp, q) or OTHER_NONCE
            if given.claim in ("met", "waited"):
                store.claim(fp)
                self.clock.boottime += 76.0 if given.claim == "waited" else 0.0
            if given.revoked:
                store.mark_revoked(fp, RevokedMark(now_s, "no"))
            store.set_backoff(self._backoff(given, fp, now_s))
            seen = store.view()
            if given.record != "p":
                self._change(given.record, pairs)
            if given.seen == given.record:
                seen = store.view()
        ctx = CredentialContext(
            need=self._need(given, p, fp),
            view=seen,
            claim=Claim(
                {"made": "made", "found": "interrupted"}.get(given.found, "none"),  # type: ignore[arg-type]
                fp,
                nonce=OTHER_NONCE if given.claim == "open" else nonce,
            ),
            pair=pairs.get(given.pair),
            error=Unreachable("no answer"),
            recoveries=given.recoveries,
        )
        ctx = ctx._replace(**self._waiting(given))
        self._break(given)
        return pairs, ctx

    def _leave_claim(self, kind: str, fp: str, staged: Token) -> str:
        """That claim lies there; its nonce."""
        if kind == "none":
            return ""
        me = owners.this_process(self.clock.boot_id())
        owner = {
            "ours": me,
            "open": me,
            "closed": me,
            "staged": me,
            "dead": me._replace(pid=2**31 - 2),
        }.get(kind, me._replace(namespace="another"))
        found = claims.Found(
            claims.new(fp, owner), is_closed=kind == "closed", answer=staged if kind == "staged" else None
        )
        self.leave(found)
        return found.header.nonce

    def _change(self, record: str, pairs: Mapping[str, Token]) -> None:
        """A program without our lock writes, and sweeps nothing: so does a program that knows no sidecars."""
        if record == "corrupt":
            self.spoil()
        elif record == "r":
            self.store.put(pairs["r"])
        elif record in ("empty", "absent"):
            self.store.sign_out(self.clock.wall_s())
            if record == "absent":
                self.clock.sleep(61.0)
                self.store.tidy(self.clock.wall_s())

    def _waiting(self, given: Given) -> dict[str, Any]:
        """What the walk knows of a wait; a backoff that is not held, and 75 s of silence, have just ended."""
        silence_s = -1.0 if given.claim == "waited" else 75.0
        wait_s = {"": 0.0, "backoff": 600.0 if given.held else -1.0, "claim": silence_s, "recovery": 1.0}[given.awaits]
        claim = {"claim": Claim("in_flight")} if given.awaits == "claim" else {}
        return {
            "retry_at_s": self.clock.wall_s() + wait_s if wait_s else 0.0,
            "deadline_s": self.clock.monotonic_s() + 30.0,
            **claim,
        }

    def _backoff(self, given: Given, fp: str, now_s: float) -> Backoff:
        return Backoff(
            retry_at_s=now_s + 600.0 if given.held else 0.0,
            failures=int(given.held),
            unrecognized_fp=fp if given.unrecognized else "",
            unrecognized_count=given.unrecognized,
            unrecognized_first_at_s=now_s - 2_000.0,
            unrecognized_last_at_s=now_s - 1_000.0,
            rejected_fp=fp if given.rejected else "",
        )

    def _need(self, given: Given, p: Token, fp: str) -> Need:
        if given.need == "not_pair":
            return Need(not_fp=fp, insist=True)
        return Need(not_bearer=p.access_token) if given.need else Need()

    def _break(self, given: Given) -> None:
        self.store.full = given.full
        error = Unreachable("a test wants it so")
        lost = {"lost": ("in_doubt", True), "late": ("in_doubt", False)}
        plain = {"unrecognized": "unrecognized", "busy": "not_processed", "client": "misconfigured"}
        if given.fault in ENDED_LOGIN:
            self.server.end_logins()
        elif given.fault in lost:
            outcome, processed = lost[given.fault]
            self.server.fault("exchange", Answer(outcome, error=error), processed=processed)
        elif given.fault in plain:
            self.server.fault("exchange", Answer(plain[given.fault], error=error))
        elif given.fault in ("unsupported", "failed"):
            self.server.fault("revoke", Answer(given.fault, error=error))
        elif given.fault == "config":
            self.config = ConfigError("the file is locked")

    def _facts(self, pairs: Mapping[str, Token], ctx: CredentialContext) -> Facts:
        self.store.full = False
        found, backoff = self.store.read(), self.store.backoff()
        fp = fingerprint(pairs["p"])
        claim = self.store.peek_claim(fp).state
        return Facts(
            _name(found.state, found.token, pairs),
            {"none": "none", "staged": "staged"}.get(claim, "incomplete"),
            self.store.revoked_mark(fp) is not None,
            backoff.retry_at_s > self.clock.wall_s(),
            backoff.rejected_fp == fp,
            backoff.unrecognized_count if backoff.unrecognized_fp == fp else 0,
            _name("present", ctx.pair, pairs) if ctx.pair else "",
        )


def _name(state: str, token: Token | None, pairs: Mapping[str, Token]) -> str:
    if state != "present" or token is None:
        return state
    if token.is_empty:
        return "empty"
    names = [name for name, pair in pairs.items() if pair.refresh_token == token.refresh_token]
    foreign = token.issuer != ISSUER
    return "foreign" if foreign else names[0] if names else "new"


@contextmanager
def _nothing() -> Iterator[bool]:
    yield False


@pytest.fixture(scope="session")
def machines() -> Library:
    """The machines that run."""
    return Library.load()


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """A process that explores worlds, uncounted; one, because the tests run side by side already."""
    with ExitStack() as open_ones:
        with pytest.MonkeyPatch.context() as patch:
            _uncount(patch)
            workers = open_ones.enter_context(side_by_side(1))
        yield workers


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that this test starts do not count their lines."""
    _uncount(monkeypatch)


def _uncount(patch: pytest.MonkeyPatch) -> None:
    """Counting takes a checker three times as long, and what its processes run is run in this one too, on smaller worlds."""
    for name in list(os.environ):
        if name.startswith("COVERAGE_PROCESS"):
            patch.delenv(name)


@pytest.fixture(params=["memory", "file"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Real:
    """The real hooks over each store."""
    clock = BootClock()
    if request.param == "memory":
        memory = MemoryStore(clock)
        return Real(
            FullDisk(memory),
            memory.spoil,
            lambda: memory.locked(0),
            clock,
            lambda found: memory._claims.update({found.header.fp: found}),
        )
    mine, theirs = (FileStore(tmp_path / "share", clock=clock) for _ in range(2))
    mine.check_writable()
    return Real(
        FullDisk(mine),
        lambda: _spoil(mine.path),
        lambda: theirs.locked(0),
        clock,
        lambda found: _leave(mine.path, found),
    )


def _leave(record: Path, found: claims.Found) -> None:
    behind = claims.answer(found.answer) if found.answer else claims.CLOSED if found.is_closed else b"}\n"
    record.with_suffix(f".{found.header.fp}.next").write_bytes(claims.start(found.header) + behind)


def _spoil(path: Path) -> None:
    path.write_bytes(b'{"access_token": ')


@pytest.fixture
def model() -> Callable[[str, Given], dict[str, list[Facts]]]:
    """The simulated hooks."""
    return on_the_model


@pytest.fixture
def given() -> Callable[..., Given]:
    """Makes situations: an expired pair p without anything beside it, with changes."""
    return lambda **changes: replace(Given(), **changes)
