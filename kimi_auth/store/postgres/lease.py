"""The lock of a row: a lease in the database under a number that only grows, and a lock between the threads of this process.

The lease is taken by one statement, which compares. It costs no connection while it is held, and passes to the next process
when its time is over, or at once where this host's kernel knows that the holder has ended. Each write under it compares
its number, so a holder that was stopped for longer changes nothing any more.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

from kimi_auth.errors import LockLost, StorageError
from kimi_auth.store.owners import Owner, is_certainly_dead
from kimi_auth.support.language import tr

from . import sql
from .place import Place
from .row import decode_owner, encode_owner

__all__ = ["PostgresHold", "slice_s", "take", "take_here"]

SLICE_S = 0.05
SLICE_MAX_S, SLICE_SHARE = 0.5, 0.05
"""How often a waiter asks `give_up`: at first every `SLICE_S`, then after this share of its wait, as `give_up` tells it of the
end of the program only: of a change of the row it is told at once. A hundred waiters that ask twenty times a second take
a third of a core."""

LOOK_S = 1.0
"""How often a waiter looks at the lease where no notification has come."""


class PostgresHold:
    """The held lease `fence` of a row."""

    def __init__(self, place: Place, fence: int, until_s: float) -> None:
        self.fence = fence
        self.nonces: list[str] = []
        """Of the claims that were made under it, and that no answer is kept for."""
        self.is_released = False
        self.is_unread = True
        """Whether the row that came with the lease is still what a first look would show."""
        self._place = place
        self._until_s = until_s

    def check(self) -> None:
        if self.is_released or self._place.line.clock.boottime_s() >= self._until_s:
            raise self.lost()

    def lasts(self, seconds: float, since_s: float) -> None:
        """A statement that was sent at boot time `since_s` has made the lease last so long."""
        self._until_s = max(self._until_s, since_s + seconds)

    def lost(self) -> LockLost:
        return LockLost(
            tr("{key}: the lease is over, or another process has taken it", key=self._place.key),
            hint=tr("nothing was written; try again"),
        )


def take(place: Place, me: Owner, patience_s: float | None, give_up: Callable[[], bool] | None) -> PostgresHold | None:
    """The lease, or None when the patience is over or `give_up()` is true. Raises StorageError where the database takes no
    writes, or could not be reached to the end."""
    began_s = time.monotonic()
    until_s = math.inf if patience_s is None else began_s + patience_s
    error: StorageError | None = None
    is_first = True
    while True:
        try:
            if (is_first or _is_free(place, me)) and (hold := _try(place, me)) is not None:
                return hold
            error = None
        except StorageError as problem:
            if not problem.is_transient:
                raise
            error = problem  # too few connections, a restart: that is waiting, too
        is_first = False
        if time.monotonic() >= until_s:
            break
        if _rest(place, began_s, until_s, give_up):
            return None
    if error is not None:
        raise error.reworded()
    return None


def take_here(place: Place, patience_s: float | None, give_up: Callable[[], bool] | None) -> bool:
    """The lease's lock between the threads of this process. Raises RuntimeError in a thread that would wait for itself."""
    if patience_s is None and place.thread == threading.get_ident():
        raise RuntimeError("this thread would wait for itself: it holds the lock already")
    began_s = time.monotonic()
    until_s = math.inf if patience_s is None else began_s + patience_s
    while not place.lock.acquire(
        timeout=max(0.0, min(slice_s(time.monotonic() - began_s), until_s - time.monotonic()))
    ):
        if time.monotonic() >= until_s or (give_up is not None and give_up()):
            return False
    place.thread = threading.get_ident()
    return True


def _try(place: Place, me: Owner) -> PostgresHold | None:
    """One try for the lease, and another where a look shows that its holder has ended, or has given the lease back meanwhile."""
    params = {"key": place.key, "holder": encode_owner(me, place.line.witness), "dead": _dead_fence(place, me)}
    since_s = place.line.clock.boottime_s()
    if not place.line.ask(sql.TAKE, params):
        place.line.look(place.key)
        if not _shows_free(place, me):
            return None
        since_s = place.line.clock.boottime_s()
        if not place.line.ask(sql.TAKE, params | {"dead": _dead_fence(place, me)}):
            return None
    row = place.row
    assert row is not None
    return PostgresHold(place, row.fence or 0, since_s + sql.LEASE_S)


def _dead_fence(place: Place, me: Owner) -> int | None:
    """The fence of a holder that has certainly ended, or that is this process, whose threads the lock keeps apart."""
    row = place.row
    if row is None or not row.holder:
        return None
    is_ours = row.holder == encode_owner(me, place.line.witness)
    return row.fence if is_ours or is_certainly_dead(decode_owner(row.holder), me) else None


def _is_free(place: Place, me: Owner) -> bool:
    """Whether another try makes sense, by a row that is current."""
    if not place.is_current() or not place.line.is_listening():
        place.line.look(place.key)
    return _shows_free(place, me)


def _shows_free(place: Place, me: Owner) -> bool:
    row = place.row
    return row is None or row.holding(place.passed_s) is None or _dead_fence(place, me) is not None


def slice_s(waited_s: float) -> float:
    """How long a waiter for the lease rests that has waited for `waited_s`, before it asks `give_up` again."""
    return min(max(waited_s * SLICE_SHARE, SLICE_S), SLICE_MAX_S)


def _rest(place: Place, began_s: float, until_s: float, give_up: Callable[[], bool] | None) -> bool:
    """Waits, between two tries for the row's lock, until the row changes or it is time to look again. True if the
    caller gives up."""
    seen = place.row
    pause_s = LOOK_S if place.line.is_listening() else LOOK_S * (0.3 + 0.4 * random.random())  # noqa: S311 - no secret
    again_s = min(until_s, time.monotonic() + pause_s)
    while (left_s := again_s - time.monotonic()) > 0:
        if give_up is not None and give_up():
            return True
        with place.changed:
            if place.row is seen:
                place.changed.wait(min(slice_s(time.monotonic() - began_s), left_s))
        if place.row is not seen and not place.is_stale:
            break
    return give_up is not None and give_up()
