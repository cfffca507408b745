"""For the tests of programs that use kimi-auth: servers, a store in memory, and the clock that they share.

`SimulatedServer` needs no network; `Emulator` (extra `emulator`) is a server on a loopback port. Every name is loaded when it
is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kimi_auth.clock import SystemClock
    from kimi_auth.store import MemoryStore

    from .emulator import Emulator, Fault
    from .simulated_server import Request, SimulatedServer

__all__ = [
    "Emulator",
    "Fault",
    "MemoryStore",
    "Request",
    "SimulatedServer",
    "SystemClock",
]

_MODULES = {
    "kimi_auth.clock": ("SystemClock",),
    "kimi_auth.store": ("MemoryStore",),
    "kimi_auth.testing.emulator": ("Emulator", "Fault"),
    "kimi_auth.testing.simulated_server": ("Request", "SimulatedServer"),
}


def __getattr__(name: str) -> object:
    module = next((module for module, names in _MODULES.items() if name in names), "")
    if not module:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value
