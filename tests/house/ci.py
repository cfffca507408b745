"""With CI=true, a skipped test of a real server or program, a browser, other users or containers has failed: there, everything must run."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

MUST_RUN = ("real_server", "real_program", "browser", "root", "containers", "spin")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    wanted = any(item.get_closest_marker(marker) for marker in MUST_RUN) and not hasattr(report, "wasxfail")
    if wanted and report.skipped and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason} (with CI=true this test must run)"
    return report
