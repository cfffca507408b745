"""Whether the hooks that Python types know and the activities that a machine declares are the same, both ways."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

from .spec import ACQUIRED, Machine


def disagreements(machine: Machine, protocol: type) -> list[str]:
    """Every difference between `machine` and the hooks `protocol`, one line each; none is agreement.

    Each activity is a method and each method an activity, of this machine or of one that it walks. The `Literal`
    outcomes of a method, `-> tuple[Outcome, Ctx]`, are the `on` keys of every state that runs it. A method that runs in
    a state that walks a child is annotated `-> AbstractContextManager[tuple[Outcome, Ctx]]`; its outcomes without
    `acquired`, together with the child's rest states, are the keys. Methods are all `async def` or all `def`, and plain
    `def` where a child is walked.
    """
    return list(_disagreements(machine, protocol))


def _disagreements(machine: Machine, protocol: type) -> Iterator[str]:
    methods = {
        name: method for name, method in inspect.getmembers(protocol, inspect.isfunction) if not name.startswith("_")
    }
    who = f"{machine.name} and {protocol.__name__}"
    activities = {state.activity: name for name, state in machine.states.items() if state.activity is not None}
    for name in sorted(methods.keys() - _all_activities(machine)):
        yield f"{who}: no state runs {name}; remove the method or name it as an activity"
    for activity, state in activities.items():
        if activity not in methods:
            yield f"{who}: {state} runs {activity}, which is no method; add it to the protocol"
    own = {name: method for name, method in methods.items() if name in activities}
    yield from (f"{who}: {problem}" for problem in _asyncness(machine, own))
    for name, method in own.items():
        try:
            answer = typing.get_type_hints(method).get("return")
        except NameError as error:
            yield f"{who}: the annotations of {name} cannot be resolved ({error}); import it at run time"
            continue
        for state in machine.states:
            if machine.states[state].activity == name:
                yield from (f"{who}: {problem}" for problem in _outcomes(machine, state, name, answer))


def _all_activities(machine: Machine) -> set[str]:
    found: set[str] = set()
    for name, state in machine.states.items():
        child = machine.child(name)
        found |= {state.activity} if state.activity is not None else set()
        found |= _all_activities(child) if child is not None else set()
    return found


def _asyncness(machine: Machine, methods: dict[str, Any]) -> Iterator[str]:
    awaited = sorted(name for name, method in methods.items() if inspect.iscoroutinefunction(method))
    walking = sorted(name for name, state in machine.states.items() if state.walks is not None)
    if awaited and walking:
        yield f"{walking[0]} walks a child, so every hook is a plain def; {', '.join(awaited)} is async"
    elif awaited and len(awaited) < len(methods):
        plain = sorted(methods.keys() - awaited)
        yield f"some hooks are async ({', '.join(awaited)}) and some are not ({', '.join(plain)}); make them alike"


def _outcomes(machine: Machine, state: str, activity: str, answer: Any) -> Iterator[str]:
    child = machine.child(state)
    form = "tuple[Literal[...], Ctx]"
    if child is not None:
        form = f"AbstractContextManager[{form}]"
        origin = typing.get_origin(answer)
        answer = typing.get_args(answer)[0] if origin is AbstractContextManager else None
    said = _literals(typing.get_args(answer)[0]) if typing.get_origin(answer) is tuple else None
    if said is None:
        yield f"{activity} does not return {form}, as {state} needs it; annotate it so"
        return
    if child is not None:
        if ACQUIRED not in said:
            yield f"{activity} never answers {ACQUIRED!r}, so {state} never walks {child.name}; add it to the Literal"
        said = said - {ACQUIRED} | set(child.rest)
    declared = machine.states[state].on.keys()
    for outcome in sorted(said - declared):
        yield f"{activity} may answer {outcome!r}, which {state} does not declare; add on.{outcome} or drop the outcome"
    for outcome in sorted(declared - said):
        yield f"{state} declares on.{outcome}, which {activity} never answers; add it to the Literal or drop the edge"


def _literals(annotation: Any) -> set[str] | None:
    """The outcomes of a type: a Literal, a union of Literals, or an alias of either; None if it is anything else."""
    while hasattr(annotation, "__value__"):  # `type Outcome = Literal[...]`, Python 3.12
        annotation = annotation.__value__
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return set(typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        parts = [_literals(part) for part in typing.get_args(annotation)]
        return set().union(*(part for part in parts if part)) if all(part is not None for part in parts) else None
    return None
