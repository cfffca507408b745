"""`kimi-auth diagram`: the machines, read in the terminal, drawn, compared, with a walk laid over them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.options import open_session, terminal_of
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import Library, Machine, SpecError

__all__ = ["add_to"]

FORMATS = {"mermaid": "diagram", "svg": "svg", "table": "diagram"}
"""Each format with the module of `kimi_auth.machine` that has a function of its name. Like everything here it is loaded
when it is asked for: one picture does not wait for what the review of all takes."""

FOLDER = Path("diagrams")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(diagram)


def diagram(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A machine; default: all of them.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="mermaid, svg or table.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Say whether ./diagrams is what the machines say.")] = False,
    walk: Annotated[Path | None, typer.Option("--trace", metavar="FILE", help="Lay a recorded walk over it.")] = None,
    diff: Annotated[str, typer.Option("--diff", metavar="REV_OR_DIR", help="Compare with another revision.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Model-check them, or those of the folder NAME.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --verify: every world, which takes minutes.")] = False,
) -> None:
    """Read, draw or verify the machines that run."""
    out = terminal_of(ctx)
    if verify:
        _verify(out, name, everything=everything)
        return
    if everything:
        raise Usage("--all says which worlds --verify visits", hint="try: kimi-auth diagram --verify --all")
    library = _library(out)
    if form and form not in FORMATS:
        raise Usage(f"no format is called {form!r}", hint=f"known: {', '.join(FORMATS)}")
    if name is not None and name not in library:
        raise Usage(f"no machine is called {name!r}", hint=f"known: {', '.join(library)}")
    if check:
        _check(out)
    elif diff:
        _difference(out, library, diff, form, name)
    elif walk is not None:
        _trace(out, library, walk, form, name)
    else:
        draw = _drawing(form) if form else _view()
        for machine in [library[name]] if name is not None else library.values():
            _show(out, draw(machine))


def _library(out: Terminal, folder: Path | None = None) -> Library:
    """The machines that run, or those of `folder`; what is wrong with them is said here, for whoever is just editing them."""
    try:
        return Library.load(folder)
    except SpecError as error:
        for problem in error.problems:
            out.line(problem)
        many = f"{len(error.problems)} problems" if len(error.problems) > 1 else "one problem"
        raise Findings(f"the machines cannot run: {many}", hint="how to mend each stands beside it") from None


def _drawing(form: str) -> Callable[[Machine], str]:
    draw: Callable[[Machine], str] = getattr(import_module(f"kimi_auth.machine.{FORMATS[form]}"), form)
    return draw


def _view() -> Callable[[Machine], RenderableType]:
    from kimi_auth.cli.machine_view import machine_view

    return lambda machine: machine_view(machine, current=_here(machine))


def _here(machine: Machine) -> str:
    """The state that this user's own credential is in, where the machine has one."""
    if machine.name != "token_lifecycle":
        return ""
    try:
        return open_session(None).status().state
    except KimiAuthError:
        return ""


def _show(out: Terminal, content: RenderableType) -> None:
    if isinstance(content, str):
        out.line(content.rstrip("\n"))
    else:
        out.picture(content)


def _check(out: Terminal) -> None:
    from kimi_auth.cli import pictures
    from kimi_auth.machine import diagram as pages

    if not FOLDER.is_dir():
        raise Usage("there is no folder ./diagrams here", hint="go to the checkout's root and try again")
    findings = [*pages.check(FOLDER), *pictures.check(FOLDER)]
    for finding in findings:
        out.line(finding)
    if findings:
        raise Findings(f"{len(findings)} pages are not what the program says", hint="draw them: make diagrams")


def _verify(out: Terminal, folder: str | None, *, everything: bool) -> None:
    if folder is not None and not Path(folder).is_dir():
        raise Usage(
            f"{folder!r} is no folder", hint="all machines are verified together: leave it out, or name a folder"
        )
    machines = _library(out, Path(folder) if folder is not None else None)
    from kimi_auth.cli.verify import verify

    verify(out, machines, everything=everything)


def _difference(out: Terminal, library: Library, where: str, form: str, name: str | None) -> None:
    from kimi_auth.cli.machine_view import difference_view
    from kimi_auth.machine.difference import compare, pictures
    from kimi_auth.machine.revisions import revision

    try:
        found = compare(revision(where), library)
    except SpecError as error:
        raise Usage(error.problems[0], hint="name a git revision, or a folder with machines") from None
    if form == "svg":
        for machine, picture in pictures(found).items():
            if name in {None, machine}:
                _show(out, picture)
    elif form == "table":
        _show(out, found.markdown())
    else:
        _show(out, difference_view(found))
    if found.changes:
        raise Findings(f"{len(found.changes)} changes", hint="read them, then: make diagrams")


def _trace(out: Terminal, library: Library, file: Path, form: str, name: str | None) -> None:
    from kimi_auth.cli.machine_view import trace_view
    from kimi_auth.machine import svg, trace

    try:
        walks = [walk for walk in trace.read(file) if walk.machine in library]
    except OSError as error:
        raise Usage(f"cannot read {file}: {error.strerror}", hint="record one: kimi-auth login --trace FILE") from None
    if not walks:
        raise Usage(f"{file} holds no walk of these machines", hint="record one: kimi-auth login --trace FILE")
    last = walks[-1]
    machine = library[name or last.machine]
    if form == "svg":
        _show(out, svg.svg(machine, partial(trace.overlay, machine, last)))
    else:
        for walk in walks:
            _show(out, trace_view(library[walk.machine], walk))
