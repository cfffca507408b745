"""For the tests of programs that use kimi-auth: the simulated server here, and the emulator in `emulator`."""

from __future__ import annotations

from kimi_auth.testing.server import Request, Reuse, SimulatedServer

__all__ = [
    "Request",
    "Reuse",
    "SimulatedServer",
]
