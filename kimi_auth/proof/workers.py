"""Worker processes that run in parallel and end with their parent, however the parent ends."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["WORKERS", "Pool", "Task", "WorkerLost", "side_by_side"]

P = ParamSpec("P")
T = TypeVar("T")

WORKERS = min(os.cpu_count() or 1, 4)
"""One per processor, at most four: each may need a gigabyte."""


class WorkerLost(Exception):
    """A worker process ended before it answered."""


@contextmanager
def side_by_side(workers: int = WORKERS) -> Generator[Pool, None, None]:
    """A pool of fresh workers. Ctrl-C does not reach them: they end when the block ends early, for any reason."""
    pool = Pool()
    try:
        pool.start(workers)
        yield pool
        pool.finish()
    finally:
        pool.end()


class Pool:
    """Sends tasks to its processes, and takes their answers while a `Task.result` waits.

    There are no threads and no locks here: a signal handler may raise anywhere in the thread that waits, and
    `ProcessPoolExecutor` does not survive that everywhere. Raised between the acquiring of a future's lock and the
    `with` that releases it, the lock stays held, and the end waits for ever for the thread that wants it (seen once).
    """

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._waiting: deque[Task[Any]] = deque()
        self._at_work: dict[Connection, tuple[_Worker, Task[Any]]] = {}
        self._idle: list[_Worker] = []

    def start(self, workers: int) -> None:
        for index in range(workers):
            worker = _Worker(f"worker {index}")
            self._workers.append(worker)
            worker.start()
            self._idle.append(worker)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]:
        """Has the next worker that is free run `fn` with these arguments, and returns the task."""
        task = Task[T](self, partial(fn, *args, **kwargs))
        self._waiting.append(task)
        self._send()
        return task

    def take_answers(self) -> None:
        """Waits until a worker has answered or was lost."""
        for pipe in wait(list(self._at_work)):
            assert isinstance(pipe, Connection)
            worker, task = self._at_work.pop(pipe)
            try:
                task.answer = pipe.recv()
                self._idle.append(worker)
            except (EOFError, OSError):
                task.answer = False, WorkerLost(f"{worker.name} ended before it answered")
        self._send()

    def finish(self) -> None:
        """Waits for all answers."""
        while self._at_work:
            self.take_answers()

    def end(self) -> None:
        """Ends the workers, whatever they do. A task without its answer fails."""
        for worker in self._workers:
            worker.end()
        self._waiting.extend(task for _, task in self._at_work.values())
        self._fail_the_rest()

    def _send(self) -> None:
        while self._waiting and self._idle:
            worker, task = self._idle.pop(), self._waiting.popleft()
            try:
                worker.pipe.send(task.work)
            except OSError:
                self._waiting.appendleft(task)  # this worker is lost; another one takes it
            else:
                self._at_work[worker.pipe] = worker, task
        if not self._idle and not self._at_work:
            self._fail_the_rest()

    def _fail_the_rest(self) -> None:
        for task in self._waiting:
            task.answer = False, WorkerLost("all workers have ended")
        self._waiting.clear()


class Task(Generic[T]):
    """A call that a process makes; `result` gives what it returned, or raises what it raised or WorkerLost."""

    def __init__(self, pool: Pool, work: Callable[[], T]) -> None:
        self._pool, self.work = pool, work
        self.answer: tuple[bool, Any] | None = None

    def result(self) -> T:
        while self.answer is None:
            self._pool.take_answers()
        is_done, found = self.answer
        if not is_done:
            raise found
        return found  # type: ignore[no-any-return]


class _Worker:
    """One process. Nothing but the process writes to the other end of its pipe, so its end is the end of the answers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pipe, self._theirs = _SPAWN.Pipe()
        self._process = _Sheltered(target=_serve, args=(self._theirs,), name=name)

    def start(self) -> None:
        self._process.start()
        self._theirs.close()

    def end(self) -> None:
        if self._process.pid:
            self._process.terminate()
            self._process.join()
        self._theirs.close()
        self.pipe.close()


class _Sheltered(SpawnProcess):
    """A process that starts, and so runs, with SIGINT blocked."""

    def start(self) -> None:
        resource_tracker.ensure_running()  # `start` would launch it and unblock SIGINT again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_SPAWN = SpawnContext()


# --- in the worker ----------------------------------------------------------------------------------------------------


def _serve(pipe: Connection) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            work = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, work()
        except Exception as error:  # noqa: BLE001 -- it is raised where the answer is awaited
            answer = False, error
        pipe.send(answer)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
