"""SIGKILL at every file-system step of what login and logout do to config.toml: it always loads, and the next run converges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fleet.torn import CONFIGS, CREDENTIAL, OWN, Home, Torn, Tree, loads

pytestmark = pytest.mark.timeout(600)

CONFIG = "config.toml"

SAMPLE = {
    "login": {"os.rename kimi-auth/undo.json", "write the rest config.toml.*.tmp", "os.rename config.toml", "open ."},
    "logout": {"os.rename config.toml", "open kimi-auth", "os.remove kimi-auth/undo.json"},
}
"""The steps after which something else is on disk: all others stand beside one of these."""


@pytest.fixture
def torn(tmp_path: Path) -> Iterator[Torn]:
    """A server, and processes to kill."""
    with Torn(tmp_path) as ready:
        yield ready


class Undisturbed(NamedTuple):
    """What a login, a logout after it, and another login leave in a share dir."""

    signed_in: Tree
    signed_out: Tree
    again: Tree


def undisturbed(torn: Torn, config: str) -> Undisturbed:
    home = torn.home(config, "undisturbed")
    trees = []
    for call, state in (("login", "signed_in"), ("logout", "absent"), ("login", "signed_in")):
        assert home.run(call)["state"] == state
        trees.append(home.tree())
    return Undisturbed(*trees)


def converges(home: Home, wanted: Undisturbed) -> None:
    """A login ends like an undisturbed one, and so does a logout, at once or after it; nothing is left over."""
    is_clean = CONFIG in wanted.signed_out and home.tree().get(CONFIG) == wanted.signed_out[CONFIG]
    later = home.copy("later")
    assert later.run("login")["state"] == "signed_in"
    assert later.tree() == (wanted.again if is_clean else wanted.signed_in)
    config = loads(home.tree().get(CONFIG, (0, b""))[1])
    if CREDENTIAL in home.tree() and "managed:kimi-code" not in config.get("providers", {}):
        synced = home.copy("synced")  # signed in, and the config was still to come
        assert synced.run("sync")["state"] == "login"
        assert synced.tree()[CONFIG] == wanted.signed_in[CONFIG]
    for each in (later, home):
        assert each.run("logout")["state"] == "absent"
        assert each.tree() == wanted.signed_out


@pytest.mark.parametrize("call", ["login", "logout"])
def test_killed(torn: Torn, call: str) -> None:
    """Where the disk changes: before and after the new bytes, the undo and the rename."""
    every_step(torn, "a config of one's own", call, SAMPLE[call])


@pytest.mark.prove
@pytest.mark.parametrize("call", ["login", "logout"])
@pytest.mark.parametrize("config", CONFIGS)
def test_killed_at_every_step(torn: Torn, config: str, call: str) -> None:
    """Every step, whatever config the login found."""
    every_step(torn, config, call, None)


def every_step(torn: Torn, config: str, call: str, sample: set[str] | None) -> None:
    wanted = undisturbed(torn, config)
    whole = [tree.get(CONFIG) for tree in (torn.home(config, "before").tree(), *wanted)]
    taken, known = set(), []
    for home, step in torn.at_every_step(config, call, lambda step: sample is None or step in sample):
        taken.add(step)
        tree = home.tree()
        found = tree.get(CONFIG)
        assert found in whole
        loads(found[1] if found else b"")
        if (disk := (tree, set(home.files()))) not in known:  # the same disk again: nothing else can come of it
            known.append(disk)
            converges(home, wanted)
    assert taken >= (sample or {"fcntl.flock config.lock"})


def test_a_logout_gives_back_the_very_bytes(torn: Torn) -> None:
    """What the other tests compare with is right: the config of before, to the byte, and a login that is not it."""
    signed_in, signed_out, again = undisturbed(torn, "a config of one's own")
    assert signed_out == {CONFIG: (0o600, OWN.encode())}
    assert signed_in[CONFIG] == again[CONFIG] != signed_out[CONFIG]
