"""Compares recorded walks with the machines, and names the first step that they do not allow.

A recorded walk is what `--trace` writes (`kimi_auth.machine.trace`): a line for each transition. A log may hold other JSON
objects between them. A walk that ends before a rest state is allowed: its process was interrupted. A walk that leaves out
steps is not: nothing says what happened in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kimi_auth.machine import Machine
from kimi_auth.machine.trace import Traced, parse

__all__ = ["Checked", "Deviation", "checked"]

CLAIMS = ("machine", "from", "event", "to")
"""The keys of a line that claims to be a transition."""


class Deviation(NamedTuple):
    """The first line (counted from 1) that no machine allows, its step as text, and the reason."""

    line: int
    walk: str
    step: str
    reason: str

    @property
    def text(self) -> str:
        """One line."""
        where = f"walk {self.walk}, {self.step}" if self.step else "no transition"
        return f"line {self.line}: {where}: {self.reason}"


@dataclass(slots=True)
class Checked:
    """What a log holds: `walks` and `transitions` up to the first deviation, `interrupted` walks that came to no rest, and
    `others`, the lines that claim to be no transition."""

    walks: int = 0
    transitions: int = 0
    interrupted: int = 0
    others: int = 0
    deviation: Deviation | None = None


def checked(machines: Mapping[str, Machine], text: str) -> Checked:
    """Compares each recorded walk of the log with `machines`, up to the first deviation."""
    found = Checked()
    walks: dict[str, _Walk] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not _claims(line):
            found.others += bool(line.strip())
            continue
        traced = next((step for walk in parse(line) for step in walk.traced), None)
        if traced is None:
            found.deviation = Deviation(
                number, "", "", "a name, a number or a key of a transition is missing or malformed"
            )
            break
        walk = walks.setdefault(traced.walk, _Walk(machines))
        reason = walk.refuses(traced)
        if reason:
            found.deviation = Deviation(number, traced.walk, _told(traced), reason)
            break
        found.transitions += 1
    found.walks = sum(walk.begun for walk in walks.values())
    found.interrupted = sum(bool(walk.levels) for walk in walks.values())
    return found


def _claims(line: str) -> bool:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, Mapping) and all(key in data for key in CLAIMS)


def _told(traced: Traced) -> str:
    return f"step {traced.step}: {traced.machine} {traced.source} --{traced.event}--> {traced.target}"


@dataclass(slots=True)
class _Level:
    """A machine on its way: where it is, how many steps it has made, and the rest state of the child that it walked."""

    machine: Machine
    state: str
    steps: int = 0
    rested: str = ""


@dataclass(slots=True)
class _Walk:
    """One walk that is followed. `levels`: the machines on their way, the innermost last; none at rest."""

    machines: Mapping[str, Machine]
    levels: list[_Level] = field(default_factory=list)
    begun: int = 0
    ended: str = ""

    def refuses(self, traced: Traced) -> str:
        """Compares the step; "" if the machines allow it, else the reason why not."""
        machine = self.machines.get(traced.machine)
        if machine is None:
            return f"there is no machine {traced.machine}"
        if traced.source not in machine.states:
            return f"{machine.name} has no state {traced.source}"
        reason = self._entered(machine, traced) if self.levels else self._begun(machine, traced)
        return reason or self._moved(traced)

    def _begun(self, machine: Machine, traced: Traced) -> str:
        if traced.step != 1:
            ended = f"the walk ended in {self.ended}" if self.ended else "the walk begins"
            return f"{ended}, and step 1 is the first of a walk"
        if machine.holds is not None:
            return f"{machine.name} is walked only inside a machine that holds {machine.holds}, and none does here"
        if traced.source != machine.initial and not machine.states[traced.source].is_rest:
            return f"a walk begins in {machine.initial} or in a rest state, not in {traced.source}"
        self.levels.append(_Level(machine, traced.source))
        self.begun += 1
        return ""

    def _entered(self, machine: Machine, traced: Traced) -> str:
        """A recorded line of the innermost machine goes on; one of a machine that the state there walks begins a child."""
        last = self.levels[-1]
        if machine.name == last.machine.name:
            return ""
        child = last.machine.child(last.state)
        if child is None or child.name != machine.name:
            return f"the walk is in {last.machine.name}.{last.state}, which does not walk {machine.name}"
        if last.rested:
            return f"{child.name} has already ended in {last.rested}"
        if traced.source != child.initial:
            return f"{child.name} begins in {child.initial}"
        self.levels.append(_Level(machine, child.initial))
        return ""

    def _moved(self, traced: Traced) -> str:
        level = self.levels[-1]
        reason = _refused(level, traced)
        if reason:
            return reason
        level.state, level.rested = traced.target, ""
        level.steps += 1
        if level.machine.states[level.state].is_rest:
            self.levels.pop()
            self.ended = level.state
            if self.levels:
                self.levels[-1].rested = level.state
        return ""


def _refused(level: _Level, traced: Traced) -> str:
    machine = level.machine
    if traced.source != level.state:
        return f"the walk is in {machine.name}.{level.state}"
    if traced.step != level.steps + 1:
        return f"step {level.steps + 1} of {machine.name} is due"
    state = machine.states[level.state]
    if traced.event not in state.on:
        return f"{level.state} has no {traced.event}; it declares {', '.join(state.on)}"
    if state.on[traced.event] != traced.target:
        return f"{traced.event} leads to {state.on[traced.event]}"
    child = machine.child(level.state)
    if level.rested and traced.event != level.rested:
        return f"{child.name if child else 'its child'} ended in {level.rested}, and that is the outcome"
    ends = {name for name, inner in child.states.items() if inner.is_rest} if child is not None else set()
    if not level.rested and traced.event in ends:
        return f"{traced.event} is an end of {child.name if child else 'a child'}, which was not walked"
    return ""


def totals(found: Iterable[Checked]) -> Iterator[tuple[str, int]]:
    """The counts of several logs that were compared with the machines, by name."""
    logs = list(found)
    for name in ("walks", "transitions", "interrupted", "others"):
        yield name, sum(getattr(log, name) for log in logs)


def as_data(file: str, found: Checked) -> dict[str, Any]:
    """One log as JSON has it."""
    deviation = found.deviation._asdict() if found.deviation else None
    return {"file": file, **dict(totals([found])), "deviation": deviation}
