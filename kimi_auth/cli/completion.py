"""What a shell completes beside commands and options, and its script for a shell that is named.

A completion never fails and says nothing: where a file cannot be read, it offers the values that are known without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.terminal import PROGRAM, Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.selection import COMPLETION
from kimi_auth.support.language import listed, tr

__all__ = ["SHELLS", "complete_accounts", "complete_machines", "complete_platforms", "scripted"]

COMPLETE_S = 1.0
"""How long a store elsewhere is asked: a person waits for the answer to a key."""

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def complete_platforms(incomplete: str) -> list[str]:
    """What a shell completes: the ids of every platform that begin so."""
    from kimi_auth.chosen_login import share_dir_of  # a command that completes nothing does without
    from kimi_auth.platforms import registry

    known = registry.all()
    with suppress(KimiAuthError, OSError):
        known = registry.Registry(share_dir_of(os.environ)).all()
    return [platform.id for platform in known if platform.id.startswith(incomplete)]


def complete_accounts(incomplete: str) -> list[str]:
    """The labels of every platform's accounts that begin so, from the store that keeps them; from one elsewhere only if it
    answers at once."""
    from kimi_auth.cli.opening import components_of, open_session
    from kimi_auth.platforms import registry
    from kimi_auth.selection import DEFAULT_PLATFORM

    labels: set[str] = set()
    with suppress(KimiAuthError, OSError):
        parts = components_of(open_session(DEFAULT_PLATFORM, reads=False))
        parts.store.look(COMPLETE_S)
        if parts.is_in_home or parts.store.is_current():
            labels.update(*(parts.labels(one.id) for one in registry.all() if one.oauth is not None))
    return [label for label in sorted(labels) if label.startswith(incomplete)]


def complete_machines(incomplete: str) -> list[str]:
    """What a shell completes: the names of the machines that begin so; none where the machines have mistakes."""
    from kimi_auth.machine import Library, SpecError

    try:
        return [name for name in Library.load() if name.startswith(incomplete)]
    except SpecError:
        return []


def scripted(args: Sequence[str], out: Terminal) -> bool:
    """Does what `--show-completion SHELL` and `--install-completion SHELL` ask for; False for any other command line.

    Without a shell, Typer finds out which one asks, and ignores one that is named. Raises Usage for an unknown shell, and
    OSError where the script cannot be installed.
    """
    if len(args) != 2 or args[0] not in {"--show-completion", "--install-completion"}:
        return False
    typers: Any = import_module("typer.completion")  # the scripts have no public name

    what, shell = args
    if shell not in SHELLS:
        raise Usage(
            tr("{what}: no completion for {shell}", what=what, shell=ascii(shell)[:40]),
            hint=tr("known: {names}", names=listed(SHELLS)),
        )
    if what == "--show-completion":
        out.block(typers.get_completion_script(prog_name=PROGRAM, complete_var=COMPLETION, shell=shell))
    else:
        _, path = typers.install(shell=shell, prog_name=PROGRAM, complete_var=COMPLETION)
        out.line(
            tr("{shell} completion installed in {path}; it takes effect in the next shell", shell=shell, path=path)
        )
    return True
