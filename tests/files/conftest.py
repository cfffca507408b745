"""Other users: real ids, a folder that they can all reach, and the command line run with their hands."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.testing.emulator import Emulator

USER, MALLORY = 4711, 4712
"""Two ordinary users without a name in the system's list; an id is all that counts."""

PACKAGES = [Path(path) for path in sys.path if path and not path.startswith(sys.base_prefix)]
"""What this Python imports but its own library, which another one of the same version has, too."""

NOT_NEEDED = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "node_modules",
    "tests",
    "playwright",
    "mypy",
    "mypyc",
    "*__mypyc*",
    "pip",
    "hypothesis",
    "__pycache__",  # and what else comes and goes while other tests run
    ".hypothesis",
    ".coverage*",
    ".edges",
    ".*_cache",
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users; run: sudo make test")


@pytest.fixture
def world() -> Iterator[Path]:
    """A directory of root's that every user can reach; pytest's own lets no one else in."""
    made = Path(tempfile.mkdtemp(prefix="kimi-auth-users-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def _lets_others_in(path: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents) if part.is_dir())


@pytest.fixture(scope="session")
def packages() -> Iterator[str]:
    """What a child imports: a checkout in a directory that is closed to other users is copied to where they can read it."""
    found = [path for path in PACKAGES if path.is_dir()]
    if all(map(_lets_others_in, found)):
        yield os.pathsep.join(map(str, found))
        return
    made = Path(tempfile.mkdtemp(prefix="kimi-auth-packages-", dir="/var/tmp"))
    made.chmod(0o755)
    try:
        copies = [made / str(number) for number, _ in enumerate(found)]
        for path, copy in zip(found, copies, strict=True):
            shutil.copytree(path, copy, ignore=NOT_NEEDED)
            copy.chmod(0o755)
            compileall.compile_dir(copy, quiet=2)  # or each command would compile all of it anew
        yield os.pathsep.join(map(str, copies))
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _runs(python: str, packages: str) -> bool:
    test = [python, "-c", "import termios, kimi_auth, pydantic, typer"]
    try:
        done = subprocess.run(test, user=USER, env={"PYTHONPATH": packages}, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.fixture(scope="session")
def python(packages: str) -> str:
    """A Python with our packages that every user can run: this one, or the system's where this one lies in a home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    here = (sys.executable, f"/usr/local/bin/{name}", f"/usr/bin/{name}")
    found = next((one for one in here if _runs(one, packages)), None)
    if found is None:
        pytest.skip(f"other users cannot run {sys.executable}; run: apt-get install {name}")
    return found


@pytest.fixture
def home(world: Path) -> Path:
    """The home directory of `USER`."""
    return made_by(USER, world / "home")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(approve="auto", approve_after_s=0.0, interval_s=0) as server:
        yield server


@pytest.fixture
def child_environment(packages: str) -> dict[str, str]:
    """For a Python that imports what this one does, and measures nothing: it may not write where we may."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV", "KIMI_"))}
    return kept | {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def kimi(child_environment: dict[str, str], emulator: Emulator, home: Path, python: str) -> Callable[..., Any]:
    """Runs the program as a user, `USER` unless it is said, with the share dir in that home."""

    def run(
        *args: str,
        uid: int = USER,
        share: Path | None = None,
        prefix: tuple[str, ...] = (),
        umask: int = 0o022,
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        env = {**child_environment, **emulator.env, "HOME": str(home), "KIMI_SHARE_DIR": str(share or home / ".kimi")}
        done = subprocess.run(
            [*prefix, python, "-m", "kimi_auth", *args],
            env=env | environ,
            user=uid,
            group=uid,
            extra_groups=[],
            umask=umask,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    return run


def made_by(uid: int, path: Path, content: str | None = None, *, mode: int | None = None) -> Path:
    """A directory, or a file with that content, as that user would have made it."""
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    os.chown(path, uid, uid)
    path.chmod(mode if mode is not None else 0o755 if content is None else 0o600)
    return path


def linked_by(uid: int, path: Path, target: Path | str) -> Path:
    """A symbolic link of that user."""
    path.symlink_to(target)
    os.chown(path, uid, uid, follow_symlinks=False)
    return path
