"""The engine room: machines as data, and what walks, draws, counts and compares them. It knows nothing of OAuth.

`diagram` is a module of its own (`from kimi_auth.machine import diagram`), also a command.
"""

from .agreement import disagreements
from .engine import NO_OBSERVER, STEP_LIMIT, Observer, Observers, Step, Transition, steps, walk_async, walk_sync
from .errors import MachineError, SpecError
from .library import Library
from .recorder import Edge, EdgeRecorder, edges, recorder_from_environ
from .spec import ACQUIRED, Machine, State, digest

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
    "walk_async",
    "walk_sync",
]
