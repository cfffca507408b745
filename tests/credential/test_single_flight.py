"""SingleFlight: one run for all who ask, and the end of one caller does not end it."""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import textwrap
import threading
from types import FunctionType

import pytest
from house.patience import NO_LIMIT_S, met

from kimi_auth.credential import single_flight as flight
from kimi_auth.credential.single_flight import SingleFlight, Waiter, drain, in_flight


def test_callers_with_one_key_share_one_run() -> None:
    """Thirty-two callers, one flight; another key is another flight, and a landed one is not joined."""
    flights: SingleFlight[int] = SingleFlight()
    gate, runs = threading.Event(), []

    def work() -> int:
        met(gate)
        runs.append(1)
        return len(runs)

    seats = [flights.join("key", work) for _ in range(32)]
    assert flights.in_flight()
    gate.set()
    assert {seat.result(NO_LIMIT_S) for seat in seats} == {1}
    assert flights.join("other", work).result(NO_LIMIT_S) == 2
    assert flights.join("key", work).result(NO_LIMIT_S) == 3
    assert drain(NO_LIMIT_S)
    assert not flights.in_flight()
    assert not in_flight()


def test_a_cancelled_caller_takes_nobody_along() -> None:
    """One of three callers gives up, one task is cancelled: the flight lands and the third has its result."""
    flights: SingleFlight[str] = SingleFlight()
    gate = threading.Event()

    def work() -> str:
        met(gate)
        return "landed"

    async def main() -> str:
        gone = flights.join("key", work)
        task = asyncio.ensure_future(flights.join("key", work).wait_async())
        stays = asyncio.ensure_future(flights.join("key", work).wait_async())
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            gone.result(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        return await stays

    assert asyncio.run(main()) == "landed"


def test_what_is_raised_reaches_every_caller() -> None:
    """A bug in the work reaches every caller, and the next call starts afresh."""
    flights: SingleFlight[int] = SingleFlight()
    gate = threading.Event()

    def work() -> int:
        met(gate)
        raise ZeroDivisionError

    futures = [flights.join("key", work) for _ in range(2)]
    gate.set()
    for future in futures:
        with pytest.raises(ZeroDivisionError):
            future.result(NO_LIMIT_S)
    assert flights.join("key", lambda: 1).result(NO_LIMIT_S) == 1


def test_drain_waits_says_so_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain that takes longer than a second says so once; at the end of its patience it says that something is left."""
    flights: SingleFlight[int] = SingleFlight()
    gate, said = threading.Event(), []
    now = iter(range(100))
    monkeypatch.setattr(flight.time, "monotonic", lambda: float(next(now)))
    flights.join("key", lambda: int(met(gate)))
    assert not drain(2.0, on_wait=lambda: said.append(1))
    assert said == [1]
    gate.set()
    monkeypatch.undo()
    assert drain(NO_LIMIT_S)


def test_work_runs_inline_where_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter exits, threads cannot start: then the caller's own thread flies."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert SingleFlight[int]().join("key", lambda: 7).result(0) == 7


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)


def test_the_interpreter_waits_for_a_flight_whatever_is_pressed() -> None:
    """Ctrl-C, three times, while the interpreter exits: the flight lands all the same, and there is no traceback."""
    done = run(
        """
        import os, signal, sys, threading
        from kimi_auth.credential import single_flight as flight
        signal.signal(signal.SIGINT, signal.default_int_handler)
        flight.SAY_AFTER_S = float("inf")  # a slow machine's wait would be announced
        drain, is_waiting = flight.drain, threading.Event()
        def waiting(**options):
            is_waiting.set()
            return drain(**options)
        flight.drain = waiting
        def work():
            is_waiting.wait()
            for _ in range(3):
                threading.Event().wait(0.1)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.2)
            print("landed", flush=True)
        flight.SingleFlight().join("key", work)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "landed\n", "")


def test_a_program_goes_on_after_its_main_thread() -> None:
    """Other threads may live longer than the main one: calls they begin run as ever. When only calls are left, the
    program is ending."""
    done = run(
        """
        import threading
        from kimi_auth.credential import single_flight as flight
        from kimi_auth.credential.single_flight import SingleFlight, has_main_ended, is_ending
        flights, going_on = SingleFlight(), threading.Event()
        def ends():
            is_alone = threading.current_thread() is not other  # Python 3.12.0 to 3.12.2 starts no threads any more
            if is_alone:
                other.join()
            print("only flights", has_main_ended(), is_ending() is is_alone, flush=True)
        def serve():
            while not has_main_ended():
                threading.Event().wait(0.01)
            print("serving", is_ending(), flights.join("key", lambda: 7).result(), flush=True)
            flights.join("last", ends)
        other = threading.Thread(target=serve)
        other.start()
        flights.join("first", lambda: 1).result()
        """
    )
    assert (done.stdout.splitlines(), done.stderr) == (["serving False 7", "only flights True True"], "")


def test_a_thread_that_runs_a_call_itself_keeps_the_program_alive() -> None:
    """Where the system gives no thread, its caller runs a call, and may need others after it."""
    done = run(
        """
        import threading
        from kimi_auth.credential.calls import CallThread
        from kimi_auth.credential.single_flight import SingleFlight, has_main_ended, is_ending
        flights = SingleFlight()
        def refused(thread):
            raise RuntimeError("can't start new thread")
        CallThread.start = refused
        def serve():
            while not has_main_ended():
                threading.Event().wait(0.01)
            print("ending", flights.join("key", is_ending).result(), flush=True)
        threading.Thread(target=serve).start()
        """
    )
    assert (done.stdout, done.stderr) == ("ending False\n", "")


