"""For the tests of programs that use kimi-auth: the simulated server here, and the emulator in `emulator`."""

from __future__ import annotations

from kimi_auth.testing.simulated_server import Request, SimulatedServer

__all__ = [
    "Request",
    "SimulatedServer",
]
