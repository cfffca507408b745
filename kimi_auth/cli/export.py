"""`kimi-auth diagram --export FORMAT`: machines and model for other tools."""

from __future__ import annotations

from importlib import import_module

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.terminal import Terminal
from kimi_auth.machine import Library, Machine
from kimi_auth.support.language import listed, tr

__all__ = ["EXPORTS", "exports"]

OF_MACHINES = {"scxml": "kimi_auth.review.scxml", "dot": "kimi_auth.review.dot"}
OF_WORLDS = {name: f"kimi_auth.proof.export.{name}" for name in ("promela", "quint", "tla")}
EXPORTS = (*OF_WORLDS, *OF_MACHINES)
WORLD = "two processes"


def exports(out: Terminal, machines: Library, form: str, name: str | None, world: str | None) -> None:
    """Prints a machine, or the explored model of a world. Raises Usage for a form that does not exist."""
    if form in OF_MACHINES:
        _machine(out, machines, form, name, world)
    elif form in OF_WORLDS:
        _world(out, machines, form, name, WORLD if world is None else world)
    else:
        raise Usage(tr("there is no export {form!r}", form=form), hint=tr("known: {names}", names=listed(EXPORTS)))


def _machine(out: Terminal, machines: Library, form: str, name: str | None, world: str | None) -> None:
    if world is not None:
        raise Usage(tr("{form} is about one machine, not about a world", form=form), hint=tr("leave out --world"))
    out.block(getattr(import_module(OF_MACHINES[form]), form)(_named(machines, name, form)))


def _named(machines: Library, name: str | None, form: str) -> Machine:
    if name is None or name not in machines:
        unknown = tr("no machine is called {name!r}", name=name or "")
        fault = unknown if name is not None else tr("{form} is about one machine", form=form)
        raise Usage(fault, hint=tr("name a machine: {names}", names=listed(machines)))
    return machines[name]


def _world(out: Terminal, machines: Library, form: str, name: str | None, world: str) -> None:
    from kimi_auth.proof.export.model import NotExportable, exported
    from kimi_auth.proof.verdicts import unknown_to
    from kimi_auth.proof.worlds import FAST, WORLDS

    known = {**FAST, **WORLDS}
    if name is not None:
        raise Usage(tr("{form} is about all machines in one world", form=form), hint=tr("choose it with --world WORLD"))
    if world not in known:
        names = " · ".join(known)
        raise Usage(tr("there is no world {world!r}", world=world), hint=tr("known: {names}", names=names))
    if unknown := unknown_to(machines):
        said = tr("there is no machine {name}, and the worlds are about it", name=unknown[0])
        raise Usage(said, hint=tr("fix the machines and verify again"))
    try:
        model = exported(machines, known[world], pairs=3 if known[world].processes < 3 else 4)
    except NotExportable as error:
        said = tr("{world!r} cannot be exported: {reason}", world=world, reason=str(error))
        raise Usage(said, hint=tr("leave out --world")) from None
    out.block(getattr(import_module(OF_WORLDS[form]), form)(model, world))
