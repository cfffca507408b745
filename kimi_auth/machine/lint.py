"""Rules that machines keep before anything walks them: one function for each rule, two tables of rules.

A rule yields `(location, problem)`: the table inside the file, and one line with the mistake and its fix.
A rule stays silent where another one has already spoken, so that one mistake is one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from .spec import ACQUIRED, Machine

Problem = tuple[str, str]
Machines = Mapping[str, Machine]

NAME = re.compile(r"[a-z][a-z0-9_]*")
TONES = ("good", "plain", "bad")
TOP = "top level"


def did_you_mean(name: str, options: Iterable[str], otherwise: str) -> str:
    """The fix that the line of a broken rule suggests for a mistyped name: the nearest option, else `otherwise`."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(options), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def place(state: str) -> str:
    """The part of a broken rule's line that says where a state stands in its file."""
    return f"[states.{state}]"


# --- one machine -----------------------------------------------------------------------------------------------------


def names_are_plain(machine: Machine) -> Iterator[Problem]:
    """Every name can be a Python method, a diagram id and a word in a log line."""
    named = [(TOP, "name", machine.name or None), (TOP, "holds", machine.holds)]
    for name, state in machine.states.items():
        named += [(place(name), "the state's name", name)]
        named += [(place(name), key, getattr(state, key)) for key in ("activity", "holds", "walks")]
        named += [(place(name), "the outcome", event) for event in state.on]
    for where, what, said in named:
        if said is not None and not NAME.fullmatch(said):
            yield where, f"{what} {said!r} is not snake_case; write it as [a-z][a-z0-9_]*"


def everything_says_what_it_is(machine: Machine) -> Iterator[Problem]:
    """A machine and each of its states carry a sentence for the reader."""
    abouts = {TOP: machine.about} | {place(name): state.about for name, state in machine.states.items()}
    for where, about in abouts.items():
        if not about.strip():
            yield where, "about is missing; say in a sentence what this is"


def initial_exists(machine: Machine) -> Iterator[Problem]:
    """A walk knows where to begin."""
    if machine.initial not in machine.states:
        fix = did_you_mean(machine.initial, machine.states, "name the state in which a walk begins")
        yield TOP, f"initial is {machine.initial!r}, which is no state; {fix}"


def targets_exist(machine: Machine) -> Iterator[Problem]:
    """Every edge ends at a state of the same machine."""
    for name, state in machine.states.items():
        for event, target in state.on.items():
            if target not in machine.states:
                fix = did_you_mean(target, machine.states, f"add [states.{target}] or change the target")
                yield place(name), f"on.{event} leads to {target!r}, which is no state; {fix}"


def states_are_reachable(machine: Machine) -> Iterator[Problem]:
    """No state is dead: each can be reached from the initial one, events from outside included."""
    if machine.initial not in machine.states:
        return
    reached = _closure(machine.initial, lambda name: machine.states[name].on.values(), machine.states)
    for name in machine.states:
        if name not in reached:
            yield place(name), f"cannot be reached from {machine.initial!r}; lead an outcome here or remove the state"


def walks_can_end(machine: Machine) -> Iterator[Problem]:
    """From every state that works, some rest state can be reached."""
    for name, state in machine.states.items():
        if state.is_rest or not state.on:
            continue
        ahead = _closure(name, lambda at: machine.states[at].on.values(), machine.states)
        if all(at in machine.states and not machine.states[at].is_rest for at in ahead):
            yield place(name), "is a trap, no rest state can be reached from it; give it an outcome that leads out"


def activities_have_outcomes(machine: Machine) -> Iterator[Problem]:
    """An activity answers with one of the declared outcomes, so there is at least one."""
    for name, state in machine.states.items():
        if not state.is_rest and not state.on:
            yield place(name), f"activity {state.activity!r} has no outcome; declare each one as on.<outcome> = <state>"


def resources_need_a_hook(machine: Machine) -> Iterator[Problem]:
    """A held resource is taken by a hook, and a child is walked only while a resource is held."""
    for name, state in machine.states.items():
        taken = [key for key in ("holds", "walks") if getattr(state, key)]
        if state.is_rest and taken:
            yield place(name), f"{' and '.join(taken)} without an activity; name the hook that takes the resource"
        if state.walks and not state.holds:
            yield place(name), f"walks {state.walks!r} but holds nothing; name the resource that is held meanwhile"


def tones_are_for_rest(machine: Machine) -> Iterator[Problem]:
    """A rest state says how it feels to end there; a working state has nothing to say about that."""
    for name, state in machine.states.items():
        if state.is_rest and state.tone not in TONES:
            said = "a rest state without tone" if state.tone is None else f"tone is {state.tone!r}"
            yield place(name), f"{said}; write one of {', '.join(TONES)}"
        if not state.is_rest and state.tone is not None:
            yield place(name), "tone is for rest states only; remove it or remove the activity"


def acquired_is_implicit(machine: Machine) -> Iterator[Problem]:
    """The rule that `acquired`, which begins a child's walk, is no edge: it would have no moment to be taken."""
    for name, state in machine.states.items():
        if state.walks and ACQUIRED in state.on:
            yield place(name), f"on.{ACQUIRED} is implicit in a state that walks a child; remove it"


# --- machines together -----------------------------------------------------------------------------------------------


def children_exist(name: str, machines: Machines) -> Iterator[Problem]:
    """`walks` names a machine of the same folder."""
    for state, child in _walks(machines[name]):
        if child not in machines:
            fix = did_you_mean(child, machines, f"add {child}.toml")
            yield place(state), f"walks {child!r}, which is no machine here; {fix}"


