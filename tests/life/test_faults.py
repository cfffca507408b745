"""What goes wrong at a server and on the way to it, and what a person, a server and a disk see of it.

Every fault is lived once, in virtual time, against a server on loopback. `KIMI_AUTH_MEASURE=1` writes the results to
`diagrams/measured/faults.json`; a test compares that file with today's results.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from kimi_auth import signing
from kimi_auth.clock import VirtualClock
from kimi_auth.credential.history import WalkHistory
from kimi_auth.credential.status import LoginReport
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import Library
from life.address import walk_address
from life.faults import FAULTS, TRIES, Fault
from life.world import Home, Person, Reply, ScriptedServer, oauth_error

MEASURED: Final = Path(__file__).parents[2] / "diagrams" / "measured" / "faults.json"
PENDING: Final = oauth_error("authorization_pending")
CODE_LIFE_MAX_S: Final = 1800.0
WAIT_MAX_S: Final = 60.0
STEPS_MAX: Final = 80
MACHINES: Final = Library.load()


@dataclass
class Life:
    """One fault, lived: its observed effects."""

    fault: Fault
    home: Home
    server: ScriptedServer
    person: Person
    ends: str = ""
    error: KimiAuthError | None = None
    then: str = ""
    codes_at_s: tuple[tuple[float, float, float], ...] = ()  # when a code came, its life, its interval

    @property
    def shown(self) -> list[str]:
        """What the person reads, in order, each thing once."""
        lines = [notice.message for notice in self.person.notices if notice.kind not in ("code", "waiting")]
        return list(dict.fromkeys([*lines, *([self.error.line] if self.error else [])]))

    def measured(self) -> dict[str, Any]:
        """What does not change from run to run."""
        counted = {
            "code": "codes",
            "poll": "polls",
            "exchange": "refreshes",
            "models": "models",
            "revoke": "revocations",
        }
        requests = {word: self.server.count(name) for name, word in counted.items()}  # type: ignore[arg-type]
        row = {
            "at": self.fault.stage,
            "fault": self.fault.name,
            "ends": self.ends,
            "shown": [self._plain(line) for line in self.shown],
            "requests": {word: count for word, count in requests.items() if count},
            "left": [self._plain(name) for name in self.home.files],
            **self.walked(),
        }
        return {**row, "then": self.then} if self.fault.stage == "refresh" else row

    def walked(self) -> dict[str, str]:
        """The address of its first walk in the page's player; without one of more steps than a reader follows."""
        history = WalkHistory(self.home.share_dir)
        kept = [one for one in history.kept() if one.began == history.kept()[0].began]  # time is virtual: a tie
        walks = [walk for walk in map(history.read, kept) if walk is not None]
        longest = max(walks, key=lambda walk: len(walk.traced), default=None)
        if longest is None or len(longest.traced) > STEPS_MAX:
            return {}
        return {"walk": walk_address(MACHINES, longest)}

    def _plain(self, text: str) -> str:
        """Without the parts that differ in every run: port, folder, fingerprints, jitter."""
        text = text.replace(self.server.url.partition("://")[2], "HOST").replace(str(self.home.share_dir), "~/.kimi")
        text = re.sub(r"\b[0-9a-f]{16}\b", "<fp>", text)
        return re.sub(r"not tried again for \d+ s", "not tried again for a while", text)


Live: TypeAlias = Callable[[Fault], Life]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    """Lives a fault; a second time, the same results again."""
    lives: dict[str, Life] = {}

    def lived(fault: Fault) -> Life:
        if fault.id not in lives:
            lives[fault.id] = live_through(fault, tmp_path_factory.mktemp("life") / ".kimi")
        return lives[fault.id]

    return lived


def live_through(fault: Fault, share_dir: Path) -> Life:
    clock = VirtualClock(wall_s=time.time())  # by which a server's dates are read
    with ScriptedServer(clock.monotonic_s, script_of(fault)) as server:
        server.code_answer["expires_in"] = 1800 if fault.times else 300
        home = Home(share_dir=share_dir, clock=clock, environ=server.env)
        life = Life(fault, home, server, Person())
        refresh(life, clock) if fault.stage == "refresh" else sign_in(life)
        return life


def script_of(fault: Fault) -> dict[str, Iterable[Reply]]:
    if fault.stage == "poll":
        return {"poll": itertools.chain([PENDING, PENDING], fault.script(), [PENDING] if fault.ends else [])}
    endpoint = "exchange" if fault.stage == "refresh" else fault.stage
    return {endpoint: fault.script(), "poll": [PENDING, PENDING]}


