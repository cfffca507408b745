"""Background freshness: one endless task that looks at the credential when it is due, and sleeps between."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import NoReturn

from kimi_auth.clock import Clock
from kimi_auth.errors import KimiAuthError

__all__ = ["keep"]

SLICE_S = 1.0
"""The longest that a change on disk or a suspended machine goes unnoticed, and the shortest time between two looks."""

BACKOFF_MAX_S = 60.0
GAP_S = 2.0
"""More than this between two clocks after one slice: the machine was suspended, or the wall clock was set."""

_NUMBER = re.compile(r"\d+")

_log = logging.getLogger("kimi_auth.clients")


async def keep(
    freshen: Callable[[], Awaitable[float]],
    clock: Clock,
    *,
    notice: Callable[[], bool] | None = None,
    slice_s: float = SLICE_S,
) -> NoReturn:
    """Calls `freshen` for ever, until cancelled: again when the seconds it returned have passed, at least one second.

    It is called sooner, within `slice_s`, when `notice` says that the credential changed, and when the clocks disagree:
    after suspension or a set clock the old time to wait means nothing, so it looks again. Whether anything is renewed is
    `freshen`'s decision alone. Its KimiAuthError is logged and the next look comes after 1 s, doubling to 60 s; a sentence
    that was said since all was well, whatever its numbers are, is logged at DEBUG. Any other exception is a bug and ends
    the task.
    """
    backoff_s = SLICE_S
    said: set[str] = set()
    while True:
        try:
            wait_s = max(SLICE_S, await freshen())
            backoff_s = SLICE_S
            said.clear()
        except KimiAuthError as error:
            sentence = _NUMBER.sub("", error.line)
            level = logging.DEBUG if sentence in said else logging.WARNING
            said.add(sentence)
            _log.log(level, "not kept fresh, next try in %.0f s: %s", backoff_s, error.line)
            wait_s, backoff_s = backoff_s, min(BACKOFF_MAX_S, 2 * backoff_s)
        await _rest(wait_s, clock, notice, slice_s)


async def _rest(wait_s: float, clock: Clock, notice: Callable[[], bool] | None, slice_s: float) -> None:
    """Sleeps `wait_s` between two looks, in slices; shorter if `notice` says so or the clocks disagree."""
    until_s = clock.monotonic_s() + wait_s
    before = _clocks(clock)
    while (left_s := until_s - clock.monotonic_s()) > 0:
        await clock.sleep_async(min(left_s, slice_s))
        before, since = _clocks(clock), before
        if _disagree(since, before) or _noticed(notice):
            return


def _noticed(notice: Callable[[], bool] | None) -> bool:
    """A credential that cannot even be looked at counts as unchanged: the next look, when it is due, says why."""
    try:
        return notice is not None and notice()
    except KimiAuthError:
        return False


def _clocks(clock: Clock) -> tuple[float, float, float]:
    return clock.monotonic_s(), clock.wall_s(), clock.boottime_s()


def _disagree(before: tuple[float, float, float], after: tuple[float, float, float]) -> bool:
    """Whether one clock went further than another: boot time and wall time go on in suspension, monotonic does not."""
    passed = [now_s - then_s for then_s, now_s in zip(before, after, strict=True)]
    return max(passed) - min(passed) > GAP_S
