"""Every example runs as it stands and shows what its first line promises."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.machine import Library
from kimi_auth.review.mermaid import mermaid
from kimi_auth.testing.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES_MAX = 40

SHOWN = {
    "first_login.py": r"(?s).+\n    \S+    http://127\.0\.0\.1:\d+/\S+\n.*kimi-for-coding\n.*",
    "never_a_401.py": "1 200\n2 200\n3 200\n4 200\n5 200\nrenewals: 1\n",
    "kept_alive_openai_style.py": "it has a token that works: True\nit has another one: True\nit has none: True\n",
    "draw_a_machine.py": rf"(?s){re.escape(mermaid(Library.load()['token_refresh']))}\n.*\nuncommitted rests, bad: the end\n",
    "fixtures_test.py": r"(?s).*\b3 passed\b.*",
    "frozen_time_test.py": r"(?s).*\b1 passed\b.*",
}


def start(name: str, environ: dict[str, str]) -> subprocess.Popen[str]:
    """The example as a person would start it, from another folder; a test file with pytest."""
    how = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if name.endswith("_test.py") else []
    command = [sys.executable, *how, str(EXAMPLES / name)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env={**os.environ, **environ}, cwd=os.environ["HOME"], stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_it_shows_what_it_promises(name: str) -> None:
    """On an emulator that approves by itself, the example ends well and prints this."""
    with Emulator(approve_after_s=0, interval_s=1) as emulator, start(name, emulator.env) as example:
        shown, said = example.communicate()
    assert (example.returncode, said) == (0, "")
    assert re.fullmatch(SHOWN[name], shown), shown


def test_first_login_refused() -> None:
    """When the person refuses, the example ends with one line that says so, and no traceback."""
    with Emulator(approve="page", interval_s=1) as emulator, start("first_login.py", emulator.env) as example:
        assert emulator.state.wait_for(lambda state: bool(state.log), NO_LIMIT_S)
        (code,) = emulator.state.snapshot()["codes"]
        emulator.state.decide(code["user_code"], "denied")
        said = example.communicate()[1]
    assert example.returncode == 1
    assert re.fullmatch(r".*kimi-auth login\)\n", said), said


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_form(file: Path) -> None:
    """At most 40 lines, the first of which says what you will see; and a test runs it, here or in the room it needs."""
    text = file.read_text("utf-8")
    assert text.count("\n") <= LINES_MAX
    assert (ast.get_docstring(ast.parse(text)) or "").startswith("You will see ")
    tests = file.parents[1] / "tests"
    assert file.name in SHOWN or any(file.name in test.read_text("utf-8") for test in tests.rglob("test_*.py"))
