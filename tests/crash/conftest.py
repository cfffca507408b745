"""The stage for every crash, and a small disk that can be filled and made read-only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.held_answers import HoldingStage
from fleet.disk import Disk, small_disk
from fleet.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[HoldingStage]:
    """A server, an empty share directory and no process yet."""
    with HoldingStage(tmp_path) as ready:
        yield ready


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of its own, of half a megabyte."""
    with small_disk(tmp_path) as made:
        yield made


@pytest.fixture
def stage_on_disk(tmp_path: Path, disk: Disk) -> Iterator[Stage]:
    """The stage, with its credential on that disk."""
    with Stage(tmp_path, share_dir=disk.path / "share") as ready:
        yield ready
