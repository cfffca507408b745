"""`kimi-auth diagram --verify`: what a reviewer is told of machines that hold, and of machines that do not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import heard

from kimi_auth.machine import Library, digest

SMALL = "one process, power cuts"
MACHINES = Path(__file__).parents[2] / "machines"

PROGRAM = """
import signal, sys
from kimi_auth.cli import main

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    sys.exit(main(["diagram", "--verify", "--all"]))
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof is one small world."""
    monkeypatch.setattr("kimi_auth.cli.verify.QUICK", (SMALL,))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str, str, str], str]:
    """A folder with our machines, in one of which a text is replaced."""

    def make(machine: str, old: str, new: str) -> str:
        copied = tmp_path / "edited"
        shutil.copytree(MACHINES, copied)
        file = copied / f"{machine}.toml"
        text = file.read_text("utf-8")
        assert text.count(old) == 1
        file.write_text(text.replace(old, new), "utf-8")
        return str(copied)

    return make


@pytest.mark.usefixtures("small")
def test_machines_that_hold(kimi: Callable[..., Any]) -> None:
    """Which machines, what each world found, and how much of the proof that was; the status is 0."""
    said = kimi("diagram", "--verify")
    assert (said.status, said.err) == (0, "")
    first, last, world, figures, extent, more = said.out.splitlines()
    assert f"{first} {last.strip()}".endswith(", ".join(Library.load()))
    assert first.startswith(f"machines {digest(Library.load())[:12]}: device_login, grant, sign_out,")
    assert world.startswith(f"{SMALL}: holds, ")
    assert figures.startswith("  N=1, strict: ")
    assert extent.startswith("every rule holds in 1 of ")
    assert more.endswith("kimi-auth diagram --verify --all")


def test_every_world(kimi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--all` visits all there are, and says so."""
    monkeypatch.setattr("kimi_auth.cli.verify.WORLDS", {SMALL: None})
    said = kimi("diagram", "--verify", "--all")
    assert said.status == 0
    assert said.out.splitlines()[-1] == "every rule holds in 1 of 1 worlds"


@pytest.mark.usefixtures("small")
def test_edited_machines(kimi: Callable[..., Any], folder: Callable[[str, str, str], str]) -> None:
    """A folder of edited machines gets the promise that it breaks, and the story of the rule, in 80 columns."""
    where = folder("token_refresh", 'on.not_processed = "withdrawing_unsent"', 'on.not_processed = "exchanging"')
    said = kimi("diagram", where, "--verify")
    assert said.status == 1
    lines = said.out.splitlines()
    assert "a scenario is broken: a busy server leaves no claim and a backoff" in lines
    assert any(line.startswith(f"{SMALL}: BROKEN, ") for line in lines)
    assert any(line.startswith("  I1 is broken in ") for line in lines)
    assert any(line.startswith("    1. A: finds ") for line in lines)
    assert max(map(len, lines)) <= 80
    assert "1 of 1 worlds broken" in said.err


@pytest.mark.parametrize(
    ("machine", "old", "new", "said"),
    [
        ("device_login", 'on.access_denied = "denied"', 'on.access_denied = "waiting"', "denied"),
        ("sign_out", 'name = "sign_out"', "name = [", "sign_out.toml: is not TOML"),
    ],
    ids=["a lint", "no TOML"],
)
def test_machines_that_cannot_be_loaded(
    kimi: Callable[..., Any], folder: Callable[[str, str, str], str], machine: str, old: str, new: str, said: str
) -> None:
    """What the lints say stands in the output, every problem on its line; no world is visited."""
    found = kimi("diagram", folder(machine, old, new), "--verify")
    assert found.status == 1
    assert said in found.out
    assert "the machines cannot run: " in found.err
    assert "N=" not in found.out


def test_machines_of_something_else(kimi: Callable[..., Any]) -> None:
    """Machines that our worlds know nothing of are not called right."""
    found = kimi("diagram", str(MACHINES.parent / "examples" / "own_machine" / "machines"), "--verify")
    assert found.status == 1
    assert "there is no machine device_login; the worlds of the proof are about it" in found.out


@pytest.mark.parametrize(
    "argv",
    [("diagram", "token_refresh", "--verify"), ("diagram", "--all"), ("diagram", "/no/such/folder", "--verify")],
    ids=" ".join,
)
def test_what_cannot_be_asked(kimi: Callable[..., Any], argv: tuple[str, ...]) -> None:
    """One machine alone, and `--all` of nothing, are no verification."""
    found = kimi(*argv)
    assert found.status == 2
    assert found.out == ""


@pytest.mark.parametrize(
    ("number", "to_all", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGKILL, False, -signal.SIGKILL)],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_it_is_ended(environ: dict[str, str], number: int, to_all: bool, status: int) -> None:
    """It ends at once, without a traceback, and leaves no process behind."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("machines ")
    assert child.stdout.readline().startswith("  ")  # and the last of them
    assert "holds" in child.stdout.readline()
    (os.killpg if to_all else os.kill)(child.pid, number)
    _, err = heard(child)
    assert child.returncode == status
    assert err == "" or number == signal.SIGKILL  # Python's own helper clears up then, and says so
    while _is_alive(child.pid):
        time.sleep(0.01)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
