"""Asks for a secret that is typed unseen, also after Ctrl-Z and `fg`: a shell gives the terminal back with its echo on."""

from __future__ import annotations

import sys
import termios
from contextlib import suppress

import typer

from kimi_auth.cli.job_control import JobControl, in_foreground

__all__ = ["hidden_prompt"]


def hidden_prompt(words: str) -> str:
    """Asks for a line that a person types unseen, at the terminal of standard input. Raises typer.Abort at its end, and on
    Ctrl-C."""
    fd = sys.stdin.fileno()

    def come_back() -> None:
        if in_foreground(fd):
            _echo(fd, is_on=False)
            sys.stderr.write(f"{words}: ")
            sys.stderr.flush()

    with JobControl(lambda: _echo(fd, is_on=True), come_back).taken():
        return str(typer.prompt(words, hide_input=True, err=True))


def _echo(fd: int, *, is_on: bool) -> None:
    with suppress(termios.error):
        modes = termios.tcgetattr(fd)
        modes[3] = modes[3] | termios.ECHO if is_on else modes[3] & ~termios.ECHO
        termios.tcsetattr(fd, termios.TCSANOW, modes)
