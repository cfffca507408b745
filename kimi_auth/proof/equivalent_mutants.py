"""Equivalent mutants: those that survive, each with one sentence that argues why it behaves as the original does."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ARGUMENTS"]

ARGUMENTS: Mapping[str, str] = {}
"""By mutant, as `str` writes it. A mutant that is killed must not be listed here."""
