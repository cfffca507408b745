"""Tools for the tests of programs that use kimi-auth: servers, a store in memory, and the clock that they share.

`SimulatedServer` needs no network; `Emulator` (extra `emulator`) is a server on a loopback port. Every name is loaded when it
is first used. Under pytest the fixtures `kimi_login`, `kimi_clock` and `kimi_emulator` are there without an import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kimi_auth.clock import SystemClock, VirtualClock
    from kimi_auth.store import MemoryStore

    from .emulator import Emulator, Fault
    from .login import Login, StaticTokens
    from .simulated_server import Request, SimulatedServer

__all__ = [
    "Emulator",
    "Fault",
    "Login",
    "MemoryStore",
    "Request",
    "SimulatedServer",
    "StaticTokens",
    "SystemClock",
    "VirtualClock",
]

_MODULES = {
    "kimi_auth.clock": ("SystemClock", "VirtualClock"),
    "kimi_auth.store": ("MemoryStore",),
    "kimi_auth.testing.emulator": ("Emulator", "Fault"),
    "kimi_auth.testing.login": ("Login", "StaticTokens"),
    "kimi_auth.testing.simulated_server": ("Request", "SimulatedServer"),
}


def __getattr__(name: str) -> object:
    module = next((module for module, names in _MODULES.items() if name in names), "")
    if not module:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value
