"""The keeper in virtual time: when it looks, what wakes it, and what ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from kimi_auth.clients import keep
from kimi_auth.clock import VirtualClock
from kimi_auth.errors import KimiAuthError, NotSignedIn, Unreachable

pytestmark = pytest.mark.anyio

NEVER_S = float("inf")
OFFLINE = Unreachable("the server cannot be reached")


class Freshener:
    """Answers each call with the next of `answers` (seconds, or an error), the last one for ever; notes when it was called."""

    def __init__(self, clock: VirtualClock, answers: Iterable[float | Exception], last: float = NEVER_S) -> None:
        self.clock = clock
        self.began_s = clock.monotonic_s()
        self.answers = iter(answers)
        self.last = last
        self.called_at_s: list[float] = []

    async def __call__(self) -> float:
        self.called_at_s.append(self.clock.monotonic_s() - self.began_s)
        answer = next(self.answers, self.last)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def keeping(
    freshen: Freshener, notice: Callable[[], bool] | None = None, slice_s: float = 1.0
) -> AsyncIterator[asyncio.Task[None]]:
    """Runs a keeper for the length of the block, at whose end it must be cancellable at once."""
    keeper = asyncio.create_task(keep(freshen, freshen.clock, notice=notice, slice_s=slice_s))
    try:
        yield keeper
    finally:
        ended_at_s = freshen.clock.monotonic_s()
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        assert freshen.clock.monotonic_s() == ended_at_s


WAITS: list[tuple[str, list[float | Exception], list[float]]] = [
    ("looks first, then waits", [375], [0, 375]),
    ("each wait is its own", [375, 10, 0.5, 375], [0, 375, 385, 386, 761]),
    ("zero is a second", [0, 0, 0], [0, 1, 2, 3]),
    ("the past is a second", [-5], [0, 1]),
    ("no number is a second", [float("nan")], [0, 1]),
    ("a fraction of a slice at the end", [2.25], [0, 2.25]),
    ("error is backed off", [OFFLINE] * 4, [0, 1, 3, 7, 15]),
    ("error ends, and begins at 1 s again", [OFFLINE, OFFLINE, 100, OFFLINE], [0, 1, 3, 103, 104]),
    ("at most 60 s", [OFFLINE] * 9, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]),
]


@pytest.mark.parametrize(("answers", "called_at_s"), [pytest.param(*row[1:], id=row[0]) for row in WAITS])
async def test_when_it_looks(answers: list[float | Exception], called_at_s: list[float]) -> None:
    """It looks at once and then when the answer said, an error doubles the wait up to a minute."""
    freshen = Freshener(VirtualClock(), answers)
    async with keeping(freshen):
        await freshen.clock.sleep_async(1_000)
    assert freshen.called_at_s == called_at_s


WAKES: list[tuple[str, Callable[[VirtualClock], None], float]] = [
    ("suspended for an hour", lambda clock: clock.suspend(3_600), 11),
    ("suspended for 3 s", lambda clock: clock.suspend(3), 11),
    ("wall clock set forward", lambda clock: clock.set_wall(clock.wall_s() + 60), 11),
    ("wall clock set back", lambda clock: clock.set_wall(clock.wall_s() - 60), 11),
    ("wall clock slewed", lambda clock: clock.set_wall(clock.wall_s() + 0.5), 375),
    ("the process stood still for an hour", lambda clock: clock.advance(3_600), 3_610),
    ("nothing", lambda clock: None, 375),
]


@pytest.mark.parametrize(("event", "looks_at_s"), [pytest.param(*row[1:], id=row[0]) for row in WAKES])
async def test_what_wakes_it(event: Callable[[VirtualClock], None], looks_at_s: float) -> None:
    """When the clocks disagree after a slice it looks again, once, on the monotonic clock within a second."""
    freshen = Freshener(VirtualClock(), [375])
    async with keeping(freshen):
        await freshen.clock.sleep_async(10.5)
        event(freshen.clock)
        await freshen.clock.sleep_async(600)
    assert freshen.called_at_s[0] == 0
    assert freshen.called_at_s[1:] == [pytest.approx(looks_at_s, abs=0.51)]


@pytest.mark.parametrize(
    ("answer", "slice_s", "looks_at_s"),
    [
        pytest.param(NEVER_S, 1.0, 6, id="while it waits for nothing else"),
        pytest.param(NEVER_S, 0.25, 5.25, id="within its slice"),
        pytest.param(NEVER_S, 60.0, 60, id="within a long slice"),
        pytest.param(OFFLINE, 1.0, 6, id="while it backs off"),
    ],
)
async def test_notice(answer: float | Exception, slice_s: float, looks_at_s: float) -> None:
    """A change of the credential is seen within a slice, also in the middle of a back-off."""
    clock = VirtualClock()
    noticed_after_s = clock.monotonic_s() + 5
    freshen = Freshener(clock, [answer] * (3 if isinstance(answer, Exception) else 1))
    seen: list[float] = []

    def notice() -> bool:
        if clock.monotonic_s() > noticed_after_s and not seen:
            seen.append(clock.monotonic_s())
            return True
        return False

    async with keeping(freshen, notice, slice_s):
        await clock.sleep_async(100)
    assert looks_at_s in freshen.called_at_s
    assert len(seen) == 1


async def test_an_error_of_notice_changes_nothing() -> None:
    """While the credential's stamp cannot be read, looks come when they are due: neither more nor fewer."""

    def notice() -> bool:
        raise OFFLINE

    freshen = Freshener(VirtualClock(), [10, 10])
    async with keeping(freshen, notice):
        await freshen.clock.sleep_async(100)
    assert freshen.called_at_s == [0, 10, 20]


