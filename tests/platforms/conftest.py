"""What the tests of platforms share: the built-in platform, a catalogue, a share directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth.errors import ConfigError
from kimi_auth.models import ConfigFile, ModelEntry
from kimi_auth.platforms import Platform, registry


@pytest.fixture
def kimi() -> Platform:
    """The platform that people sign in to."""
    return registry.get("kimi-code")


@pytest.fixture
def moonshot() -> Platform:
    """A platform with an API key and a filter."""
    return registry.get("moonshot-cn")


@pytest.fixture
def models() -> tuple[ModelEntry, ...]:
    """Two models, the first one can think."""
    return (
        ModelEntry(id="kimi-for-coding", context_length=262144, supports_reasoning=True, display_name="K2.7 Code"),
        ModelEntry(id="kimi-lite", context_length=131072),
    )


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """An empty share directory."""
    path = tmp_path / "share"
    path.mkdir()
    return path


@pytest.fixture
def file(share: Path) -> ConfigFile:
    """The config of that directory; waiting for its lock is given up soon."""
    return ConfigFile(share, lock_wait_s=0.05)


@pytest.fixture
def config_error() -> Callable[..., ConfigError]:
    """Calls something that must fail with the exit status of a configuration error, in one line with a next step."""

    def call(action: Callable[..., object], *arguments: object) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            action(*arguments)
        assert caught.value.exit_status == 9
        assert caught.value.hint
        assert "\n" not in caught.value.line
        return caught.value

    return call
