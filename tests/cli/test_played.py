"""`diagram` where a walk is played or a picture is long: the newest walk, pages that open with a story, and the pager."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.screen import Screen
from life.address import walk_address

from kimi_auth.machine import Library
from kimi_auth.machine.trace import Traced, Walk
from kimi_auth.proof.worlds import WORLDS

Run = Callable[..., Any]
MACHINES = Path(__file__).parents[2] / "machines"


def data_of(page: str) -> Any:
    """The data that the page's script reads."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])


def test_the_newest_walk(kimi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--trace last shows the walk that doctor would tell first; without one it says what leaves one; a file of that name wins."""
    monkeypatch.chdir(tmp_path)
    none = kimi("diagram", "--trace", "last")
    assert (none.status, none.err) == (
        2,
        "kimi-auth: no walk is kept here yet (a login or a renewal leaves one; look: kimi-auth doctor)\n",
    )
    kimi("login")
    assert "device_login ended in signed_in" in kimi("diagram", "--trace", "last").out
    kimi("token", "--refresh")
    assert "token_lifecycle ended in fresh" in kimi("diagram", "--trace", "last").out
    assert kimi("diagram", "--trace", "last", "--format", "svg").out.count("<svg ") == 1
    Path("last").write_text("")
    assert "last holds no walk" in kimi("diagram", "--trace", "last").err


def test_a_trace_opens_in_the_player(kimi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--format html: one page, without figures of other machines, that opens with the recorded walk."""
    monkeypatch.chdir(tmp_path)
    kimi("login")
    page = kimi("diagram", "--trace", "last", "--format", "html")
    assert page.status == 0
    data = data_of(page.out)
    assert data["opened"] == "story/recorded-1"
    (story,) = data["stories"]
    assert story["frames"][-1]["at"] == {"": "device_login.signed_in"}
    assert len(story["frames"]) > 5
    whole = kimi("diagram", "--format", "html")
    assert data_of(whole.out)["stories"] == []
    (tmp_path / "diagrams").mkdir()
    (tmp_path / "diagrams" / "hooks.toml").write_text("=")
    spoiled = kimi("diagram", "--format", "html")
    assert spoiled.status == 2
    assert "hooks.toml cannot be read" in spoiled.err


def test_a_counterexample_opens_in_the_player(kimi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--verify --format html: the verdicts are said, the page opens with the story of the broken rule and its disk."""
    name = "one process, power cuts"
    monkeypatch.setattr("kimi_auth.cli.verify.QUICK", (name,))
    folder = tmp_path / "machines"
    shutil.copytree(MACHINES, folder)
    file = folder / "token_refresh.toml"
    edited = re.sub(r'on\.in_flight = "\w+"', 'on.in_flight = "looking_again"', file.read_text())
    file.write_text(edited)
    monkeypatch.chdir(tmp_path)
    found = kimi("diagram", str(folder), "--verify", "--format", "html")
    assert found.status == 1
    assert f"{name}: BROKEN" in found.err
    (story,) = data_of(found.out)["stories"]
    assert (story["title"], story["rule"]) == (name, "I1")
    assert story["frames"][-1]["text"].endswith("sends the refresh token")
    assert all(frame["disk"] for frame in story["frames"])
    assert name in WORLDS


def test_an_address_of_a_recorded_walk() -> None:
    """The outcomes in order, with the lock where a child begins; none for a walk that these machines do not allow."""
    own = Library.load()
    steps = [
        ("token_lifecycle", "expired", "renew", "refreshing"),
        ("token_refresh", "rereading", "backing_off", "postponed"),
        ("token_lifecycle", "refreshing", "postponed", "backing_off"),
        ("token_lifecycle", "backing_off", "gave_up", "falling_back"),
        ("token_lifecycle", "falling_back", "expired", "expired"),
    ]

    def walk(*taken: tuple[str, str, str, str]) -> Walk:
        return Walk(tuple(Traced("w", *step, 0.0, at, 100.0 + at) for at, step in enumerate(taken)))

    expected = "walk/token_lifecycle.expired/renew/acquired/backing_off/gave_up/expired"
    assert walk_address(own, walk(*steps)) == expected
    assert walk_address(own, walk(*steps[:1], *steps[2:])) == ""
    assert walk_address(own, walk(steps[0], steps[1], steps[3])) == "", "the child's end is missing"
    assert walk_address(own, walk(("device_login", "checking_store", "ready", "waiting"))) == ""
    assert walk_address(own, walk(("elsewhere", "a", "b", "c"))) == ""
    assert (
        walk_address(own, walk(("device_login", "checking_store", "blocked", "failed"))) == "walk/device_login/blocked"
    )


# --- the pager ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def make(lines: int, **environ: str) -> Screen:
        env = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environ}
        made.append(Screen(100, lines, env))
        return made[-1]

    yield make
    for screen in made:
        screen.close()


COMMAND = f"{sys.executable} -m kimi_auth diagram sign_out; echo status:$?"


def pager(tmp_path: Path) -> tuple[str, Path]:
    """A pager that keeps what it reads."""
    kept, program = tmp_path / "kept", tmp_path / "pager"
    program.write_text(f'#!/bin/sh\ncat > {kept}\necho "less is $LESS"\n')
    program.chmod(0o755)
    return str(program), kept


def test_a_long_picture_goes_through_the_pager(window: Callable[..., Screen], tmp_path: Path) -> None:
    """Longer than the window: $PAGER reads all of it, colours too; options of less are set unless the user set them."""
    program, kept = pager(tmp_path)
    screen = window(12, PAGER=program)
    screen.type(f"{COMMAND}\n")
    screen.wait_for("status:0")
    assert "less is FRX" in screen.text
    assert "emptying" in kept.read_text()
    assert "\x1b[" in kept.read_text()


def test_what_fits_is_shown_at_once(window: Callable[..., Screen], tmp_path: Path) -> None:
    """In a large window no pager is started."""
    program, kept = pager(tmp_path)
    screen = window(60, PAGER=program)
    screen.type(f"{COMMAND}\n")
    screen.wait_for("status:0")
    assert "emptying" in screen.text
    assert not kept.exists()


@pytest.mark.parametrize("program", ["/nowhere/less", ""])
def test_without_a_pager_it_is_printed(window: Callable[..., Screen], program: str) -> None:
    """A pager that does not exist, or none: the picture is printed."""
    screen = window(12, PAGER=program)
    screen.type(f"{COMMAND}\n")
    screen.wait_for("status:0")
    assert b"emptying" in screen.raw


def test_a_program_gets_the_text(kimi: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a pipe nothing is paged."""
    program, kept = pager(tmp_path)
    monkeypatch.setenv("PAGER", program)
    assert "emptying" in kimi("diagram", "sign_out").out
    assert not kept.exists()
