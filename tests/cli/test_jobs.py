"""A sign-in beside a shell: Ctrl-Z and back, in the background, torn away; the terminal is as the shell left it."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.screen import Screen

from kimi_auth.testing.emulator import Emulator

SIGNED_IN = "Signed in to Kimi Code as Emulated user."
SIZES = pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 15)])
Open = Callable[[int, int], Screen]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(approve="page", interval_s=1) as server:
        yield server


@pytest.fixture
def window(emulator: Emulator, tmp_path: Path) -> Iterator[Open]:
    """`window(columns, lines)` opens a terminal with a shell that waits for a command; `$K` is the program."""
    opened: list[Screen] = []
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened.new\nmv {tmp_path}/opened.new {tmp_path}/opened\n'
    )
    browser.chmod(0o755)

    def start(columns: int, lines: int) -> Screen:
        env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        env |= emulator.env
        env |= {"KIMI_SHARE_DIR": str(tmp_path / "share"), "TERM": "xterm-256color", "BROWSER": str(browser)}
        env["K"] = f"{sys.executable} -m kimi_auth"
        screen = Screen(columns, lines, env)
        opened.append(screen)
        screen.until(lambda: screen.text.endswith("$"))
        screen.type("ulimit -c 0; clear; echo ready\n")
        screen.until(lambda: screen.text == "ready\n$")
        screen.type("clear\n")
        screen.until(lambda: screen.text == "$")
        return screen

    yield start
    for screen in opened:
        screen.close()


def code_of(emulator: Emulator) -> str:
    (code,) = emulator.state.snapshot()["codes"]
    return str(code["user_code"])


def is_drawn(screen: Screen) -> bool:
    """Whether a whole picture waits for a key."""
    return "cancels" in screen.text.rpartition("fg\n")[2] and not screen.cursor_is_shown and not screen.echoes


def is_put_back(screen: Screen) -> bool:
    return screen.text.endswith("$") and screen.cursor_is_shown and screen.echoes


@SIZES
def test_ctrl_z_and_back(window: Open, emulator: Emulator, columns: int, lines: int) -> None:
    """Stopped, cursor and echo are back; continued, the picture is drawn below what the shell printed, and keys are heard."""
    screen = window(columns, lines)
    screen.type("$K login --no-browser\n")
    screen.until(lambda: is_drawn(screen))
    for word in ("first", "second"):
        screen.type("\x1a")
        screen.until(lambda: is_put_back(screen))
        assert "Stopped" in screen.text
        screen.type(f"clear; echo {word}\n")
        screen.until(lambda: f"\n{word}\n" in f"\n{screen.text}\n" and is_put_back(screen))  # noqa: B023
        shown = screen.text
        screen.type("fg\n")
        screen.until(lambda: is_drawn(screen))
        seen = screen.text
        assert code_of(emulator) in seen.replace("\n", " ")
        if lines == 24:
            above = seen.partition("  Sign in to Kimi Code")[
                0
            ]  # the picture is high: the first of these lines may be gone
            assert above.strip()
            assert f"{shown.removesuffix('$')}$ fg\n$K login --no-browser\n\n".endswith(above)
            assert seen.count("Sign in to Kimi Code") == 1
    screen.type("q")
    screen.until(lambda: is_put_back(screen))
    assert "nothing was stored" in " ".join(screen.text.split())


@SIZES
def test_a_login_in_the_background(window: Open, emulator: Emulator, columns: int, lines: int) -> None:
    """`login &` writes lines and leaves keyboard and cursor to the shell; brought to the foreground, it is a picture."""
    screen = window(columns, lines)
    screen.type("$K login --no-browser &\n")
    screen.until(lambda: "valid for 30 min" in " ".join(screen.text.split()))
    assert screen.cursor_is_shown
    assert screen.echoes
    assert b"\x1b[?25l" not in screen.raw
    screen.type("clear; echo typed\n")
    screen.until(lambda: "\ntyped\n" in f"\n{screen.text}\n" and is_put_back(screen))
    screen.type("fg\n")
    screen.until(lambda: is_drawn(screen))
    emulator.state.decide(code_of(emulator), "approved")
    screen.until(lambda: SIGNED_IN in " ".join(screen.text.split()) and is_put_back(screen))


def test_a_picture_that_goes_to_the_background(window: Open, emulator: Emulator) -> None:
    """After Ctrl-Z and `bg` what happens is told in lines, and the terminal stays the shell's."""
    screen = window(80, 24)
    screen.type("$K login --no-browser\n")
    screen.until(lambda: is_drawn(screen))
    screen.type("\x1a")
    screen.until(lambda: is_put_back(screen))
    screen.type("clear; bg\n")
    screen.until(lambda: "login --no-browser &\n" in screen.text and screen.text.endswith("$"))
    drawn = screen.raw.count(b"\x1b[?2026h")
    emulator.state.decide(code_of(emulator), "approved")
    screen.until(lambda: SIGNED_IN in " ".join(screen.text.split()))
    assert "The sign-in was approved.\n" in screen.text
    assert screen.raw.count(b"\x1b[?2026h") == drawn
    assert (screen.cursor_is_shown, screen.echoes) == (True, True)


