"""The two errors of the engine room. Both mean a mistake in code or data, never an expected failure."""

from __future__ import annotations

from collections.abc import Iterable


class MachineError(RuntimeError):
    """A walk broke the rules: a hook answered what its state does not declare, or a caller asked for something
    undeclared."""


class SpecError(ValueError):
    """Machine files that cannot be trusted.

    `problems` holds one line for each: the file, the table in it, the mistake and its fix.
    """

    problems: tuple[str, ...]

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)
