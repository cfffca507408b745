"""Machines of another day: from a folder, or from a revision of the git checkout that the working directory is in."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

from .errors import SpecError
from .library import Library

__all__ = ["revision"]

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


def _git(where: str, *words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise SpecError([f"{where} is no folder and no revision here ({said}); name one of the two"])
    return done.stdout
