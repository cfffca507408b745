"""Whether the owner of a claim is certainly dead: real processes and namespaces, and a kernel that says little."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.store import CredentialStore, owners
from kimi_auth.store.owners import Owner

FP = "0123456789abcdef"
BOOT = "boot-a"

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel shows no processes here")


def me() -> Owner:
    return owners.this_process(BOOT)


def owner_of(pid: int) -> Owner:
    return me()._replace(pid=pid, started=owners._system().started(pid))


@contextmanager
def child(code: str = "import time; print(1, flush=True); time.sleep(600)") -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it runs."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


# --- owners, each with the claim that it left open ---------------------------------------------------------------------


@contextmanager
def alive() -> Iterator[Owner]:
    with child() as process:
        yield owner_of(process.pid)


@contextmanager
def this_very_process() -> Iterator[Owner]:
    yield me()


@contextmanager
def stopped() -> Iterator[Owner]:
    with child() as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        yield owner_of(process.pid)


@contextmanager
def dead() -> Iterator[Owner]:
    with child() as process:
        owner = owner_of(process.pid)
        process.kill()
    yield owner


@contextmanager
def zombie() -> Iterator[Owner]:
    with child() as process:
        owner = owner_of(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield owner


FIRST_THREAD_ENDS = """
import ctypes, threading, time
def work():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print(1, flush=True)
    time.sleep(600)
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall(%d, 0)
"""
EXIT = {"x86_64": 60, "aarch64": 93}


@contextmanager
def without_its_first_thread() -> Iterator[Owner]:
    """The leader of the process is a zombie, and another of its threads goes on."""
    number = EXIT.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of the exit call of this processor is not known")
    with child(FIRST_THREAD_ENDS % number) as process:
        yield owner_of(process.pid)


@contextmanager
def reused() -> Iterator[Owner]:
    """Another process has its number by now."""
    yield me()._replace(started="1")


@contextmanager
def reused_by_one_of_unknown_age() -> Iterator[Owner]:
    yield me()._replace(started="")


@contextmanager
def another_boot() -> Iterator[Owner]:
    with dead() as owner:
        yield owner._replace(boot="boot-b")


@contextmanager
def unknown_boot() -> Iterator[Owner]:
    with dead() as owner:
        yield owner._replace(boot="")


@contextmanager
def another_namespace() -> Iterator[Owner]:
    with dead() as owner:
        yield owner._replace(namespace="1/2")


@contextmanager
def unknown_namespace() -> Iterator[Owner]:
    with dead() as owner:
        yield owner._replace(namespace="")


@contextmanager
def unknown_process() -> Iterator[Owner]:
    yield Owner()


OWNERS: dict[str, tuple[Callable[[], Any], str]] = {
    "alive": (alive, "in_flight"),
    "this very process": (this_very_process, "in_flight"),
    "stopped": (stopped, "in_flight"),
    "dead": (dead, "interrupted"),
    "a zombie": (zombie, "interrupted"),
    "alive, without its first thread": (without_its_first_thread, "in_flight"),
    "its number was given to another process": (reused, "interrupted"),
    "its number is taken, and its age unknown": (reused_by_one_of_unknown_age, "in_flight"),
    "dead, of another boot": (another_boot, "in_flight"),
    "dead, of an unknown boot": (unknown_boot, "in_flight"),
    "dead, of another PID namespace": (another_namespace, "in_flight"),
    "dead, of an unknown PID namespace": (unknown_namespace, "in_flight"),
    "unknown": (unknown_process, "in_flight"),
}


@needs_proc
@pytest.mark.parametrize("name", OWNERS)
def test_what_an_owner_s_fate_makes_of_its_claim(place: Any, name: str) -> None:
    """Only the owner that is certainly dead leaves a claim that is recovered at once; every other one may be sending."""
    made_by, state = OWNERS[name]
    store: CredentialStore = place.store
    with made_by() as owner:
        place.leave(FP, owner)
        with store.locked(0.0):
            found = store.claim(FP)
        waits = 75.0 if state == "in_flight" else 0.0
        if place.clock_goes_on:
            assert waits - 60.0 < found.wait_s <= waits
        else:
            assert found.wait_s == waits
        assert found.state == state


@needs_proc
def test_an_unknown_namespace_here(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that do not know where they are may be in two containers."""
    monkeypatch.setattr(owners._Linux, "namespace", lambda _self: "")
    with dead() as owner:
        place.leave(FP, owner)
        assert place.store.peek_claim(FP).state == "in_flight"


HIDDEN = {
    "no /proc": lambda proc: None,
    "other users' processes are hidden": lambda proc: (proc / "self").mkdir(parents=True),
    "a /proc of another namespace": lambda proc: status(proc, "NSpid:\t4711\t{pid}\n"),
    "a kernel without NSpid": lambda proc: status(proc, "Pid:\t{pid}\n"),
    "stat is cut off": lambda proc: (status(proc, "NSpid:\t{pid}\n"), stat(proc, "7 (a b) c) S 1")),
}


def status(proc: Path, text: str) -> None:
    (proc / "self").mkdir(parents=True)
    (proc / "self/status").write_text("Name:\tx\n" + text.format(pid=os.getpid()))


