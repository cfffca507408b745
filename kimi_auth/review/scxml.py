"""A machine as SCXML (https://www.w3.org/TR/scxml/), with the null data model: states, events and targets, and nothing that runs.

A state that walks a child is a compound state: it waits for its resource in `STATE.taking`, `acquired` leads into the child,
and each rest state of the child leads on at once, as the engine does. What runs in a state, and the resource that it holds,
are attributes of a namespace of our own, as the standard allows.
"""

from __future__ import annotations

from collections.abc import Iterator

from kimi_auth.machine import ACQUIRED, Machine

from .escape import attribute

__all__ = ["scxml"]

NAMESPACE = "http://www.w3.org/2005/07/scxml"
OURS = "urn:kimi-auth:machine"


def scxml(machine: Machine) -> str:
    """The whole machine as SCXML, its children inside."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<scxml xmlns="{NAMESPACE}" xmlns:kimi="{OURS}" version="1.0" datamodel="null"',
        f'       name="{machine.name}" initial="{_id(machine, machine.initial)}" kimi:about="{attribute(machine.about)}">',
        *_states(machine, "  "),
        "</scxml>",
    ]
    return "\n".join(lines) + "\n"


def _states(machine: Machine, indent: str) -> Iterator[str]:
    for name, state in machine.states.items():
        child = machine.child(name)
        tag = "final" if state.is_rest and not state.on else "state"
        # A state of a machine that is walked alone is final; a child's leads on (`_compound`).
        head = f'{indent}<{tag} id="{_id(machine, name)}"{_described(machine, name)}'
        if child is not None:
            yield f'{head} initial="{_id(machine, name)}.taking">'
            yield from _compound(machine, name, child, indent + "  ")
            yield f"{indent}</{tag}>"
        elif state.on:
            yield f"{head}>"
            yield from (_transition(machine, event, target, indent + "  ") for event, target in state.on.items())
            yield f"{indent}</{tag}>"
        else:
            yield f"{head}/>"


def _compound(machine: Machine, name: str, child: Machine, indent: str) -> Iterator[str]:
    on = machine.states[name].on
    rests = {inner for inner, state in child.states.items() if state.is_rest}
    yield f'{indent}<state id="{_id(machine, name)}.taking">'
    yield f'{indent}  <transition event="{ACQUIRED}" target="{_id(child, child.initial)}"/>'
    yield from (_transition(machine, event, on[event], indent + "  ") for event in on if event not in rests)
    yield f"{indent}</state>"
    for inner, state in child.states.items():
        yield f'{indent}<state id="{_id(child, inner)}"{_described(child, inner)}>'
        if state.is_rest:
            yield f'{indent}  <transition target="{_id(machine, on[inner])}"/>'
        yield from (_transition(child, event, target, indent + "  ") for event, target in state.on.items())
        yield f"{indent}</state>"


def _transition(machine: Machine, event: str, target: str, indent: str) -> str:
    return f'{indent}<transition event="{event}" target="{_id(machine, target)}"/>'


def _id(machine: Machine, state: str) -> str:
    return f"{machine.name}.{state}"


def _described(machine: Machine, name: str) -> str:
    state = machine.states[name]
    facts = {"activity": state.activity, "holds": state.holds, "tone": state.tone, "about": state.about}
    return "".join(f' kimi:{key}="{attribute(value)}"' for key, value in facts.items() if value)
