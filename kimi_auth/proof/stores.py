"""Where a credential rests, as the parts in which its worlds differ from files that only we write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from kimi_auth.proof.explore import Kind

from . import environment
from .effects import HOLDS, Config, closed, lock_bit
from .hooks_inside import Hook
from .hooks_outside import HOOKS
from .state import Process, Shared, entombed

__all__ = ["APART", "FILES", "Leave", "StoreModel", "Told"]

Leave = Callable[[Config, Shared, Process], Shared]
"""The world after a walk has left the lock."""

Killed = Callable[[Config, Shared, Process], "Shared | None"]
"""The world after a process was killed; None where that cannot happen any more."""

Told = tuple[Kind, Shared, str, tuple[str, ...]]
"""A move of the world around: its kind, the world after it, a sentence, and the rules that it breaks."""

APART = "kimi-code: "
"""Before the name of a rule that the other program breaks. Such faults are counted apart: they are not ours."""


class StoreModel(NamedTuple):
    """`hooks`: the activities there; `leave`: a walk leaves the lock, before `release`; `killed`: its process is killed;
    `moves`: what the world around does besides `environment`; `is_left`: True for a world in which no process of ours can
    do any more; `is_beyond`: True for a world that the rules exempt, which no move comes to."""

    hooks: Mapping[str, Hook] = HOOKS
    leave: Leave = closed
    release: Leave = lambda config, shared, process: (
        shared._replace(locks=shared.locks & ~lock_bit(config, process)) if process.marks & HOLDS else shared
    )
    killed: Killed = environment.killed
    moves: Callable[[Config, Shared], Iterator[Told]] = lambda config, shared: iter(())
    is_left: Callable[[Config, Shared], bool] = lambda config, shared: (
        (shared.record < 0 and entombed(shared) < 0) or bool(shared.record >= 0 and shared.pairs[shared.record].revoked)
    )
    is_beyond: Callable[[Config, Shared], bool] = lambda config, shared: False


FILES = StoreModel()
