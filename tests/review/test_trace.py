"""A walk is recorded, read again and drawn: the picture and its lines give each step and its time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.clock import VirtualClock
from kimi_auth.credential.ports import Ports
from kimi_auth.errors import AccessDenied, Unreachable
from kimi_auth.login.contracts import LoginContext
from kimi_auth.login.device_login import DeviceLoginHooks
from kimi_auth.login.ports import LoginPorts
from kimi_auth.login.view import SilentView
from kimi_auth.machine import Library, walk_async, walk_sync
from kimi_auth.machine.trace import Trace, Traced, Walk, parse, read
from kimi_auth.review.graph import graph_of
from kimi_auth.review.svg import svg
from kimi_auth.review.walk_picture import foreign_steps, overlay, walk_lines
from kimi_auth.store import MemoryStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.wire import Answer

OWN = Library.load()
LOGIN = OWN["device_login"]
SLOW_DOWN: Answer[Any, Any] = Answer("slow_down")
DROPPED: Answer[Any, Any] = Answer("unreachable", error=Unreachable("the connection was dropped"))
DENIED: Answer[Any, Any] = Answer("access_denied", error=AccessDenied("the person said no"))


class NoConfig:
    """A configuration that is fine and never written."""

    def lacks(self) -> bool:
        """It knows the platform."""
        return False

    def check(self) -> None:
        """Nothing stops it."""

    def install(self, models: object) -> None:
        raise AssertionError("a login that was denied writes no config")


def failed_login(trace: Trace, clock: VirtualClock) -> str:
    """The real hooks against a server that asks for patience, then drops two answers, then says that it was denied."""

    async def no_models(bearer: str) -> Any:
        raise AssertionError("a login that was denied asks for no models")

    server = SimulatedServer(clock)
    for answer in (SLOW_DOWN, DROPPED, DROPPED, DENIED):
        server.fault("poll", answer)
    effects = Ports(MemoryStore(clock), server, clock, "https://auth.example", luck=lambda: 0.0)
    work = DeviceLoginHooks(effects, LoginPorts(NoConfig(), SilentView(), no_models))
    walk = walk_async(LOGIN, work, LoginContext(), observe=trace, monotonic=clock.monotonic_s)
    return asyncio.run(walk)[0]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(wall_s=1_764_000_000.0, quiet_s=0.01)  # worker threads look at the store


def test_a_failed_login(tmp_path: Path, clock: VirtualClock) -> None:
    """Recorded to a file, read again, drawn: the way, the numbers, the times and the end are all there."""
    file = tmp_path / "login.ndjson"
    assert failed_login(Trace(file, clock.wall_s), clock) == "denied"
    (walk,) = read(file)
    assert [traced.event for traced in walk.traced] == [
        *("ready", "code", "shown", "elapsed", "slow_down"),
        *("elapsed", "unreachable", "elapsed", "unreachable", "elapsed", "access_denied"),
    ]
    assert (walk.machine, walk.ended_in(LOGIN), walk.began_at_s) == ("device_login", "denied", 1_764_000_000.0)
    drawn = svg(LOGIN, partial(overlay, LOGIN, walk))
    assert f"walk of 2025-11-24 16:00:00 UTC: ended in denied after {walk.seconds:.2f} s" in drawn
    assert '<g class="state bad traced" data-state="denied">' in drawn
    assert re.search(r'slow_down <tspan class="note traced">#5 \d+(\.\d)?s</tspan>', drawn)
    assert re.search(r'>unreachable <tspan class="note traced">#7,9 \d+s</tspan>', drawn)
    assert '<g class="edge pale" data-edges="polling.granted">' in drawn
    assert re.search(r"#11\s+\d+\.\d\d s  polling\s+access_denied → denied<", drawn)


def test_many_steps_of_one_outcome() -> None:
    """An outcome that was met often says at which steps, or between which and how often: never as if all between were."""
    steps_ = []
    for number in range(1, 13):
        source, event, target = ("waiting", "elapsed", "polling") if number % 2 else ("polling", "slow_down", "waiting")
        steps_.append(traced(number, source, event, target, 100.0 + number))
    notes = {}
    for count in (1, 3, 5, 7, 12):
        marked = overlay(LOGIN, Walk(tuple(steps_[:count])), graph_of(LOGIN)).marks
        notes[count] = marked["waiting", "elapsed", "polling"].note
    assert notes == {1: "#1 1.0s", 3: "#1,3 3.0s", 5: "#1,3,5", 7: "#1,3,5,7", 12: "#1…11 ×6"}


def test_steps_of_another_revision() -> None:
    """What this machine does not have is not drawn into it, and it is said that something is missing."""
    walk = Walk(
        (
            traced(1, "waiting", "elapsed", "polling", 100.0),
            traced(2, "polling", "access_denied", "waiting", 101.0),
            traced(3, "elsewhere", "denied", "denied", 102.0),
        )
    )
    over = overlay(LOGIN, walk, graph_of(LOGIN))
    assert set(over.marks) == {("waiting", "elapsed", "polling")}
    assert over.caption.endswith("; 2 steps are of another revision of this machine")
    assert foreign_steps(Walk(walk.traced[:1]), LOGIN) == ""


def test_a_file_without_end(tmp_path: Path) -> None:
    """A file that is too large for a trace is refused, and not read to its end."""
    with pytest.raises(OSError, match="too much for a trace"):
        read(Path("/dev/zero"))


def test_nothing_but_names_and_numbers(tmp_path: Path, clock: VirtualClock) -> None:
    """A line has eight keys, names are plain, the file is private."""
    file = tmp_path / "login.ndjson"
    failed_login(Trace(file, clock.wall_s), clock)
    assert file.stat().st_mode & 0o777 == 0o600
    for line in file.read_text().splitlines():
        data = json.loads(line)
        assert list(data) == ["walk", "machine", "from", "event", "to", "seconds", "step", "at_s"]
        assert all(re.fullmatch(r"[a-z0-9_]+", data[key]) for key in ("walk", "machine", "from", "event", "to"))


def test_a_file_that_cannot_be_written(tmp_path: Path, clock: VirtualClock) -> None:
    """The walk goes on; the trace knows why it is not in the file, and still has everything in memory."""
    trace = Trace(tmp_path / "nowhere" / "login.ndjson", clock.wall_s)
    assert failed_login(trace, clock) == "denied"
    assert isinstance(trace.error, FileNotFoundError)
    assert len(trace.traced) == 11


class Hooks:
    """The token's life and a refresh in which everything goes well."""

    def inspect(self, ctx: None) -> tuple[str, None]:
        return "fresh", ctx

    def inject(self, ctx: None) -> tuple[str, None]:
        return "injected", ctx

    def __getattr__(self, name: str) -> Any:
        if name == "hold_credential":
            from contextlib import contextmanager

            @contextmanager
            def hold(ctx: None) -> Iterator[tuple[str, None]]:
                yield "acquired", ctx

            return hold
        on = next(state.on for state in OWN["token_refresh"].states.values() if state.activity == name)
        return lambda ctx: (next(iter(on)), ctx)


