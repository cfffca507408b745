"""Signals are noted while a renewal is in flight and raised again after it."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from house.patience import joined

from kimi_auth.flows.signals import HELD, hold_signals


@pytest.fixture(autouse=True)
def interruptible() -> object:
    """Ctrl-C has its usual meaning, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    """SIGINT inside: the block ends, the caller is told at once, and then the interrupt is raised."""
    told: list[int] = []
    done: list[bool] = []

    def interrupted() -> None:
        with hold_signals(told.append):
            os.kill(os.getpid(), signal.SIGINT)
            done.append(told == [signal.SIGINT])

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [True]


def test_dispositions_are_given_back() -> None:
    """After the block every signal means what it meant before; a program's own handlers were never touched."""
    mine: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: mine.append(number))
    try:
        before = {number: signal.getsignal(number) for number in HELD}
        with hold_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            assert mine == [signal.SIGTERM]
        assert {number: signal.getsignal(number) for number in HELD} == before
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize("torn_at", range(1, 7))
def test_an_exception_in_the_middle_leaves_nothing_taken(monkeypatch: pytest.MonkeyPatch, torn_at: int) -> None:
    """A host's own signal handler may raise between any two steps of taking and giving back."""
    before = {number: signal.getsignal(number) for number in HELD}
    original, calls = signal.signal, 0

    class Alarm(BaseException): ...

    def torn(number: int, handler: object) -> object:
        nonlocal calls
        calls += 1
        found = original(number, handler)  # type: ignore[arg-type]
        if calls == torn_at:
            raise Alarm
        return found

    monkeypatch.setattr(signal, "signal", torn)
    with pytest.raises(Alarm), hold_signals():
        pass
    monkeypatch.undo()
    assert {number: signal.getsignal(number) for number in HELD} == before


def test_other_threads_hold_nothing() -> None:
    """Only the main thread may set handlers: elsewhere the block just runs."""
    ran: list[bool] = []

    def work() -> None:
        with hold_signals():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    joined(thread)
    assert ran == [True]
