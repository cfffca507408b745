"""`kimi-auth diagram --trace FILE|last`: a recorded walk over the machines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.machines import page, show
from kimi_auth.cli.options import components_of, open_session
from kimi_auth.cli.terminal import Terminal
from kimi_auth.machine import Library
from kimi_auth.support.language import counted, tr

if TYPE_CHECKING:
    from kimi_auth.machine.trace import Walk

__all__ = ["trace"]

LAST = Path("last")
"""Instead of a file: the newest walk that doctor keeps."""

WALKS_SHOWN = 10


def trace(out: Terminal, library: Library, file: Path, form: str, name: str | None) -> None:
    """Shows the last walks of the file: in the terminal, the last one as SVG, or all on a page that plays them."""
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
    if form == "html":
        from kimi_auth.review.player_data import walk_story

        page(out, library, [walk_story(walk, number) for number, walk in enumerate(reversed(walks[-WALKS_SHOWN:]), 1)])
        return
    if form == "svg":
        show(out, svg.svg(machine, partial(walk_picture.overlay, machine, last)))
        return
    if len(walks) > WALKS_SHOWN:
        earlier = counted(len(walks) - WALKS_SHOWN, tr("one earlier walk"), tr("{number} earlier walks"))
        out.line(tr("… {walks} …", walks=earlier))
    for walk in walks[-WALKS_SHOWN:]:
        show(out, trace_view(library[walk.machine], walk))


def _recorded(file: Path) -> list[Walk]:
    from kimi_auth.machine.trace import read

    try:
        return read(file)
    except OSError as error:
        raise Usage(
            tr("cannot read {file}: {reason}", file=file, reason=error.strerror),
            hint=tr("record one: kimi-auth login --trace FILE"),
        ) from None


def _newest() -> list[Walk]:
    """The walk that `--trace last` means, the newest that doctor keeps. Raises Usage where it keeps none."""

    history = components_of(open_session(None)).walks
    for kept in reversed(history.kept()):
        if (walk := history.read(kept)) is not None:
            return [walk]
    raise Usage(tr("no walk is kept here yet"), hint=tr("a login or a renewal leaves one; look: kimi-auth doctor"))
