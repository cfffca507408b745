"""`kimi-auth diagram`: the machines in the terminal, drawn, compared, and with a recorded walk over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimi_auth.cli.completion import complete_machines
from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.options import Json, components_of, open_session, terminal_of
from kimi_auth.cli.paging import paged
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import Library, Machine, SpecError
from kimi_auth.machine.library import holds_machines, in_checkout
from kimi_auth.support.language import counted, joined, tr

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kimi_auth.machine.trace import Walk

__all__ = ["add_to"]

FORMATS = {"mermaid": "mermaid", "svg": "svg", "table": "markdown_page"}
"""Each format with the module of `kimi_auth.review` that has a function of its name. It is loaded when the format is asked
for: one picture does not wait for the imports of the whole review."""

PAGE = "html"
"""The page for reviewers, in which walks can be played."""

LAST = Path("last")
"""Instead of a file: the newest walk that doctor keeps."""

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

FOLDER = Path("diagrams")
WALKS_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(diagram)


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
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="mermaid, svg, table or html.",
            autocompletion=_forms,
        ),
    ] = "",
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
        str,
        typer.Option(
            "--export",
            metavar="FORMAT",
            help="promela, quint or tla (the explored model), scxml or dot.",
            autocompletion=_exports,
        ),
    ] = "",
    world: Annotated[
        str, typer.Option("--world", metavar="WORLD", help="With an export of the explored model: which world.")
    ] = "",
    json: Json = False,
) -> None:
    """Read, draw or verify the machines that run."""
    out = terminal_of(ctx)
    given = {"--check": check, "--diff": diff is not None, "--trace": walk is not None, "--verify": verify}
    given |= {"--conforms": bool(logs), "--export": bool(export)}
    _check_options([option for option, is_asked in given.items() if is_asked], form)
    _check_companions(given, more, world, json=json)
    if logs:
        from kimi_auth.cli.conforms import conforms

        conforms(out, _library(out), [*logs, *([Path(name)] if name is not None else []), *(more or [])])
        return
    if export:
        from kimi_auth.cli.export import exports

        exports(out, _library(out, in_checkout()), export, name, world)
        return
    if check and name is not None:
        raise Usage(tr("--check looks at the pages of all machines"), hint=tr("try: kimi-auth diagram --check"))
    if verify:
        _verify(out, name, form, everything=everything)
        return
    if everything:
        raise Usage(tr("--all extends --verify to every world"), hint=tr("try: kimi-auth diagram --verify --all"))
    if diff is not None:
        _difference(out, diff, form, name)
        return
    if check:
        _check(out)
        return
    library = _library(out)
    _refuse_unknown(name, library)
    if walk is not None:
        _trace(out, library, walk, form, name)
    elif form == PAGE:
        _page(out, library)
    else:
        _draw(out, library, form, name)


def _draw(out: Terminal, library: Library, form: str, name: str | None) -> None:
    if form == "svg" and name is None:
        raise Usage(tr("an SVG is one picture"), hint=tr("name a machine: {names}", names=", ".join(library)))
    draw = _drawing(form) if form else _view()
    with paged(out):
        for machine in [library[name]] if name is not None else library.values():
            _show(out, draw(machine))


def _check_options(asked: list[str], form: str) -> None:
    """Raises Usage for options that would have no effect: a second question, or a format that its answer does not have."""
    if len(asked) > 1:
        raise Usage(
            tr("{options} exclude each other", options=joined(tr(" and "), asked)), hint=tr("ask for one at a time")
        )
    question = "".join(asked)
    formats = QUESTIONS[question]
    if form and form not in formats:
        hint = tr("known: {names}", names=", ".join(formats)) if formats else tr("leave out --format")
        raise Usage(tr("{shown} cannot be shown as {form!r}", shown=question or tr("a machine"), form=form), hint=hint)


def _check_companions(given: Mapping[str, bool], more: list[Path] | None, world: str, *, json: bool) -> None:
    """Raises Usage for what belongs to a question that was not asked."""
    if more and not given["--conforms"]:
        raise Usage(tr("one machine at a time"), hint=tr("several files belong to --conforms"))
    if world and not given["--export"]:
        raise Usage(tr("--world belongs to --export"), hint=tr("try: kimi-auth diagram --export promela --world WORLD"))
    if json and not given["--conforms"]:
        raise Usage(tr("--json belongs to --conforms"), hint=tr("a picture has no JSON form"))


def _refuse_unknown(name: str | None, machines: Iterable[str]) -> None:
    if name is not None and name not in machines:
        raise Usage(
            tr("no machine is called {name!r}", name=name), hint=tr("known: {names}", names=", ".join(machines))
        )


def _library(out: Terminal, folder: Path | None = None) -> Library:
    """The machines that run, or those of `folder`; problems with them are printed, for a user who is editing them."""
    with _problems_printed(out, tr("the machines cannot run")):
        return Library.load(folder)


@contextmanager
def _problems_printed(out: Terminal, failure: str) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        for problem in error.problems:
            out.line(problem)
        many = counted(len(error.problems), tr("one problem"), tr("{number} problems"))
        said = tr("{failure}: {problems}", failure=failure, problems=many)
        raise Findings(said, hint=tr("each line ends with its fix")) from None


def _page(out: Terminal, machines: Library, stories: Sequence[Mapping[str, Any]] = ()) -> None:
    """The page of these machines, with the figures of ./diagrams as far as they are about them; it opens with a story."""
    from kimi_auth.review.html_page import html_page
    from kimi_auth.review.page_data import read_page_data

    try:
        _show(out, html_page(machines, read_page_data(FOLDER), stories))
    except ValueError as error:
        raise Usage(str(error), hint=tr("make it again: make diagrams")) from None


def _drawing(form: str) -> Callable[[Machine], str]:
    draw: Callable[[Machine], str] = getattr(import_module(f"kimi_auth.review.{FORMATS[form]}"), form)
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
        out.block(content)
    else:
        out.picture(content)


def _say_which(
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


def _check(out: Terminal) -> None:
    from kimi_auth.cli import pictures
    from kimi_auth.proof.verdicts import without_hook
    from kimi_auth.review import diagram as pages
    from kimi_auth.review.hooks import missing

    if not FOLDER.is_dir():
        raise Usage(tr("there is no folder ./diagrams here"), hint=tr("go to the checkout's root and try again"))
    beside = FOLDER.absolute().parent / "machines"
    folder = beside if holds_machines(beside) else None
    library = _library(out, folder)
    _say_which(out, library, folder)
    gaps = [*missing(library, FOLDER), *without_hook(library)]
    findings = [*pages.check(FOLDER), *pictures.check(FOLDER)]
    for finding in [*gaps, *findings]:
        out.line(finding)
    if gaps:
        many = counted(len(gaps), tr("one point"), tr("{number} points"))
        words = tr("hooks and machines differ in {points}", points=many)
        raise Findings(words, hint=tr("each line ends with its fix; then: make diagrams"))
    if findings:
        many = counted(len(findings), tr("one page is not up to date"), tr("{number} pages are not up to date"))
        raise Findings(many, hint=tr("draw them: make diagrams"))


def _verify(out: Terminal, folder: str | None, form: str, *, everything: bool) -> None:
    if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - the other one raises
        raise Usage(
            tr("{folder!r} is no folder", folder=folder),
            hint=tr("all machines are verified together: leave it out, or name a folder"),
        )
    where = Path(folder) if folder is not None else in_checkout()
    machines = _library(out, where)
    if folder is None:
        _say_which(out, machines, where, only_others=True)
    from kimi_auth.cli.verify import verify

    stories: list[dict[str, Any]] = []
    try:
        # With a page, the page alone goes to standard output.
        verify(out.say if form else out.line, machines, stories, everything=everything)
    finally:
        if form and stories:
            _page(out, machines, stories)


def _difference(out: Terminal, where: str, form: str, name: str | None) -> None:
    from kimi_auth.cli.machine_view import difference_view
    from kimi_auth.review.difference import compare, pictures, undrawable
    from kimi_auth.review.revisions import revision

    try:
        before = revision(where)
    except SpecError as error:
        *others, last = error.problems
        for problem in others:
            out.line(problem)
        message, _, fix = last.rpartition("; ")
        raise Usage(message, hint=fix) from None
    with _problems_printed(out, tr("the machines cannot be compared")):
        after = revision()
    _say_which(out, after.machines, in_checkout())
    _refuse_unknown(name, [*after.machines, *before.machines])
    old, new = (
        {each: machine for each, machine in side.machines.items() if name in {None, each}} for side in (before, after)
    )
    found = compare(old, new, after.problems)
    if form == "svg":
        with _problems_printed(out, tr("machines that the lints refuse are not drawn")):
            if problems := undrawable(before, after):
                raise SpecError(list(problems))
        drawn = pictures(found)
        if len(drawn) > 1:
            raise Usage(
                tr("an SVG is one picture, and more than one machine changed"),
                hint=tr("name one: {names}", names=", ".join(drawn)),
            )
        for picture in drawn.values():
            _show(out, picture)
    elif form == "table":
        _show(out, found.markdown())
    else:
        _show(out, difference_view(found))
    many = counted(len(found.changes), tr("one change"), tr("{number} changes"))
    if found.problems:
        raise Findings(
            tr("{changes}, and the machines cannot run", changes=many), hint=tr("each line ends with its fix")
        )
    if found.changes:
        raise Findings(many, hint=tr("read them, then: make diagrams"))


def _trace(out: Terminal, library: Library, file: Path, form: str, name: str | None) -> None:
    from kimi_auth.cli.machine_view import trace_view
    from kimi_auth.review import svg, walk_picture

    recorded = _newest() if file == LAST and not file.exists() else _recorded(file)
    walks = [walk for walk in recorded if walk.machine in library and (name or walk.machine) in walk.machines]
    if not walks:
        raise Usage(
            tr("{file} holds no walk of {name}", file=file, name=name or tr("these machines")),
            hint=tr("record one: kimi-auth login --trace FILE"),
        )
    last = walks[-1]
    machine = library[name or last.machine]
    if form == PAGE:
        from kimi_auth.review.player_data import walk_story

        _page(out, library, [walk_story(walk, number) for number, walk in enumerate(reversed(walks[-WALKS_SHOWN:]), 1)])
        return
    if form == "svg":
        _show(out, svg.svg(machine, partial(walk_picture.overlay, machine, last)))
        return
    if len(walks) > WALKS_SHOWN:
        earlier = counted(len(walks) - WALKS_SHOWN, tr("one earlier walk"), tr("{number} earlier walks"))
        out.line(tr("… {walks} …", walks=earlier))
    for walk in walks[-WALKS_SHOWN:]:
        _show(out, trace_view(library[walk.machine], walk))


def _recorded(file: Path) -> list[Walk]:
    from kimi_auth.machine import trace

    try:
        return trace.read(file)
    except OSError as error:
        raise Usage(
            tr("cannot read {file}: {reason}", file=file, reason=error.strerror),
            hint=tr("record one: kimi-auth login --trace FILE"),
        ) from None


def _newest() -> list[Walk]:
    """The newest walk that doctor keeps. Raises Usage where it keeps none."""

    history = components_of(open_session(None)).walks
    for kept in reversed(history.kept()):
        if (walk := history.read(kept)) is not None:
            return [walk]
    raise Usage(tr("no walk is kept here yet"), hint=tr("a login or a renewal leaves one; look: kimi-auth doctor"))
