"""Programs of the bench that are asked questions: one line of JSON to each, one line back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self

from bench.environment import CHECKOUT

__all__ = ["Worker", "command", "environ", "started"]


def command(name: str, *argv: str) -> list[str]:
    """What runs `bench.<name>` with this interpreter; `-W ignore`: forks of threads and the like are meant."""
    return [sys.executable, "-W", "ignore", "-m", f"bench.{name}", *argv]


def environ(**more: str) -> dict[str, str]:
    """The environment of such a program."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests"), **more}


class Worker:
    """One such program. It has a session of its own, so that Ctrl-C reaches the bench alone, which then ends it."""

    def __init__(self, name: str, *argv: str, **more: str) -> None:
        self._name = " ".join([name, *argv])
        self._process = subprocess.Popen(
            command(name, *argv),
            env=environ(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def order(self, word: str) -> None:
        """One line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Its next line; RuntimeError if it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench.{self._name} has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, word: str) -> dict[str, Any]:
        """An order and its answer."""
        self.order(word)
        return self.answer()


@contextmanager
def started(count: int, name: str, *argv: str, **more: str) -> Iterator[list[Worker]]:
    """So many of them, loaded and ready; killed, with their children, at the end."""
    with ExitStack() as alive:
        workers = [alive.enter_context(Worker(name, *argv, **more)) for _ in range(count)]
        for worker in workers:
            worker.answer()
        yield workers


def tell(**what: object) -> None:
    """A worker's line, in one write."""
    os.write(1, json.dumps(what).encode() + b"\n")


def orders() -> Iterable[str]:
    """A worker's orders, until no process is left that could give one."""
    return (line.strip() for line in sys.stdin)
