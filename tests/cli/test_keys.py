"""Keys on a real terminal: seen one at a time, told from arrow keys, and the terminal is left as it was."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from house.patience import OwnTime, ended

from kimi_auth.cli import keys
from kimi_auth.cli.keys import Keys, leaves
from kimi_auth.testing.emulator import Emulator


class Desk:
    """A pseudo terminal: `keyboard` is where a person types, `screen` what the program reads."""

    def __init__(self) -> None:
        self.keyboard, self.screen = pty.openpty()

    def modes(self) -> tuple[bool, bool, bool]:
        """Whether keys are echoed, lines are edited, and Ctrl-C is a signal."""
        flags = termios.tcgetattr(self.screen)[3]
        return bool(flags & termios.ECHO), bool(flags & termios.ICANON), bool(flags & termios.ISIG)

    def press(self, pressed: bytes) -> None:
        os.write(self.keyboard, pressed)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() if fd == made.screen else os.getpgrp() + 1)
    yield made
    for descriptor in (made.keyboard, made.screen):
        with suppress(OSError):
            os.close(descriptor)


async def ends(listener: Keys, within_s: float = 0.3) -> bool:
    """Whether the person leaves within this time of our own; a long one is only waited for when that does not happen."""
    own, left = OwnTime(), asyncio.ensure_future(listener.left())
    while True:
        await asyncio.wait({left}, timeout=0.05)  # at least once: it begins only here
        if left.done() or own.read() >= within_s:
            break
    if not left.done():
        left.cancel()
        await asyncio.wait({left})
        return False
    left.result()
    return True


@pytest.mark.parametrize("pressed", [b"q", b"Q", b"\x1b", b"\x1b\x1b", b"abcq", b"\x1b[Aq"])
def test_leaving(desk: Desk, pressed: bytes) -> None:
    """q, Q and Esc leave, also after other keys."""

    async def act() -> bool:
        with Keys(desk.screen).listening() as listener:
            desk.press(pressed)
            return await ends(listener, 5)

    assert asyncio.run(act())


@pytest.mark.parametrize("pressed", [b"x", b"\x1b[A", b"\x1bOP", b"\x1b[1;5D", b"\x1bq", b"\n"])
def test_other_keys(desk: Desk, pressed: bytes) -> None:
    """Arrows, function keys, keys with Alt and everything else mean nothing."""

    async def act() -> bool:
        with Keys(desk.screen).listening() as listener:
            desk.press(pressed)
            return await ends(listener)

    assert not asyncio.run(act())


def test_an_escape_that_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Esc whose sequence comes late is no key, if it comes within the time that it is given."""
    monkeypatch.setattr(keys, "ESCAPE_S", 5.0)

    async def act() -> bool:
        with Keys(desk.screen).listening() as listener:
            desk.press(b"\x1b")
            asyncio.get_running_loop().call_later(0.05, desk.press, b"[A")
            return await ends(listener)

    assert not asyncio.run(act())


def test_keys_between_two_waits_are_not_lost(desk: Desk) -> None:
    """A key that is pressed while no reader listens is seen by the next one."""

    async def act() -> tuple[bool, bool]:
        with Keys(desk.screen).listening() as listener:
            first = await ends(listener, 0.05)
            desk.press(b"q")
            return first, await ends(listener, 5)

    assert asyncio.run(act()) == (False, True)


def test_the_terminal_is_left_as_it_was(desk: Desk) -> None:
    """Keys come unseen and one by one while the block runs, Ctrl-C stays Ctrl-C, and all is put back, whatever happens."""
    before = termios.tcgetattr(desk.screen)

    def fail() -> None:
        with Keys(desk.screen).listening():
            assert desk.modes() == (False, False, True)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert termios.tcgetattr(desk.screen) == before


def test_a_job_that_was_stopped_and_continued(desk: Desk) -> None:
    """A shell gives the terminal back with its own modes: the next wait takes them again."""

    async def act() -> tuple[bool, bool, bool]:
        before = termios.tcgetattr(desk.screen)
        with Keys(desk.screen).listening() as listener:
            termios.tcsetattr(desk.screen, termios.TCSANOW, before)
            await ends(listener, 0.02)
            return desk.modes()

    assert asyncio.run(act()) == (False, False, True)


def test_a_job_in_the_background_keeps_its_hands_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal of another job is neither changed nor read: that would stop us."""
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)

    async def act() -> bool:
        with Keys(desk.screen).listening() as listener:
            assert desk.modes() == (True, True, True)
            desk.press(b"q\n")
            return await ends(listener, 0.1)

    assert not asyncio.run(act())


def test_a_terminal_that_goes_away(desk: Desk) -> None:
    """A window that is closed is no key, and no error."""

    async def act() -> bool:
        with Keys(desk.screen).listening() as listener:
            os.close(desk.keyboard)
            return await ends(listener, 0.2)

    assert not asyncio.run(act())


@pytest.mark.parametrize("stdin", [None, "pipe", "closed"])
def test_where_there_is_no_keyboard(monkeypatch: pytest.MonkeyPatch, stdin: str | None) -> None:
    """Without a terminal no key can cancel; nothing is read."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as file, os.fdopen(write_end, "w"):
        if stdin == "closed":
            file.close()
        monkeypatch.setattr(sys, "stdin", file if stdin else None)

        async def act() -> bool:
            with Keys().listening() as listener:
                return await ends(listener, 0.05)

        assert not asyncio.run(act())


@pytest.mark.parametrize(
    ("data", "left"), [(b"q", True), (b"\x1b[q", False), (b"\x1b[15~", False), (b"\x1b[15~q", True), (b"", False)]
)
def test_what_leaves(data: bytes, left: bool) -> None:
    """A q inside of a sequence is no q."""
    assert leaves(data) == left


@contextmanager
def ending(program: subprocess.Popen[bytes]) -> Iterator[None]:
    """A test that fails does not wait for its program."""
    try:
        yield
    finally:
        program.kill()


def test_q_leaves_a_sign_in(tmp_path: Path) -> None:
    """The whole program on a terminal: the code is shown, q ends it with 130, nothing is stored, the modes are back."""
    terminal, side = pty.openpty()
    before = termios.tcgetattr(side)
    with Emulator(approve="page", interval_s=1) as server:
        env = {**os.environ, **server.env, "KIMI_SHARE_DIR": str(tmp_path), "TERM": "xterm", "BROWSER": "true"}
        command = [sys.executable, "-c", ON_A_TERMINAL]
        program = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
        with os.fdopen(terminal, "r+b", buffering=0) as file, program, ending(program):
            text = b""
            while b"q or Esc cancels" not in text:
                text += file.read(1)
            file.write(b"q")
            while b"start again: kimi-auth login" not in text:
                text += file.read(1)
            assert ended(program) == 130
            assert termios.tcgetattr(side) == before
            os.close(side)
    assert b"Cancelled before it was approved; nothing was stored." in text
    assert not (tmp_path / "credentials" / "kimi-code.json").exists()


ON_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from kimi_auth.__main__ import main
sys.exit(main(["login"]))
"""
