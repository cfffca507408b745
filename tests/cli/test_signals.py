"""What a signal does to a command: it ends it at once, or as soon as nothing can be torn."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
from house.patience import ended, heard, joined

from kimi_auth.cli.signals import WORDS, Signals, Stopped
from kimi_auth.credential import signals as deferral

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """The dispositions that a program in the foreground starts with, whatever this one has."""
    before = {number: signal.getsignal(number) for number in ALL}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def dispositions() -> list[object]:
    return [signal.getsignal(number) for number in ALL]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command(number: signal.Signals, status: int) -> None:
    """With the status that shells count, and the dispositions as they were."""
    before = dispositions()
    with pytest.raises(Stopped) as stopped, Signals(print).taken():
        signal.raise_signal(number)
    assert stopped.value.exit_status == status
    assert str(stopped.value) == number.name
    assert dispositions() == before


def test_a_signal_that_meets_code_in_c_is_not_lost() -> None:
    """A callback that C code has called can raise nothing: a swallowed signal is raised again, and nothing is
    printed."""

    class Thing: ...

    swallowed: list[str] = []

    def swallow() -> None:
        thing = Thing()
        watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing
        swallowed.append(f"went on with {watch()}")
        threading.Event().wait()

    usual_hook = sys.unraisablehook
    with pytest.raises(Stopped), Signals(print).taken():
        swallow()
    assert swallowed == ["went on with None"]
    assert sys.unraisablehook is usual_hook


def test_a_signal_does_not_come_again_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the main thread is long in the hook, on a busy machine, the signal waits until it has left."""

    class Thing: ...

    start = threading.Thread.start

    def start_slowly(thread: threading.Thread) -> None:
        start(thread)
        threading.Event().wait(0.1)

    def swallow() -> None:
        thing = Thing()
        watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing
        assert watch() is None
        threading.Event().wait()

    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    with pytest.raises(Stopped), Signals(print).taken():
        swallow()


def test_what_else_c_code_swallows_is_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a signal is sent again."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: seen.append(found.exc_type))

    class Thing: ...

    with Signals(print).taken():
        thing = Thing()
        watch = weakref.ref(thing, lambda _: 1 / 0)
        del thing
    assert watch() is None
    assert seen == [ZeroDivisionError]


def test_what_is_ignored_stays_ignored() -> None:
    """A job in the background, or under nohup, is not interrupted after all; a host's own handler stays in charge."""
    seen: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, lambda number, _: seen.append(number))
    with Signals(print).taken() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        signals.run(asyncio.sleep(0))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert seen == [signal.SIGHUP]


def test_held_signals_come_after() -> None:
    """The block ends first; of several signals the first one counts; without one nothing happens."""
    done: list[str] = []

    def work() -> None:
        with Signals(print).taken() as signals:
            with signals.held():
                done.append("quiet")
            with signals.held():
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
                done.append("safe")
            done.append("never")

    with pytest.raises(Stopped) as stopped:
        work()
    assert stopped.value.number == signal.SIGTERM
    assert done == ["quiet", "safe"]


def test_a_held_signal_outlives_an_error() -> None:
    """A block that fails after the signal still ends in it."""

    def work() -> None:
        with Signals(print).taken() as signals, signals.held():
            signal.raise_signal(signal.SIGINT)
            raise KeyError

    with pytest.raises(Stopped):
        work()


def test_waiting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the end has to wait, a message says why; not when it comes at once, and not twice."""
    said: list[str] = []
    told = threading.Event()
    monkeypatch.setattr(deferral, "SAY_AFTER_S", 0.0)

    def say(text: str) -> None:
        said.append(text)
        told.set()

    before = threading.enumerate()

    def announced() -> None:
        """All has been said that will be."""
        for thread in set(threading.enumerate()) - set(before):
            joined(thread)

    def work(*, long: bool) -> None:
        with Signals(say).taken() as signals, signals.held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            if long:
                announced()
            assert told.is_set() == long

    with pytest.raises(Stopped):
        work(long=True)
    assert said == [WORDS]
    told.clear()
    monkeypatch.setattr(deferral, "SAY_AFTER_S", 60.0)
    with pytest.raises(Stopped):
        work(long=False)
    announced()
    assert said == [WORDS]


def test_work_is_cancelled_once_and_puts_things_down() -> None:
    """The first signal cancels, the second does not tear the cleaning up; then the command ends by the first."""
    done: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.01)
            done.append("put down")
            raise

    before = dispositions()
    with pytest.raises(Stopped) as stopped, Signals(print).taken() as signals:
        signals.run(work())
    assert (stopped.value.number, done) == (signal.SIGINT, ["put down"])
    assert dispositions() == before


def test_work_that_ends_all_the_same() -> None:
    """A call that finishes in the same moment is finished; another task's cancellation passes through."""

    async def finishes() -> str:
        signal.raise_signal(signal.SIGINT)
        return "done"

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with Signals(print).taken() as signals:
        assert signals.run(finishes()) == "done"
        with pytest.raises(asyncio.CancelledError):
            signals.run(cancelled())
        assert signals.run(asyncio.sleep(0, "again")) == "again"


