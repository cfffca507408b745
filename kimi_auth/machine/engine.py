"""The engine: it walks a machine and does nothing else.

The rules of the house
----------------------
1. *Transitions are declared in the machine's file, and only there.* Nothing in Python adds, skips or redirects a
   transition. To know what a login can do, read `machines/`; to know how, read the hooks. This module stays the same
   for both.

2. *The engine decides nothing and performs nothing.* It is a generator: it yields a `Step` ("in this state, this
   activity is due") and is sent the outcome ("that is how it went"). It cannot wait, read a clock for a decision, open
   a file or know what a token is. Two small drivers lend it hands, one that awaits its hooks and one that calls them.
   A test, a checker or a simulator may be a third.

3. *An outcome is a word that the state declares.* The hook says what it found, the declaration says where that leads.
   A hook that answers with another word is broken, and the walk stops with a `MachineError`: guessing where an
   unforeseen answer ought to lead is how logins are lost.

4. *The engine catches nothing.* An expected failure (offline, refused, disk full) is an outcome and has an edge; an
   exception is a bug or a cancellation, and both pass through as they came. No state is stored, so there is nothing to
   undo: the next walk starts at the beginning and looks at the world.

5. *A walk ends only in a rest state*, and the name of that state is the answer. From a rest state an event from outside
   may start the next walk. A walk that does not come to rest within its limit is a bug as well.

6. *A resource with a lifetime is a `with` around a walk.* A state that walks a child lends its hook as a context
   manager: it takes the resource, the child is walked inside, and only when the resource has been given back does the
   child's answer become the event of the state. That is why such machines are walked by the synchronous driver only: it runs
   in a thread that no cancellation can tear apart in the middle of a child.

7. *Contexts are carried, never opened.* A hook gets one and returns the next; observers do not see it, so that no
   secret can reach a log through here. Observers are told about the walk and must not raise: an exception of theirs
   would end the walk at a point where no hook expects it.

The tables are those of the `transitions` package. One `transitions.Machine` is built for a declaration, and any number
of walks and threads step through it with a cursor of their own: the Machine is only read, and a plain object with a
`state` serves it as a model. Its asynchronous Machine is out of bounds, because it cancels a hook that is running when
the next event arrives and swallows cancellations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import transitions

from kimi_auth.support.logs import quiet

from .errors import MachineError
from .lint import NAME
from .observer import NO_OBSERVER, Observer, Transition
from .spec import ACQUIRED, Machine

quiet("transitions")

Ctx = TypeVar("Ctx")

STEP_LIMIT = 10_000
"""Transitions in one walk: some ten times what polling for half an hour takes, so that only a bug gets there."""

_SHOWN_OUTCOME_MAX = 30


class Step(NamedTuple):
    """The next work: `activity`, in `state` of `machine`. `child` is the machine to walk while the resource is held."""

    machine: str
    state: str
    activity: str
    child: Machine | None


def steps(
    machine: Machine,
    at: str | None = None,
    event: str | None = None,
    *,
    observe: Observer = NO_OBSERVER,
    monotonic: Callable[[], float] | None = None,
    limit: int = STEP_LIMIT,
) -> Generator[Step, str, str]:
    """Walk `machine` by hand: yields each `Step`, is sent its outcome, returns the name of the rest state.

    Starts in the initial state, or with `event` from outside in the rest state `at`. `monotonic` is read for the
    seconds of transitions only (default: `time.perf_counter`). Raises `MachineError` for an outcome or an event that is
    not declared, and when the machine is not at rest after `limit` transitions.
    """
    tables = _tables(machine)
    clock = monotonic or time.perf_counter
    cursor = _Cursor(machine.initial)
    count = 0
    if at is not None or event is not None:
        cursor.state, outside = _outside(machine, at, event)
        count += 1
        _move(tables, cursor, outside, 0.0, count, observe)
    while (step := tables.steps.get(cursor.state)) is not None:
        if count >= limit:
            raise MachineError(f"{machine.name}: not at rest after {limit} transitions, now in {step.state!r}")
        observe.entered(machine.name, step.state, step.activity)
        began_s = clock()
        outcome = yield step
        seconds = clock() - began_s
        if not isinstance(outcome, str) or outcome not in machine.states[step.state].on:
            raise _undeclared(machine, step.state, f"{step.activity} answered", outcome)
        count += 1
        _move(tables, cursor, outcome, seconds, count, observe)
    return cursor.state


async def walk_async(
    machine: Machine,
    hooks: object,
    ctx: Ctx,
    *,
    at: str | None = None,
    event: str | None = None,
    observe: Observer = NO_OBSERVER,
    monotonic: Callable[[], float] | None = None,
    limit: int = STEP_LIMIT,
) -> tuple[str, Ctx]:
    """Walk to rest: awaits `await hooks.<activity>(ctx) -> (outcome, ctx)`; gives the rest state and the last context.

    The other arguments and errors are those of `steps`. Raises `MachineError` at a state that walks a child.
    """
    walk = steps(machine, at, event, observe=observe, monotonic=monotonic, limit=limit)
    due = _advance(walk)
    while isinstance(due, Step):
        if due.child is not None:
            raise MachineError(f"{due.machine}: {due.state!r} walks {due.child.name}; use walk_sync, in a thread")
        outcome, ctx = await _hook(hooks, due)(ctx)
        due = _advance(walk, outcome)
    return due, ctx


def walk_sync(
    machine: Machine,
    hooks: object,
    ctx: Ctx,
    *,
    at: str | None = None,
    event: str | None = None,
    observe: Observer = NO_OBSERVER,
    monotonic: Callable[[], float] | None = None,
    limit: int = STEP_LIMIT,
) -> tuple[str, Ctx]:
    """Walk to rest: calls `hooks.<activity>(ctx) -> (outcome, ctx)`; gives the rest state and the last context.

    The hook of a state that walks a child is a context manager whose value is `(outcome, ctx)`. On `acquired` the child
    is walked inside the `with`, by the same hooks, and its rest state is the outcome; any other outcome stands as it is.
    The other arguments and errors are those of `steps`; `limit` is for each machine of the walk.
    """
    walk = steps(machine, at, event, observe=observe, monotonic=monotonic, limit=limit)
    due = _advance(walk)
    while isinstance(due, Step):
        hook = _hook(hooks, due)
        if due.child is None:
            outcome, ctx = hook(ctx)
        else:
            with hook(ctx) as answer:
                outcome, ctx = answer
                if outcome == ACQUIRED:
                    outcome, ctx = walk_sync(due.child, hooks, ctx, observe=observe, monotonic=monotonic, limit=limit)
        due = _advance(walk, outcome)
    return due, ctx


# --- below: how it is done -------------------------------------------------------------------------------------------


class _Cursor:
    """Where one walk is. `transitions` takes it for a model, without knowing it."""

    __slots__ = ("state",)

    def __init__(self, state: str) -> None:
        self.state = state


class _Silent(transitions.State):
    """A state without callbacks: nothing to run, and no INFO line in the log of the program we are part of."""

    def enter(self, event_data: transitions.EventData) -> None:
        pass

    def exit(self, event_data: transitions.EventData) -> None:
        pass


class _Transitions(transitions.Machine):
    state_cls = _Silent


class _Tables(NamedTuple):
    """Built once for a declaration: how to take an event, and the step of each state that works."""

    machine: str
    triggers: Mapping[str, Callable[[_Cursor], bool]]
    steps: Mapping[str, Step]


@lru_cache(maxsize=64)
def _tables(machine: Machine) -> _Tables:
    # The prefix keeps an outcome called "state" apart from the cursor's attribute, which `transitions` insists on.
    rows = [[f"on.{event}", name, to] for name, state in machine.states.items() for event, to in state.on.items()]
    built = _Transitions(
        model=None, states=list(machine.states), initial=machine.initial, transitions=rows, auto_transitions=False
    )
    triggers = {name.removeprefix("on."): event.trigger for name, event in built.events.items()}
    steps_due = {
        name: Step(machine.name, name, state.activity, machine.child(name))
        for name, state in machine.states.items()
        if state.activity is not None
    }
    return _Tables(machine.name, triggers, steps_due)


def _move(tables: _Tables, cursor: _Cursor, event: str, seconds: float, count: int, observe: Observer) -> None:
    source = cursor.state
    tables.triggers[event](cursor)
    observe.moved(Transition(tables.machine, source, event, cursor.state, seconds, count))


def _hook(hooks: object, due: Step) -> Any:
    """The method that a walk calls. A hooks class without it is a mistake in code: `kimi-auth diagram --check` names it."""
    hook = getattr(hooks, due.activity, None)
    if hook is None:
        raise MachineError(
            f"{due.machine}: {due.state!r} runs {due.activity}, which {type(hooks).__name__} does not have; "
            "list all that is missing: kimi-auth diagram --check"
        )
    return hook


def _advance(walk: Generator[Step, str, str], outcome: str | None = None) -> Step | str:
    """The next step, or the name of the rest state."""
    try:
        return next(walk) if outcome is None else walk.send(outcome)
    except StopIteration as end:
        return str(end.value)


def _outside(machine: Machine, at: str | None, event: str | None) -> tuple[str, str]:
    if at is None or event is None:
        raise MachineError(f"{machine.name}: a walk from a rest state needs both at and event")
    if at not in machine.rest:
        raise MachineError(
            f"{machine.name}: {at!r} is no rest state; a walk starts in one of {', '.join(machine.rest)}"
        )
    if event not in machine.states[at].on:
        raise _undeclared(machine, at, "was sent from outside", event)
    return at, event


def _undeclared(machine: Machine, state: str, how: str, outcome: object) -> MachineError:
    """Shows the outcome only where it looks like one: a hook with its answers in the wrong order returns secrets."""
    looks_fine = isinstance(outcome, str) and len(outcome) <= _SHOWN_OUTCOME_MAX and NAME.fullmatch(outcome)
    shown = repr(outcome) if looks_fine else f"something that is no outcome ({type(outcome).__name__})"
    declared = ", ".join(machine.states[state].on) or "none"
    return MachineError(f"{machine.name}: in {state!r} {how} {shown}, which is not declared; declared: {declared}")