def test_children(tmp_path: Path) -> None:
    """A child's steps are in the walk of its parent, and each machine is drawn with its own."""
    trace = Trace(tmp_path / "t.ndjson", wall_s=lambda: 1e9)
    walk_sync(OWN["token_lifecycle"], Hooks(), None, at="expiring", event="renew", observe=trace)
    (walk,) = read(tmp_path / "t.ndjson")
    assert walk.machine == "token_lifecycle"
    for name, words in (("token_lifecycle", "ended in fresh"), ("token_refresh", "walked inside another")):
        machine = OWN[name]
        over = overlay(machine, walk, graph_of(machine))
        own = {(one.source, one.event) for one in walk.traced if one.machine == name}
        assert len(over.marks) == len(own)
        assert words in over.caption
    assert overlay(LOGIN, walk, graph_of(LOGIN)).marks == {}


def traced(number: int, source: str, event: str, target: str, at_s: float) -> Traced:
    return Traced("w", "device_login", source, event, target, 1.0, number, at_s)


def test_rounds_are_told_once() -> None:
    """Polling for half an hour is two lines: how often, from when until when."""
    steps_ = [traced(1, "showing_code", "shown", "waiting", 100.0)]
    for number in range(300):
        steps_ += [
            traced(2 + 2 * number, "waiting", "elapsed", "polling", 106.0 + 6 * number),
            traced(3 + 2 * number, "polling", "authorization_pending", "waiting", 107.0 + 6 * number),
        ]
    steps_.append(traced(602, "waiting", "cancelled", "cancelled", 1_950.0))
    lines = walk_lines(Walk(tuple(steps_)))
    assert len(lines) == 4
    assert lines[1].endswith("elapsed → polling   ×300, until 1801.00 s")
    assert lines[3] == "#602   1851.00 s  waiting       cancelled → cancelled"


