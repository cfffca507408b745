"""What the questions of `kimi-auth diagram` share: which machines they read, and how problems and pages are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.terminal import Terminal
from kimi_auth.machine import Library, Machine, SpecError
from kimi_auth.support.language import counted, listed, tr

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["FOLDER", "library", "page", "problems_printed", "refuse_unknown", "say_which", "show"]

FOLDER = Path("diagrams")


def library(out: Terminal, folder: Path | None = None) -> Library:
    """The machines that `diagram` is asked about: those that run, or those of `folder`. Prints their problems, for a
    user who edits them."""
    with problems_printed(out, tr("the machines cannot run")):
        return Library.load(folder)


@contextmanager
def problems_printed(out: Terminal, failure: str) -> Iterator[None]:
    """Prints the problems of a SpecError, and raises Findings that begins with `failure` instead of it."""
    try:
        yield
    except SpecError as error:
        for problem in error.problems:
            out.line(problem)
        many = counted(len(error.problems), tr("one problem"), tr("{number} problems"))
        said = tr("{failure}: {problems}", failure=failure, problems=many)
        raise Findings(said, hint=tr("each line ends with its fix")) from None


def say_which(
    out: Terminal, machines: Mapping[str, Machine], folder: Path | None, *, only_others: bool = False
) -> None:
    """Which machines were read, and that others run, where they are not the same: an edited file proves nothing of those."""
    from kimi_auth.machine import digest
    from kimi_auth.machine.library import drafts, own_folder

    read = digest(machines)
    try:
        own = read if folder is None else digest(drafts())
    except SpecError:
        own = tr("they cannot be read")
    others = ""
    if own != read:
        others = tr("; this kimi-auth runs others: {folder} ({digest})", folder=own_folder(), digest=own[:12])
    if others or not only_others:
        out.say(
            tr(
                "machines read: {folder} ({digest}){others}",
                folder=folder or own_folder(),
                digest=read[:12],
                others=others,
            )
        )


def refuse_unknown(name: str | None, machines: Iterable[str]) -> None:
    """Raises Usage for a name that none of `machines` has."""
    if name is not None and name not in machines:
        raise Usage(tr("no machine is called {name!r}", name=name), hint=tr("known: {names}", names=listed(machines)))


def page(out: Terminal, machines: Library, stories: Sequence[Mapping[str, Any]] = ()) -> None:
    """Answers a question of `diagram` with the page of these machines and their figures in ./diagrams, a story first."""
    from kimi_auth.review.html_page import html_page
    from kimi_auth.review.page_data import read_page_data

    try:
        show(out, html_page(machines, read_page_data(FOLDER), stories))
    except ValueError as error:
        raise Usage(str(error), hint=tr("make it again: make diagrams")) from None


def show(out: Terminal, content: RenderableType) -> None:
    """Prints the answer to a question of `diagram`: text as it is, anything else as a picture of the terminal."""
    if isinstance(content, str):
        out.block(content)
    else:
        out.picture(content)