def sign_in(life: Life) -> None:
    issued: list[tuple[float, float, float]] = []
    tell = life.person.tell

    def watch(notice: Any) -> None:
        if notice.code is not None:
            at_s = life.server.times_s("code")[-1]
            issued.append((at_s, notice.code.expires_in_s, notice.code.interval_s))
        tell(notice)

    life.person.tell = watch  # type: ignore[method-assign]
    report: LoginReport = asyncio.run(signing.sign_in(life.home.session()._components, life.person))
    life.ends, life.error, life.codes_at_s = report.state, report.error, tuple(issued)


def refresh(life: Life, clock: VirtualClock) -> None:
    record, fault = life.server.grant(), life.fault
    life.home.store({**record, "expires_at": clock.wall_s() - 100.0, "issuer": life.server.url})
    life.ends, life.error = token(life.home)
    sent = life.server.count("exchange")
    token(life.home)
    assert life.server.count("exchange") <= sent + 2 * (fault.times == TRIES), "asked again at once"
    clock.advance(3600)
    life.then = token(life.home)[0]


def token(home: Home) -> tuple[str, KimiAuthError | None]:
    try:
        session = home.session(one_shot=True)
        session._components.ports = session._components.ports._replace(luck=lambda: 0.0)  # type: ignore[method-assign]
        session.access_token_sync()
    except KimiAuthError as error:
        return error.code, error
    return "", None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault: Fault, live: Live) -> None:
    """The fault ends as declared, is told in one clean line, and costs no request too many and no login."""
    life = live(fault)
    assert life.ends == fault.ends, life.shown
    assert fault.says in "\n".join(life.shown)
    for line in life.shown:
        assert line.isprintable()
        assert len(line) < 500
        assert not [secret for secret in life.server.secrets if secret in line]
    if fault.stage == "refresh":
        look_at_refresh(life)
    else:
        look_at_login(life)


def look_at_login(life: Life) -> None:
    fault = life.fault
    if life.ends == "failed":
        assert fault.final, "a person could still have approved"
    polls = [request.at_s for request in life.server.received if request.endpoint == "poll"]
    for number, (issued_at_s, life_s, interval_s) in enumerate(life.codes_at_s):
        assert 0 < life_s <= CODE_LIFE_MAX_S
        assert 1 <= interval_s <= life_s / 2 or interval_s <= 300
        pace_s = min(interval_s, life_s / 2)
        until_s = life.codes_at_s[number + 1][0] if number + 1 < len(life.codes_at_s) else float("inf")
        mine = [at_s for at_s in polls if issued_at_s < at_s <= until_s]
        assert all(at_s < issued_at_s + life_s for at_s in mine), "polled past its code's life"
        steps = [after - before for before, after in itertools.pairwise([issued_at_s, *mine])]
        assert all(pace_s <= step <= max(WAIT_MAX_S, 1.2 * (pace_s + 20)) for step in steps), steps
        assert max(steps, default=0.0) >= fault.pause_s, "did not wait as long as it was asked to"
        assert until_s - issued_at_s >= pace_s, "a second code within the interval"
    signed_in = life.ends in ("signed_in", "models_pending")
    assert life.home.credential.exists() == signed_in
    assert life.home.config.exists() == (life.ends == "signed_in")
    if signed_in:
        tomllib.loads(life.home.config.read_text() if life.home.config.exists() else "")
        assert life.home.session().status().state in ("fresh", "expiring")
        assert life.home.session(one_shot=True).access_token_sync() == life.home.record["access_token"]


def look_at_refresh(life: Life) -> None:
    assert life.then == life.fault.then
    assert life.server.count("exchange") <= life.fault.times + 2  # type: ignore[operator]
    assert life.server.reuse_seen == (life.fault.name == "rotated, and the answer lost")
    leftovers = {name.rpartition(".")[2] for name in life.home.files} & {"next", "tmp", "refused"}
    assert leftovers <= ({"refused", "next"} if life.then else set())
    assert life.home.record["refresh_token"] == (life.server.refresh_token or life.home.record["refresh_token"])
    state = life.home.session().status().state
    assert state == ("revoked" if life.then else "fresh")


def test_the_table_is_long_and_says_each_thing_once() -> None:
    """At least forty faults, each with a name of its own."""
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) >= 40


def test_measured_faults_are_fresh(live: Live, outside: dict[str, str]) -> None:
    """`diagrams/measured/faults.json` holds today's results, byte for byte; with KIMI_AUTH_MEASURE=1 it is written
    anew."""
    seen = as_json(live)
    if outside.get("KIMI_AUTH_MEASURE") == "1":
        MEASURED.parent.mkdir(parents=True, exist_ok=True)
        MEASURED.write_bytes(seen)
    assert MEASURED.read_bytes() == seen, "fix it: KIMI_AUTH_MEASURE=1 python -m pytest tests/life/test_faults.py"


def as_json(live: Live) -> bytes:
    rows = [json.dumps(live(fault).measured(), ensure_ascii=False) for fault in FAULTS]
    return ('{"faults": [\n' + ",\n".join(rows) + "\n]}\n").encode()
