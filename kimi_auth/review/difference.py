"""Two revisions of machines compared: each change, the shortest sequence of outcomes that shows it, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from kimi_auth.machine.spec import Machine, State

from .difference_picture import overlay
from .equivalence import Pair, Witness, disagreement, goes, way_to
from .escape import markdown
from .overlay import Text
from .svg import svg

__all__ = ["Change", "Difference", "compare", "pictures"]

_KEYS = ("activity", "holds", "walks", "tone")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `kind`: added, removed, changed (a retargeted edge, another hook, ...) or worded (sentences only).

    `state` is "" for a change of the whole machine, `event` for a change of a whole state. `witness` is None for a change
    that cannot be observed (every walk behaves as before), and for a whole machine that came or went.
    """

    machine: str
    state: str
    event: str
    kind: str
    says: str
    witness: Witness | None = None

    @property
    def is_whole_machine(self) -> bool:
        """Whether only one of the two revisions has the machine."""
        return not self.state and self.kind in {"added", "removed"}

    def __str__(self) -> str:
        return f"{self.machine}: {self.says}"


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes, in file order; `pairs` are the machines that changed: before and after, None where there is none.

    `problems`: why the machines as they are now could not run, one line each.
    """

    changes: tuple[Change, ...]
    pairs: Mapping[str, tuple[Machine | None, Machine | None]]
    problems: tuple[str, ...] = ()

    def text(self) -> str:
        """The difference as text: one line for each change and one for its witness, for a terminal; "" without changes."""
        lines = [line for change in self.changes for _, line in _lines(change)]
        lines += [f"! cannot run: {problem}" for problem in self.problems]
        return "".join(f"{line}\n" for line in lines)

    def markdown(self) -> str:
        """The same for a pull request."""
        if not self.changes:
            return "The machines are equal.\n"
        observable = sum(change.witness is not None or change.is_whole_machine for change in self.changes)
        many = "1 change" if len(self.changes) == 1 else f"{len(self.changes)} changes"
        lines = [f"**{many} of the machines; {observable or 'none'} can be observed in a walk.**"]
        for name in dict.fromkeys(change.machine for change in self.changes):
            lines += [
                f"\n### {markdown(name)}\n",
                "| | change | shortest sequence on which they disagree |",
                "|---|---|---|",
            ]
            for change in self.changes:
                if change.machine == name:
                    effect = "" if change.kind == "worded" else _effect(change)
                    lines.append(f"| {_SIGNS[change.kind]} | {markdown(change.says)} | {markdown(effect)} |")
        if self.problems:
            lines += ["\n### These machines cannot run\n", *(f"- {markdown(problem)}" for problem in self.problems)]
        return "\n".join(lines) + "\n"


_GONE_FIRST = ("removed", "changed", "added", "worded")
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "worded": "·"}


def compare(before: Mapping[str, Machine], after: Mapping[str, Machine], problems: tuple[str, ...] = ()) -> Difference:
    """The changes from `before` to `after`, each by machine name; `problems` of `after` are passed on."""
    changes: list[Change] = []
    pairs: dict[str, tuple[Machine | None, Machine | None]] = {}
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        found = _machine(name, old, new)
        if found:
            pairs[name] = (old, new)
            changes += found
    return Difference(tuple(changes), pairs, problems)


def pictures(difference: Difference) -> Mapping[str, str]:
    """The two revisions as SVG files, by machine that changed: the new one with its changes in colour, and all changes
    below.

    The list begins with states and edges that are gone, which the drawing cannot show. A machine that is gone is drawn
    in its old form.
    """
    drawn = {}
    for name, (before, after) in difference.pairs.items():
        machine = after or before
        assert machine is not None
        changes = sorted(
            (one for one in difference.changes if one.machine == name), key=lambda one: _GONE_FIRST.index(one.kind)
        )
        lines = tuple(line for change in changes for line in _lines(change))
        drawn[name] = svg(machine, partial(overlay, before, after, footer=lines))
    return drawn


def _machine(name: str, old: Machine | None, new: Machine | None) -> list[Change]:
    if old is None or new is None:
        kind = "added" if old is None else "removed"
        return [Change(name, "", "", kind, f"the whole machine is {kind}")]
    return [*_top(old, new), *_states(old, new)]


def _top(old: Machine, new: Machine) -> Iterator[Change]:
    if old.initial != new.initial:
        says = f"walks begin in {new.initial}, before in {old.initial}"
        yield Change(new.name, "", "", "changed", says, disagreement(old, new))
    if old.holds != new.holds:
        says = f"the machine holds {new.holds or 'nothing'}, before {old.holds or 'nothing'}"
        yield Change(new.name, "", "", "changed", says, disagreement(old, new))
    if old.about != new.about:
        yield Change(new.name, "", "", "worded", "the sentence about the machine")


def _states(old: Machine, new: Machine) -> Iterator[Change]:
    for name in [*new.states, *(name for name in old.states if name not in new.states)]:
        one, other = old.states.get(name), new.states.get(name)
        if one is None or other is None:
            kind = "added" if one is None else "removed"
            whole = other or one
            assert whole is not None
            says = f"state {name} is {kind} ({_describe(whole)})"
            pairs = {(name, state) for state in new.states} if one else {(state, name) for state in old.states}
            yield Change(new.name, name, "", kind, says, _from_pair(old, new, pairs))
            continue
        yield from _attributes(old, new, name, one, other)
        yield from _edges(old, new, name, one, other)


def _attributes(old: Machine, new: Machine, name: str, one: State, other: State) -> Iterator[Change]:
    for key in _KEYS:
        was, now = getattr(one, key), getattr(other, key)
        if was != now:
            says = f"{name}: {key} is {now or 'nothing'}, before {was or 'nothing'}"
            yield Change(new.name, name, "", "changed", says, _from_pair(old, new, {(name, name)}))
    if one.about != other.about:
        yield Change(new.name, name, "", "worded", f"the sentence about {name}")


def _edges(old: Machine, new: Machine, name: str, one: State, other: State) -> Iterator[Change]:
    for event in [*other.on, *(event for event in one.on if event not in other.on)]:
        was, now = one.on.get(event), other.on.get(event)
        if was == now:
            continue
        kind = "changed" if was and now else "added" if now else "removed"
        says = f"{name} --{event}--> {now or was}" + (f", before {was}" if kind == "changed" else f" is {kind}")
        yield Change(new.name, name, event, kind, says, _after(old, new, name, event))
    both = [[event for event in state.on if event in one.on and event in other.on] for state in (one, other)]
    if both[0] != both[1]:
        says = f"{name}: the order of its outcomes, first is {next(iter(other.on))}, before {next(iter(one.on))}"
        yield Change(new.name, name, "", "worded", says)


def _after(old: Machine, new: Machine, name: str, event: str) -> Witness | None:
    """The shortest sequence that takes a changed `event` of the state `name`, and on to where it is observable.

    If the two revisions never meet in `name`, they differ before it: that difference is the witness.
    """
    way = way_to(old, new, {(name, name)})
    if way is None:
        return disagreement(old, new)
    was, now = old.states[name].on.get(event), new.states[name].on.get(event)
    if was is None or now is None:
        return Witness((*way[0], event), goes(was), goes(now))
    found = disagreement(old, new, (was, now))
    return Witness((*way[0], event, *found.events), found.before, found.after) if found else None


def _from_pair(old: Machine, new: Machine, pairs: set[Pair]) -> Witness | None:
    """The shortest sequence to a change at one of `pairs` of states, and on to where it is observable.

    If no walk leads to such a pair, the revisions differ before it: that difference is the witness.
    """
    way = way_to(old, new, pairs)
    if way is None:
        return disagreement(old, new)
    found = disagreement(old, new, way[1])
    return Witness(way[0] + found.events, found.before, found.after) if found else None


def _describe(state: State) -> str:
    """The kind of a state and its edges, for a state that comes or goes with all of them."""
    kind = f"rest, {state.tone}" if state.is_rest else f"runs {state.activity}"
    return "; ".join([kind, *(f"{event} → {target}" for event, target in state.on.items())])


def _effect(change: Change) -> str:
    """The difference in behaviour that a change makes, as a sentence."""
    if change.is_whole_machine:
        return "only one revision has it, so no walk can be compared"
    return str(change.witness) if change.witness else "not observable: every walk behaves as before"


def _lines(change: Change) -> list[Text]:
    """A line for a change and one for its effect; only the first has a colour."""
    first = f"{_SIGNS[change.kind]} {change}"
    return [("", first)] if change.kind == "worded" else [(change.kind, first), ("", f"    {_effect(change)}")]
