"""One walk written down as it goes, and read again.

A trace is NDJSON, a line for each transition, children included, in the order in which they happened:

    {"walk": "5f0c…", "machine": "device_login", "from": "polling", "event": "slow_down", "to": "waiting",
     "seconds": 0.21, "step": 9, "at_s": 1764000000.5}

`seconds` is how long the activity took, `at_s` when the transition was made (unix seconds). Nothing else is known to an
observer, so nothing else can be in it: no token, no code, no address. A trace is safe to publish.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .lint import NAME
from .spec import Machine

if TYPE_CHECKING:
    from .observer import Transition

__all__ = ["Trace", "Traced", "Walk", "parse", "read"]

BYTES_MAX = 8 << 20
NAME_MAX = 60
NUMBER_MAX = 1e11


class Traced(NamedTuple):
    """One line of a trace."""

    walk: str
    machine: str
    source: str
    event: str
    target: str
    seconds: float
    step: int
    at_s: float

    def line(self) -> str:
        """The transition as a line of a trace: NDJSON, with its end of line."""
        data = dict(zip(_KEYS, self, strict=True)) | {"seconds": round(self.seconds, 4), "at_s": round(self.at_s, 3)}
        return json.dumps(data) + "\n"


_KEYS = ("walk", "machine", "from", "event", "to", "seconds", "step", "at_s")


class Walk(NamedTuple):
    """The transitions of one walk. It belongs to the machine of its last one: children come to rest before their parent."""

    traced: tuple[Traced, ...]

    @property
    def machine(self) -> str:
        return self.traced[-1].machine

    @property
    def machines(self) -> set[str]:
        """Those that were walked, children included."""
        return {traced.machine for traced in self.traced}

    @property
    def began_at_s(self) -> float:
        """When its first activity began, unix seconds."""
        return self.traced[0].at_s - self.traced[0].seconds

    @property
    def began(self) -> str:
        """The same for people, in UTC."""
        return datetime.fromtimestamp(self.began_at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def seconds(self) -> float:
        """How long it took, up to its last transition."""
        return self.since_s[-1]

    @property
    def since_s(self) -> list[float]:
        """When each transition in the trace was made, seconds since the walk began; a clock set back stands still for it."""
        times = [self.began_at_s, *(traced.at_s for traced in self.traced)]
        return list(accumulate(max(0.0, then - before) for before, then in pairwise(times)))

    def ended_in(self, machine: Machine) -> str:
        """The rest state that a walk in a trace ended in; "" for one that was interrupted."""
        state = machine.states.get(self.traced[-1].target)
        return self.traced[-1].target if state is not None and state.is_rest else ""


class Trace:
    """An observer that writes down one walk: into `file`, line by line as it happens, and in memory.

    A file that cannot be written ends the writing, never the walk: `error` says why.
    """

    def __init__(self, file: Path | None = None, wall_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._wall_s = wall_s
        self._walk = os.urandom(6).hex()
        self.traced: list[Traced] = []
        self.error: OSError | None = None

    def entered(self, machine: str, state: str, activity: str) -> None:
        """Entering a state is no line."""

    def moved(self, transition: Transition) -> None:
        t = transition
        now = Traced(self._walk, t.machine, t.source, t.event, t.target, t.seconds, t.step, self._wall_s())
        self.traced.append(now)
        if self._file is not None and self.error is None:
            try:
                _append(self._file, now.line())
            except OSError as error:
                self.error = error


def read(file: Path) -> list[Walk]:
    """The walks of a trace file, as `parse` finds them. Raises OSError, also for more than `BYTES_MAX` bytes."""
    with file.open("rb") as opened:
        data = opened.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise OSError(errno.EFBIG, f"it holds more than {BYTES_MAX >> 20} MiB, too much for a trace", str(file))
    return parse(data.decode("utf-8", "replace"))


def parse(text: str) -> list[Walk]:
    """The walks of a trace, in the order of their first lines. Lines that are none are passed over: a process may have
    died in the middle of one."""
    walks: dict[str, list[Traced]] = {}
    for line in text.splitlines():
        if (traced := _parse(line)) is not None:
            walks.setdefault(traced.walk, []).append(traced)
    return [Walk(tuple(traced)) for traced in walks.values()]


def _append(file: Path, lines: str) -> None:
    """In one write, so that lines of several processes do not mix; private like everything beside a credential."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)


def _parse(line: str) -> Traced | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, Mapping):
        return None
    values: list[Any] = [data.get(key) for key in _KEYS]
    names, numbers = values[:5], values[5:]
    if not all(isinstance(name, str) and len(name) <= NAME_MAX for name in names):
        return None
    if not all(NAME.fullmatch(name) for name in names[1:]):
        return None
    # No walk takes longer, and no clock shows more: a number beyond it would break the formatting of times.
    if not all(isinstance(number, int | float) and 0 <= number < NUMBER_MAX for number in numbers):
        return None
    numbers[0] = min(numbers[0], numbers[2])  # nothing began before 1970
    return Traced(*names, *numbers)