def stat(proc: Path, text: str) -> None:
    for at in (proc / "7", proc / "7/task/7"):
        at.mkdir(parents=True, exist_ok=True)
        (at / "stat").write_text(text)


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_a_proc_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: Any) -> None:
    """An unreadable owner is unknown: it counts as alive, and the kernel's word that there is none still counts."""
    proc = tmp_path / "proc"
    hide(proc)
    hidden = owners._Linux(proc)
    assert (hidden.started(7), hidden.is_zombie(7)) == ("", False)
    assert hidden.namespace() == ""
    monkeypatch.setattr(owners, "_system", lambda: hidden)
    assert not owners.is_certainly_dead(Owner(BOOT, "n", os.getpid(), "5"), Owner(BOOT, "n", os.getpid(), "5"))
    with dead() as owner:
        assert owners.is_certainly_dead(owner._replace(namespace="n"), Owner(BOOT, "n"))


def test_a_name_with_parentheses(tmp_path: Path) -> None:
    """A process may call itself what it likes: the fields are counted from the last parenthesis on (proc(5))."""
    status(tmp_path, "NSpid:\t{pid}\n")
    stat(tmp_path, "7 (x) Z 9 (y)) " + " ".join(["Z", *map(str, range(4, 30))]))
    linux = owners._Linux(tmp_path)
    assert linux.started(7) == "22"
    assert linux.is_zombie(7)


def test_a_kernel_without_time_namespaces(tmp_path: Path) -> None:
    """The PID namespace alone is known then."""
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").touch()
    assert owners._Linux(tmp_path).namespace() == str((tmp_path / "self/ns/pid").stat().st_ino)


@needs_proc
def test_another_user_s_process_is_alive() -> None:
    """It may not be asked for signals, and it is there all the same."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user; OWNERS covers what does not need one")
    code = f"""
import os
from kimi_auth.store.owners import Owner, is_certainly_dead, this_process
os.setuid(65534)
me = this_process({BOOT!r})
print(is_certainly_dead(Owner(me.boot, me.namespace, {os.getpid()}, {me().started!r}), me))
print(is_certainly_dead(Owner(me.boot, me.namespace, {os.getpid()}, "1"), me))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@needs_proc
def test_in_another_pid_namespace(tmp_path: Path) -> None:
    """A process in a namespace of its own knows nothing of ours, whichever /proc it sees; of its own it does."""
    unshare = shutil.which("unshare")
    code = f"""
import os, subprocess
from kimi_auth.store.owners import Owner, is_certainly_dead, this_process
me = this_process({BOOT!r})
print(me.namespace == {me().namespace!r}, bool(me.started), end=" ")
print(is_certainly_dead(Owner({BOOT!r}, {me().namespace!r}, 999999, "5"), me), end=" ")
print(is_certainly_dead(me._replace(pid=999999), me), is_certainly_dead(me, me))
"""
    if os.geteuid() != 0 or not unshare:
        pytest.skip("making namespaces needs root and unshare(1); OWNERS covers the judgement")
    said = []
    for options in (["--pid", "--fork"], ["--pid", "--fork", "--mount-proc"]):
        done = subprocess.run(
            [unshare, *options, sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        if "unshare" in done.stderr:
            pytest.skip(f"namespaces are not permitted here: {done.stderr.strip()}")
        said.append(done.stdout.split())
    # With our /proc the child does not even believe its own start time; with its own it knows itself.
    assert said == [["False", "False", "False", "True", "False"], ["False", "True", "False", "True", "False"]]


# --- macOS -------------------------------------------------------------------------------------------------------------


class DarwinLibrary:
    """libSystem as far as it is asked: process 7 runs, 8 is a zombie, everything else is another user's."""

    def proc_pidinfo(self, pid: int, flavour: int, _arg: object, buffer: Any, size: int) -> int:
        assert (flavour, size) == (3, 136)
        if pid not in {7, 8}:
            return 0
        data = bytearray(size)
        struct.pack_into("=III", data, 0, 0, 5 if pid == 8 else 2, 0)
        struct.pack_into("=QQ", data, 120, 1_800_000_000, 42)
        ctypes.memmove(buffer, bytes(data), size)
        return size


def test_macos_asks_libproc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start time and zombies come from `proc_pidinfo`; a process that it does not tell of is unknown."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: DarwinLibrary())
    system = owners._system()
    assert system.namespace() == "-"
    assert [system.started(pid) for pid in (7, 8, 9)] == ["1800000000.000042", "1800000000.000042", ""]
    assert [system.is_zombie(pid) for pid in (7, 8, 9)] == [False, True, False]


@pytest.mark.parametrize("library", [object(), None])
def test_macos_without_libproc(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    """A system library that lacks the call, or cannot be had, tells nothing."""

    def load(_name: object) -> object:
        if library is None:
            raise OSError
        return library

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert (owners._system().started(7), owners._system().is_zombie(7)) == ("", False)


# --- what a claim holds of it --------------------------------------------------------------------------------------------


def test_a_thread_is_its_process(place: Any) -> None:
    """A thread that meets a claim of its own process, which another thread has open, lets it be."""
    store: CredentialStore = place.store
    found = []
    place.leave(FP, me())

    def meet() -> None:
        with store.locked(0.0):
            found.append(store.claim(FP).state)

    thread = threading.Thread(target=meet)
    thread.start()
    thread.join()
    assert found == ["in_flight"]


def test_a_host_name_is_bounded_and_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of a claim has a bounded size, and text for people has no controls."""
    monkeypatch.setattr(owners, "_node_name", lambda: "\t\u200da\u00a0b" + "\U0001f600" * 500)
    assert owners.host_name() == "ab" + "\U0001f600" * 62
