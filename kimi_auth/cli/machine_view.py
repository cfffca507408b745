"""Machines in a terminal of 80 columns: a list that is read from the top, not a drawing. Pure functions to renderables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kimi_auth.machine import Machine
from kimi_auth.machine.trace import Walk
from kimi_auth.review.difference import Difference
from kimi_auth.review.graph import graph_of, state_lines
from kimi_auth.review.walk_picture import foreign_steps, walk_lines

__all__ = ["difference_view", "machine_view", "trace_view"]

QUIET = "dim"
TONES = {"good": ("✓", "green"), "plain": ("•", "yellow"), "bad": ("✗", "red")}
KINDS = {"!": "bold red", "+": "green", "-": "red", "~": "yellow", "·": "dim"}


def machine_view(machine: Machine, *, current: str = "") -> RenderableType:
    """The states of `machine` with their outcomes, the happy way first, rest states last; `current` is marked.

    `current`: the state in which this user's credential is, "" where there is none or where it is of no machine.
    """
    graph = graph_of(machine)
    rows = Table.grid(padding=(0, 2, 1, 0), collapse_padding=False)
    rows.add_column(max_width=32)
    rows.add_column(overflow="fold")
    for name in _order(machine):
        state = machine.states[name]
        right = Text(state.about, style=QUIET) if state.is_rest else _outcomes(machine, name)
        rows.add_row(_state(machine, name, marked=name == current), right)
    for node in dict.fromkeys(graph.node_of(name) for name in machine.rest if machine.states[name].on):
        states = graph.members(node)
        left = Text("from outside, in ", style=QUIET).append(", ".join(states), style="default")
        rows.add_row(left, _outcomes(machine, states[0]))
    parts: list[RenderableType] = [Text.assemble((machine.name, "bold"), f"  {machine.about}")]
    if machine.holds:
        parts.append(Text(f"every state runs while {machine.holds} is held", style="yellow"))
    return Group(*parts, Text(), rows, Text(_FOOT, style=QUIET))


def trace_view(machine: Machine, walk: Walk, lines_max: int = 60) -> RenderableType:
    """A recorded walk of a machine as lines for a terminal of 80 columns, and how it ended."""
    ended = walk.ended_in(machine)
    mark, style = TONES[machine.states[ended].tone or "plain"] if ended else ("…", "yellow")
    end = f"ended in {ended}" if ended else "was interrupted"
    last = Text.assemble((f"{mark} ", style), f"{walk.machine} {end} after {walk.seconds:.2f} s, begun {walk.began}")
    if foreign := foreign_steps(walk, machine):
        last.append(f"\n! {foreign}", style="yellow")
    return Group(*(Text(line) for line in walk_lines(walk, lines_max)), last)


def difference_view(difference: Difference) -> RenderableType:
    """A difference of machines as a list for a terminal of 80 columns: each change with the shortest sequence that shows it."""
    if not difference.changes:
        return Text("The machines are equal.")
    return Group(*(Text(line, style=KINDS.get(line[:1], QUIET)) for line in difference.text().splitlines()))


_FOOT = "▶ a walk begins here   ✓ • ✗ it ends here: well, so-so, badly"


def _order(machine: Machine) -> list[str]:
    """The happy way first, then other working states, then rest states; each in file order."""
    happy = dict.fromkeys(arrow.target for arrow in graph_of(machine, framed=False).arrows if arrow.happy)
    return sorted(machine.states, key=lambda name: (machine.states[name].is_rest, name not in happy))


def _state(machine: Machine, name: str, *, marked: bool) -> Text:
    state = machine.states[name]
    if state.is_rest:
        mark, style = TONES[state.tone or "plain"]
    else:
        mark, style = ("▶", "cyan") if name == machine.initial else (" ", "default")
    text = Text.assemble((f"{mark} ", style), (name, "bold reverse" if marked else "bold"))
    text.append("\n  you are here" if marked else "", style="cyan")
    for line in state_lines(name, state)[1:]:
        text.append(f"\n  {line}", style=QUIET)
    return text


def _outcomes(machine: Machine, name: str) -> Text:
    """A state's outcomes in the list of a machine, one line for each target; those that are called like it share
    one."""
    on = machine.states[name].on
    named = [event for event, target in on.items() if event == target]
    shared = named if len(named) > 2 else []
    lines: dict[str, list[str]] = {"the state of that name": shared} if shared else {}
    for event, target in on.items():
        if event not in shared:
            lines.setdefault(target, []).append(event)
    text = Text()
    for target, events in lines.items():
        state = machine.states.get(target)
        tone = TONES[state.tone or "plain"][1] if state is not None and state.is_rest else "default"
        text.append("\n" if text else "").append(f"{', '.join(events)} → ").append(target, style=tone)
    return text
