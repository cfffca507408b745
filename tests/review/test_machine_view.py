"""A machine, a walk and a difference in a terminal of 80 columns."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console, RenderableType

from kimi_auth.cli.machine_view import difference_view, machine_view, trace_view
from kimi_auth.machine import Library
from kimi_auth.machine.trace import Traced, Walk
from kimi_auth.review.difference import compare

OWN = Library.load()


def shown(view: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(view)
    file = console.file
    assert isinstance(file, StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("name", list(OWN))
def test_everything_is_there(name: str) -> None:
    """Every state and every outcome, in 80 columns, no word cut short."""
    lines = shown(machine_view(OWN[name]))
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for state, spec in OWN[name].states.items():
        assert state in text
        assert all(event in text for event in spec.on)


def test_happy_way_first_ends_last() -> None:
    """The order is that of the story."""
    text = "\n".join(shown(machine_view(OWN["device_login"])))
    order = ["▶ checking_store", "  requesting_code", "  configuring", "  retrying_code", "✓ signed_in", "✗ failed"]
    places = [text.index(f"\n{state} ") for state in order]
    assert places == sorted(places)


def test_where_you_are() -> None:
    """The state of this user's credential is marked; a machine in a lock says so; events from outside stand together."""
    lines = shown(machine_view(OWN["token_lifecycle"], current="expiring"))
    at = next(number for number, line in enumerate(lines) if line.startswith("✓ expiring"))
    assert lines[at + 1].startswith("  you are here")
    assert "you are here" not in "".join(shown(machine_view(OWN["token_lifecycle"])))
    assert any(line.startswith("from outside, in revoked,") for line in lines)
    assert "every state runs while credential is held" in shown(machine_view(OWN["sign_out"]))


@pytest.mark.parametrize(
    ("event", "target", "end"),
    [
        ("refused", "failed", "✗ device_login ended in failed after 1.00 s, begun 1970-01-01 00:01:39 UTC"),
        ("slow_down", "waiting", "… device_login was interrupted after 1.00 s, begun 1970-01-01 00:01:39 UTC"),
    ],
)
def test_a_walk(event: str, target: str, end: str) -> None:
    """The story, and how it ended."""
    walk = Walk((Traced("w", "device_login", "polling", event, target, 1.0, 1, 100.0),))
    assert shown(trace_view(OWN["device_login"], walk)) == [
        f"#1        1.00 s  polling  {event} → {target}",
        end,
    ]


def test_a_difference() -> None:
    """Changes with their witness, or a sentence that there are none."""
    assert shown(difference_view(compare(OWN, OWN))) == ["The machines are equal."]
    data = OWN.data()
    data["sign_out"]["states"]["unwritable"]["tone"] = "good"
    assert shown(difference_view(compare(OWN, Library.from_data(data))), 120) == [
        "~ sign_out: unwritable: tone is good, before bad",
        "    unwritable: rests in unwritable (bad), now rests in unwritable (good)",
    ]
