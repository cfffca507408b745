"""Machines as pictures and tables: pure functions from a declaration to text, and the folder of pages made with them.

    python -m kimi_auth.review.diagram [--check] FOLDER

writes a page and a picture for each machine of this package and one page for the review of all, or with `--check` says
which of them are not what they would be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from kimi_auth.machine.errors import SpecError
from kimi_auth.machine.library import Library
from kimi_auth.machine.spec import Machine, State
from kimi_auth.text import visible

from . import layout, schema
from .coverage import coverage, only_checked
from .material import HOOK_COLUMNS, NO_MATERIAL, Material, gather
from .review import review
from .svg import MARK as SVG_MARK
from .svg import svg

_COLOURS = {
    "good": "fill:#d3f2dc,stroke:#1a7f37,color:#0b3d1c",
    "plain": "fill:#eaeef2,stroke:#57606a,color:#24292f",
    "bad": "fill:#ffd8d3,stroke:#cf222e,color:#5c0d12",
}
# Words that Mermaid's grammar takes for its own where the name of a state should stand (tried against Mermaid 11).
_MERMAID_WORDS = frozenset(
    {"accdescr", "acctitle", "class", "classdef", "click", "default", "end", "href", "note", "scale", "state", "style"}
)
_MARK = "<!-- Made from machines/"
_COVERAGE = ".coverage.svg"
_MEND = "run `make diagrams`"


def mermaid(machine: Machine) -> str:
    """The machine as a Mermaid `stateDiagram-v2`, ending in a newline. Same machine, same text."""
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{_label(name, state)}" as {_id(name)}' for name, state in machine.states.items()]
    lines += [f"    [*] --> {_id(machine.initial)}"]
    for name, state in machine.states.items():
        lines += [f"    {_id(name)} --> {_id(to)} : {'<br/>'.join(events)}" for to, events in _bundles(state).items()]
        lines += [f"    {_id(name)} --> [*]"] if state.is_rest else []
    if machine.holds is not None:
        lines += [f"    note right of {_id(machine.initial)} : every state holds {machine.holds}"]
    for tone, colours in _COLOURS.items():
        toned = [_id(name) for name, state in machine.states.items() if state.tone == tone]
        lines += [f"    classDef {tone} {colours}", f"    class {','.join(toned)} {tone}"] if toned else []
    return "\n".join(lines) + "\n"


def table(machine: Machine) -> str:
    """Every state and every edge of the machine as a Markdown table, ending in a newline."""
    rows = [("state", "about", "activity", "outcome", "target"), ("---",) * 5]
    for name, state in machine.states.items():
        first = (f"**{name}**", _cell(state.about), _work(state))
        targets = [(f"`{event}`", to) for event, to in state.on.items()] or [("", "")]
        for number, target in enumerate(targets):
            rows += [(first if number == 0 else ("", "", "")) + target]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def hooks(machine: Machine, material: Material) -> str:
    """What is written about the hooks of the machine as a Markdown table; "" where nothing is."""
    if not material.hooks.get(machine.name):
        return ""
    rows = [("activity", *HOOK_COLUMNS), ("---",) * (1 + len(HOOK_COLUMNS))]
    for activity in dict.fromkeys(state.activity for state in machine.states.values() if state.activity):
        hook = material.hook(machine, activity)
        first, *others = (_cell(str(hook.get(column, ""))) for column in HOOK_COLUMNS)
        rows += [(f"`{activity}`", f"`{first}`", *others)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page(machine: Machine, material: Material = NO_MATERIAL) -> str:
    """The whole page of a machine, as it stands in `diagrams/<name>.md`."""
    written = hooks(machine, material)
    held = f"Every state of this machine runs while `{machine.holds}` is held.\n\n" if machine.holds else ""
    return (
        f"{_MARK}{machine.name}.toml by kimi_auth.review.diagram. Change the machine, then {_MEND}. -->\n\n"
        f"# {machine.name}\n\n{_prose(machine.about.strip())}\n\n{held}"
        "A box shows a state and the activity that runs in it; an arrow shows the outcomes that lead on. "
        "A walk ends in a coloured state; the events that leave one come from outside. "
        f"[As a picture]({machine.name}.svg) · [everything on one page](review.html)\n\n"
        f"```mermaid\n{mermaid(machine)}```\n\n"
        f"{table(machine)}" + (f"\n## Hooks\n\n{written}" if written else "")
    )


def write(folder: Path, machines: Iterable[Machine] | None = None) -> None:
    """Make `folder` hold exactly the pages and pictures of `machines` (default: this package's).

    Other people's files stay. What was measured is read from the folder, see `material`.
    """
    pages = _pages(folder, machines)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for path in _orphans(folder, pages):
        path.unlink()


def check(folder: Path, machines: Iterable[Machine] | None = None) -> list[str]:
    """What `write` would change, one line for each file that is missing, stale or left over. Compares bytes.

    A layout in the folder that was computed for another machine is a line, too.
    """
    pages = _pages(folder, machines)
    found = []
    for name, text in pages.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing; {_MEND}")
        elif path.read_bytes() != text.encode():
            found.append(f"{path} is stale; {_MEND}")
    library = _library(machines)
    for path in _orphans(folder, pages):
        is_measured = path.name.endswith(_COVERAGE) and path.name.removesuffix(_COVERAGE) in library
        what = (
            "was measured on another revision; run `make test` first, then" if is_measured else "belongs to no machine;"
        )
        found.append(f"{path} {what} {_MEND}")
    for machine in library.values():
        path = folder / "layouts" / f"{machine.name}.json"
        if path.is_file() and layout.read(machine, path.parent) is None:
            found.append(f"{path} is of another machine; {_MEND}, which needs node for this one")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command at the top of this file. Exit status 1 if `--check` found anything, or the machines are wrong."""
    parser = argparse.ArgumentParser(prog="python -m kimi_auth.review.diagram", description="Draw the machines.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is not fresh")
    parser.add_argument("folder", type=Path, help="where the pages are")
    args = parser.parse_args(argv)
    found: Sequence[str] = ()
    try:
        if args.check:
            found = check(args.folder)
        else:
            write(args.folder)
    except SpecError as error:
        found = error.problems
    except OSError as error:
        found = [f"{args.folder} cannot be read or written ({error.strerror}); name another folder"]
    sys.stderr.writelines(f"{visible(line)}\n" for line in found)
    return 1 if found else 0


def _library(machines: Iterable[Machine] | None) -> Mapping[str, Machine]:
    return Library.load() if machines is None else {machine.name: machine for machine in machines}


def _pages(folder: Path, machines: Iterable[Machine] | None) -> dict[str, str]:
    library, material = _library(machines), gather(folder)
    pages = {"review.html": review(library, material)}
    for name, machine in library.items():
        pages[f"{name}.md"] = page(machine, material)
        pages[f"{name}.svg"] = svg(machine)
        if (tests := material.tests(machine)) is not None:
            checked = only_checked(material, library)
            pages[f"{name}{_COVERAGE}"] = svg(machine, partial(coverage, machine, tests=tests, checked=checked))
    if machines is None and (folder.parent / "machines").is_dir():
        pages["../machines/machine.schema.json"] = schema.text()
    return pages


def _orphans(folder: Path, pages: Mapping[str, str]) -> list[Path]:
    """What was made here for a machine that is gone: only a file that carries our mark is ours."""
    marks = {".md": _MARK, ".svg": SVG_MARK}
    others = [path for path in sorted(folder.glob("*")) if path.suffix in marks and path.name not in pages]
    return [path for path in others if path.read_bytes().startswith(marks[path.suffix].encode())]


def _id(state: str) -> str:
    return f"{state}_" if state in _MERMAID_WORDS else state


def _label(name: str, state: State) -> str:
    lines = [
        name,
        state.activity and f"{state.activity}()",
        state.holds and f"holds {state.holds}",
        state.walks and f"walks {state.walks}",
    ]
    return "<br/>".join(line for line in lines if line)


def _bundles(state: State) -> dict[str, list[str]]:
    """Target -> the outcomes that lead there, both in file order."""
    bundles: dict[str, list[str]] = {}
    for event, target in state.on.items():
        bundles.setdefault(target, []).append(event)
    return bundles


def _work(state: State) -> str:
    if state.is_rest:
        return f"*rest, {state.tone}*"
    walks = f", walks [{state.walks}]({state.walks}.md)" if state.walks else ""
    return f"`{state.activity}`" + (f", holds `{state.holds}`" if state.holds else "") + walks


def _cell(text: str) -> str:
    return _prose(" ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|"))


def _prose(text: str) -> str:
    """A sentence with the Markdown that its author wrote, and no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


if __name__ == "__main__":
    raise SystemExit(main())
