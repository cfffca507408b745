"""The pages in diagrams/ are what the machines draw today."""

from __future__ import annotations

from pathlib import Path

from kimi_auth.machine import Library
from kimi_auth.review import diagram

DIAGRAMS = Path(__file__).parents[2] / "diagrams"


def test_diagrams_are_fresh() -> None:
    """Same machines, same bytes; nothing is missing, nothing is left over. `make diagrams` updates it."""
    assert diagram.check(DIAGRAMS) == []


def test_a_stale_page_is_seen(tmp_path: Path) -> None:
    """A page of yesterday, one that is missing and one of a machine that is gone are found."""
    diagram.write(tmp_path)
    assert diagram.check(tmp_path) == []
    first, second = sorted(Library.load())[:2]
    (tmp_path / f"{first}.md").write_bytes((tmp_path / f"{first}.md").read_bytes() + b"\n")
    (tmp_path / f"{second}.md").rename(tmp_path / "gone.md")
    found = diagram.check(tmp_path)
    assert [line.split("; ")[0] for line in found] == [
        f"{tmp_path / first}.md is stale",
        f"{tmp_path / second}.md is missing",
        f"{tmp_path / 'gone.md'} belongs to no machine",
    ]
