"""Which edges of the machines the tests have walked, and which test walked them.

A recorder is an observer. One process counts in memory; a process that is started by a test finds a folder in its
environment and appends each edge to a file of its own there, at once, so that being killed loses nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .observer import NO_OBSERVER, Observer, Transition

if TYPE_CHECKING:  # tests alone record: what only asks for a recorder does without the machines
    from .spec import Edge, Machine

ENVIRONMENT = "KIMI_AUTH_EDGES"
"""Names the folder to which processes started by tests append what they walk."""


def running_test() -> str:
    """The id of the test that pytest is running, in this process or in the one that started it; else ""."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]


class EdgeRecorder:
    """Counts walked edges by test. With a `folder`, also appends each to a file there that no other process writes.

    Which edges were walked is exact; a count may run low when two threads walk one edge in the same instant.
    """

    def __init__(self, folder: Path | None = None, test: Callable[[], str] = running_test) -> None:
        self._folder = folder
        self._test = test
        from uuid import uuid4

        self._id = uuid4().hex
        self._counts: Counter[tuple[Edge, str]] = Counter()

    def entered(self, machine: str, state: str, activity: str) -> None:
        """Nothing to record: entering a state walks no edge."""

    def moved(self, transition: Transition) -> None:
        from .spec import Edge

        edge = Edge(transition.machine, transition.source, transition.event, transition.target)
        test = self._test()
        self._counts[edge, test] += 1
        if self._folder is not None:
            # The pid keeps a forked child out of its parent's file.
            path = self._folder / f"{os.getpid()}-{self._id}.ndjson"
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([*edge, test]) + "\n")

    def walks(self, edge: Edge) -> dict[str, int]:
        """How often each test walked `edge`, as recorded; the test id is "" outside of tests."""
        return {test: count for (walked, test), count in list(self._counts.items()) if walked == edge}

    def unwalked(self, machines: Iterable[Machine]) -> list[Edge]:
        """The declared edges that no recorded walk took, in file order."""
        from .spec import edges

        walked = {edge for edge, _ in list(self._counts)}
        return [edge for machine in machines for edge in edges(machine) if edge not in walked]

    def merge(self, folder: Path) -> None:
        """Add what other processes recorded in `folder`. A line that was cut off by a kill does not count."""
        from .spec import Edge

        for path in sorted(folder.glob("*.ndjson")):
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):
                    *edge, test = json.loads(line)
                    self._counts[Edge(*edge), test] += 1


def recorder_from_environ() -> Observer:
    """The observer that the environment asks for: a recorder for the folder it names, else one that does nothing."""
    folder = os.environ.get(ENVIRONMENT)
    return _recorder(folder) if folder else NO_OBSERVER


@cache
def _recorder(folder: str) -> EdgeRecorder:
    return EdgeRecorder(Path(folder))
