"""A config.toml that its owner keeps elsewhere, read-only: where it says everything already, nothing is written to it."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.testing.emulator import Emulator

from .conftest import USER, linked_by, made_by, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]


def linked(world: Path, config: Path, text: str) -> Path:
    """As a declared home does it: a link to a file of root's in a directory of root's."""
    declared = made_by(0, made_by(0, world / "store") / "config.toml", text, mode=0o444)
    linked_by(USER, config, declared)
    return declared


def in_place(_: Path, config: Path, text: str) -> Path:
    """A file of the user's own, which may not be written."""
    return made_by(USER, config, text, mode=0o444)


PLACES: dict[str, Callable[[Path, Path, str], Path]] = {"linked": linked, "in its place": in_place}


@pytest.fixture
def share(home: Path, kimi: Callable[..., Any]) -> Path:
    """A share dir after a login, which says what belongs into config.toml, and a logout that knows nothing of it."""
    assert kimi("login", "--no-browser").returncode == 0
    share = home / ".kimi"
    kept = (share / "config.toml").read_text()
    assert kimi("logout").returncode == 0
    shutil.rmtree(share / "kimi-auth", ignore_errors=True)
    (share / "config.toml").unlink(missing_ok=True)
    (share / "kept").write_text(kept)
    return share


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_declared_config_that_says_everything(
    share: Path, world: Path, place: Callable[..., Path], kimi: Callable[..., Any]
) -> None:
    """Login, sync and logout do their work and leave it alone; `doctor` has nothing to say of it."""
    text = "# declared\n" + (share / "kept").read_text()
    config = place(world, share / "config.toml", text)
    for command in (("login", "--no-browser"), ("login", "--force", "--no-browser"), ("models", "sync")):
        done = kimi(*command)
        assert done.returncode == 0, done.stderr
    assert "read-only" not in kimi("doctor").stdout
    done = kimi("logout")
    assert (done.returncode, done.stderr) == (0, "")
    assert "config.toml was not touched" in done.stdout
    assert kimi("token").returncode == 3
    assert (config.read_text(), stat.S_IMODE(config.stat().st_mode)) == (text, 0o444)
    assert (share / "config.toml").is_symlink() is (place is linked)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("lacks", ["provider", "models", "services"])
def test_a_declared_config_that_lacks_something(
    share: Path, world: Path, place: Callable[..., Path], lacks: str, kimi: Callable[..., Any], emulator: Emulator
) -> None:
    """What a login is certain to write is refused before the approval."""
    text = (share / "kept").read_text().replace(f"[{lacks}", f"[no_{lacks}")
    if lacks == "provider":
        text = (share / "kept").read_text().replace("managed:kimi-code", "managed:other")
    place(world, share / "config.toml", text)
    codes = emulator.state.counts["device_codes"]
    done = kimi("login", "--no-browser")
    assert done.returncode == 9
    assert "read-only" in done.stderr
    assert emulator.state.counts["device_codes"] == codes


def test_a_declared_config_with_another_catalogue(
    share: Path, world: Path, kimi: Callable[..., Any], emulator: Emulator
) -> None:
    """What only the catalogue tells comes after the approval: signed in, the models pending, and why."""
    config = linked(world, share / "config.toml", (share / "kept").read_text())
    text = config.read_text()
    emulator.state.models = emulator.state.models[:1]
    done = kimi("login", "--no-browser")
    assert (done.returncode, kimi("token").returncode) == (10, 0)
    assert "read-only" in done.stderr
    assert config.read_text() == text
