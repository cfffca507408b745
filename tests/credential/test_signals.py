"""Signals that would end the process wait while a call is in flight, and act as ever at any other time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest
from house.patience import NO_LIMIT_S, joined, met

import kimi_auth
from kimi_auth.credential import signals as module
from kimi_auth.credential.signals import HELD, Deferral
from kimi_auth.credential.single_flight import SingleFlight, is_ending, untorn


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """The dispositions that a program in the foreground starts with, whatever this one has."""
    before = {number: signal.getsignal(number) for number in HELD}
    for number in HELD:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def dispositions() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in HELD}


# --- the block -------------------------------------------------------------------------------------------------------


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    """SIGINT inside: the block ends, the end of the program is known at once, and then the interrupt is raised."""
    done: list[bool] = []

    def interrupted() -> None:
        with untorn():
            os.kill(os.getpid(), signal.SIGINT)
            done.append(is_ending())

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (done, is_ending()) == ([True], False)


def test_of_several_signals_the_first_counts() -> None:
    """What comes after it changes nothing."""
    deferral = Deferral(lambda: False)

    def work() -> None:
        with deferral.block():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not deferral.is_noted


def test_dispositions_are_given_back() -> None:
    """After the block every signal means what it meant before; a program's own handlers were never touched."""
    mine: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: mine.append(number))
    before = dispositions()
    with untorn():
        os.kill(os.getpid(), signal.SIGTERM)
        assert mine == [signal.SIGTERM]
    assert dispositions() == before


def test_a_handler_that_came_later_stays() -> None:
    """A program that installs its own inside of the block finds it there afterwards."""
    before = dispositions()
    with untorn():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert dispositions() == {**before, signal.SIGTERM: signal.SIG_IGN}


@pytest.mark.parametrize("torn_at", range(1, 7))
def test_an_exception_in_the_middle_leaves_nothing_taken(monkeypatch: pytest.MonkeyPatch, torn_at: int) -> None:
    """A host's own signal handler may raise between any two steps of taking and giving back."""
    before = dispositions()
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
    with pytest.raises(Alarm), untorn():
        pass
    monkeypatch.undo()
    assert dispositions() == before


@pytest.mark.parametrize("block", [untorn, Deferral(lambda: True).guard])
def test_other_threads_take_nothing(block: Callable[[], object]) -> None:
    """Only the main thread may set handlers: elsewhere the block just runs; the public one says so."""
    ran: list[object] = []
    before = dispositions()

    def work() -> None:
        with block():  # type: ignore[attr-defined]
            ran.append(dispositions() == before)
        try:
            kimi_auth.signals_deferred()
        except RuntimeError as refusal:
            ran.append("main thread" in str(refusal))

    thread = threading.Thread(target=work)
    thread.start()
    joined(thread)
    assert ran == [True, True]


# --- a call in flight ------------------------------------------------------------------------------------------------


def test_a_call_in_flight_takes_what_would_end_the_process() -> None:
    """Started by the main thread, also from an event loop: SIGTERM and SIGHUP are deferred until it lands, and given back by
    whichever main-thread code waits for it; SIGINT is left to Python and to asyncio."""
    gate, taken = threading.Event(), []

    async def main() -> int:
        seat = flights.join("key", lambda: int(met(gate)))
        handlers = dispositions()
        taken.extend(number for number in HELD if handlers[number] != before[number])
        gate.set()
        return await seat.wait_async()

    flights, before = SingleFlight[int](), dispositions()
    assert asyncio.run(main()) == 1
    assert taken == [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]  # SIGINT: by asyncio itself
    assert dispositions() == before


def test_asyncio_finds_its_handler_while_a_call_is_in_flight() -> None:
    """`asyncio.run` replaces Python's own SIGINT handler only: with a background call in the air it must find that one."""
    gate = threading.Event()
    flights = SingleFlight[int]()
    seat = flights.join("key", lambda: int(met(gate)))

    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    gate.set()
    assert seat.result(NO_LIMIT_S) == 1


