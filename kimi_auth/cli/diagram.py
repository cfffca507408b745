"""`kimi-auth diagram`: the machines in the terminal, drawn, compared, and with a recorded walk over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimi_auth.cli.completion import complete_machines
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.machines import library, page, refuse_unknown, say_which, show
from kimi_auth.cli.options import Json, open_session, terminal_of
from kimi_auth.cli.paging import paged
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import Library, Machine
from kimi_auth.machine.library import in_checkout
from kimi_auth.support.language import joined, listed, tr

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["diagram"]

FORMATS = {"mermaid": "mermaid", "svg": "svg", "table": "markdown_page"}
"""Each format with the module of `kimi_auth.review` that has a function of its name. It is loaded when the format is asked
for: one picture does not wait for the imports of the whole review."""

PAGE = "html"
"""The page for reviewers, in which walks can be played."""

QUESTIONS: dict[str, tuple[str, ...]] = {
    "": (*FORMATS, PAGE),
    "--check": (),
    "--conforms": (),
    "--diff": ("svg", "table"),
    "--export": (),
    "--trace": ("svg", "html"),
    "--verify": ("html",),
}
"""The questions about the machines, one at a time ("": how they look), each with the formats of its answer."""


def _forms(incomplete: str) -> list[str]:
    """The formats that begin so, for a shell."""
    return [form for form in (*FORMATS, PAGE) if form.startswith(incomplete)]


def _exports(incomplete: str) -> list[str]:
    """The exports that begin so, for a shell."""
    from kimi_auth.cli.export import EXPORTS

    return [form for form in EXPORTS if form.startswith(incomplete)]


def diagram(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A machine; default: all of them.", autocompletion=complete_machines),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files for --conforms.")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="mermaid, svg, table or html.",
            autocompletion=_forms,
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check that ./diagrams is up to date.")] = False,
    walk: Annotated[Path | None, typer.Option("--trace", metavar="FILE|last", help="Overlay a recorded walk.")] = None,
    diff: Annotated[
        str | None, typer.Option("--diff", metavar="REV_OR_DIR", help="Compare with another revision.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Model-check them, or those of the folder NAME.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --verify: every world, which takes minutes.")] = False,
    logs: Annotated[
        list[Path] | None,
        typer.Option(
            "--conforms", metavar="FILE...", help="Name the first step of recorded walks that is not allowed."
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="FORMAT",
            help="promela, quint or tla (the explored model), scxml or dot.",
            autocompletion=_exports,
        ),
    ] = None,
    world: Annotated[
        str | None, typer.Option("--world", metavar="WORLD", help="With an export of the explored model: which world.")
    ] = None,
    json: Json = False,
) -> None:
    """Read, draw or verify the machines that run."""
    out = terminal_of(ctx)
    given = {"--check": check, "--diff": diff is not None, "--trace": walk is not None, "--verify": verify}
    given |= {"--conforms": bool(logs), "--export": export is not None}
    _check_options([option for option, is_asked in given.items() if is_asked], form)
    _check_companions(given, more, world, json=json)
    shape = form or ""
    if logs:
        from kimi_auth.cli.conforms import conforms

        conforms(out, library(out), [*logs, *([Path(name)] if name is not None else []), *(more or [])])
        return
    if export is not None:
        from kimi_auth.cli.export import exports

        exports(out, library(out, in_checkout()), export, name, world)
        return
    if check and name is not None:
        raise Usage(tr("--check looks at the pages of all machines"), hint=tr("try: kimi-auth diagram --check"))
    if verify:
        _verify(out, name, shape, everything=everything)
        return
    if everything:
        raise Usage(tr("--all extends --verify to every world"), hint=tr("try: kimi-auth diagram --verify --all"))
    if diff is not None:
        from kimi_auth.cli.difference import difference

        difference(out, diff, shape, name)
        return
    if check:
        from kimi_auth.cli.check import check as check_pages

        check_pages(out)
        return
    machines = library(out)
    refuse_unknown(name, machines)
    if walk is not None:
        from kimi_auth.cli.recorded import trace

        trace(out, machines, walk, shape, name)
    elif shape == PAGE:
        page(out, machines)
    else:
        _draw(out, machines, shape, name)


def _draw(out: Terminal, library: Library, form: str, name: str | None) -> None:
    if form == "svg" and name is None:
        raise Usage(tr("an SVG is one picture"), hint=tr("name a machine: {names}", names=listed(library)))
    draw = _drawing(form) if form else _view()
    with paged(out):
        for machine in [library[name]] if name is not None else library.values():
            show(out, draw(machine))


def _check_options(asked: list[str], form: str | None) -> None:
    """Raises Usage for options of `diagram` without effect: a second question, or a format that its answer does not have."""
    if len(asked) > 1:
        raise Usage(
            tr("{options} exclude each other", options=joined(tr(" and "), asked)), hint=tr("ask for one at a time")
        )
    question = "".join(asked)
    formats = QUESTIONS[question]
    if form is not None and form not in formats:
        hint = tr("known: {names}", names=listed(formats)) if formats else tr("leave out --format")
        raise Usage(tr("{shown} cannot be shown as {form!r}", shown=question or tr("a machine"), form=form), hint=hint)


def _check_companions(given: Mapping[str, bool], more: list[Path] | None, world: str | None, *, json: bool) -> None:
    """Raises Usage for options that belong to a question of `diagram` that was not asked."""
    if more and not given["--conforms"]:
        raise Usage(tr("one machine at a time"), hint=tr("several files belong to --conforms"))
    if world is not None and not given["--export"]:
        raise Usage(tr("--world belongs to --export"), hint=tr("try: kimi-auth diagram --export promela --world WORLD"))
    if json and not given["--conforms"]:
        raise Usage(tr("--json belongs to --conforms"), hint=tr("a picture has no JSON form"))


def _drawing(form: str) -> Callable[[Machine], str]:
    draw: Callable[[Machine], str] = getattr(import_module(f"kimi_auth.review.{FORMATS[form]}"), form)
    return draw


def _view() -> Callable[[Machine], RenderableType]:
    from kimi_auth.cli.machine_view import machine_view

    return lambda machine: machine_view(machine, current=_here(machine))


def _here(machine: Machine) -> str:
    """The state of this user's own credential, to be shown in the machine in the terminal; "" where the machine has none."""
    if machine.name != "token_lifecycle":
        return ""
    try:
        return open_session(None).status().state
    except KimiAuthError:
        return ""


def _verify(out: Terminal, folder: str | None, form: str, *, everything: bool) -> None:
    if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - the other one raises
        raise Usage(
            tr("{folder!r} is no folder", folder=folder),
            hint=tr("all machines are verified together: leave it out, or name a folder"),
        )
    where = Path(folder) if folder is not None else in_checkout()
    machines = library(out, where)
    if folder is None:
        say_which(out, machines, where, only_others=True)
    from kimi_auth.cli.verify import verify

    stories: list[dict[str, Any]] = []
    try:
        # With a page, the page alone goes to standard output.
        verify(out.say if form else out.line, machines, stories, everything=everything)
    finally:
        if form and stories:
            page(out, machines, stories)
