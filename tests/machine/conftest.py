"""Small machines for the tests of the engine room, and a way to load more of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth.machine import Library

CALL = """
name = "call"
about = "A phone call. Awaited: it walks no child."
initial = "dialling"

[states.dialling]
about = "Dials the number."
activity = "dial"
on.answered = "talking"
on.engaged = "dialling"
on.dead = "gave_up"

[states.talking]
about = "Somebody answered."
activity = "talk"
on.done = "hung_up"
on.cut_off = "dialling"

[states.hung_up]
about = "All was said."
tone = "good"
on.ring = "talking"

[states.gave_up]
about = "Nobody | is there."
tone = "bad"
"""

ERRAND = """
name = "errand"
about = "Goes through a locked door."
initial = "waiting_for_key"

[states.waiting_for_key]
about = "Takes the key, goes in, and gives it back."
activity = "take_key"
holds = "key"
walks = "door"
on.inside = "at_home"
on.jammed = "outside"
on.busy = "outside"

[states.at_home]
about = "Inside."
tone = "good"

[states.outside]
about = "Still in the street."
tone = "plain"
on.retry = "waiting_for_key"
"""

DOOR = """
name = "door"
about = "Opens the door; needs the key all the while."
initial = "turning"
holds = "key"

[states.turning]
about = "Turns the key."
activity = "turn"
on.open = "inside"
on.stuck = "oiling"

[states.oiling]
about = "Oils the lock."
activity = "oil"
on.oiled = "turning"
on.hopeless = "jammed"

[states.inside]
about = "The door is open."
tone = "good"

[states.jammed]
about = "It will not turn."
tone = "bad"
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Library]:
    """A function that writes `stem=toml` files into a folder of their own and loads them."""

    def write_and_load(**files: str) -> Library:
        folder = tmp_path / "machines_of_the_test"
        folder.mkdir(exist_ok=True)
        for stem, text in files.items():
            (folder / f"{stem}.toml").write_text(text, encoding="utf-8")
        return Library.load(folder)

    return write_and_load


@pytest.fixture
def texts() -> dict[str, str]:
    """The three good machines as TOML, by file stem."""
    return {"call": CALL, "errand": ERRAND, "door": DOOR}


@pytest.fixture
def library(load: Callable[..., Library], texts: dict[str, str]) -> Library:
    """The three good machines."""
    return load(**texts)
