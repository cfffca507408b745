"""Which device this is: the `X-Msh-*` headers of the Kimi CLI, and the id that it shares with us in `device_id`."""

from __future__ import annotations

import os
import platform as system
import re
import secrets
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from .sanitize import clean

__all__ = ["device_headers", "device_id"]

_UNKNOWN = "unknown"
_HEADER_MAX = 200
_ID = re.compile(r"[0-9a-f]{32}")
_TRIES = 8


def device_headers(share_dir: str | Path, *, version: str, platform: str = "kimi_cli") -> dict[str, str]:
    """The headers that go with OAuth and API requests. Printable ASCII each, `unknown` where the system does not say."""
    values = {
        "X-Msh-Platform": platform,
        "X-Msh-Version": version,
        "X-Msh-Device-Name": system.node(),
        "X-Msh-Device-Model": _model(),
        "X-Msh-Os-Version": system.version(),
        "X-Msh-Device-Id": device_id(share_dir),
    }
    return {name: _header_value(value) for name, value in values.items()}


def _model() -> str:
    """Operating system, its release and the machine: "Linux 6.1.0 x86_64", "macOS 15.1 arm64", "Windows 11 AMD64"."""
    name, release = system.system(), system.release()
    if name == "Darwin":
        name, release = "macOS", system.mac_ver()[0] or release
    return f"{name} {release} {system.machine()}"


def _header_value(text: str) -> str:
    ascii_only = text.encode("ascii", "ignore").decode("ascii")
    return clean(ascii_only, 10 * _HEADER_MAX)[:_HEADER_MAX].rstrip() or _UNKNOWN


def device_id(share_dir: str | Path) -> str:
    """32 hex digits that name this device, from `share_dir/device_id`, which is made (0600) when missing or broken.

    Never raises: where nothing can be stored, the id is that of this process.
    """
    path = Path(share_dir) / "device_id"
    try:
        for _ in range(_TRIES):
            found = _read(path)
            if found is None:
                _create(path)
            elif _ID.fullmatch(found):
                return found
            else:
                _remove_broken(path)
    except OSError:
        pass
    return _process_id()


@lru_cache(maxsize=1)
def _process_id() -> str:
    return secrets.token_hex(16)


def _read(path: Path) -> str | None:
    """What the file says, None when there is none; OSError for what is no readable regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        return file.read(100).decode("ascii", "replace").strip().lower()


def _create(path: Path) -> None:
    """Puts a new id at `path` unless somebody else was faster: a complete file is linked there, so nobody reads half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = _beside(path)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if os.geteuid() == 0:
                # What root leaves behind must be readable by the user whose directory it is.
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(secrets.token_hex(16).encode())
        try:
            os.link(new, path)
        except FileExistsError:
            return
        except OSError:
            # A file system without hard links.
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _remove_broken(path: Path) -> None:
    """Takes a broken file away; looked at again after the move, because somebody may have mended it in between."""
    aside = _beside(path)
    try:
        with suppress(FileNotFoundError, FileExistsError):
            path.rename(aside)
            if _ID.fullmatch(_read(aside) or ""):
                os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
