"""Lines for the end of the run: times that no test depends on. They come from whatever process ran the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says a line at the end of the run."""
    return lambda line: record_property("measured", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    for name, line in (said for report in reports if report.when == "call" for said in report.user_properties):
        if name == "measured":
            terminalreporter.write_line(f"measured: {line}")
