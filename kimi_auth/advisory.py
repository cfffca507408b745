"""A renewal that is due while its token still works: for commands that end soon, and the process that renews for them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from kimi_auth.components import Components
from kimi_auth.selection import STORE
from kimi_auth.token import Token, at_leisure, fingerprint

__all__ = ["is_being_renewed", "is_renewal_due", "renew_detached", "renew_if_due", "successor_of"]

WATCH_S = 0.02

log: logging.Logger = logging.getLogger("kimi_auth.session")


def is_renewal_due(components: Components) -> bool:
    """Whether an advisory renewal is due: the second half of the window has begun, no renewal is under way and no
    backoff forbids one. Nothing is sent."""
    landing = components.credential.inspect()
    token = landing.token
    return (
        landing.state == "expiring"
        and token is not None
        and not at_leisure(token, components.age_clock.now_s())
        and not is_being_renewed(components)
    )


def is_being_renewed(components: Components) -> bool:
    """Whether the renewal that is due is under way already: a process holds the credential's lock."""
    return bool(components.store.holder())


def renew_if_due(components: Components) -> None:
    """Renews in this thread if it is due while its token works; signals wait. Never raises for what a server or a disk does."""
    if is_renewal_due(components):
        components.credential.renew_now(components.credential.inspect())


def renew_detached(components: Components) -> Callable[[], bool] | None:
    """Starts an advisory renewal in a process of its own (`kimi_auth.credential.detached`), for a credential in files;
    tells whether it still runs, None where none can."""
    from kimi_auth.credential.detached import renew_detached as start

    platform = components.platform
    names = [*platform.api_base_env, *(platform.oauth.host_env if platform.oauth else ())]
    if not components.is_in_home:
        names += [STORE, *(name for name in components.environ if name.startswith("PG"))]
    try:
        home = components.home.kind.variable
        login = f"{platform.id}@{components.account}" if components.account else platform.id
        pid = start(str(components.share_dir), login, components.environ, names, home)
    except OSError as error:
        log.info("no process for the renewal could be started: %s", error.strerror)
        return None
    return None if pid is None else _reaped(pid)


def successor_of(components: Components, pair: Token, patience_s: float, *, is_coming: Callable[[], bool]) -> Token:
    """The usable pair that replaces `pair` once an advisory renewal in another process has ended; else `pair`. Waits while
    `is_coming`, at most `patience_s` seconds."""
    until_s = components.clock.monotonic_s() + patience_s
    while True:
        comes = is_coming() and components.clock.monotonic_s() < until_s  # asked first: what it wrote is read after it
        token = components.credential.inspect().token
        if token is not None and fingerprint(token) != fingerprint(pair):
            return token
        if not comes:
            return pair
        components.clock.sleep(WATCH_S)


def _reaped(pid: int) -> Callable[[], bool]:
    """Has a thread wait for the process of an advisory renewal; returns how to ask whether it still runs."""
    reaper = threading.Thread(target=os.waitpid, args=(pid, 0), name="kimi-auth reaper", daemon=True)
    try:
        reaper.start()
    except RuntimeError:  # no thread can start: the zombie stays until this process ends
        return lambda: False
    return reaper.is_alive
