"""A share dir for each life; the environment says where its server is, and no proxy stands in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from life.authority import Authority
from life.world import Home


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the servers of these tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def loopback_only(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine stands in between, and one authority is trusted: reading all of its own takes long."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    for name in ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def life(home: Path) -> Home:
    """The share dir that the environment names; time stands still until a task waits."""
    return Home(share_dir=Path(os.environ["KIMI_SHARE_DIR"]))
