"""Loads what a step needs before it is taken, in a thread: an event loop does not stand still for an import."""

from __future__ import annotations

import sys
from importlib import import_module

from kimi_auth.store import lock
from kimi_auth.support.imports import undisturbed
from kimi_auth.support.loops import in_thread, turn

__all__ = ["TO_ASK", "TO_SERVE", "TO_SIGN_IN", "load"]

MACHINES = "kimi_auth.machine.library"
TO_WALK = (
    MACHINES,
    "kimi_auth.machine.engine",
    "kimi_auth.machine.trace",
    "kimi_auth.login.moving",
    *lock.BEFORE_LOCKS,
)
"""The modules that every use of the stored login may need, but filelock; see `lock.load`."""
TO_SERVE = tuple(f"kimi_auth.clients.{name}" for name in ("bearer", "keeper", "targets"))
TO_ASK = (
    "kimi_auth.wire.models_api",
    "kimi_auth.wire.account_api",
    "kimi_auth.wire.device",
    "kimi_auth.wire.loop_clients",
    "kimi_auth.models.sync",
    "kimi_auth.models.kept_account",
)
TO_SIGN_IN = (*TO_ASK, "kimi_auth.login.device_login", "kimi_auth.wire.oauth", "kimi_auth.wire.located", *TO_SERVE)
"""The modules that running clients, a request for the models and a sign-in need."""


async def load(*modules: str) -> None:
    """Loads modules, and the machines, in a thread: an event loop would stand still meanwhile, for 145 ms of httpx alone.

    filelock alone is loaded here (see `lock.load`), in a turn of the loop of its own: 10 ms. Where all are loaded already it
    returns at once, without a turn of the loop.
    """
    missing = [name for name in (*TO_WALK, *modules) if name not in sys.modules]
    if missing or not import_module(MACHINES).Library.is_loaded():
        await in_thread(lambda: _load(missing))
        lock.load()
        await turn()


def _load(modules: list[str]) -> None:
    with undisturbed():
        for name in modules:
            import_module(name)
        import_module(MACHINES).Library.load()
