"""The fixtures `kimi_clock`, `kimi_login` and `kimi_emulator`, which pytest finds by the package's entry point.

Until a test asks for one of them nothing is loaded but this module. `-p no:kimi_auth` leaves the plugin out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kimi_auth.clock import VirtualClock

    from .emulator import Emulator
    from .login import Login

__all__ = ["kimi_clock", "kimi_emulator", "kimi_login"]


@pytest.fixture
def kimi_clock() -> VirtualClock:
    """Time that stands still until the test says `kimi_clock.advance(seconds)`, or the code under test sleeps on it."""
    from kimi_auth.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def kimi_login(kimi_clock: VirtualClock, tmp_path: Path) -> Login:
    """A session that is signed in at a server in memory, in the time of `kimi_clock`: no network, no file outside of
    `tmp_path`, the same tokens in every run (`access-1`, `access-2`, ...)."""
    from .login import Login

    return Login(kimi_clock, tmp_path / "kimi-auth")


@pytest.fixture
def kimi_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A Kimi on a loopback port. The environment of the test names it, and a share directory of its own, so that `Session()`
    and every program that the test starts use it; sign-ins are approved at once. The developer's own `KIMI_...` variables, a
    key among them, are taken out until the test ends. Raises ImportError without the extra `emulator`."""
    from kimi_auth.selection import selecting_variables

    from .emulator import Emulator

    for name in selecting_variables(os.environ):
        monkeypatch.delenv(name)
    share_dir = tmp_path / "kimi-auth-share"
    with Emulator(approve="auto", approve_after_s=0, interval_s=0, share_dir=str(share_dir)) as emulator:
        for name, value in emulator.env.items():
            monkeypatch.setenv(name, value)
        yield emulator
