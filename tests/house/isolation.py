"""No test sees the home directory, the environment or the login of the user who runs it.

Every test has a HOME of its own, and its share dir there. The real `~/.kimi` is looked at before and after the run: what
changed there fails the run.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from house.patience import until

COUNT = itertools.count(1)
END_S = 75.0
"""The longest that a renewal takes, in own seconds: a request's deadline, and some."""

INHERITED = (signal.SIGHUP, signal.SIGTERM)
"""Signals that a caller may have told us to ignore, as `nohup` does with SIGHUP: programs that tests start would, too."""

FOREIGN = ("KIMI_", "OPENAI_", "NO_COLOR", "FORCE_COLOR", "BROWSER", "http_proxy", "https_proxy", "all_proxy")
OUTSIDE = pytest.StashKey[dict[str, str]]()
HOMES = pytest.StashKey[Path]()
BEFORE = pytest.StashKey[dict[Path, dict[str, object]]]()
TOUCHED = pytest.StashKey[list[str]]()


def look_at(folder: Path) -> dict[str, object]:
    """What a login would leave in a share dir, as something to compare: inode, size and times, never a content."""
    seen: dict[str, object] = {}
    for path in (folder, *folder.glob("*"), *folder.glob("credentials/*"), *folder.glob("kimi-auth/*")):
        try:
            found = path.lstat()
        except OSError:
            continue
        seen[str(path)] = (found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns)
    return seen


def changes(before: dict[Path, dict[str, object]]) -> list[str]:
    """The paths that are not as they were."""
    touched: list[str] = []
    for folder, was in before.items():
        now = look_at(folder)
        touched += sorted(path for path in was.keys() | now.keys() if was.get(path) != now.get(path))
    return touched


def real_share_dirs(environ: dict[str, str]) -> set[Path]:
    """Where the person who runs the tests keeps a login."""
    named = environ.get("KIMI_SHARE_DIR")
    return {Path.home() / ".kimi", *([Path(named).expanduser()] if named else [])}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # A worker of pytest-xdist's is started by a process that has moved out already.
    outside = getattr(config, "workerinput", {}).get("outside") or dict(os.environ)
    config.stash[OUTSIDE] = outside
    config.stash[BEFORE] = {folder: look_at(folder) for folder in real_share_dirs(outside)}
    homes = tempfile.TemporaryDirectory(prefix="kimi-auth-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(homes.cleanup)
    config.stash[HOMES] = Path(homes.name)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for name in outside:
        if name.lower().startswith(tuple(foreign.lower() for foreign in FOREIGN)):
            patch.delenv(name)
    # Caches are found through HOME, and downloading a browser again for each run would be waste.
    patch.setenv("LANGUAGE", "en")  # a developer may read Chinese; tests of that say so
    patch.setenv("XDG_CACHE_HOME", outside.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
    move_in(config, patch, "between-tests")
    for number in INHERITED:
        if signal.getsignal(number) == signal.SIG_IGN:
            config.add_cleanup(partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["outside"] = node.config.stash[OUTSIDE]


def move_in(config: pytest.Config, patch: pytest.MonkeyPatch, name: str) -> Path:
    """Make `name` a home and let HOME and KIMI_SHARE_DIR name it."""
    home = config.stash[HOMES] / name
    home.mkdir()
    patch.setenv("HOME", str(home))
    patch.setenv("KIMI_SHARE_DIR", str(home / ".kimi"))
    return home


@pytest.fixture(autouse=True)
def home(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This test's home directory, empty; HOME and KIMI_SHARE_DIR (`.kimi` in it, not made yet) name it. A renewal that a
    command left to a process of its own has ended before the next test begins."""
    home = move_in(pytestconfig, monkeypatch, f"test-{next(COUNT)}")
    yield home
    for pid in renewing_in(home):
        wait_for_end(pid)


def renewing_in(home: Path) -> Iterator[int]:
    """The processes that renew by themselves for this home; none where there is no /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"kimi_auth.renewal" not in (process / "cmdline").read_bytes():
                continue
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)


def wait_for_end(pid: int) -> None:
    """Waits until a process that is no child of ours has ended, and ends it if it does not."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            until(
                lambda tick_s: select.select([descriptor], [], [], tick_s)[0],
                f"the end of process {pid}",
                END_S,
            )
        except AssertionError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(descriptor)


@pytest.fixture(scope="session")
def outside(pytestconfig: pytest.Config) -> dict[str, str]:
    """The environment as it was before the tests moved out: for pip and npm, which have caches and settings there."""
    return dict(pytestconfig.stash[OUTSIDE])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    touched = session.config.stash[TOUCHED] = changes(session.config.stash[BEFORE])
    if touched and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for path in config.stash[TOUCHED]:
        terminalreporter.write_line(
            f"FAILED isolation: {path} changed during the run; find the test that left its home, or a Kimi CLI that runs",
            red=True,
        )
