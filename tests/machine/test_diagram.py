"""Pictures and tables of machines, and the folder that holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth.machine import Library, edges
from kimi_auth.review import diagram
from kimi_auth.review.markdown_page import page as page_of
from kimi_auth.review.markdown_page import table
from kimi_auth.review.mermaid import mermaid

CALL_MERMAID = """\
stateDiagram-v2
    state "dialling<br/>dial()" as dialling
    state "talking<br/>talk()" as talking
    state "hung_up" as hung_up
    state "gave_up" as gave_up
    [*] --> dialling
    dialling --> talking : answered
    dialling --> dialling : engaged
    dialling --> gave_up : dead
    talking --> hung_up : done
    talking --> dialling : cut_off
    hung_up --> talking : ring
    hung_up --> [*]
    gave_up --> [*]
    classDef good fill:#d3f2dc,stroke:#1a7f37,color:#0b3d1c
    class hung_up good
    classDef bad fill:#ffd8d3,stroke:#cf222e,color:#5c0d12
    class gave_up bad
"""

CALL_TABLE = """\
| state | about | activity | outcome | target |
| --- | --- | --- | --- | --- |
| <a id="dialling"></a>**dialling** | Dials the number. | `dial` | <a id="dialling.answered"></a>`answered` | talking |
|  |  |  | <a id="dialling.engaged"></a>`engaged` | dialling |
|  |  |  | <a id="dialling.dead"></a>`dead` | gave_up |
| <a id="talking"></a>**talking** | Somebody answered. | `talk` | <a id="talking.done"></a>`done` | hung_up |
|  |  |  | <a id="talking.cut_off"></a>`cut_off` | dialling |
| <a id="hung_up"></a>**hung_up** | All was said. | *rest, good* | <a id="hung_up.ring"></a>`ring` | talking |
| <a id="gave_up"></a>**gave_up** | Nobody \\| is there. | *rest, bad* |  |  |
"""


def test_mermaid(library: Library) -> None:
    """States with their activity, edges in file order, rest states with their colour."""
    assert mermaid(library["call"]) == CALL_MERMAID


def test_mermaid_of_locks_and_children(library: Library) -> None:
    """A walking state says what it holds and walks; outcomes to one target share an arrow; a locked machine says so."""
    errand, door = mermaid(library["errand"]), mermaid(library["door"])
    label = 'state "waiting_for_key<br/>take_key()<br/>holds key<br/>walks door" as waiting_for_key\n'
    assert label in errand
    assert "    waiting_for_key --> outside : jammed<br/>busy\n" in errand
    assert "note" not in errand
    assert "    note right of turning : every state holds key\n" in door


@pytest.mark.parametrize("word", ["state", "note", "end", "class", "default", "click", "href", "acctitle"])
def test_words_of_mermaid_are_no_ids(load: Callable[..., Library], word: str) -> None:
    """A state may have a name that Mermaid's grammar keeps for itself: the reader sees it, the parser does not."""
    text = (
        f'name = "m"\nabout = "M."\ninitial = "{word}"\n'
        f'[states.{word}]\nabout = "S."\nactivity = "go"\non.{word} = "{word}"\non.out = "over"\n'
        '[states.over]\nabout = "O."\ntone = "good"\n'
    )
    drawn = mermaid(load(m=text)["m"])
    assert f'    state "{word}<br/>go()" as {word}_\n    state "over" as over\n    [*] --> {word}_\n' in drawn
    assert f"    {word}_ --> {word}_ : {word}\n    {word}_ --> over : out\n" in drawn


def test_table(library: Library) -> None:
    """One row for each edge and one for a rest state without, each with its address; a bar in a sentence stays inside its
    cell."""
    assert table(library["call"]) == CALL_TABLE
    address = '<a id="waiting_for_key.inside"></a>'
    walking = f"| `take_key`, holds `key`, walks [door](door.md) | {address}`inside` | at_home |\n"
    assert walking in table(library["errand"])