def test_a_key_stays_unseen(window: Open) -> None:
    """Ctrl-Z at the question for an API key: the shell echoes, and after `fg` the key is asked for again and not shown."""
    screen = window(80, 24)
    screen.type("$K login --platform moonshot-cn\n")
    screen.until(lambda: "API key for" in screen.text and not screen.echoes)
    for _ in range(2):
        screen.type("\x1a")
        screen.until(lambda: is_put_back(screen))
        screen.type("clear\n")
        screen.until(lambda: screen.text == "$" and screen.echoes)
        screen.type("fg\n")
        screen.until(lambda: "API key for" in screen.text.partition("$ fg\n")[2] and not screen.echoes)
    screen.type("sk-a-secret-key")
    screen.type("\x03")
    screen.until(lambda: is_put_back(screen))
    assert "secret" not in screen.text


def test_a_stop_that_no_program_hears(window: Open, emulator: Emulator) -> None:
    """SIGSTOP leaves the terminal as it is; `fg` draws below what the shell printed, not over it."""
    screen = window(80, 24)
    screen.type("$K login --no-browser\n")
    screen.until(lambda: is_drawn(screen))
    child = int(subprocess.run(["pgrep", "-P", str(screen.pid)], capture_output=True, text=True, check=True).stdout)
    os.kill(child, signal.SIGSTOP)
    screen.until(lambda: screen.text.endswith("$"))
    screen.type("clear; echo kept\n")
    screen.until(lambda: "\nkept\n" in f"\n{screen.text}\n" and screen.text.endswith("$"))
    screen.type("fg\n")
    screen.until(lambda: is_drawn(screen))
    above = screen.text.partition("  Sign in to Kimi Code")[0]
    assert above.strip()
    assert "kept\n$ fg\n$K login --no-browser\n\n".endswith(above)
    screen.type("q")
    screen.until(lambda: is_put_back(screen))


def test_ctrl_backslash(window: Open) -> None:
    """SIGQUIT ends the program at once, as it should, with the cursor shown and the keys echoed."""
    screen = window(80, 24)
    screen.type("$K login --no-browser\n")
    screen.until(lambda: is_drawn(screen))
    screen.type("\x1c")
    screen.until(lambda: screen.text.endswith("$") and "Quit" in screen.text)
    assert (screen.cursor_is_shown, screen.echoes) == (True, True)
    screen.type("echo status $?\n")
    screen.wait_for("status 131")


def test_the_link_is_opened_and_copied(window: Open, emulator: Emulator, tmp_path: Path) -> None:
    """o opens the page, without the code, which `ps` would show; c sends the whole link to the clipboard (OSC 52)."""
    screen = window(80, 24)
    screen.type("$K login --no-browser\n")
    screen.until(lambda: is_drawn(screen))
    assert not (tmp_path / "opened").exists()
    screen.type("o")
    screen.until((tmp_path / "opened").exists)
    assert (tmp_path / "opened").read_text() == f"{emulator.base_url}/device"
    screen.type("c")
    screen.wait_for("sent to the clipboard")
    (copied,) = re.findall(rb"\x1b\]52;c;([^\x07]*)\x07", screen.raw)
    assert base64.b64decode(copied).decode() == f"{emulator.base_url}/device?user_code={code_of(emulator)}"
    screen.type("q")
    screen.until(lambda: is_put_back(screen))


@pytest.mark.parametrize(("option", "term"), [("--plain", "xterm-256color"), ("", "dumb")])
def test_plain_lines(window: Open, emulator: Emulator, option: str, term: str) -> None:
    """--plain and TERM=dumb, for screen readers: whole lines, not one escape sequence."""
    screen = window(80, 24)
    before = len(screen.raw)
    screen.type(f"TERM={term} $K login {option} --no-browser\n")
    screen.until(lambda: "valid for 30 min" in " ".join(screen.text.split()))
    emulator.state.decide(code_of(emulator), "approved")
    screen.until(lambda: SIGNED_IN in " ".join(screen.text.split()))
    assert b"\x1b[" not in screen.raw[before:].replace(b"\x1b[?2004h", b"").replace(b"\x1b[?2004l", b"")
