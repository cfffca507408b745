"""Each command as root in a user's home, as under sudo: whatever it makes there is that user's, who can go on with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.cli.privileges import READERS, WRITERS
from kimi_auth.cli.program import HOMES
from kimi_auth.testing.emulator import Emulator

from .conftest import USER, made_by, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(240)]

LINES: dict[str, tuple[tuple[str, ...], ...]] = {
    "login": (("login", "--no-browser"), ("login", "--force", "--no-browser", "--trace", "{home}/walk.ndjson")),
    "token": (("token", "--refresh"), ("--verbose", "token", "--min-ttl", "60")),
    "status": (("status",), ("status", "--json")),
    "models": (("models",), ("models", "sync")),
    "run": (("run", "--", "true"),),
    "me": (("me",),),
    "usage": (("usage", "--json"),),
    "platforms": (("platforms",),),
    "doctor": (("doctor", "--verify"),),
    "lend": (("lend", "{home}/box", "--", "true"),),
    "serve": (("serve", "grant", "agent", "--write", "{home}/box-of-a-grant"), ("serve", "grants")),
    "adopt": (("adopt", "--issuer", "{host}"),),
    "accounts": (("accounts",), ("accounts", "use", "default")),
    "diagram": (("diagram",),),
    "store": (("store",), ("store", "check", "--json")),
    "logout": (("logout",), ("logout", "--all", "--yes")),
}
"""What root types, for each command of the share dir, in this order: a login has to be there for the others."""


def test_every_command_of_the_share_dir_is_here() -> None:
    """A command that is added is one of these, or one that leaves the share dir alone."""
    assert set(LINES) == READERS | WRITERS | {"diagram"} == set(HOMES) - {"emulator", "demo"}


def of_others(home: Path) -> list[str]:
    """The files and directories in the home that are not the user's."""
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.lstat().st_uid != USER]


@pytest.mark.parametrize(
    ("has_share_dir", "umask"), [(True, 0o022), (False, 0o077)], ids=["a share dir", "no share dir, umask 077"]
)
def test_after_each_command(
    home: Path, kimi: Callable[..., Any], emulator: Emulator, *, has_share_dir: bool, umask: int
) -> None:
    """The share dir is listed after each one; then the user signs in, syncs and signs out with what root has left there."""
    if has_share_dir:
        made_by(USER, home / ".kimi")
    for lines in LINES.values():
        for line in lines:
            words = [word.format(home=home, host=emulator.oauth_host) for word in line]
            done = kimi(*words, uid=0, umask=umask)
            assert done.returncode in {0, 1} if line[0] == "doctor" else done.returncode == 0, done.stderr
            assert of_others(home) == [], line
    for words in (["login", "--no-browser"], ["models", "sync"], ["logout"]):
        done = kimi(*words, umask=umask)
        assert done.returncode == 0, done.stderr
