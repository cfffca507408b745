"""`kimi-auth run -- CMD...`: a command with a token in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Annotated

import typer

from kimi_auth.cli.errors import CommandNotFound, CommandNotRunnable, Usage
from kimi_auth.cli.options import PlatformId, open_session, terminal_of
from kimi_auth.flows.signals import HELD

__all__ = ["add_to"]

VARIABLE = "KIMI_API_KEY"


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(run)


def run(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD...", help="The command and its arguments.")
    ] = None,
    platform: PlatformId = None,
) -> int:
    """Run a command with a token in KIMI_API_KEY."""
    out = terminal_of(ctx)
    if not command:
        raise Usage("run needs a command", hint="for example: kimi-auth run -- env")
    session = open_session(platform)
    with out.signals.held():
        token = session.access_token_sync()
        session.drain()
    return _status_of(command, {**os.environ, VARIABLE: token})


def _status_of(command: list[str], environ: dict[str, str]) -> int:
    """Runs `command` as our child, passes signals on, and returns its status as a shell would."""
    try:
        child = subprocess.Popen(command, env=environ)
    except FileNotFoundError:
        raise CommandNotFound(f"run: there is no command {command[0]!r}") from None
    except OSError as error:
        raise CommandNotRunnable(f"run: {command[0]!r} cannot be run: {error.strerror}") from None
    # The terminal sends Ctrl-C to both of us; the child decides what it means, and we report how it ended.
    before = {number: signal.signal(number, lambda sent, _: _pass_on(child, sent)) for number in HELD}
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


def _pass_on(child: subprocess.Popen[bytes], number: int) -> None:
    if number != signal.SIGINT or not os.isatty(0):
        child.send_signal(number)
