"""The processes that the checker works with: a Ctrl-C in the terminal is heard by the one who waits, and only there."""

from __future__ import annotations

import signal

from kimi_auth.proof.workers import side_by_side


def test_a_ctrl_c_does_not_reach_them() -> None:
    """Every one of them has SIGINT blocked from its first instruction on; the process that started them has not."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with side_by_side(2) as pool:
        blocked = [pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []) for _ in range(8)]
        assert [signal.SIGINT in one.result() for one in blocked] == [True] * 8
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
