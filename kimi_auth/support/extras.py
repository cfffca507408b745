"""The command that adds an extra of this package, for the tool that installed it.

In an environment of `uv tool` or pipx, `pip install` is another Python's, or there is none. Both tools leave a file of their
own at the root of the environment: uv `uv-receipt.toml`, pipx `pipx_metadata.json`. An environment that uv made has no pip,
and its `pyvenv.cfg` names uv.
"""

from __future__ import annotations

import os
import sys

__all__ = ["EXTRAS", "install"]

EXTRAS = {
    "compression": "brotli",
    "emulator": "starlette",
    "encryption": "cryptography",
    "keyring": "keyring",
    "postgres": "psycopg",
    "qr": "segno",
    "serve": "uvicorn",
    "socks": "socksio",
}
"""Each extra, and a package that it brings."""


def install(extra: str, prefix: str = "") -> str:
    """The command that adds `extra` to the environment at `prefix` (default: this one), and keeps the extras that are there: `uv tool` and
    pipx install from scratch."""
    prefix = prefix or sys.prefix
    if os.path.exists(os.path.join(prefix, "uv-receipt.toml")):  # noqa: PTH110, PTH118 - pathlib would cost every command
        return f"uv tool install '{_with(extra)}'"
    if os.path.exists(os.path.join(prefix, "pipx_metadata.json")):  # noqa: PTH110, PTH118
        return f"pipx install --force '{_with(extra)}'"
    tool = "uv pip" if _is_made_by_uv(prefix) else "pip"
    return f"{tool} install 'kimi-auth[{extra}]'"


def _with(extra: str) -> str:
    from importlib.util import find_spec

    names = sorted({extra, *(name for name, package in EXTRAS.items() if find_spec(package) is not None)})
    return f"kimi-auth[{','.join(names)}]"


def _is_made_by_uv(prefix: str) -> bool:
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:  # noqa: PTH118, PTH123
            return any(line.startswith("uv =") for line in file)
    except OSError:
        return False
