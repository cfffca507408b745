"""Scenarios: the short walks of `scenarios.toml`, on whose course and end users rely. Checking one takes microseconds."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import NamedTuple

from kimi_auth.machine import ACQUIRED, Machine, MachineError, steps
from kimi_auth.machine.engine import Step

__all__ = ["SCENARIOS", "Scenario", "broken_scenario"]


class Scenario(NamedTuple):
    """One row of the file, written out: what it says, and where the walk starts, its course and its end."""

    machine: str
    says: str
    start: str
    course: str
    end: str


def _scenarios() -> Iterator[Scenario]:
    tables = tomllib.loads(resources.files(__package__).joinpath("scenarios.toml").read_text("utf-8"))
    parts = tables.pop("parts")
    for machine, told in tables.items():
        for says, rows in told.items():
            for row in rows:
                yield from (Scenario(machine, says, *written) for written in _written_out(row, parts))


def _written_out(row: list[str], parts: Mapping[str, str | list[str]]) -> Iterator[list[str]]:
    """A scenario's `row` with its {NAMES} filled in: once for a text, once for each word of a list."""
    name = next((name for name in parts if any(f"{{{name}}}" in text for text in row)), None)
    if name is None:
        yield row
        return
    part = parts[name]
    for value in [part] if isinstance(part, str) else part:
        yield from _written_out([text.replace(f"{{{name}}}", value) for text in row], parts)


SCENARIOS = tuple(_scenarios())


def broken_scenario(machines: Mapping[str, Machine], scenarios: Iterable[Scenario]) -> str:
    """The sentence of the first scenario that `machines` break; "" if they keep all of them."""
    return next((one.says for one in scenarios if not _holds(machines[one.machine], one)), "")


def _holds(machine: Machine, scenario: Scenario) -> bool:
    course = [step.split() for step in scenario.course.split(", ")]
    try:
        at, event = scenario.start.split() if scenario.start else (None, None)
        end = _walked(machine, at, event, course)
    except MachineError:
        return False
    return end == scenario.end and not course


def _walked(machine: Machine, at: str | None, event: str | None, course: list[list[str]]) -> str | None:
    """The rest state where a scenario's walk ends whose activities answer as `course` says; None if the walk takes
    another course."""
    walk = steps(machine, at, event, limit=100)
    try:
        due: Step = next(walk)
        while True:
            outcome = _answer(due, course)
            if outcome is None:
                return None
            due = walk.send(outcome)
    except StopIteration as end:
        return str(end.value)


def _answer(due: Step, course: list[list[str]]) -> str | None:
    activity, outcome = course.pop(0) if course else ("", "")
    if activity != due.activity:
        return None
    return _walked(due.child, None, None, course) if due.child is not None and outcome == ACQUIRED else outcome