def test_what_does_not_repeat_keeps_its_place() -> None:
    """A round that differs from the next is told by itself, so that lines stand in the order in which things happened."""
    outcomes = ("slow_down", "unreachable", "unreachable", "authorization_pending", "authorization_pending", "granted")
    steps_ = []
    for number, outcome in enumerate(outcomes):
        steps_ += [
            traced(1 + 2 * number, "waiting", "elapsed", "polling", 100.0 + number),
            traced(2 + 2 * number, "polling", outcome, "waiting", 100.5 + number),
        ]
    told = [(line.split()[0], "×2" in line) for line in walk_lines(Walk(tuple(steps_)))]
    assert told == [
        *(("#1", False), ("#2", False)),
        *(("#3", True), ("#4", True)),
        *(("#7", True), ("#8", True)),
        *(("#11", False), ("#12", False)),
    ]


def test_a_long_story_loses_its_middle() -> None:
    """Beginning and end are what matters; the steps left out are counted."""
    walk = Walk(tuple(traced(number, "polling", f"e{number}", "waiting", 100.0 + number) for number in range(1, 101)))
    lines = walk_lines(walk)
    assert len(lines) == 31
    assert lines[15] == "  … 70 more …"


def test_broken_off(clock: VirtualClock) -> None:
    """A walk that was cancelled says so, and no state is its end."""
    walk = Walk((traced(1, "checking_store", "ready", "requesting_code", 100.0),))
    over = overlay(LOGIN, walk, graph_of(LOGIN))
    assert over.caption == "walk of 1970-01-01 00:01:39 UTC: was interrupted after 1.00 s"
    assert walk.ended_in(OWN["sign_out"]) == ""


@pytest.mark.parametrize(
    ("began_s", "stands_s", "goes_on_s", "story_s"),
    [
        (100.0, 105.0, 107.5, ["1.00", "6.00", "8.50"]),
        (900.0, 100.0, 102.5, ["1.00", "1.00", "3.50"]),
        (0.25, 5.25, 7.75, ["0.25", "5.25", "7.75"]),
    ],
    ids=["usual", "set back", "began before there were clocks"],
)
def test_times_go_on(began_s: float, stands_s: float, goes_on_s: float, story_s: list[str]) -> None:
    """Whatever the clock does meanwhile, no step is before the one that it follows, and every walk has begun."""
    lines = (
        traced(1, "showing_code", "shown", "waiting", began_s).line(),
        traced(2, "waiting", "elapsed", "polling", stands_s).line(),
        traced(3, "polling", "refused", "failed", goes_on_s).line(),
    )
    (walk,) = parse("".join(lines))
    assert [line.split()[1] for line in walk_lines(walk)] == story_s
    assert f"{walk.seconds:.2f}" == story_s[-1]
    assert walk.began.startswith("1970-01-01 00:")
    notes = [mark.note for mark in overlay(LOGIN, walk, graph_of(LOGIN)).marks.values()]
    assert len(notes) == 3
    assert not any("-" in note for note in notes)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "null",
        '{"walk": "w"}',
        '{"walk": "w", "machine": "<b>", "from": "a", "event": "b", "to": "c", "seconds": 1, "step": 1, "at_s": 1}',
        '{"walk": "w", "machine": "m", "from": "a", "event": 7, "to": "c", "seconds": 1, "step": 1, "at_s": 1}',
        '{"walk": "w", "machine": "m", "from": "a", "event": "b", "to": "c", "seconds": NaN, "step": 1, "at_s": 1}',
        '{"walk": "w", "machine": "m", "from": "a", "event": "b", "to": "c", "seconds": 1, "step": 1, "at_s": 1e300}',
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: str) -> None:
    """Whatever stands in a file, only lines of a trace are taken from it."""
    good = traced(1, "polling", "refused", "failed", 5.0)
    file = tmp_path / "t.ndjson"
    file.write_text(f"{line}\n{good.line()}{line}")
    assert read(file) == [Walk((good,))]