def children_run_in_the_lock(name: str, machines: Machines) -> Iterator[Problem]:
    """A child says of itself which resource its every state needs; the walking state holds that one."""
    for state, child in _walks(machines[name]):
        held = machines[name].states[state].holds
        if child in machines and held and machines[child].holds != held:
            says = f"holds {machines[child].holds!r}" if machines[child].holds else "declares no holds"
            yield place(state), f"holds {held!r} but {child}.toml {says}; write the same in both"


def children_are_answered(name: str, machines: Machines) -> Iterator[Problem]:
    """Every end of a child's walk is an outcome of the state that walks it."""
    for state, child in _walks(machines[name]):
        for rest in machines[child].rest if child in machines else ():
            if rest not in machines[name].states[state].on:
                yield place(state), f"{child} can end in {rest!r}, which is no outcome here; add on.{rest}"


def locked_machines_are_walked(name: str, machines: Machines) -> Iterator[Problem]:
    """A machine that runs inside a lock is a child of another, for nothing else may begin it."""
    held = machines[name].holds
    if held and not any(child == name for other in machines.values() for _, child in _walks(other)):
        yield TOP, f"holds {held!r} but no state walks this machine; name it in a walks or remove the holds"


def resources_are_taken_once(name: str, machines: Machines) -> Iterator[Problem]:
    """Inside a lock no state waits for the same lock: that walk would never end."""
    held = machines[name].holds
    if not held:
        return
    below = _closure(name, lambda at: (child for _, child in _walks(machines[at])), machines)
    for at in sorted(below & machines.keys()):
        for state, spec in machines[at].states.items():
            if spec.holds == held:
                yield TOP, f"holds {held!r}, and {at}.toml {place(state)} takes it again; remove one of the two"


def walks_have_no_cycle(machines: Machines) -> Iterator[Problem]:
    """No machine walks itself, however far round."""
    try:
        children_first(machines)
    except CycleError as error:
        yield TOP, f"machines walk in a circle, {' -> '.join(error.args[1])}; take one walks out"


ALONE: tuple[Callable[[Machine], Iterator[Problem]], ...] = (
    names_are_plain,
    everything_says_what_it_is,
    initial_exists,
    targets_exist,
    states_are_reachable,
    walks_can_end,
    activities_have_outcomes,
    resources_need_a_hook,
    tones_are_for_rest,
    acquired_is_implicit,
)
TOGETHER: tuple[Callable[[str, Machines], Iterator[Problem]], ...] = (
    children_exist,
    children_run_in_the_lock,
    children_are_answered,
    locked_machines_are_walked,
    resources_are_taken_once,
)


def problems(machines: Machines, *, complete: bool = True) -> Iterator[str]:
    """Every broken rule, one line each; `machines` is keyed by file stem.

    Where files are missing because they could not be read, the set is not `complete` and each machine is checked alone.
    """
    for stem, machine in machines.items():
        if machine.name != stem:
            yield line(stem, TOP, f"name is {machine.name!r}; write name = {stem!r} or rename the file")
        for alone in ALONE:
            yield from (line(stem, *problem) for problem in alone(machine))
        for together in TOGETHER if complete else ():
            yield from (line(stem, *problem) for problem in together(stem, machines))
    yield from (line("*", *problem) for problem in walks_have_no_cycle(machines))


def leads_nowhere(machines: Machines) -> Iterator[str]:
    """The broken rules without which a machine cannot even be drawn, one line each."""
    for stem, machine in machines.items():
        for rule in (initial_exists, targets_exist, activities_have_outcomes):
            yield from (line(stem, *problem) for problem in rule(machine))


def lock_problems(machines: Machines, guarded: Mapping[str, str]) -> Iterator[str]:
    """The rule of lock discipline: `guarded` maps an activity to the resource without which it must never run."""
    seen = set()
    for stem, machine in machines.items():
        for name, state in machine.states.items():
            needs = guarded.get(state.activity or "")
            if needs is None:
                continue
            seen.add(state.activity)
            if needs not in (state.holds, machine.holds):
                fix = f"write holds = {needs!r} here, or move it into a machine that holds it"
                yield line(stem, place(name), f"{state.activity} runs without {needs!r}; {fix}")
    for activity in sorted(guarded.keys() - seen):
        yield line(
            "*", TOP, f"no state runs {activity!r}, which is to be guarded; fix the name or drop it from the list"
        )


def children_first(machines: Machines) -> list[str]:
    """The order in which the rules are checked: the names of `machines`, each after those that it walks. Raises
    `CycleError` if they walk in a circle."""
    graph = {name: {child for _, child in _walks(machine)} for name, machine in sorted(machines.items())}
    return list(TopologicalSorter(graph).static_order())


def line(stem: str, where: str, problem: str) -> str:
    """A broken rule as it is shown; the stem `*` stands for all files of the folder."""
    return f"{stem}.toml, {where}: {problem}"


def _walks(machine: Machine) -> list[tuple[str, str]]:
    return [(name, state.walks) for name, state in machine.states.items() if state.walks]


def _closure(start: str, ahead: Callable[[str], Iterable[str]], known: Mapping[str, object]) -> set[str]:
    """Everything that a rule can reach from `start`, itself included; unknown names are reached and lead nowhere."""
    reached, front = {start}, [start]
    while front:
        at = front.pop()
        fresh = set(ahead(at)) - reached if at in known else set()
        reached |= fresh
        front += fresh
    return reached
