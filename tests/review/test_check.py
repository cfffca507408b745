"""`kimi-auth diagram --check`: whatever is made from the machines, or from what draws them, is what it would be made to be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kimi_auth.cli import main, pictures
from kimi_auth.machine import Library, SpecError
from kimi_auth.review import diagram, hooks

CHECKOUT = Path(__file__).parents[2]
DIAGRAMS = CHECKOUT / "diagrams"
FIX = "run `make diagrams`"


class Said(NamedTuple):
    """How the check ended, the files that it named, and its last word."""

    status: int
    named: set[str]
    last: str


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout that may be changed: program, machines and the files made from them."""
    for name in ("kimi_auth", "machines", "diagrams"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A module of the copy, run there."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env={**environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def check(copy: Path) -> Said:
    done = run(copy, "kimi_auth", "diagram", "--check")
    lines = done.stdout.splitlines()
    assert all(FIX in line or "remove it" in line for line in lines)
    return Said(done.returncode, {line.split(" ")[0] for line in lines}, done.stderr)


def retarget(copy: Path) -> set[str]:
    """One edge of one machine leads elsewhere."""
    file = copy / "machines" / "device_login.toml"
    text = file.read_text("utf-8")
    edited = text.replace('on.slow_down = "waiting"', 'on.slow_down = "polling"')
    assert edited != text
    file.write_text(edited, "utf-8")
    # The overlay shows measurements of the earlier machine: it is of no machine now.
    drawn = {f"diagrams/device_login{ending}" for ending in (".md", ".svg", ".coverage.svg")}
    return {*drawn, "diagrams/review.html", "diagrams/walks.json", "diagrams/layouts/device_login.json"}


def reword(copy: Path) -> set[str]:
    """A sentence of one machine."""
    file = copy / "machines" / "sign_out.toml"
    file.write_text(file.read_text("utf-8").replace('about = "', 'about = "Now: ', 1), "utf-8")
    return {f"diagrams/sign_out{ending}" for ending in (".md", ".svg", ".coverage.svg")} | {
        "diagrams/review.html",
        "diagrams/walks.json",
    }


def another_schema(copy: Path) -> set[str]:
    """What editors are told of a key."""
    file = copy / "kimi_auth" / "review" / "schema.py"
    file.write_text(file.read_text("utf-8").replace("A sentence for the reader.", "A sentence."), "utf-8")
    return {"diagrams/../machines/machine.schema.json"}


def another_view(copy: Path) -> set[str]:
    """What the sign-in shows when it was denied."""
    file = copy / "diagrams" / "login-denied.svg"
    file.write_bytes(file.read_bytes().replace(b"</svg>", b"</svg >"))
    (copy / "diagrams" / "login-done.svg").rename(copy / "diagrams" / "login-gone.svg")
    return {f"diagrams/login-{name}.svg" for name in ("denied", "done", "gone")}


def style(copy: Path) -> set[str]:
    """How the page looks."""
    file = copy / "kimi_auth" / "review" / "html_page.css"
    file.write_text(file.read_text("utf-8") + "/* more */\n", "utf-8")
    return {"diagrams/review.html"}


def test_everything_is_fresh(copy: Path) -> None:
    """As it is committed: nothing to say, exit 0."""
    said = check(copy)
    assert said[:2] == (0, set())
    assert re.fullmatch(rf"kimi-auth: machines read: {re.escape(str(copy))}/machines \([0-9a-f]{{12}}\)\n", said.last)


def test_a_checkout_of_others(copy: Path) -> None:
    """A kimi-auth that is installed elsewhere reads the machines of the checkout that it stands in, not its own, for every
    question about them; it says which, and that those it runs are others."""
    shutil.rmtree(copy / "kimi_auth")
    (copy / "docs").mkdir()
    before = copy / "before"
    shutil.copytree(copy / "machines", before)
    expected = retarget(copy)
    others = f"this kimi-auth runs others: {CHECKOUT / 'machines'}"
    asked = run(copy, "kimi_auth", "diagram", "--check")
    assert asked.returncode == 1
    assert expected <= {line.split(" ")[0] for line in asked.stdout.splitlines()}
    assert others in asked.stderr
    compared = run(copy / "docs", "kimi_auth", "diagram", "--diff", str(before))
    assert (compared.returncode, "slow_down" in compared.stdout) == (1, True)
    assert f"machines read: {copy / 'machines'} (" in compared.stderr
    assert others in compared.stderr
    drawn = run(copy, "kimi_auth.review.diagram", "--check", "diagrams")
    assert drawn.returncode == 1
    assert "diagrams/device_login.md is stale" in drawn.stderr


@pytest.mark.parametrize("change", [retarget, reword, another_schema, another_view, style], ids=lambda f: f.__name__)
def test_a_change_is_seen(copy: Path, change: Callable[[Path], set[str]]) -> None:
    """Without making the files again: each that is old now is named, with the command to run, and the exit status is 1."""
    expected = change(copy)
    said = check(copy)
    assert (said.status, said.named) == (1, expected)
    assert "draw them: make diagrams" in said.last


def test_pictures_of_the_sign_in_are_fresh() -> None:
    """The committed ones are what the view draws now, byte for byte."""
    assert pictures.check(DIAGRAMS) == []


def test_machines_that_are_wrong(copy: Path) -> None:
    """Both commands print the problems that the linter finds, with file and state; nothing is drawn."""
    file = copy / "machines" / "device_login.toml"
    file.write_text(file.read_text("utf-8").replace('on.slow_down = "waiting"', 'on.slow_down = "waitin"'), "utf-8")
    problem = "device_login.toml, [states.polling]: on.slow_down leads to 'waitin', which is no state; did you mean 'waiting'?\n"
    asked = run(copy, "kimi_auth", "diagram", "--check")
    assert (asked.returncode, asked.stdout) == (1, problem)
    assert asked.stderr == "kimi-auth: the machines cannot run: one problem (each line ends with its fix)\n"
    drawn = run(copy, "kimi_auth.review.diagram", "diagrams")
    assert (drawn.returncode, drawn.stdout, drawn.stderr) == (1, "", problem)


def test_wrong_machines_in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Two problems are two lines, and the commands say how many."""

    def wrong(*_: object) -> Library:
        raise SpecError(["one.toml: no; fix it", "two.toml: no; fix it"])

    monkeypatch.setattr(Library, "load", wrong)
    assert main(["diagram"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["one.toml: no; fix it", "two.toml: no; fix it"]
    assert said.err == "kimi-auth: the machines cannot run: 2 problems (each line ends with its fix)\n"
    assert diagram.main(["--check", "diagrams"]) == 1
    assert capsys.readouterr().err.splitlines() == said.out.splitlines()


def test_findings_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that are missing, old or left over are lines of standard output; how many there are is the last word."""
    folder = tmp_path / "diagrams"
    diagram.write(folder)
    assert pictures.main([str(folder)]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["diagram", "--check"]) == 0
    (folder / "login-done.svg").rename(folder / "login-gone.svg")
    (folder / "login-denied.svg").write_text("")
    assert main(["diagram", "--check"]) == 1
    said = capsys.readouterr()
    assert sorted(said.out.splitlines()) == [
        f"diagrams/login-denied.svg is stale; {FIX}",
        f"diagrams/login-done.svg is missing; {FIX}",
        "diagrams/login-gone.svg shows no state of the sign-in; remove it",
    ]
    assert said.err.splitlines()[-1].startswith("kimi-auth: 3 pages are not up to date")


NEW_STATE = """
[states.resting_a_while]
about = "The new state of an author who has just begun."
activity = "rest_a_while"
on.rested = "claiming"
"""


def test_a_state_without_its_hook(copy: Path) -> None:
    """A new activity is named once for each file that lacks it: contract, class, hooks.toml, the model checker."""
    file = copy / "machines" / "token_refresh.toml"
    text = file.read_text("utf-8")
    first = re.search(r'^on\.\w+ = "claiming"$', text, re.MULTILINE)
    assert first is not None
    edited = text.replace(first[0], first[0].replace('"claiming"', '"resting_a_while"'), 1)
    file.write_text(edited + NEW_STATE, "utf-8")
    done = run(copy, "kimi_auth", "diagram", "--check")
    named = [line for line in done.stdout.splitlines() if "rest_a_while" in line]
    assert done.returncode == 1
    assert [line.partition("; ")[2] for line in named] == [
        "add it to the protocol",
        "add the method to kimi_auth/credential/token_lifecycle.py",
        "add [token_refresh.rest_a_while]",
        "add it to HOOKS of kimi_auth/proof/hooks_outside.py",
    ]
    assert "hooks and machines differ in 4 points" in done.stderr


def test_a_machine_without_a_contract(tmp_path: Path) -> None:
    """A machine that no contract knows is named, and nothing is asked of a hooks.toml that is not there."""
    assert hooks.missing(Library.load(), tmp_path) == []
    data = Library.load().data()
    data["other"] = {key: value for key, value in data["sign_out"].items() if key != "holds"} | {"name": "other"}
    found = hooks.missing(Library.from_data(data), tmp_path)
    assert found == ["other: no contract; write a Protocol and name it in HOOKS of kimi_auth/review/hooks.py"]
