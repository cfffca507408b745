"""A share dir whose locks do not exclude: what works is used, nothing is renewed, and it is said why and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.isolation import renewing_in, wait_for_end

from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator

WHY = "does not keep others out: "
STEP = "set KIMI_SHARE_DIR to a directory on a local disk"

LEFT_S = {"fresh": 890.0, "renewal is due": 500.0, "hardly alive": 20.0, "expired": -5.0}

COMMANDS: dict[str, tuple[str, tuple[str, ...], int, bool]] = {
    "fresh": ("fresh", ("token",), 0, True),
    "renewal is due": ("renewal is due", ("token",), 0, True),
    "hardly alive": ("hardly alive", ("token",), 0, True),
    "expired": ("expired", ("token",), 8, False),
    "expired, for a program": ("expired", ("run", "--", "true"), 8, False),
    "another pair is wanted": ("fresh", ("token", "--refresh"), 8, False),
}


SHARE: dict[str, tuple[str, Any]] = {
    "on this host": ("fcntl.flock", lambda *_: None),
    "on other hosts": ("kimi_auth.store.lock.why_shared", lambda _: "server:/home is mounted with nolock"),
}
"""Locks that every process gets, here or elsewhere: the functions to patch."""


@pytest.fixture(params=SHARE)
def share_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, locks do not exclude."""
    return lambda: monkeypatch.setattr(*SHARE[request.param])


@pytest.mark.parametrize(("state", "command", "status", "is_served"), COMMANDS.values(), ids=COMMANDS)
def test_it_serves_what_works_and_renews_nothing(
    kimi: Callable[..., Any],
    emulator: Emulator,
    store: FileStore,
    age: Any,
    share_locks: Callable[[], None],
    state: str,
    command: tuple[str, ...],
    status: int,
    is_served: bool,
) -> None:
    """A token that lives is printed; else exit 8 with the reason and the next step. No request, no claim, no change."""
    kimi("login")
    token = age(LEFT_S[state])
    before, asked = store.path.read_bytes(), len(emulator.state.log)
    share_locks()
    said = kimi(*command)
    assert (said.status, said.out) == (status, f"{token.access_token}\n" if is_served else "")
    if not is_served:
        assert "nothing was sent" in said.err
        assert WHY in said.err
        assert STEP in said.err
        assert said.err.count("\n") == 1
    assert (len(emulator.state.log), store.path.read_bytes()) == (asked, before)
    assert not list(store.path.parent.glob("*.next"))


def test_it_is_said_before_anybody_signs_in(
    kimi: Callable[..., Any], emulator: Emulator, share_locks: Callable[[], None]
) -> None:
    """A login that could never be renewed is not begun."""
    share_locks()
    said = kimi("login", "--no-browser")
    assert (said.status, len(emulator.state.log)) == (8, 0)
    assert WHY in said.err
    assert STEP in said.err


def test_a_logout_is_possible(kimi: Callable[..., Any], share_locks: Callable[[], None]) -> None:
    """Leaving does not need what staying needs."""
    kimi("login")
    share_locks()
    assert kimi("logout").status == 0
    assert kimi("token").status == 3


VOID = "import fcntl, sys; fcntl.flock = lambda *_: None; "
RENEWAL = VOID + "import runpy; del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__')"
COMMAND = (
    VOID + "from kimi_auth.credential import detached; "
    f"detached.python_command = lambda *words: [sys.executable, '-c', {RENEWAL!r}, *words]; "
    "from kimi_auth.__main__ import main; sys.exit(main())"
)
"""The command and the process that it leaves a renewal to, both on a system whose `flock` does nothing."""


def test_another_process(kimi: Callable[..., Any], emulator: Emulator, store: FileStore, age: Any, home: Path) -> None:
    """The same in processes of their own, on a system whose `flock` does nothing: with 200 s left they would renew after the
    token was served and may not; with none they neither serve nor renew."""
    kimi("login")
    asked = len(emulator.state.log)
    seen = []
    for left_s in (200.0, -5.0):
        token = age(left_s)
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "token"], env={**os.environ}, capture_output=True, text=True, check=False
        )
        for pid in renewing_in(home):
            wait_for_end(pid)
        seen.append((done.returncode, done.stdout == f"{token.access_token}\n", WHY in done.stderr))
    assert seen == [(0, True, False), (8, False, True)]
    assert len(emulator.state.log) == asked
