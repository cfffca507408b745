"""What tests of programs that use kimi-auth import: the emulator, a simulated server."""

from __future__ import annotations

from kimi_auth.testing.server import Request, Reuse, SimulatedServer

__all__ = [
    "Request",
    "Reuse",
    "SimulatedServer",
]