async def test_an_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first of equal sentences is a warning with the next step, the others are details until all is well again; another
    sentence is news."""
    freshen = Freshener(VirtualClock(), [OFFLINE, OFFLINE, NotSignedIn("nobody is signed in"), 5, OFFLINE])
    with caplog.at_level(logging.DEBUG, "kimi_auth.clients"):
        async with keeping(freshen):
            await freshen.clock.sleep_async(100)
    levels = [(record.levelname, record.getMessage().partition(": ")[2]) for record in caplog.records]
    absent = NotSignedIn("nobody is signed in").line
    assert levels == [
        ("WARNING", OFFLINE.line),
        ("DEBUG", OFFLINE.line),
        ("WARNING", absent),
        ("WARNING", OFFLINE.line),
    ]


async def test_a_countdown_is_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """An outage of hours is two warnings, not one for each look: numbers make no news, nor does a repeated message."""
    looks = [OFFLINE, *[Unreachable(f"offline; not tried again for {left_s} s") for left_s in (46, 13)], OFFLINE] * 9
    freshen = Freshener(VirtualClock(), looks)
    with caplog.at_level(logging.WARNING, "kimi_auth.clients"):
        async with keeping(freshen):
            await freshen.clock.sleep_async(1_000)
    assert len(freshen.called_at_s) > 10
    assert len(caplog.records) == 2


@pytest.mark.parametrize("bug", [ZeroDivisionError(), OSError("a bare OSError is no expected failure")])
async def test_bugs_end_it(bug: Exception) -> None:
    """An exception that is not a KimiAuthError is not swallowed."""
    freshen = Freshener(VirtualClock(), [10, bug])
    async with keeping(freshen) as keeper:
        await freshen.clock.sleep_async(100)
        assert keeper.done()
        assert keeper.exception() is bug


@pytest.mark.parametrize("where", ["freshen", "sleep", "back-off"])
async def test_cancellation_ends_it_at_once(where: str) -> None:
    """Wherever it is, one cancellation ends it, without another look and without a moment passing."""
    clock = VirtualClock()
    calls = 0

    async def freshen() -> float:
        nonlocal calls
        calls += 1
        if where == "freshen":
            await asyncio.Event().wait()
        if where == "back-off":
            raise KimiAuthError("offline")
        return NEVER_S

    keeper = asyncio.create_task(keep(freshen, clock))
    for _ in range(5):
        await asyncio.sleep(0)
    began_s = clock.monotonic_s()
    keeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeper
    assert (calls, clock.monotonic_s()) == (1, began_s)
