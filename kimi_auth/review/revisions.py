"""Machines of another revision: from a folder, or from a revision of the git checkout around the working directory.

They are read without the lints: a change that the lints refuse is one that a reviewer must see. Only machines whose edges
lead to no state cannot be compared.
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kimi_auth.machine import lint
from kimi_auth.machine.errors import SpecError
from kimi_auth.machine.library import drafts, drafts_from_data, in_checkout, stem_of, toml_of
from kimi_auth.machine.spec import Machine

__all__ = ["Revision", "revision"]

FOLDER = "machines"

NO_COMMANDS = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
"""The environment of every git here. The config of a checkout that is not trusted may name commands: a partial clone fetches
missing objects, by an `ext::` transport too. `GIT_ALLOW_PROTOCOL` forbids all transports in every git; a git that knows
`GIT_NO_LAZY_FETCH` does not even try."""

NO_REVISION = "{where} is no folder and no revision here ({said}); name one of the two"
INCOMPLETE = "{where} is not complete here ({said}); fetch it with git, or name a folder"


class Revision(NamedTuple):
    """Machines by name, and why they could not run, one line each; none where they could."""

    machines: Mapping[str, Machine]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, machines: Mapping[str, Machine]) -> Revision:
        """A revision of machines. Raises `SpecError` where an edge or a beginning leads to no state."""
        if nowhere := list(lint.leads_nowhere(machines)):
            raise SpecError(nowhere)
        return cls(machines, tuple(lint.problems(machines)))


def revision(where: str | None = None) -> Revision:
    """The machines of a folder, or of `machines/` at a git revision; default: those of the checkout around the working
    directory, else of this package.

    Raises `SpecError`, also where `where` is neither.
    """
    if where is None:
        return Revision.of(drafts(in_checkout()))
    if os.path.isdir(where):  # noqa: PTH112 - Path.is_dir raises for text that cannot be a path
        return Revision.of(drafts(Path(where)))
    commit = _git(
        NO_REVISION, where, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{where}^{{commit}}"
    ).strip()
    files = {}
    for path in _git(INCOMPLETE, where, "ls-tree", "--name-only", "--full-tree", commit, f"{FOLDER}/").splitlines():
        if stem := stem_of(path.removeprefix(f"{FOLDER}/")):
            try:
                files[stem] = toml_of(_git(INCOMPLETE, where, "cat-file", "blob", f"{commit}:{path}"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise SpecError([f"{where}:{path}: is not TOML ({error}); compare with another revision"]) from error
    if not files:
        raise SpecError([f"{where} has no {FOLDER}/*.toml; name another revision, or a folder"])
    return Revision.of(drafts_from_data(files))


def _git(failure: str, where: str, *arguments: str) -> str:
    """The output of a plumbing command of git: those run no hook, pager, filter or diff driver. `failure`: the error text."""
    environ = {**os.environ, **NO_COMMANDS}
    try:
        done = subprocess.run(
            ["git", *arguments], env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except (OSError, ValueError) as error:
        why = f"git cannot be run ({getattr(error, 'strerror', None) or error}), which knows the revisions"
        raise SpecError([f"{why}; install it, or name a folder"]) from None
    if done.returncode != 0:
        said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["git knows no such revision"])[-1]
        raise SpecError([failure.format(where=repr(where), said=said)])
    return done.stdout.decode()
