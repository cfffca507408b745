"""The example of machines of your own: linted, drawn and checked with the same tools, with the output that it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from kimi_auth.machine import Library
from kimi_auth.review import diagram

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_machine"

SHOWN = r"""drawn: migration\.md migration\.svg release\.md release\.svg review\.html
checked: \d+ states: fine
with migrating --busy--> switching: \d+ states: not fine
the new program never serves on the old schema is broken in 4 steps:
   1\. release\.building, schema old
   2\. release\.migrating, schema old
   3\. release\.switching, schema old
   4\. release\.serving, schema old
"""


def test_own_machine(tmp_path: Path) -> None:
    """It draws its machines without an engine, finds them fine, and finds the wrong edge with the shortest story."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE / "own_machine.py"), str(tmp_path)],
        env=os.environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(SHOWN, done.stdout), done.stdout
    assert diagram.check(tmp_path, Library.load(EXAMPLE / "machines").values()) == []


def test_its_schema_is_found() -> None:
    """The first line of each file names the schema for editors, and the file is there."""
    for file in (EXAMPLE / "machines").glob("*.toml"):
        first = file.read_text().splitlines()[0]
        assert (file.parent / first.removeprefix("#:schema ")).resolve().name == "machine.schema.json"
        assert (file.parent / first.removeprefix("#:schema ")).is_file()
