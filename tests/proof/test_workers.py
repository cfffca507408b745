"""The processes that the checker works with: a Ctrl-C in the terminal is heard by the process that waits, and only there."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from multiprocessing.connection import wait

import pytest
from house.patience import until

from kimi_auth.proof.workers import Task, WorkerLost, side_by_side


def test_a_ctrl_c_does_not_reach_them() -> None:
    """Every one of them has SIGINT blocked from its first instruction on; the process that started them has not."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with side_by_side(2) as pool:
        blocked = [pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []) for _ in range(8)]
        assert [signal.SIGINT in one.result() for one in blocked] == [True] * 8
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_they_end_in_the_middle_of_an_answer() -> None:
    """An answer of which a part is there when the block ends is not waited for, and its process is gone."""
    asked: list[Task[bytes]] = []
    before = set(active_children())  # other tests share a pool

    def ends_early() -> None:
        with side_by_side(2) as pool:
            asked.extend(pool.submit(bytes, 100_000_000) for _ in range(4))  # more than a pipe takes at a time
            until(lambda tick_s: wait(list(pool._at_work), tick_s), "the first part of an answer")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ends_early()
    assert set(active_children()) == before
    for one in asked:
        with pytest.raises(WorkerLost):
            one.result()


def test_what_a_task_raises_and_the_loss_of_its_process() -> None:
    """Both are raised where the answer is awaited; a process that is lost is not replaced."""
    with side_by_side(1) as pool:
        with pytest.raises(ValueError, match="invalid literal"):
            pool.submit(int, "x").result()
        assert pool.submit(int, "1").result() == 1
        with pytest.raises(WorkerLost, match="worker 0 ended before it answered"):
            pool.submit(os._exit, 3).result()
        with pytest.raises(WorkerLost, match="all workers have ended"):
            pool.submit(int, "1").result()
