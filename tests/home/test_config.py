"""kimi-code's config.toml: left alone, or on request written in place, and nothing but a login's own keys."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

from kimi_auth import ConfigError, Session
from kimi_auth.models import ModelEntry
from kimi_auth.session import components_of

GLOBAL_KEY = "oauth/kimi-code-env-0e4f99c69cc27850"
MODELS = (
    ModelEntry(id="k3", context_length=100, supports_reasoning=True, display_name="K3"),
    ModelEntry(id="kimi-k2-thinking", context_length=200),
)
MINE = """\
# mine
default_model = "other/m"   # kept

[providers.other]
type = "openai"
api_key = "k"

[models."other/m"]
provider = "other"
model = "m"
max_context_size = 1

[models."kimi-code/gone"]
provider = "managed:kimi-code"
model = "gone"
max_context_size = 1

[services.moonshot_search]
base_url = "https://my.search"
api_key = "mine"
"""


def test_in_place(code_home: Path) -> None:
    """A login adds its provider, models and services; what the user chose and wrote stays, and a second one changes
    nothing. No undo is kept, and a logout leaves the file alone."""
    path = code_home / "config.toml"
    path.write_text(MINE)
    parts = components_of(Session(home=code_home, platform="kimi-code-global", environ={}))
    config = parts.configured_by(request=True)
    assert config.lacks()
    config.check()
    assert path.read_text() == MINE
    config.install(MODELS)
    text = path.read_text()
    assert text.startswith('# mine\ndefault_model = "other/m"   # kept\n')
    written, before = tomllib.loads(text), tomllib.loads(MINE)
    oauth = {"storage": "file", "key": GLOBAL_KEY, "oauth_host": "https://auth.kimi.ai"}
    assert written["providers"]["managed:kimi-code"] == {
        "type": "kimi",
        "base_url": "https://api.kimi.ai/coding/v1",
        "api_key": "",
        "oauth": oauth,
    }
    assert written["models"] == {
        "other/m": before["models"]["other/m"],
        "kimi-code/k3": {
            "provider": "managed:kimi-code",
            "model": "k3",
            "max_context_size": 100,
            "capabilities": ["thinking", "tool_use"],
            "display_name": "K3",
        },
        "kimi-code/kimi-k2-thinking": {
            "provider": "managed:kimi-code",
            "model": "kimi-k2-thinking",
            "max_context_size": 200,
            "capabilities": ["tool_use"],
        },
    }
    assert written["services"]["moonshot_search"] == before["services"]["moonshot_search"]
    assert written["services"]["moonshot_fetch"]["oauth"] == oauth
    assert not config.lacks()
    config.install(MODELS)
    assert path.read_text() == text
    assert not config.restore()
    assert not (code_home / "kimi-auth").exists()


@pytest.mark.parametrize("key", ['api_key = "mine"', 'api_key_env = "MINE"'])
def test_a_key_of_the_user(code_home: Path, key: str) -> None:
    """A provider that has a key is not turned into a login: it is said before anyone approves anything."""
    text = f'[providers."managed:kimi-code"]\n{key}\n'
    (code_home / "config.toml").write_text(text)
    config = components_of(Session(home=code_home, environ={})).configured_by(request=True)
    for attempt in (config.check, lambda: config.install(MODELS)):
        with pytest.raises(ConfigError, match="excludes a login"):
            attempt()
    assert (code_home / "config.toml").read_text() == text


def test_not_asked(code_home: Path) -> None:
    """Without a request nothing is written, found wanting or restored, and a sync says whose file it is."""
    session = Session(home=code_home, environ={})
    config = components_of(session).configured_by(request=False)
    config.check()
    assert (config.lacks(), config.install(MODELS), config.restore()) == (False, False, False)  # type: ignore[attr-defined]
    assert not (code_home / "config.toml").exists()

    with pytest.raises(ConfigError, match="kimi-code's"):
        asyncio.run(session.models.sync())