def test_the_thread_of_a_finished_call_keeps_no_program_alive() -> None:
    """A call's thread lives a moment longer than its call: it is no thread that may need another renewal."""
    done = run(
        """
        import threading
        from kimi_auth.credential.single_flight import SingleFlight, has_main_ended, is_ending
        seen = threading.Event()
        class Lingering(SingleFlight):
            def _run(self, key, call):
                super()._run(key, call)
                seen.wait()
        def look():
            while not has_main_ended():
                threading.Event().wait(0.01)
            print("ending", is_ending(), flush=True)
            seen.set()
        finished, watching = Lingering(), SingleFlight()
        finished.join("key", lambda: 1).result()
        while finished.in_flight():
            threading.Event().wait(0.01)
        watching.join("key", look)
        """
    )
    assert (done.stdout, done.stderr) == ("ending True\n", "")


def test_the_wait_at_the_end_is_announced() -> None:
    """In a library program too: one line on standard error, when it takes longer than a second."""
    done = run(
        """
        import threading
        from kimi_auth.credential import single_flight as flight
        flight.SAY_AFTER_S = 0.0
        say, has_said = flight.say, threading.Event()
        def saying(text):
            say(text)
            has_said.set()
        flight.say = saying
        flights = flight.SingleFlight()
        flights.join("key", has_said.wait)
        """
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "kimi-auth: a renewal is in progress; exiting as soon as its result is stored\n"


def test_what_begins_while_the_interpreter_exits() -> None:
    """A handler that was registered before the first call runs after the wait for calls: a call it begins is done
    before it goes on. A thread that is torn by the end begins nothing."""
    done = run(
        """
        import atexit, threading
        from kimi_auth.credential.single_flight import SingleFlight, is_ending
        def work():
            threading.Event().wait(0.3)
            print("landed", flush=True)
            return 7
        def daemon():
            gate.wait()
            try:
                print("elsewhere", flights.join("other", work).result(), flush=True)
            except Exception as error:
                print("elsewhere", error, flush=True)
            told.set()
        @atexit.register
        def last():
            print("ending", is_ending(), flush=True)
            print("handler", flights.join("key", work).result(0), flush=True)
            gate.set()
            told.wait()
        gate, told = threading.Event(), threading.Event()
        flights = SingleFlight()
        threading.Thread(target=daemon, daemon=True).start()
        print("first", flights.join("key", work).result(), is_ending(), flush=True)
        """
    )
    assert done.stdout.splitlines() == [
        "landed",
        "first 7 False",
        "ending True",
        "landed",
        "handler 7",
        "elsewhere the program is ending: nothing is renewed any more",
    ]


@pytest.mark.parametrize("torn_at", ["before it starts", "while it starts"])
def test_a_flight_that_never_took_off(monkeypatch: pytest.MonkeyPatch, torn_at: str) -> None:
    """A signal handler's exception between start and run reaches its caller; the next one runs, and no caller waits for
    the lost one."""
    flights = SingleFlight[int]()

    class Alarm(BaseException): ...

    def torn(*_: object, **__: object) -> None:
        raise Alarm

    if torn_at == "before it starts":
        monkeypatch.setattr(flight.Call, "start", torn)
    else:
        monkeypatch.setattr(threading.Thread, "start", torn)
    with pytest.raises(Alarm):
        flights.join("key", lambda: 1)
    monkeypatch.undo()
    assert flights.join("key", lambda: 2).result(NO_LIMIT_S) == 2
    assert drain(NO_LIMIT_S)
    assert not in_flight()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_the_flight_and_the_child_starts_with_none() -> None:
    """The parent's flight lands before the fork; the child can fly on its own."""
    done = run(
        """
        import os, threading
        from kimi_auth.credential.single_flight import SingleFlight, in_flight
        flights = SingleFlight()
        landed = []
        def work():
            threading.Event().wait(0.2)
            landed.append(1)
            return 1
        flights.join("key", work)
        pid = os.fork()
        if pid == 0:
            ok = landed == [1] and not in_flight() and flights.join("key", lambda: 5).result() == 5
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert done.stdout.strip() == "0", done.stderr


def test_a_caller_whose_loop_is_gone_holds_nothing_up() -> None:
    """The loop that waited is closed when the call ends: its waiter is dropped, the others get the result, and the call
    ends."""
    flights: SingleFlight[str] = SingleFlight()
    gate = threading.Event()

    def work() -> str:
        met(gate)
        return "landed"

    async def leave() -> None:
        asyncio.ensure_future(flights.join("key", work).wait_async())  # noqa: RUF006 - cancelled with the loop
        await asyncio.sleep(0)

    asyncio.run(leave())
    stays = flights.join("key", work)
    gate.set()
    assert (stays.result(NO_LIMIT_S), stays.result(0)) == ("landed", "landed")
    assert drain(NO_LIMIT_S)


def test_an_arrival_that_is_past_is_not_waited_for() -> None:
    """A flight that has landed before its caller looks: the result is there."""
    flights: SingleFlight[int] = SingleFlight()
    seat = flights.join("key", lambda: 7)
    assert drain(NO_LIMIT_S)
    assert asyncio.run(seat.wait_async()) == 7


def test_nothing_that_a_second_interrupt_could_leave_locked() -> None:
    """A waiter is a queue and two callbacks: it has no lock or condition of Python's, whose release a Ctrl-C can
    prevent."""
    held = [type(value) for value in vars(Waiter()).values()]
    assert held == [queue.SimpleQueue, FunctionType, type(None)]
