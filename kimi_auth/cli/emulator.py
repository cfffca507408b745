"""`kimi-auth emulator`: starts the emulator, which is a program of its own."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.support.children import python_command
from kimi_auth.support.language import tr

__all__ = ["child", "emulator"]


def child(module: str, *args: str) -> list[str]:
    """The command line that starts the emulator's module. Raises Usage where there is no Python to start it in."""
    if (line := python_command(module, *args)) is None:
        raise Usage(
            tr("this program is frozen, or embedded in another one: there is no Python to start"),
            hint=tr("install kimi-auth with pip, pipx or uv"),
        )
    return line


def emulator(args: Annotated[list[str] | None, typer.Argument(metavar="OPTIONS")] = None) -> int:
    """Start a server to try things on, on this machine."""
    server = subprocess.Popen(child("kimi_auth.testing.emulator", *(args or [])))
    try:
        return server.wait()
    except BaseException:
        server.terminate()
        server.wait()
        raise
