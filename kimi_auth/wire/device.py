"""The identity of this device: the `X-Msh-*` headers of the Kimi CLI, and the id in `device_id`, which both programs
share."""

from __future__ import annotations

import platform as system
import re
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from kimi_auth import files

from .sanitize import clean

__all__ = ["device_headers", "device_id"]

_UNKNOWN = "unknown"
_HEADER_MAX = 200
_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The Kimi CLI's form, or kimi-code's, a UUID with dashes. Each program takes what the other one wrote."""
_TRIES = 8


def device_headers(
    share_dir: str | Path, *, version: str, platform: str = "kimi_cli", dashed: bool = False
) -> dict[str, str]:
    """The device's headers of OAuth and API requests. Printable ASCII each, `unknown` where the system has no value."""
    values = {
        "X-Msh-Platform": platform,
        "X-Msh-Version": version,
        "X-Msh-Device-Name": system.node(),
        "X-Msh-Device-Model": _model(),
        "X-Msh-Os-Version": system.version(),
        "X-Msh-Device-Id": device_id(share_dir, dashed=dashed),
    }
    return {name: _header_value(value) for name, value in values.items()}


def _model() -> str:
    """Operating system, its release and the machine: "Linux 6.1.0 x86_64", "macOS 15.1 arm64", "Windows 11 AMD64"."""
    name, release = system.system(), system.release()
    if name == "Darwin":
        name, release = "macOS", system.mac_ver()[0] or release
    return f"{name} {release} {system.machine()}"


@lru_cache(maxsize=16)
def _header_value(text: str) -> str:
    """`text` as it is sent. Cleaned once a process: every session has the same device."""
    ascii_only = text.encode("ascii", "ignore").decode("ascii")
    return clean(ascii_only, 10 * _HEADER_MAX)[:_HEADER_MAX].rstrip() or _UNKNOWN


def device_id(share_dir: str | Path, *, dashed: bool = False) -> str:
    """The id of this device, from `share_dir/device_id`; creates the file (0600) if it is missing or broken. 32 hex digits,
    or with `dashed` a UUID; either is taken from a file.

    Never raises: where the file cannot be stored, the id lasts for this process.
    """
    path = Path(share_dir) / "device_id"
    try:
        for _ in range(_TRIES):
            found = _read(path)
            if found is None:
                _create(path, dashed=dashed)
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
    """The text of the file, None if it is missing. Raises OSError if it is not a readable regular file."""
    try:
        found = files.read_bounded(path, 100, follow=True)
    except files.TooLarge:
        return ""
    return found.data.decode("utf-8-sig", "replace").strip().lower() if found else None


def _create(path: Path, *, dashed: bool) -> None:
    """Puts a new device id at `path` unless another process was faster. The file appears complete, so no reader sees
    half an id."""
    files.make_directories(path.parent)
    from uuid import uuid4

    made = uuid4()
    files.link_durably(path, (str(made) if dashed else made.hex).encode())


def _remove_broken(path: Path) -> None:
    """Removes a broken `device_id`. Checks it again after the move, because another process may have replaced it in
    between."""
    aside = files.temporary(path)
    try:
        with suppress(FileNotFoundError):
            files.rename(path, aside)
            if _ID.fullmatch(found := _read(aside) or ""):
                files.link_durably(path, found.encode())
    finally:
        files.remove(aside)
