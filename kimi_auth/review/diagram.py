"""The folder of pictures and pages that is made from machines: written, or checked to be fresh.

    python -m kimi_auth.review.diagram [--check] FOLDER

writes a page and a picture for each machine and one page for the review of all; `--check` writes nothing and names the
files that differ. The machines are those of `machines/` beside the folder, else this package's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from kimi_auth.machine.errors import SpecError
from kimi_auth.machine.library import Library, holds_machines
from kimi_auth.machine.spec import Machine
from kimi_auth.support.text import visible

from . import markdown_page, schema, svg
from .coverage import coverage, only_checked
from .html_page import html_page
from .layout import stored
from .page_data import read_page_data

__all__ = ["check", "main", "not_fresh", "write"]

_COVERAGE = ".coverage.svg"
_FIX = "run `make diagrams`"


def write(folder: Path, machines: Iterable[Machine] | None = None) -> None:
    """Make `folder` hold exactly the pages and pictures of `machines` (default: those beside it, else this package's).

    Files without our mark stay, and so do pictures of walks on another revision: only a full run of the tests can
    draw them again, and `check` names them. Figures and hooks are read from the folder, see `page_data`.
    """
    files = _files(folder, machines)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    library = _library(folder, machines)
    for path in _orphans(folder, files):
        if not _is_measured(path, library):
            path.unlink()


def check(folder: Path, machines: Iterable[Machine] | None = None) -> list[str]:
    """The files that `write` would change, one line for each that is missing, stale or left over. Compares bytes.

    A layout or a world to walk in that was made for other machines is a line, too.
    """
    files = _files(folder, machines)
    found = not_fresh(folder, files)
    library = _library(folder, machines)
    for path in _orphans(folder, files):
        is_old = _is_measured(path, library)
        why = "was measured on another revision; run `make test` first, then" if is_old else "belongs to no machine;"
        found.append(f"{path} {why} {_FIX}")
    page_data = read_page_data(folder)
    if page_data.walks and page_data.played(library) is None:
        found.append(f"{folder / 'walks.json'} is of other machines; {_FIX}")
    for machine in library.values():
        path = folder / "layouts" / f"{machine.name}.json"
        if path.is_file() and stored(machine, path.parent) is None:
            found.append(f"{path} is of another machine; {_FIX}, which needs node for this one")
    return found


def not_fresh(folder: Path, files: Mapping[str, str]) -> list[str]:
    """A line for each of the folder's `files` (text by path) that is missing or stale."""
    found = []
    for name, text in files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing; {_FIX}")
        elif path.read_bytes() != text.encode():
            found.append(f"{path} is stale; {_FIX}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Writes or checks the folder. Exit status 1 if `--check` found anything, or the machines are wrong."""
    parser = argparse.ArgumentParser(prog="python -m kimi_auth.review.diagram", description="Draw the machines.")
    parser.add_argument("--check", action="store_true", help="write nothing, name the files that are not fresh")
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


def _library(folder: Path, machines: Iterable[Machine] | None) -> Mapping[str, Machine]:
    if machines is not None:
        return {machine.name: machine for machine in machines}
    beside = folder.parent / "machines"
    return Library.load(beside if holds_machines(beside) else None)


def _files(folder: Path, machines: Iterable[Machine] | None) -> dict[str, str]:
    """The pages and pictures of the folder as text, by their path in `folder`."""
    library, page_data = _library(folder, machines), read_page_data(folder)
    files = {"review.html": html_page(library, page_data)}
    checked = only_checked(page_data, library)
    for name, machine in library.items():
        files[f"{name}.md"] = markdown_page.page(machine, page_data)
        files[f"{name}.svg"] = svg.svg(machine)
        if (tests := page_data.tests(machine)) is not None:
            files[f"{name}{_COVERAGE}"] = svg.svg(machine, partial(coverage, machine, tests=tests, checked=checked))
    if machines is None and (folder.parent / "machines").is_dir():
        files["../machines/machine.schema.json"] = schema.text()
    return files


def _is_measured(path: Path, library: Mapping[str, Machine]) -> bool:
    """True for a picture of what the tests walked in a machine that is still there."""
    return path.name.endswith(_COVERAGE) and path.name.removesuffix(_COVERAGE) in library


def _orphans(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Files that were made here for a machine that is gone: only a file with our mark is ours to remove."""
    marks = {".md": markdown_page.MARK, ".svg": svg.MARK}
    others = [path for path in sorted(folder.glob("*")) if path.suffix in marks and path.name not in files]
    return [path for path in others if path.read_bytes().startswith(marks[path.suffix].encode())]


if __name__ == "__main__":
    raise SystemExit(main())
