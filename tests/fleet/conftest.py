"""The stage for every test of the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A server, an empty share directory and no process yet."""
    with Stage(tmp_path) as ready:
        yield ready
