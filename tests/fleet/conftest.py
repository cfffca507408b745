"""The stage for every test of the fleet, and what they measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A server, an empty share directory and no process yet."""
    with Stage(tmp_path) as ready:
        yield ready


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says a line at the end of the run: a time that no test depends on."""
    return lambda line: record_property("measured", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    for name, line in (said for report in reports if report.when == "call" for said in report.user_properties):
        if name == "measured":
            terminalreporter.write_line(f"measured: {line}")
