"""Mutants that nothing kills, each with the one sentence that says why it is as good as the machine itself."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ARGUMENTS"]

ARGUMENTS: Mapping[str, str] = {}
"""By mutant, as `str` writes it. One that is killed after all must not stand here."""
