"""Hooks as relations: each tree says of every state that a world comes to what the hook itself does there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kimi_auth.machine import Library
from kimi_auth.proof.effects import Effect
from kimi_auth.proof.explore import explore
from kimi_auth.proof.export.domains import MARKS
from kimi_auth.proof.export.model import NotExportable, exported
from kimi_auth.proof.export.promela import promela, rule_number
from kimi_auth.proof.export.relation import IMPOSSIBLE, Change, Domains, Flag, Leaf, Node, Var, changes, relation
from kimi_auth.proof.hooks_outside import HOOKS
from kimi_auth.proof.rules import RULES
from kimi_auth.proof.state import EXPIRED, SPENT, Pair, Process, Shared
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import QUIET, WORLDS

ALONE = QUIET._replace(processes=1)
UNUSED = Pair(0, good=SPENT, phase=EXPIRED)
TOY = Domains(
    1,
    1,
    {("world", "held"): (0, 1), ("me", "stage"): (0, 1, 2), ("pair", "late"): (0, 1, 2), ("world", "record"): (-1, 0)},
    {("me", "marks"): MARKS},
    UNUSED,
)


def value(shared: Shared, process: Process, on: Var | Flag) -> Any:
    """The value of a field, or of a bit, in a concrete state."""
    if isinstance(on, Flag):
        return value(shared, process, on.var) >> on.bit & 1
    if on.owner == "pair":
        return getattr(shared.pairs[on.number] if on.number < len(shared.pairs) else UNUSED, on.name)
    if on.owner == "login":
        return shared.logins[on.number] if on.number < len(shared.logins) else 0
    return getattr(process if on.owner == "me" else shared, on.name)


def leaf(node: Node, shared: Shared, process: Process) -> Any:
    """What the tree says of a concrete state."""
    while not isinstance(node, Leaf):
        seen = value(shared, process, node.on)
        node = next(child for each, child in node.children if each == seen)
    return node.result


def padded(shared: Shared, pairs: int, logins: int) -> Shared:
    """The same world with as many pairs and logins as the export has between two moves."""
    return shared._replace(
        pairs=shared.pairs + (UNUSED,) * (pairs - len(shared.pairs)),
        logins=shared.logins + (0,) * (logins - len(shared.logins)),
    )


def after(shared: Shared, process: Process, change: Change) -> tuple[Shared, Process]:
    """The concrete state with a change made in it."""
    new = dict(change.constants)
    new |= {var: value(shared, process, source) for var, source in change.copies}
    new |= {var: value(shared, process, var) & ~clear | put for var, clear, put in change.bits}
    pairs = (
        [*shared.pairs, UNUSED]
        if any(var.owner == "pair" and var.number == len(shared.pairs) for var in new)
        else [*shared.pairs]
    )
    logins = list(shared.logins)
    for var, made in new.items():
        if var.owner == "pair":
            pairs[var.number] = pairs[var.number]._replace(**{var.name: made})
        elif var.owner == "login":
            logins[var.number : var.number + 1] = [made]
        elif var.owner == "me":
            process = process._replace(**{var.name: made})
        else:
            shared = shared._replace(**{var.name: made})
    return shared._replace(pairs=tuple(pairs), logins=tuple(logins)), process


def states(world: World) -> Iterator[tuple[Shared, Process]]:
    """What the world has come to: its shared parts, each with its process; every third, for the time it takes."""
    for key in list(world._steps)[::3]:
        yield world._known.shared[key >> 20], world._known.processes[key & (1 << 20) - 1]


def test_relations_say_what_the_hooks_do(machines: Library) -> None:
    """In the states of a world, the tree of the hook has the effects of the hook, one by one."""
    world = World(machines, ALONE, chained=False)
    explore(world, liveness=False)
    model = exported(machines, ALONE)
    compared = set()
    for shared, process in states(world):
        activity = world.program.locations[process.location].activity or "inspect"
        given = padded(shared, model.domains.pairs, model.domains.logins)
        moves = leaf(model.hooks[activity], given, process)
        effects = list(dict.fromkeys(Effect(*effect) for effect in HOOKS[activity](ALONE, given, process)))
        assert [(move.outcome, move.broken, *after(given, process, move.change)) for move in moves] == [
            (effect.outcome, effect.broken, effect.shared, effect.process) for effect in effects
        ], (activity, shared, process)
        compared.add(activity)
    assert compared >= {
        "inspect",
        "hold_credential",
        "reread",
        "claim",
        "exchange",
        "stage",
        "commit",
        "postpone",
        "back_off",
    }


def test_only_what_is_read_becomes_a_branch() -> None:
    """A field that is passed on stays a name, a bit that nothing asks for is no branch, and equal trees are one."""

    def hook(shared: Shared, process: Process) -> tuple[bool, Change]:
        held = bool(shared.held) and process.stage == 1
        done = process._replace(bearer=shared.record, marks=process.marks & ~4 | 1)
        return held, changes(TOY, shared, done)

    node = relation(TOY, hook)
    assert not isinstance(node, Leaf)
    assert (node.on, [each for each, _ in node.children]) == (Var("world", 0, "held"), [0, 1])
    (_, still), (_, then) = node.children
    assert isinstance(still, Leaf)
    assert still.result == (
        False,
        Change(copies=((Var("me", 0, "bearer"), Var("world", 0, "record")),), bits=((Var("me", 0, "marks"), 4, 1),)),
    )
    assert not isinstance(then, Leaf)
    assert then.on == Var("me", 0, "stage")
    assert then.children[0][1] is then.children[2][1] is still


def test_a_pair_that_does_not_exist_is_no_other_pair() -> None:
    """Python would count a negative number from the end; here it is a state that must not be."""
    node = relation(TOY, lambda shared, process: int(shared.pairs[shared.record].late))
    assert not isinstance(node, Leaf)
    assert leaf(node, Shared(-1, (UNUSED,)), Process(1)) == IMPOSSIBLE
    assert leaf(node, Shared(0, (UNUSED._replace(late=2),)), Process(1)) == 2


def test_worlds_that_cannot_be_exported(machines: Library) -> None:
    """A power cut is a move of all processes, which the export does not have: it says so."""
    with pytest.raises(NotExportable, match="power cuts"):
        exported(machines, WORLDS["one process, power cuts"])


def test_the_text_names_rules_and_machines(machines: Library) -> None:
    """The Promela file is the same each time, says which rule has which number, and has each state of a machine."""
    text = promela(exported(machines, ALONE), "one quiet process")
    assert text == promela(exported(machines, ALONE), "one quiet process")
    for rule, about in RULES.items():
        assert f"{rule_number(rule):3} {rule}: {about}" in text
    for name in ("token_lifecycle", "token_refresh", "sign_out"):
        assert all(f"\\#define {name}_{state} " in text for state in machines[name].states)
