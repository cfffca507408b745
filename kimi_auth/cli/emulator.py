"""`kimi-auth emulator`: starts the emulator, which is a program of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

__all__ = ["add_to", "command"]


def add_to(app: typer.Typer) -> None:
    """Registers the command; its options are the emulator's own."""
    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
    app.command(context_settings=settings)(emulator)


def command(*args: str) -> list[str]:
    """The command line that starts the emulator."""
    return [sys.executable, "-m", "kimi_auth.emulator", *args]


def emulator(args: Annotated[list[str] | None, typer.Argument(metavar="OPTIONS")] = None) -> int:
    """Start a server to try things on, on this machine."""
    child = subprocess.Popen(command(*(args or [])))
    try:
        return child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
