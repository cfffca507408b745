"""Machines of another day: from a folder, or from a revision of the git checkout that the working directory is in."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from .difference import Difference, compare, union
from .errors import SpecError
from .layout import layout
from .library import Library
from .spec import Machine
from .svg import MARK, STYLE, drawing

__all__ = ["main", "pictures", "revision"]

FOLDER = "machines"


def revision(where: str) -> Library:
    """The machines of a folder, or those that stood in `machines/` at a git revision.

    Raises `SpecError`, also where `where` is neither.
    """
    if Path(where).is_dir():
        return Library.load(Path(where))
    listed = _git(where, "ls-tree", "--name-only", "--full-tree", where, f"{FOLDER}/")
    files = {}
    for path in listed.splitlines():
        stem, _, ending = path.removeprefix(f"{FOLDER}/").rpartition(".")
        if ending == "toml":
            try:
                files[stem] = tomllib.loads(_git(where, "show", f"{where}:{path}"))
            except tomllib.TOMLDecodeError as error:
                raise SpecError([f"{where}:{path}: is not TOML ({error}); compare with another revision"]) from error
    if not files:
        raise SpecError([f"{where} has no {FOLDER}/*.toml; name another revision, or a folder"])
    return Library.from_data(files)


def pictures(difference: Difference) -> Mapping[str, str]:
    """By machine that changed: both revisions as one SVG file, what changed in colour."""
    return {name: _picture(difference, name, union(*pair)) for name, pair in difference.pairs.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """The command at the top of `difference.py`. Exit status 0 alike, 1 different, 2 not to be compared."""
    parser = argparse.ArgumentParser(prog="python -m kimi_auth.machine.difference", description="Compare machines.")
    parser.add_argument("--markdown", action="store_true", help="for a pull request")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="also draw each machine that changed")
    parser.add_argument("before", help="a folder or a git revision")
    parser.add_argument("after", nargs="?", help="the same; default: the machines of this package")
    args = parser.parse_args(argv)
    try:
        found = compare(revision(args.before), revision(args.after) if args.after else Library.load())
    except SpecError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(found.markdown() if args.markdown else found.text())
    if args.svg:
        args.svg.mkdir(parents=True, exist_ok=True)
        for name, text in pictures(found).items():
            (args.svg / f"{name}.svg").write_text(text, encoding="utf-8", newline="\n")
    return 1 if found.changes else 0


def _picture(difference: Difference, name: str, both: Machine) -> str:
    drawn, places = layout(both)
    return MARK + drawing(both, drawn, places, difference.overlay(name, drawn), style=STYLE) + "\n"


def _git(where: str, *words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise SpecError([f"{where} is no folder and no revision here ({said}); name one of the two"])
    return done.stdout
