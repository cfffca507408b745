"""No test leaves a token or a device code in a log or on standard error: the emulator's and the simulated server's show.

Everything that kimi-auth logs is looked at, whatever its level. Standard output is for those who ask for a token.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator

import pytest

SECRET = re.compile(r"\bemulated-(?:access|refresh|device)-[\w-]{20,}|\b(?:access|refresh|device)-\d+\b")


def pytest_configure() -> None:
    logging.getLogger("kimi_auth").setLevel(logging.DEBUG)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown" and report.passed:  # its report holds what all phases said
        for where, text in (("the log", report.caplog), ("standard error", report.capstderr)):
            if SECRET.search(text):
                report.outcome, report.longrepr = "failed", f"a secret is in {where}, {SECRET.sub('<SECRET>', text)}"
    return report