def test_ours_that_was_left_behind_acts_as_the_default() -> None:
    """A call that has landed with no main-thread code waiting leaves the handler: SIGTERM ends the process as ever."""
    done = run(
        """
        import signal, threading
        from kimi_auth.credential.single_flight import SingleFlight, drain
        flights = SingleFlight()
        flights.join("key", lambda: 1)
        drain()
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
        signal.raise_signal(signal.SIGTERM)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "False\n", "")


@pytest.mark.parametrize("waits", ["in its event loop", "in a lock", "in a system call"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_landing_wakes_the_main_thread(number: signal.Signals, waits: str) -> None:
    """The signal came while the call was in flight: it acts when that lands in its thread, whatever the main thread does."""
    waiting = {
        "in its event loop": "asyncio.run(asyncio.sleep(60))",
        "in a lock": "threading.Event().wait()",
        "in a system call": "os.read(os.pipe()[0], 1)",
    }[waits]
    done = run(
        f"""
        import asyncio, os, signal, threading
        from kimi_auth.credential.single_flight import SingleFlight
        gate, begun = threading.Event(), threading.Event()
        def work():
            begun.set()
            gate.wait()
            os.write(1, b"landed")
        SingleFlight().join("key", work)
        begun.wait()
        os.kill(os.getpid(), {int(number)})
        os.write(1, b"deferred ")
        gate.set()
        {waiting}
        """
    )
    assert (done.returncode, done.stdout) == (-number, "deferred landed")


def test_the_guard_protects_calls_of_worker_threads() -> None:
    """Without it a worker thread's call is torn by SIGTERM; with it the call lands first. Between calls SIGTERM acts at once."""
    script = """
        import os, signal, threading
        import kimi_auth
        from contextlib import nullcontext
        from kimi_auth.credential.single_flight import SingleFlight
        gate, begun = threading.Event(), threading.Event()
        def work():
            begun.set()
            gate.wait()
            os.write(1, b"landed")
        with {guard}:
            threading.Thread(target=lambda: SingleFlight().join("key", work).result()).start()
            begun.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            os.write(1, b"deferred ")
            gate.set()
            threading.Event().wait()
        """
    with_guard = run(script.format(guard="kimi_auth.signals_deferred()"))
    assert (with_guard.returncode, with_guard.stdout) == (-signal.SIGTERM, "deferred landed")
    without = run(script.format(guard="nullcontext()"))
    assert (without.returncode, without.stdout) == (-signal.SIGTERM, "")
    between = run(
        """
        import signal, kimi_auth
        with kimi_auth.signals_deferred():
            signal.raise_signal(signal.SIGTERM)
            print("went on")
        """
    )
    assert (between.returncode, between.stdout) == (-signal.SIGTERM, "")


def test_the_guard_outlives_a_server_that_takes_the_signals() -> None:
    """uvicorn installs handlers, gives back what it found and raises the signal again: inside of the guard that waits too."""
    done = run(
        """
        import os, signal, threading
        import kimi_auth
        from kimi_auth.credential.single_flight import SingleFlight
        gate, begun = threading.Event(), threading.Event()
        def work():
            begun.set()
            gate.wait()
            os.write(1, b"landed")
        with kimi_auth.signals_deferred():
            caught = []
            found = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
            SingleFlight().join("key", work)
            begun.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            signal.signal(signal.SIGTERM, found)
            signal.raise_signal(caught.pop())
            os.write(1, b"stopped, ")
            gate.set()
            threading.Event().wait()
        """
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "stopped, landed")


def test_a_signal_that_waits_is_announced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After a second, one line says why the process has not ended; where it ends sooner, nothing is said."""
    said = threading.Event()
    deferral = Deferral(lambda: False)

    def say(text: str) -> None:
        module_say(text)
        said.set()

    module_say = module.say
    monkeypatch.setattr(module, "say", say)

    def work(*, long: bool) -> None:
        before = set(threading.enumerate())
        with deferral.block():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert (met(said) if long else said.is_set()) == long
            for announcer in set(threading.enumerate()) - before if long else ():
                joined(announcer)  # what the second signal may say has been said

    monkeypatch.setattr(module, "SAY_AFTER_S", NO_LIMIT_S)
    with pytest.raises(KeyboardInterrupt):
        work(long=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "SAY_AFTER_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        work(long=True)
    assert capsys.readouterr().err == "kimi-auth: stopping as soon as the renewal in progress is stored\n"


def test_saying_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error may be closed, or not be there."""
    for stderr in (None, open(os.devnull)):  # noqa: SIM115, PTH123
        monkeypatch.setattr(sys, "stderr", stderr)
        module.say("nothing")
        if stderr is not None:
            stderr.close()
            module.say("nothing")


def run(script: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, with the usual dispositions."""
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_uvicorn_stops_in_order(number: signal.Signals, status: int) -> None:
    """The real one, inside of the guard, with a call in flight: it shuts down first, then the call lands, then SIGTERM acts;
    its SIGINT ends the server, and the program goes on to its end."""
    done = run(
        f"""
        import asyncio, os, signal, threading
        import kimi_auth, uvicorn
        from kimi_auth.credential.single_flight import SingleFlight
        signal.signal(signal.SIGINT, signal.default_int_handler)
        gate, begun = threading.Event(), threading.Event()
        def work():
            begun.set()
            gate.wait()
            os.write(1, b"landed ")
        async def app(scope, receive, send):
            assert scope["type"] == "lifespan"
            await receive()
            SingleFlight().join("key", work)
            begun.wait()
            asyncio.get_running_loop().call_later(0, os.kill, os.getpid(), {int(number)})
            await send({{"type": "lifespan.startup.complete"}})
            await receive()
            os.write(1, b"shutdown ")
            await send({{"type": "lifespan.shutdown.complete"}})
        try:
            with kimi_auth.signals_deferred():
                uvicorn.run(app, port=0, log_level="critical", lifespan="on")
        finally:
            gate.set()
        threading.Event().wait({60 if number == signal.SIGTERM else 0})
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "shutdown landed ", "")
