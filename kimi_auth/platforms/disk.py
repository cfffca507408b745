"""Reading and replacing small files: never hanging on a pipe, never leaving half a file, durable when it returns."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kimi_auth.errors import ConfigError

__all__ = ["errors_at", "make_private_dir", "nearest", "probe", "read_regular", "remove_durable", "write_durable"]

_STALE_S = 3_600.0
_PROBE_BYTES = 16_384


@contextmanager
def errors_at(path: Path) -> Iterator[None]:
    """What the operating system refuses inside becomes a `ConfigError` about `path`."""
    try:
        yield
    except OSError as exc:
        where = exc.filename if isinstance(exc.filename, str) else path
        raise ConfigError(f"{where}: {exc.strerror or exc}; nothing was changed") from exc


def read_regular(path: Path, *, bytes_max: int, follow: bool = True) -> bytes | None:
    """The bytes of a regular file, None if there is none. Raises `ConfigError` for anything else that is in place."""
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigError(f"{path}: not a regular file", hint="move it away and try again")
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise ConfigError(f"{path}: larger than {bytes_max} bytes")
    return content


def make_private_dir(path: Path) -> None:
    """The directory, made with mode 0700 if it is missing. One that is there keeps its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _sync_dir(path.parent)


def write_durable(path: Path, content: bytes, *, mode: int, before_replace: Callable[[], bool] = lambda: True) -> bool:
    """Replaces the file at `path` (no symlink) as a whole and durably; written by root it keeps its owner.

    `before_replace` is asked when the new content is on disk and the old one still in place: False leaves all as it was.
    """
    prefix = f".{path.name}."
    fd, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(fd, mode)
            _keep_owner(fd, path)
            os.fsync(fd)
            now_s = os.fstat(fd).st_mtime
        if not before_replace():
            return False
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_dir(path.parent)
    for left in path.parent.glob(f"{prefix}*.tmp"):
        # Left by a writer that was killed; younger ones may belong to one that lives.
        with suppress(OSError):
            if left.lstat().st_mtime < now_s - _STALE_S:
                left.unlink()
    return True


def remove_durable(path: Path) -> None:
    """The file at `path` is gone when this returns, also after a power cut."""
    path.unlink(missing_ok=True)
    _sync_dir(path.parent)


def probe(directory: Path) -> None:
    """Raises `OSError` if a small file cannot be made in the directory. Leaves nothing there."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(_PROBE_BYTES))


def nearest(directory: Path) -> Path:
    """The directory, or the one above it in which it is still to be made."""
    while not os.path.lexists(directory):
        directory = directory.parent
    return directory


def _keep_owner(fd: int, path: Path) -> None:
    if os.geteuid() == 0:
        model = path if path.exists() else path.parent
        os.fchown(fd, model.stat().st_uid, model.stat().st_gid)


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
