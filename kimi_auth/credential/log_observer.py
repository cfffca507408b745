"""Logs transitions as lines such as `token_lifecycle: inspecting --fresh--> fresh (step 1, 0.8 ms)`, for `--verbose`
and for a program's own log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kimi_auth.machine import Transition

__all__ = ["LogObserver", "log_observer"]

log: logging.Logger = logging.getLogger("kimi_auth.machine")


class LogObserver:
    """A machine `Observer` that logs each transition at DEBUG to the logger `kimi_auth.machine`.

    Beside its message, a record has the attributes `machine`, `source`, `event`, `target`, `seconds` and `step`, for
    structured handlers. Contexts do not reach observers, so no secret can reach the log from here. If the level is off,
    a transition costs one check of the logger's level.
    """

    def entered(self, machine: str, state: str, activity: str) -> None:
        """Nothing has moved yet."""

    def moved(self, transition: Transition) -> None:
        if log.isEnabledFor(logging.DEBUG):
            at = transition
            log.debug(
                "%s: %s --%s--> %s (step %d, %.1f ms)",
                *(at.machine, at.source, at.event, at.target, at.step, at.seconds * 1000),
                extra=at._asdict(),
            )


def log_observer() -> LogObserver | None:
    """The observer of a program that shows such lines; None for one that does not, whose looks need no walk."""
    return LogObserver() if log.isEnabledFor(logging.DEBUG) else None
