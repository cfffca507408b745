"""Machines of another day: from a folder, or from a revision of the git checkout that the working directory is in."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

from .errors import SpecError
from .library import Library, stem_of

__all__ = ["revision"]

FOLDER = "machines"


def revision(where: str) -> Library:
    """The machines of a folder, or those that stood in `machines/` at a git revision.

    Raises `SpecError`, also where `where` is neither.
    """
    if os.path.isdir(where):  # noqa: PTH112 - for whatever cannot be a path, the other one raises
        return Library.load(Path(where))
    listed = _git(where, "ls-tree", "--name-only", "--full-tree", where, f"{FOLDER}/")
    files = {}
    for path in listed.splitlines():
        if stem := stem_of(path.removeprefix(f"{FOLDER}/")):
            try:
                files[stem] = tomllib.loads(_git(where, "show", f"{where}:{path}"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise SpecError([f"{where}:{path}: is not TOML ({error}); compare with another revision"]) from error
    if not files:
        raise SpecError([f"{where} has no {FOLDER}/*.toml; name another revision, or a folder"])
    return Library.from_data(files)


def _git(where: str, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, encoding="utf-8", check=False)
    except OSError as error:
        why = f"git cannot be run ({error.strerror}), which knows the revisions"
        raise SpecError([f"{why}; install it, or name a folder"]) from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["git failed"])[-1]
        raise SpecError([f"{where!r} is no folder and no revision here ({said}); name one of the two"])
    return done.stdout
