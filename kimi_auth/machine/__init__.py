"""The engine: machines as data, and what loads, lints and walks them. It knows nothing of OAuth.

Every name is loaded when it is first used: a program that only reads machines does not load the engine and its tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agreement import disagreements
    from .engine import STEP_LIMIT, Step, steps, walk_async, walk_sync
    from .errors import MachineError, SpecError
    from .library import Library
    from .observer import NO_OBSERVER, Observer, Observers, Transition, together
    from .recorder import EdgeRecorder, recorder_from_environ
    from .spec import ACQUIRED, Edge, Machine, State, digest, edges

__all__ = [
    "ACQUIRED",
    "NO_OBSERVER",
    "STEP_LIMIT",
    "Edge",
    "EdgeRecorder",
    "Library",
    "Machine",
    "MachineError",
    "Observer",
    "Observers",
    "SpecError",
    "State",
    "Step",
    "Transition",
    "digest",
    "disagreements",
    "edges",
    "recorder_from_environ",
    "steps",
    "together",
    "walk_async",
    "walk_sync",
]

_HOMES = {
    "agreement": ("disagreements",),
    "errors": ("MachineError", "SpecError"),
    "library": ("Library",),
    "observer": ("NO_OBSERVER", "Observer", "Observers", "Transition", "together"),
    "recorder": ("EdgeRecorder", "recorder_from_environ"),
    "spec": ("ACQUIRED", "Edge", "Machine", "State", "digest", "edges"),
}
"""The names of each module; any other name is the engine's."""


def __getattr__(name: str) -> object:  # not `kimi_auth.support.lazily`: this room works without the rest of the package
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "engine")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
