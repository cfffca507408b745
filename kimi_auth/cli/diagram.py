"""`kimi-auth diagram`: the machines, read in the terminal, drawn, compared, with a walk laid over them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.machine_view import difference_view, machine_view, trace_view
from kimi_auth.cli.options import open_session, terminal_of
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import Library, Machine, SpecError, trace
from kimi_auth.machine import diagram as drawing
from kimi_auth.machine.difference import compare
from kimi_auth.machine.revisions import pictures, revision
from kimi_auth.machine.svg import svg

__all__ = ["add_to"]

FORMATS = {"mermaid": drawing.mermaid, "svg": svg, "table": drawing.table}
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
) -> None:
    """Read or draw the machines that run."""
    out = terminal_of(ctx)
    library = Library.load()
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
        chosen = [library[name]] if name is not None else list(library.values())
        for machine in chosen:
            _show(out, FORMATS[form](machine) if form else machine_view(machine, current=_here(machine)))


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
    if not FOLDER.is_dir():
        raise Usage("there is no folder ./diagrams here", hint="go to the checkout's root and try again")
    findings = drawing.check(FOLDER)
    for finding in findings:
        out.line(finding)
    if findings:
        raise Findings(f"{len(findings)} pages are not what the machines say", hint="draw them: make diagrams")


def _difference(out: Terminal, library: Library, where: str, form: str, name: str | None) -> None:
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
    try:
        walks = [walk for walk in trace.read(file) if walk.machine in library]
    except OSError as error:
        raise Usage(f"cannot read {file}: {error.strerror}", hint="record one: kimi-auth login --trace FILE") from None
    if not walks:
        raise Usage(f"{file} holds no walk of these machines", hint="record one: kimi-auth login --trace FILE")
    last = walks[-1]
    machine = library[name or last.machine]
    if form == "svg":
        _show(out, svg(machine, partial(trace.overlay, machine, last)))
    else:
        for walk in walks:
            _show(out, trace_view(library[walk.machine], walk))