def test_page(library: Library) -> None:
    """The page says what made it and how to make it again, and holds the sentence, the picture and the table."""
    page = page_of(library["call"])
    assert page.startswith(
        "<!-- Made from machines/call.toml by kimi_auth.review.diagram. "
        "Change the machine, then run `make diagrams`. -->\n\n# call\n\nA phone call. Awaited: it walks no child.\n\n"
    )
    assert f"\n```mermaid\n{CALL_MERMAID}```\n\n{CALL_TABLE}" in page
    assert page.endswith(CALL_TABLE)
    assert "Every state of this machine runs while" not in page
    assert "Every state of this machine runs while `key` is held.\n" in page_of(library["door"])


def test_every_edge_is_drawn_and_listed(library: Library) -> None:
    """No edge of any machine is missing from the picture or from the table."""
    for machine in library.values():
        drawn, listed = mermaid(machine), table(machine)
        arrows = [line.strip().partition(" : ") for line in drawn.splitlines() if " --> " in line and " : " in line]
        shown = {(arrow, event) for arrow, _, events in arrows for event in events.split("<br/>")}
        assert shown == {(f"{edge.source} --> {edge.target}", edge.event) for edge in edges(machine)}
        for edge in edges(machine):
            address = f"{edge.source}.{edge.event}"
            assert f'| <a id="{address}"></a>`{edge.event}` | {edge.target} |' in listed


def test_same_machine_same_bytes(library: Library, load: Callable[..., Library], texts: dict[str, str]) -> None:
    """Loading again, in another order, changes nothing; comments do not either."""
    again = load(**{stem: "# a comment\n" + text for stem, text in reversed(texts.items())})
    for name, machine in library.items():
        assert page_of(again[name]) == page_of(machine)


def test_write_then_check(library: Library, tmp_path: Path) -> None:
    """Written files are fresh, and writing again changes nothing."""
    folder = tmp_path / "new" / "diagrams"
    diagram.write(folder, library.values())
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    names = ("call", "door", "errand")
    assert sorted(first) == sorted(
        ["review.html", *(f"{name}{ending}" for name in names for ending in (".md", ".svg"))]
    )
    assert first["call.md"] == page_of(library["call"]).encode()
    assert diagram.check(folder, library.values()) == []
    diagram.write(folder, library.values())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_check_finds_missing_stale_and_left_over(library: Library, tmp_path: Path) -> None:
    """Each page that is not what it would be is one line; files of others stay."""
    diagram.write(tmp_path, library.values())
    (tmp_path / "README.md").write_text("# How to read these\n")
    (tmp_path / "measured").mkdir()
    (tmp_path / "call.md").unlink()
    (tmp_path / "door.md").write_bytes((tmp_path / "door.md").read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "window.md").write_text(page_of(library["call"]))
    assert diagram.check(tmp_path, library.values()) == [
        f"{tmp_path}/call.md is missing; run `make diagrams`",
        f"{tmp_path}/door.md is stale; run `make diagrams`",
        f"{tmp_path}/window.md belongs to no machine; run `make diagrams`",
    ]
    diagram.write(tmp_path, library.values())
    assert diagram.check(tmp_path, library.values()) == []
    assert not (tmp_path / "window.md").exists()
    assert (tmp_path / "README.md").read_text() == "# How to read these\n"


def test_the_command(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Writes this package's pages, or checks them and fails with one line for each."""
    monkeypatch.setattr(Library, "load", lambda _=None: library)
    assert diagram.main(["--check", str(tmp_path)]) == 1
    made = ["review.html", *(f"{name}{ending}" for name in ("call", "door", "errand") for ending in (".md", ".svg"))]
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/{name} is missing; run `make diagrams`" for name in made
    ]
    assert diagram.main([str(tmp_path)]) == 0
    assert diagram.main(["--check", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_command_as_a_module() -> None:
    """`python -m kimi_auth.review.diagram` runs without a warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "kimi_auth.review.diagram", "--help"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m kimi_auth.review.diagram [-h] [--check] folder\n")
