"""The command line as a process: signals, the demo, and what it says when an optional part is missing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S, OwnTime, ended

from kimi_auth.testing.emulator import Emulator

SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kimi_auth.__main__ import main
sys.exit(main(["login", *sys.argv[1:]]))
"""


def rest_of(descriptor: int) -> bytes:
    text = b""
    try:
        while part := os.read(descriptor, 65536):
            text += part
    except OSError:
        pass  # the other end of a terminal is gone
    os.close(descriptor)
    return text


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("terminal", [True, False])
def test_signals_end_a_login_at_once(tmp_path: Path, number: int, status: int, terminal: bool) -> None:
    """Ctrl-C, a service manager, a closed window: their exit status, nothing stored, no traceback, on a terminal or off."""
    with Emulator(approve="page", interval_s=1) as server:
        env = {**os.environ, **server.env, "KIMI_SHARE_DIR": str(tmp_path), "TERM": "xterm", "BROWSER": "true"}
        leader, follower = pty.openpty() if terminal else os.pipe()
        stdin = follower if terminal else subprocess.DEVNULL
        child = subprocess.Popen([sys.executable, "-c", SCRIPT], env=env, stdin=stdin, stdout=follower, stderr=follower)
        assert server.state.wait_for(lambda state: state.counts["polls"] >= 1, NO_LIMIT_S)
        own = OwnTime()
        child.send_signal(number)
        status_of_it = ended(child)
        took_s = own.read()
        os.close(follower)
        text = rest_of(leader)
    assert status_of_it == status, "the child did not see the signal, or did not mean it"
    assert b"Traceback" not in text
    assert took_s < 5
    assert not (tmp_path / "credentials" / "kimi-code.json").exists()
    assert not (tmp_path / "config.toml").exists()


def test_no_command_line_has_the_user_code(tmp_path: Path) -> None:
    """What `ps` shows of the browser that a sign-in opens is the page that asks for the code."""
    script, shown = tmp_path / "browser", tmp_path / "shown"
    os.mkfifo(shown)
    script.write_text(f'#!/bin/sh\nprintf %s "$*" > "{shown}"\n')
    script.chmod(0o755)
    with Emulator(approve="page", interval_s=1) as server:
        env = {**os.environ, **server.env, "KIMI_SHARE_DIR": str(tmp_path), "TERM": "dumb", "BROWSER": f"{script} %s"}
        leader, follower = pty.openpty()
        streams = {"stdin": follower, "stdout": follower, "stderr": follower}
        child = subprocess.Popen([sys.executable, "-c", SCRIPT], env=env, **streams)
        arguments = shown.read_text()  # there when the browser has been started
        assert server.state.wait_for(lambda state: state.counts["polls"] >= 1, NO_LIMIT_S)
        child.send_signal(signal.SIGTERM)
        child.wait()
        os.close(follower)
        code = server.state.snapshot()["codes"][0]["user_code"]
        assert arguments.startswith(server.base_url)
    assert code in rest_of(leader).decode()
    assert code not in arguments


def test_the_demo_shows_the_whole_life(tmp_path: Path) -> None:
    """kimi-auth demo, not on a terminal: it ends with 0, shows a renewal, and leaves nothing behind."""
    env = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kimi_auth", "demo"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "renewed in the background" in done.stdout
    assert "families alive at the server: 0" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["demo", "emulator"])
def test_without_the_extra_there_is_one_line(tmp_path: Path, name: str) -> None:
    """No uvicorn: the command that installs it, and exit 2."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('not here', name='uvicorn')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kimi_auth", name], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "kimi-auth[emulator]" in done.stderr
    assert done.stderr.count("\n") == 1


AT_THE_END = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > 0, gc.isenabled()))
from kimi_auth.cli import main
main({argv})
"""


@pytest.mark.parametrize(
    ("name", "argv", "said"),
    [
        ("status", "", "True False"),
        ("platforms", "", "True True"),
        ("status", "['status']", "False True"),
    ],
    ids=["brief", "another", "not its own"],
)
def test_garbage_is_left_in_a_process_of_its_own(tmp_path: Path, name: str, argv: str, said: str) -> None:
    """At its end the program leaves its garbage where it is, and a brief command looks for none before; called within another
    program it leaves that one's collector alone."""
    line = [sys.executable, "-c", AT_THE_END.format(argv=argv), name]
    environ = {**os.environ, "KIMI_SHARE_DIR": str(tmp_path)}
    done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, said)
