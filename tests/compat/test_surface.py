"""The modules that stand in for the Kimi CLI's: their names, how they get there, and what they leave alone."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kimi_auth.compat import kimi_cli, oauth, platforms

NAMES = {
    "kimi_auth.compat.oauth": "OAuthManager login_kimi_code logout_kimi_code load_tokens save_tokens delete_tokens "
    "OAuthToken OAuthRef OAuthEvent get_device_id KIMI_CODE_CLIENT_ID KIMI_CODE_OAUTH_KEY OAuthError OAuthUnauthorized "
    "OAuthDeviceExpired",
    "kimi_auth.compat.platforms": "PLATFORMS ModelInfo Platform get_platform_by_id get_platform_by_name "
    "managed_provider_key managed_model_key parse_managed_provider_key is_managed_provider_key "
    "get_platform_name_for_provider list_models refresh_managed_models",
}


@pytest.fixture
def fresh_log() -> Iterator[logging.Logger]:
    """The package's logger, as it was before once the test is over."""
    log = logging.getLogger("kimi_auth")
    before = log.level, log.propagate, list(log.handlers)
    yield log
    log.setLevel(before[0])
    log.propagate, log.handlers = before[1:]


@pytest.fixture
def no_host(monkeypatch: pytest.MonkeyPatch, fresh_log: logging.Logger) -> pytest.MonkeyPatch:
    """No module of the Kimi CLI is loaded, and none is afterwards."""
    for name in [name for name in sys.modules if name.split(".")[0] in {"kimi_cli", "loguru"}]:
        monkeypatch.delitem(sys.modules, name)
    for name in kimi_cli.REPLACED:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    return monkeypatch


@pytest.mark.parametrize("module", NAMES)
def test_names(module: str) -> None:
    """Every name that the rest of the Kimi CLI uses is there and public."""
    there = importlib.import_module(module)
    assert {name for name in NAMES[module].split() if not hasattr(there, name)} == set()
    assert set(NAMES[module].split()) <= set(there.__all__)


def test_the_host_is_not_imported() -> None:
    """The stand-ins load without the Kimi CLI, and load nothing of it."""
    code = "import sys, kimi_auth.compat.kimi_cli; sys.exit(any(name.startswith('kimi_cli') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_install(no_host: pytest.MonkeyPatch) -> None:
    """The Kimi CLI's import statements find ours; installing twice is once."""
    kimi_cli.install()
    kimi_cli.install()
    assert importlib.import_module("kimi_cli.auth.oauth") is oauth
    assert importlib.import_module("kimi_cli.auth.platforms") is platforms
    assert sum(isinstance(handler, kimi_cli._HostLog) for handler in logging.getLogger("kimi_auth").handlers) == 1


def test_install_too_late(no_host: pytest.MonkeyPatch) -> None:
    """Where the Kimi CLI has loaded its own, nothing is replaced and the error says what to do."""
    theirs = ModuleType("kimi_cli.auth.platforms")
    no_host.setitem(sys.modules, theirs.__name__, theirs)
    with pytest.raises(RuntimeError, match=r"call install\(\) before"):
        kimi_cli.install()
    assert "kimi_cli.auth.oauth" not in sys.modules


def test_log_records_reach_the_host(no_host: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They go to the Kimi CLI's log once its app is there, as they are, and never to the terminal."""
    heard: list[tuple[Any, ...]] = []
    logger = SimpleNamespace(opt=lambda **_: SimpleNamespace(log=lambda *said: heard.append(said)))
    kimi_cli.install()
    log = logging.getLogger("kimi_auth.compat")
    log.warning("before there is a host")
    no_host.setitem(sys.modules, "loguru", SimpleNamespace(logger=logger))
    log.warning("before its app is there")
    no_host.setitem(sys.modules, "kimi_cli.app", ModuleType("kimi_cli.app"))
    log.info("a {brace} and %s", "more")
    assert heard == [("INFO", "{}", "a {brace} and more")]
    assert capsys.readouterr() == ("", "")
