"""A share dir for each life; the environment says where its server is, and no proxy stands in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from life.world import Home


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback servers are reached directly, whatever the environment says."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def life(home: Path) -> Home:
    """The share dir that the environment names; time stands still until somebody waits."""
    return Home(share_dir=Path(os.environ["KIMI_SHARE_DIR"]))
