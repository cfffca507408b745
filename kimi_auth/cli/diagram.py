"""`kimi-auth diagram`: the machines, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.options import terminal_of
from kimi_auth.machine import Library
from kimi_auth.machine import diagram as drawing

__all__ = ["add_to"]

FORMATS = {"mermaid": drawing.mermaid, "table": drawing.table, "page": drawing.page}
FOLDER = Path("diagrams")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(diagram)


def diagram(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A machine; default: all of them.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="mermaid, table or page.")] = "mermaid",
    check: Annotated[bool, typer.Option("--check", help="Say whether ./diagrams is what the machines say.")] = False,
) -> None:
    """Draw the machines that run."""
    out = terminal_of(ctx)
    library = Library.load()
    if check:
        if not FOLDER.is_dir():
            raise Usage("there is no folder ./diagrams here", hint="go to the checkout's root and try again")
        findings = drawing.check(FOLDER, library.values())
        for finding in findings:
            out.line(finding)
        if findings:
            raise Findings(f"{len(findings)} pages are not what the machines say", hint="draw them: make diagrams")
        return
    if form not in FORMATS:
        raise Usage(f"no format is called {form!r}", hint=f"known: {', '.join(FORMATS)}")
    if name is not None and name not in library:
        raise Usage(f"no machine is called {name!r}", hint=f"known: {', '.join(library)}")
    names = [name] if name is not None else list(library)
    out.line("\n".join(FORMATS[form](library[machine]).rstrip("\n") + "\n" for machine in names).rstrip("\n"))
