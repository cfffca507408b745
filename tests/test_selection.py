"""One rule for every setting: argument, variable, file, default."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from kimi_auth import Session
from kimi_auth.__main__ import FallThrough, answer
from kimi_auth.platforms.spec import builtin
from kimi_auth.selection import (
    API_BASE_VARIABLES,
    DEFAULT_PLATFORM,
    OAUTH_HOST_VARIABLES,
    select,
    unknown_variables,
)

PRECEDENCE = [
    ("given", {"A": "a", "B": "b"}, "file", ("given", "argument")),
    ("", {"A": "a", "B": "b"}, "file", ("a", "A")),
    (None, {"A": "", "B": "b"}, "file", ("b", "B")),
    (None, {"A": "  ", "B": "b"}, "file", ("b", "B")),
    (None, {"A": " a "}, "file", (" a ", "A")),
    (None, {"C": "c"}, "file", ("file", "config.toml")),
    (None, {}, "", ("default", "default")),
]


@pytest.mark.parametrize(("argument", "environ", "file", "expected"), PRECEDENCE)
def test_precedence(argument: str | None, environ: dict[str, str], file: str, expected: tuple[str, str]) -> None:
    """The first that is there wins, and is named; an empty one is not there."""
    found = select(environ, argument=argument, variables=("A", "B"), file=file, default="default")
    assert found == expected


DEFAULT_MODEL = """
default_model = "moonshot-ai/m"
[models."moonshot-ai/m"]
provider = "managed:moonshot-ai"
"""

SOURCES = [
    ({}, None, "", {"share_dir": "KIMI_SHARE_DIR", "platform": "default"}),
    ({}, None, DEFAULT_MODEL, {"share_dir": "KIMI_SHARE_DIR", "platform": "config.toml"}),
    ({}, "kimi-code", DEFAULT_MODEL, {"share_dir": "KIMI_SHARE_DIR", "platform": "argument"}),
    (
        {"KIMI_CODE_BASE_URL": "https://a.example"},
        None,
        "",
        {"api_base": "KIMI_CODE_BASE_URL", "oauth_host": "platform"},
    ),
    (
        {"KIMI_OAUTH_HOST": "https://b.example", "KIMI_CODE_OAUTH_HOST": "https://a.example"},
        None,
        "",
        {"oauth_host": "KIMI_CODE_OAUTH_HOST", "api_base": "platform"},
    ),
]


@pytest.mark.parametrize(("environ", "platform", "config", "expected"), SOURCES)
def test_status_names_what_won(
    tmp_path: Path, environ: dict[str, str], platform: str | None, config: str, expected: dict[str, str]
) -> None:
    """Every setting of a session has its source in the status."""
    (tmp_path / "config.toml").write_text(config)
    session = Session(platform=platform, environ={"KIMI_SHARE_DIR": str(tmp_path), **environ})
    sources = session.status().sources
    assert {name: sources[name] for name in expected} == expected
    assert Session(tmp_path, environ={}).status().sources["share_dir"] == "argument"


def test_the_fast_lane_steps_aside_for_what_it_does_not_know(tmp_path: Path) -> None:
    """Any other variable of a Kimi program may select another login one day: the full program decides."""
    record = {"access_token": "a", "refresh_token": "r", "expires_at": time.time() + 900, "expires_in": 900}
    (tmp_path / "credentials").mkdir(mode=0o700)
    (tmp_path / "credentials" / "kimi-code.json").write_text(json.dumps(record))
    environ = {"KIMI_SHARE_DIR": str(tmp_path), "KIMI_BASE_URL": "b", "KIMI_MODEL_NAME": "m", "PATH": "/bin"}
    assert answer(["token"], environ, time.time()) == ("a", False)
    with pytest.raises(FallThrough):
        answer(["token"], {**environ, "KIMI_API_KEY": "k"}, time.time())
    for name in ("KIMI_AUTH_STORE", "KIMI_CODE_HOME", "KIMI_SOMETHING_NEW"):
        assert unknown_variables({**environ, name: "x"}) == [name]
        assert unknown_variables({**environ, name: ""}) == []
        with pytest.raises(FallThrough):
            answer(["token"], {**environ, name: "x"}, time.time())


def test_the_table_is_that_of_the_platform() -> None:
    """The fast lane's variables are those of `kimi-code` in the built-in data."""
    platform = next(one for one in builtin() if one.id == DEFAULT_PLATFORM)
    assert platform.oauth is not None
    assert (platform.oauth.host_env, platform.api_base_env) == (OAUTH_HOST_VARIABLES, API_BASE_VARIABLES)
