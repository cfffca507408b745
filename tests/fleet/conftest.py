"""The stage for every test of the fleet, and what they measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.stage import Stage

MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A server, an empty share directory and no process yet."""
    with Stage(tmp_path) as ready:
        yield ready


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the run: times that no test depends on."""
    return request.config.stash.setdefault(MEASURED, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(MEASURED, []):
        terminalreporter.write_line(f"measured: {line}")
