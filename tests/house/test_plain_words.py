"""tools/words.py finds the words that it is told to, in every kind of text, and the project is clean."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from house.waits import sources

CHECKOUT = Path(__file__).parents[2]
RULES = tomllib.loads((CHECKOUT / "tools" / "words.toml").read_text("utf-8"))["rule"]

# Planted in each kind of text: the file, its content, and the line of the finding.
PLANTED = {
    "a docstring": ("kimi_auth/a.py", '\n"""Served to nobody."""\n', 2),
    "a docstring's second line": ("kimi_auth/a.py", '"""Served.\n\nTo nobody.\n"""\n', 3),
    "a comment": ("kimi_auth/a.py", "a = 1\nb = 2  # for nobody\n", 2),
    "a comment that goes on": ("kimi_auth/a.py", "# what\n# is stored\n", 1),
    "a message": ("kimi_auth/a.py", "def a():\n    raise OSError('nobody is there')\n", 2),
    "an f-string": ("kimi_auth/a.py", "def a(b):\n    return f'{b} is nobody'\n", 2),
    "a JSON key": ("kimi_auth/cli/a.py", "A = {'trouble': 1}\n", 1),
    "a test's docstring": ("tests/b/test_a.py", 'def test_a():\n    """Nobody waits."""\n', 2),
    "a test's comment": ("tests/b/test_a.py", "# nobody\n", 1),
    "a tool": ("tools/a.py", '"""Nobody runs it."""\n', 1),
    "an example": ("examples/own/a.py", '"""Nobody runs it."""\n', 1),
    "README": ("README.md", "# A\n\nNobody reads it.\n", 3),
    "CHANGELOG": ("CHANGELOG.md", "- Nobody reads it.\n", 1),
    "a page": ("docs/a.md", "Read by\nnobody.\n", 2),
    "a machine": ("machines/a.toml", 'about = "Nobody waits."\n', 1),
    "a machine's comment": ("machines/a.toml", "a = 1\n# it mends\n# itself\n", 2),
    "platforms": ("kimi_auth/platforms/a.toml", "# nobody\n", 1),
    "hooks.toml": ("diagrams/hooks.toml", 'a = "nobody"\n', 1),
    "the Makefile": ("Makefile", "a: ## nobody\n", 1),
}
# A word in each rule's family, and texts that look alike and are allowed.
FOUND = (
    *(
        "nobody",
        "Somebody's",
        "whoever",
        "everybody",
        "what is stored",
        "what\nwas there",
        "what else is",
        "what stands",
    ),
    *(
        "what cannot be read",
        "what there is",
        "trouble",
        "bad weather",
        "mended",
        "strangers",
        "an heir",
        "its own words",
    ),
    *("the place", "pacing", "in a doubtful case", "unclear", "two flights", "the surroundings", "judged", "a memo"),
    "the logbook",
)
ALLOWED = (
    *(
        "what a login does",
        "says what it touches",
        "what happened",
        "single flight",
        "in flight",
        "replaced",
        "amendment",
    ),
    *("a wordy text", "password", "space", "placeholder", "promises", "verdict", "whatever"),
)


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", CHECKOUT / "tools" / "words.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return tmp_path

    return write


def test_the_texts_are_plain(words: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """No text of the project has a finding without an argued exception, and no exception is stale."""
    assert (words.main([str(CHECKOUT)]), capsys.readouterr().out) == (0, "")


@pytest.mark.parametrize(("name", "text", "line"), PLANTED.values(), ids=PLANTED)
def test_each_kind_of_text(
    words: ModuleType, write: Callable[[str, str], Path], name: str, text: str, line: int
) -> None:
    """A planted word is found, with its file and line."""
    (found,) = words.check(write(name, text), RULES, [])
    assert found.startswith(f"{name}:{line}: ")


@pytest.mark.parametrize("text", FOUND)
def test_each_rule(words: ModuleType, write: Callable[[str, str], Path], text: str) -> None:
    """Every family of words is found, in any case and across a line's end."""
    assert len(list(words.check(write("docs/a.md", f"It is {text}.\n"), RULES, []))) == 1


@pytest.mark.parametrize("text", ALLOWED)
def test_neighbours_are_allowed(words: ModuleType, write: Callable[[str, str], Path], text: str) -> None:
    """Standard terms and words that contain a retired one are not findings."""
    assert list(words.check(write("docs/a.md", f"It is {text}.\n"), RULES, [])) == []


def test_names_of_tests_are_plain() -> None:
    """Functions and tables of the tests name the error that they are about."""
    names = re.compile(r"(?m)^ *(?:async )?def (\w*(?:weather|trouble)\w*)|^(\w*(?:WEATHER|TROUBLE)\w*)\b.* = ")
    assert [(file.name, *found) for file in sources() for found in names.findall(file.read_text("utf-8"))] == []
    assert names.findall("def test_in_trouble(") == [("test_in_trouble", "")]
    assert names.findall("IN_WEATHER: Any = 1") == [("", "IN_WEATHER")]


def test_code_is_no_text(words: ModuleType, write: Callable[[str, str], Path]) -> None:
    """Names are not read, nor are strings of tests: they quote servers and other programs."""
    write("kimi_auth/a.py", "def nobody(whoever):\n    return whoever\n")
    root = write("tests/test_a.py", "A = 'nobody'\n")
    assert list(words.check(root, RULES, [])) == []


def test_an_exception_covers_its_finding_only(words: ModuleType, write: Callable[[str, str], Path]) -> None:
    """The phrase and the file must both match."""
    write("docs/a.md", "The user nobody.\n")
    root = write("docs/b.md", "The user nobody, and nobody else.\n")
    lines = list(words.check(root, RULES, [{"file": "docs/*.md", "phrase": "user nobody", "why": "a Unix account"}]))
    assert [line.split(":")[0] for line in lines] == ["docs/b.md"]
    lines = list(words.check(root, RULES, [{"file": "docs/a.md", "phrase": "user nobody", "why": "a Unix account"}]))
    assert [line.split(":")[0] for line in lines] == ["docs/b.md", "docs/b.md"]


@pytest.mark.parametrize(
    "row",
    [
        {"phrase": "user nobody", "why": "matches no finding"},
        {"phrase": "nobody waits", "why": ""},
        {"phrase": "nobody waits", "file": "docs/b.md", "why": "another file"},
    ],
    ids=["matches nothing", "without a reason", "in another file"],
)
def test_a_stale_exception_fails(words: ModuleType, write: Callable[[str, str], Path], row: dict[str, str]) -> None:
    """An exception that covers nothing, or gives no reason, is a finding itself."""
    root = write("docs/a.md", "nobody waits\n")
    assert list(words.check(root, RULES, [row]))[-1].startswith("tools/words.toml: ")


def test_the_command(words: ModuleType, write: Callable[[str, str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each finding and exit status 1; nothing and 0 if there are none."""
    write("tools/words.toml", (CHECKOUT / "tools" / "words.toml").read_text("utf-8").partition("[[exception]]")[0])
    root = write("docs/a.md", "Fine.\n")
    assert (words.main([str(root)]), capsys.readouterr().out) == (0, "")
    write("docs/a.md", "Mend it.\n")
    assert (words.main([str(root)]), capsys.readouterr().out.count("\n")) == (1, 1)