def test_a_signal_while_the_loop_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes before the loop listens is not lost."""
    current = asyncio.current_task

    def interrupted() -> object:
        signal.raise_signal(signal.SIGTERM)
        return current()

    monkeypatch.setattr(asyncio, "current_task", interrupted)
    with pytest.raises(Stopped), Signals(print).taken() as signals:
        signals.run(asyncio.sleep(60))


def test_other_threads_have_no_signals() -> None:
    """In a thread nothing is taken, and everything works."""
    results: list[object] = []

    def work() -> None:
        with Signals(print).taken() as signals, signals.held():
            results.append(signal.getsignal(signal.SIGINT))
            results.append(signals.run(asyncio.sleep(0, "done")))

    thread = threading.Thread(target=work)
    thread.start()
    joined(thread)
    assert results == [signal.default_int_handler, "done"]


RUN = """
import signal, sys
signal.signal(signal.SIGINT, {disposition})
from kimi_auth.cli.run import _status_of
import os
sys.exit(_status_of(sys.argv[1:], dict(os.environ)))
"""
CHILD = """
import signal, sys
def heard(number, _):
    print("heard", number, flush=True)
    sys.exit(40 + number)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, heard)
print("ready", flush=True)
while True:
    signal.pause()
"""


def started(disposition: str) -> subprocess.Popen[str]:
    """`run` in a session of its own, where no terminal tells the child anything."""
    child = subprocess.Popen(
        [sys.executable, "-c", RUN.format(disposition=disposition), sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("number", ALL)
def test_run_passes_signals_on(number: signal.Signals) -> None:
    """What we are sent the command is sent, and its status is ours."""
    with started("signal.default_int_handler") as child:
        child.send_signal(number)
        out, _ = heard(child)
    assert out == f"heard {int(number)}\n", "the command did not see the signal"
    assert child.returncode == 40 + number


def test_run_leaves_ignored_signals_alone() -> None:
    """A background shell's SIGINT reaches no process; the next signal does."""
    with started("signal.SIG_IGN") as child:
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        out, _ = heard(child)
    assert out == f"heard {int(signal.SIGTERM)}\n"


ON_A_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
from kimi_auth.cli import run
print(run._terminal_tells_both(), flush=True)
waitid = os.waitid
def wait(*args):
    print("waits", flush=True)
    return waitid(*args)
os.waitid = wait
status = run._status_of([sys.executable, "-c", sys.argv[1]], dict(os.environ))
print("status", status, flush=True)
"""
COUNTING = """
import signal, sys
heard = []
def interrupted(*_):
    heard.append(1)
    print("heard", flush=True)
signal.signal(signal.SIGINT, interrupted)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(len(heard)))
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_a_terminals_interrupt_comes_once() -> None:
    """Ctrl-C in the foreground reaches the command from the terminal, and from us not once more."""
    terminal, side = pty.openpty()
    command = [sys.executable, "-c", ON_A_TERMINAL, COUNTING]
    program = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, start_new_session=True)
    os.close(side)
    with os.fdopen(terminal, "r+b", buffering=0) as file, program:
        text = b""

        def until(word: bytes) -> bytes:
            nonlocal text
            while word not in text:
                text += file.read(1)
            return text

        assert b"True" in until(b"ready")
        until(b"waits")
        program.send_signal(signal.SIGSTOP)  # an interrupt that it passed on at once could merge with the terminal's
        os.waitid(os.P_PID, program.pid, os.WSTOPPED | os.WNOWAIT)
        file.write(b"\x03")
        until(b"heard")
        program.send_signal(signal.SIGTERM)  # met, and passed on, after the interrupt
        program.send_signal(signal.SIGCONT)
        until(b"status ")
        assert file.read(1) == b"1"
        assert ended(program) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_emulator_ends_with_us(number: signal.Signals, status: int) -> None:
    """A signal to `kimi-auth emulator` stops the server as well, before we end."""
    program = subprocess.Popen(
        [sys.executable, "-c", EMULATOR], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    with program:
        assert program.stdout is not None
        server = json.loads(program.stdout.readline())["pid"]
        program.send_signal(number)
        assert ended(program) == status
        with pytest.raises(ProcessLookupError):
            os.kill(server, 0)
        assert program.communicate()[1] == b""


EMULATOR = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kimi_auth.cli import main
sys.exit(main(["emulator"]))
"""
