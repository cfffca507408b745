"""The command line: commands, and everything that rich draws."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
