"""Two workers collect the same tests, whenever and wherever they do: no id and no parameter depends on anything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from house import ids

CHECKOUT = Path(__file__).parents[2]

SAMPLE = """
import datetime, gzip, os, time
from dataclasses import dataclass
import pytest

@dataclass
class Row:
    value: object

class Slots:
    __slots__ = ("value",)
    def __init__(self, value): self.value = value

def later(value): return lambda: value

@pytest.mark.parametrize("value", [__VALUE__], ids=["it"])
def test_a_value(value): ...
"""

DEPENDENT = {
    "the clock": "time.time() // 1000",
    "a date": "datetime.datetime.now().hour",
    "what a row holds": "Row(Row([time.time() // 1000]))",
    "what a function closes over": "later(time.time() // 1000)",
    "what lies in slots": "Slots(time.time() // 1000)",
    "the order of a set": "list({'a', 'b', 'c', 'd', 'e', 'f'})",
    "a hash": "hash('a')",
    "an address": "repr(object())",
    "the environment": "os.environ['TZ']",
    "the place": "os.getcwd()",
    "gzip's header": "gzip.compress(b'x')",
}


def collect(folder: Path, out: Path, *, hours: float, **environ: str) -> dict[str, Any]:
    """Which ids a collection in `folder` found, each with the sum of its parameters."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "house.collected",
        "--assert=plain",
        "--collect-only",
        "-q",
        "-m",
        "",
    ]
    place = out.parent / f"elsewhere-{hours}"
    place.mkdir()
    where = [f"--rootdir={folder}", "-c", str(folder / "pyproject.toml"), str(folder / "tests")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    done = subprocess.run(
        [*command, f"--collected={out}", f"--hours={hours}", *where],
        cwd=place,
        env={**kept, "PYTHONPATH": str(CHECKOUT / "tests"), "HOME": str(place), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


def twice(folder: Path, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two collections that have nothing in common but the tests."""
    return (
        collect(folder, out / "first.json", hours=0, PYTHONHASHSEED="1", TZ="Asia/Tokyo", LANG="C.UTF-8"),
        collect(folder, out / "second.json", hours=25.7, PYTHONHASHSEED="2", TZ="America/Lima", LANG="C", CI="true"),
    )


def test_nothing_but_the_tests_decides_what_is_collected(tmp_path: Path) -> None:
    """Another time, hash seed, zone, home and directory: the same ids in the same order, the same parameters."""
    first, second = twice(CHECKOUT, tmp_path)
    assert len(first) > 5_000
    assert list(first) == list(second)
    assert [name for name, found in first.items() if second[name] != found] == []


def test_a_row_that_depends_on_something_is_found(tmp_path: Path) -> None:
    """The comparison sees each kind of dependence, as deep as it may lie."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n")
    for name, value in {**DEPENDENT, "nothing": "Row({1, 2, later('x')})"}.items():
        file = tmp_path / "tests" / f"test_{name.replace(' ', '_').replace(chr(39), '_')}.py"
        file.write_text(SAMPLE.replace("__VALUE__", value))
    first, second = twice(tmp_path, tmp_path)
    assert first.keys() == second.keys()
    found = {name.partition("::")[0] for name, is_ in first.items() if second[name] != is_}
    assert len(found) == len(DEPENDENT), found
    assert not [name for name in found if "nothing" in name]


@pytest.mark.parametrize(
    ("value", "id_"),
    [
        ("short", None),
        (b"short", "raw"),
        ("x" * 41, "raw"),
        ("\x1b[2J", "raw"),
        ("schlüssel", "raw"),
        (7, None),
        ("", None),
    ],
    ids=["a name", "bytes", "long", "a sequence", "not ASCII", "a number", "empty"],
)
def test_ids_hold_no_content(value: object, id_: str | None) -> None:
    """Bytes, and strings that are no names, are called as their parameter is."""
    assert ids.pytest_make_parametrize_id(value, "raw") == id_
