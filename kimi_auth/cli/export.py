"""`kimi-auth diagram --export FORMAT`: machines and model for other tools."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.terminal import Terminal
from kimi_auth.machine import Library, Machine

__all__ = ["EXPORTS", "exports"]

OF_MACHINES = {"scxml": "kimi_auth.review.scxml", "dot": "kimi_auth.review.dot"}
OF_WORLDS = {"promela": "kimi_auth.proof.export.promela"}
EXPORTS = (*OF_WORLDS, *OF_MACHINES)
WORLD = "two processes"


def exports(out: Terminal, machines: Library, form: str, name: str | None, world: str) -> None:
    """Prints a machine, or the explored model of a world. Raises Usage for a form that does not exist."""
    if form in OF_MACHINES:
        _machine(out, machines, form, name, world)
    elif form in OF_WORLDS:
        _world(out, machines, form, name, world or WORLD)
    else:
        raise Usage(f"there is no export {form!r}", hint=f"known: {', '.join(EXPORTS)}")


def _machine(out: Terminal, machines: Library, form: str, name: str | None, world: str) -> None:
    if world:
        raise Usage(f"{form} is about one machine, not about a world", hint="leave out --world")
    out.block(getattr(import_module(OF_MACHINES[form]), form)(_named(machines, name, form)))


def _named(machines: Library, name: str | None, form: str) -> Machine:
    if name is None or name not in machines:
        fault = f"no machine is called {name!r}" if name is not None else f"{form} is about one machine"
        raise Usage(fault, hint=f"name one: {', '.join(machines)}")
    return machines[name]


def _world(out: Terminal, machines: Library, form: str, name: str | None, world: str) -> None:
    from kimi_auth.proof.export.model import NotExportable, exported
    from kimi_auth.proof.verdicts import unknown_to
    from kimi_auth.proof.worlds import FAST, WORLDS

    known = {**FAST, **WORLDS}
    if name is not None:
        raise Usage(f"{form} is about all machines in one world", hint=f"leave out {name!r}; choose with --world")
    if world not in known:
        raise Usage(f"there is no world {world!r}", hint=f"known: {_listed(known)}")
    if unknown := unknown_to(machines):
        raise Usage(f"there is no machine {unknown[0]}, and the worlds are about it", hint="name another checkout")
    try:
        model = exported(machines, known[world], pairs=3 if known[world].processes < 3 else 4)
    except NotExportable as error:
        raise Usage(f"{world!r} cannot be exported: {error}", hint=f"the default is {WORLD!r}") from None
    out.block(getattr(import_module(OF_WORLDS[form]), form)(model, world))


def _listed(worlds: Iterable[str]) -> str:
    return "; ".join(worlds)
