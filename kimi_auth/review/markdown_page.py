"""The Markdown page of one machine: its sentence, its Mermaid diagram, and its tables of transitions and hooks."""

from __future__ import annotations

from collections.abc import Iterable

from kimi_auth.machine.lint import NAME
from kimi_auth.machine.spec import Machine, State

from .mermaid import mermaid
from .page_data import HOOK_COLUMNS, NO_PAGE_DATA, PageData
from .source_lines import source_line

__all__ = ["MARK", "page", "table"]

MARK = "<!-- Made from machines/"
"""The start of every page: a file that begins with it may be overwritten and removed."""


def page(machine: Machine, page_data: PageData = NO_PAGE_DATA) -> str:
    """The whole Markdown page, for `diagrams/<name>.md`, ending in a newline."""
    hooks = _hooks(machine, page_data)
    held = f"Every state of this machine runs while `{machine.holds}` is held.\n\n" if machine.holds else ""
    return (
        f"{MARK}{machine.name}.toml by kimi_auth.review.diagram. Change the machine, then run `make diagrams`. -->\n\n"
        f"# {machine.name}\n\n{_prose(machine.about.strip())}\n\n{held}"
        "A box shows a state and the activity that runs in it; an arrow shows the outcomes that lead on. "
        "A walk ends in a coloured state; the events that leave one come from outside. "
        f"[As a picture]({machine.name}.svg) · [everything on one page](review.html)\n\n"
        f"```mermaid\n{mermaid(machine)}```\n\n"
        f"{table(machine)}" + (f"\n## Hooks\n\n{hooks}" if hooks else "")
    )


def table(machine: Machine) -> str:
    """Every state and every edge of the machine as a Markdown table, ending in a newline."""
    rows = []
    for name, state in machine.states.items():
        first = (f"{_anchor(name)}**{name}**", _cell(state.about), _work(state))
        targets = [(f"{_anchor(f'{name}.{event}')}`{event}`", to) for event, to in state.on.items()] or [("", "")]
        rows += [(*(first if number == 0 else ("", "", "")), *target) for number, target in enumerate(targets)]
    return _table(("state", "about", "activity", "outcome", "target"), rows)


def _hooks(machine: Machine, page_data: PageData) -> str:
    """The descriptions of the machine's hooks as a table; "" if there are none."""
    rows = [
        (f"`{activity}`", _linked(f"`{_cell(method)}`", source_line(machine.name, activity)), *map(_cell, others))
        for activity, method, *others in page_data.hook_rows(machine)
    ]
    return _table(("activity", *HOOK_COLUMNS), rows) if rows else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *rows))


def _work(state: State) -> str:
    if state.is_rest:
        return f"*rest, {state.tone}*"
    walks = f", walks [{state.walks}]({state.walks}.md)" if state.walks else ""
    return f"`{state.activity}`" + (f", holds `{state.holds}`" if state.holds else "") + walks


def _anchor(address: str) -> str:
    """Where a link to `NAME.md#state.outcome` leads. A name that no machine may have gets none."""
    return f'<a id="{address}"></a>' if all(map(NAME.fullmatch, address.split("."))) else ""


def _linked(text: str, line: str) -> str:
    return f"[{text}](../{line})" if line and text.strip("`") else text


def _cell(text: str) -> str:
    return _prose(" ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|"))


def _prose(text: str) -> str:
    """A sentence with the Markdown that its author wrote, and no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
