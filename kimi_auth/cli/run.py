"""`kimi-auth run -- CMD...`: a command with a token, and the address that it is for, in its environment.

Key and base URL are set together, so that an inherited base URL of another host never gets the token.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from kimi_auth.cli.errors import CommandNotFound, CommandNotRunnable, Usage
from kimi_auth.cli.opening import components_of, open_default, supply_of
from kimi_auth.cli.renewing import handed_out
from kimi_auth.cli.terminal import Terminal
from kimi_auth.credential.signals import HELD
from kimi_auth.credential.single_flight import drain
from kimi_auth.home import KINDS, Home
from kimi_auth.selection import ACCOUNT_VARIABLES, API_KEY, ARGUMENT, DEFAULT, LENT, PASSED_ON, lent_mark
from kimi_auth.support.language import tr
from kimi_auth.token import Token, key_fingerprint, lifetime_s

if TYPE_CHECKING:
    from kimi_auth.components import Components
    from kimi_auth.session import Session

__all__ = ["run", "with_pair"]

ENDING = "_API_KEY"
NAME = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")

PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores at its start; a command has to find them as the shell left them."""

PATH_ADDED = {"ANTHROPIC": "/v1"}
"""What a client appends to its base URL by itself, where the platform's API base has it already."""


def run(
    out: Terminal,
    *,
    command: list[str],
    platform: str | None,
    account: str | None = None,
    home: str | None,
    env: list[str],
    proxy: bool = False,
    brokered: bool = False,
) -> int:
    """Runs a command with KIMI_API_KEY and KIMI_BASE_URL, and those of `env`; returns its exit status. With `proxy` or
    `brokered` as `kimi_auth.cli.served_run` says."""
    if not command:
        raise Usage(tr("run needs a command"), hint=tr("for example: kimi-auth run -- env"))
    for name in env:
        if not NAME.fullmatch(name):
            words = tr("--env: {name} is not the name of a key's variable", name=ascii(name)[:80])
            raise Usage(words, hint=tr("for example: kimi-auth run --env OPENAI_API_KEY -- env"))
    if proxy and brokered:
        raise Usage(tr("--proxy and --brokered cannot be used together"))
    if proxy or brokered:
        return _status_beside(out, command, platform, account, home, env, proxy=proxy)
    session = open_default(platform, home=home, account=account)
    with out.signals.held():
        token = handed_out(session, supply_of(session).token_sync())
        drain()
    environ = marked(dict(os.environ), session, token)
    for name in (API_KEY, *env):
        environ = with_pair(environ, name, token.access_token, session.platform.api_base)
    return _status_of(command, environ)


def _status_beside(
    out: Terminal,
    command: list[str],
    platform: str | None,
    account: str | None,
    home: str | None,
    env: list[str],
    *,
    proxy: bool,
) -> int:
    """Runs the command of `kimi-auth run` beside a proxy or a broker, which ends with it; returns its exit status."""
    from kimi_auth.cli import served_run  # loaded for these two options only

    if not proxy:
        if env:
            raise Usage(tr("--env and --brokered cannot be used together"), hint=tr("use --proxy, which sets a key"))
        with served_run.brokered(out, platform, home, account) as environ:
            return _status_of(command, environ)
    with served_run.proxied(out, platform, home, account) as (key, base):
        environ = served_run.reaching_loopback(os.environ)
        for name in (*served_run.KEYS, *env):
            environ = with_pair(environ, name, key, base)
        return _status_of(command, environ)


def marked(environ: Mapping[str, str], session: Session, token: Token) -> dict[str, str]:
    """The command's environment with the mark of `token` and of the base URL that is for it alone; a child may replace
    a token by the login's own, and not a key of the user's."""
    given, platform = components_of(session).given, session.platform
    is_users = given is not None and given.source != LENT
    ends = platform.oauth is not None
    mark = lent_mark(
        PASSED_ON if is_users else platform.login_name,
        key_fingerprint(token.access_token),
        token.expires_at_s * ends,
        lifetime_s(token) * ends,
        platform.api_base,
    )
    led = dict(environ) if given else _led_to(components_of(session), environ)
    return {**led, LENT: mark}


def _led_to(parts: Components, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a child finds this login, also after another account has come into use."""
    led = _led_home(environ, parts.home)
    is_named = parts.account and parts.source_of_account != DEFAULT
    return {**led, ACCOUNT_VARIABLES[0]: parts.account} if is_named else led


def _led_home(environ: Mapping[str, str], home: Home) -> dict[str, str]:
    """The command's environment, in which it finds the login, where only an option led to its home."""
    if home.source != ARGUMENT:
        return dict(environ)
    others = {kind.variable for kind in KINDS.values()} - {home.kind.variable}
    return {
        **{name: value for name, value in environ.items() if name not in others},
        home.kind.variable: str(home.path),
    }


def with_pair(environ: Mapping[str, str], name: str, token: str, base: str) -> dict[str, str]:
    """The environment with the token in the variable `name` and the base URL in the one that goes with it.

    An `_AUTH_TOKEN` beside them is taken out: it is another party's secret, which clients would send to that URL.
    """
    client = name.removesuffix(ENDING)
    url = base.removesuffix(PATH_ADDED.get(client, ""))
    kept = {key: value for key, value in environ.items() if key != f"{client}_AUTH_TOKEN"}
    return {**kept, name: token, f"{client}_BASE_URL": url}


def _status_of(command: list[str], environ: dict[str, str], *, by: str = "run") -> int:
    """Runs `command` as our child, passes signals on, and returns its status as a shell would. `by`: our own command."""
    pid = 0
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if not pid:
            early.append(number)
        elif number != signal.SIGINT or not _terminal_tells_both():
            os.kill(pid, number)

    # Before the child exists: a signal that comes in between is the child's as well. What the shell ignores stays ignored.
    heard = [number for number in HELD if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        pid = _start(command, environ, by)
        for number in early:
            os.kill(pid, number)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # not reaped while a handler may still signal it
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def _start(command: list[str], environ: dict[str, str], by: str) -> int:
    """Starts `command`, looked up in PATH, and returns its process id. `subprocess` would cost half a start of Python."""
    try:
        return os.posix_spawnp(command[0], command, environ, setsigdef=PYTHON_IGNORES)
    except FileNotFoundError:
        raise CommandNotFound(tr("{by}: there is no command {command!r}", by=by, command=command[0])) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandNotRunnable(
            tr("{by}: {command!r} cannot be run: {reason}", by=by, command=command[0], reason=reason)
        ) from None


def _terminal_tells_both() -> bool:
    """True where Ctrl-C reaches the whole foreground job: the child has had its SIGINT then, and needs no second one."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
