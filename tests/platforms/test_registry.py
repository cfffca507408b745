"""Platforms as data: the built-in ones, the rules for a text, the environment's overrides."""

from __future__ import annotations

from dataclasses import MISSING
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from kimi_auth import platforms
from kimi_auth.errors import ConfigError
from kimi_auth.platforms import (
    CapabilityRule,
    ListedModel,
    OAuthEndpoints,
    Platform,
    Registry,
    credential_key,
    managed_model_key,
    managed_provider_key,
    parse_managed_provider_key,
    registry,
    resolve,
    spec,
    tables,
)
from kimi_auth.platforms.server import endpoints_of
from kimi_auth.platforms.spec import overrides
from kimi_auth.platforms.tables import parse
from kimi_auth.support.urls import normal_url

MINIMAL = """
v = 1
[platforms.mine]
name = "Mine"
auth = "api_key"
api_base = "https://api.example.com/v1/"
"""


def test_public_names() -> None:
    """Every public name exists, and the list is sorted."""
    assert platforms.__all__ == sorted(platforms.__all__)
    assert all(hasattr(platforms, name) for name in platforms.__all__)


def test_builtin_platforms() -> None:
    """The built-in platforms begin with those that the Kimi CLI knows, in its order."""
    assert [(p.id, p.auth, p.api_base, p.model_prefixes) for p in registry.all()[:3]] == [
        ("kimi-code", "device", "https://api.kimi.com/coding/v1", ()),
        ("moonshot-cn", "api_key", "https://api.moonshot.cn/v1", ("kimi-k",)),
        ("moonshot-ai", "api_key", "https://api.moonshot.ai/v1", ("kimi-k",)),
    ]


def test_every_builtin_table_is_right() -> None:
    """No table of builtin.toml has a mistake: such a table would be left out without a word."""
    _, problems = parse(resources.files(platforms).joinpath("builtin.toml").read_text("utf-8"), "builtin.toml")
    assert {name: problem.line for name, problem in problems.items()} == {}


def test_kimi_code(kimi: Platform) -> None:
    """Every address and name of the platform that people sign in to."""
    assert kimi.oauth is not None
    assert kimi.oauth.device_authorization_url == "https://auth.kimi.com/api/oauth/device_authorization"
    assert kimi.oauth.token_url == "https://auth.kimi.com/api/oauth/token"
    assert (kimi.oauth.client_id, kimi.oauth.scope) == ("17e5f671-d194-4dfb-9706-5516cb48c098", None)
    assert kimi.oauth.revoked_errors == ("invalid_grant",)
    assert kimi.models_url == "https://api.kimi.com/coding/v1/models"
    assert kimi.services == {
        "moonshot_search": "https://api.kimi.com/coding/v1/search",
        "moonshot_fetch": "https://api.kimi.com/coding/v1/fetch",
    }
    assert (kimi.provider_key, kimi.credential_key) == ("managed:kimi-code", "oauth/kimi-code")
    assert kimi.model_key("kimi-for-coding") == "kimi-code/kimi-for-coding"


def test_platform_without_services(moonshot: Platform) -> None:
    """A platform without search and fetch has no services and no OAuth."""
    assert (moonshot.services, moonshot.search_url, moonshot.fetch_url, moonshot.oauth) == ({}, None, None, None)


def test_a_platform_is_a_value(kimi: Platform) -> None:
    """No platform changes by accident."""
    with pytest.raises(AttributeError):
        kimi.name = "x"


def test_unknown_platform() -> None:
    """An unknown id is refused with the known ones, its own characters made harmless."""
    with pytest.raises(ConfigError) as caught:
        registry.get("kimi\x1b[2J")
    assert "\x1b" not in caught.value.line
    assert caught.value.hint == f"known: {', '.join(platform.id for platform in registry.all())}"


@pytest.mark.parametrize(
    ("key", "platform_id"),
    [
        ("managed:kimi-code", "kimi-code"),
        ("managed:", None),
        ("managed:Kimi", None),
        ("managed:a/b", None),
        ("kimi-code", None),
        ("my managed:kimi-code", None),
    ],
)
def test_managed_provider_key(key: str, platform_id: str | None) -> None:
    """Only a well-formed managed key names a platform, and the names go both ways."""
    assert parse_managed_provider_key(key) == platform_id
    if platform_id is not None:
        assert managed_provider_key(platform_id) == key


def test_names() -> None:
    """The other names that config.toml knows."""
    assert managed_model_key("kimi-code", "a/b") == "kimi-code/a/b"
    assert credential_key("kimi-code") == "oauth/kimi-code"


@pytest.mark.parametrize(
    ("environ", "host", "base"),
    [
        ({}, "https://auth.kimi.com", "https://api.kimi.com/coding/v1"),
        (
            {"KIMI_CODE_OAUTH_HOST": "", "KIMI_CODE_BASE_URL": " "},
            "https://auth.kimi.com",
            "https://api.kimi.com/coding/v1",
        ),
        ({"KIMI_OAUTH_HOST": "https://b.example/"}, "https://b.example", "https://api.kimi.com/coding/v1"),
        (
            {"KIMI_CODE_OAUTH_HOST": "https://A.example:443", "KIMI_OAUTH_HOST": "https://b.example"},
            "https://a.example",
            "https://api.kimi.com/coding/v1",
        ),
        (
            {"KIMI_CODE_OAUTH_HOST": "http://127.0.0.1:8000", "KIMI_CODE_BASE_URL": " http://localhost:80/v1// "},
            "http://127.0.0.1:8000",
            "http://localhost/v1",
        ),
    ],
)
def test_resolve(kimi: Platform, environ: dict[str, str], host: str, base: str) -> None:
    """The first variable that is set wins, and everything that hangs on the URL follows it."""
    resolved = resolve(kimi, environ)
    assert resolved.oauth is not None
    assert (resolved.oauth.host, resolved.api_base) == (host, base)
    assert resolved.search_url == f"{base}/search"
    assert resolved.oauth.token_url == f"{host}/api/oauth/token"
    assert resolve(resolved, environ) == resolved


def test_resolve_has_no_effect(kimi: Platform, moonshot: Platform) -> None:
    """The platform itself stays as it is, and one without variables is never overridden."""
    environ = {"KIMI_CODE_BASE_URL": "https://x.example"}
    assert resolve(kimi, environ) != kimi
    assert registry.get("kimi-code") == kimi
    assert resolve(moonshot, environ) == moonshot


@pytest.mark.parametrize("name", ["KIMI_CODE_OAUTH_HOST", "KIMI_OAUTH_HOST", "KIMI_CODE_BASE_URL"])
@pytest.mark.parametrize(
    "value",
    [
        "http://auth.kimi.com",
        "auth.kimi.com",
        "https://",
        "ftp://localhost",
        "https://user:hunter2@auth.kimi.com",
        "https://auth.kimi.com/?x=hunter2",
        "https://auth.kimi.com/#",
        "https://auth.kimi.com:99999",
        "https://[::1",
        "https://auth.kimi.com\r\nX: hunter2",
        "https://auth kimi.com",
        "https://аuth.kimi.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "file:///etc/passwd",
    ],
)
def test_bad_override(kimi: Platform, name: str, value: str) -> None:
    """A URL that nothing may be sent to is refused with the variable's name, and without the value, which may be secret."""
    with pytest.raises(ConfigError) as caught:
        resolve(kimi, {name: value})
    assert caught.value.message.startswith(f"{name}: ")
    assert name in caught.value.hint
    assert "hunter2" not in caught.value.line


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("HTTPS://Auth.Kimi.COM/", "https://auth.kimi.com"),
        ("https://auth.kimi.com:8443/a/", "https://auth.kimi.com:8443/a"),
        ("http://[::1]:80/", "http://[::1]"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://127.8.9.1", "http://127.8.9.1"),
    ],
)
def test_normal_url(text: str, normal: str) -> None:
    """A URL has one spelling, so that an issuer can be compared."""
    assert normal_url(text) == normal
    assert normal_url(normal) == normal


def test_parse_minimal(kimi: Platform) -> None:
    """A platform needs little; capability rules come from the text, else from the caller."""
    rules = kimi.capability_rules
    ((mine,), _) = parse(MINIMAL, "mine.toml", rules=rules)
    assert (mine.id, mine.api_base, mine.revocation) == ("mine", "https://api.example.com/v1", "none")
    assert mine.capability_rules == rules
    ((mine,), _) = parse(f"capability_rules = []{MINIMAL}", "mine.toml", rules=rules)
    assert mine.capability_rules == ()
    own = MINIMAL + '[[platforms.mine.capability_rules]]\nid_prefix = "x"\ngives = ["video_in"]\n'
    ((mine,), _) = parse(own, "mine.toml", rules=rules)
    assert [rule.gives for rule in mine.capability_rules] == [("video_in",)]


OAUTH = (
    'v = 1\n[platforms.x]\nname = "X"\nauth = "device"\napi_base = "https://x.example"\n[platforms.x.oauth]\n'
    'host = "https://x.example"\ntoken_path = "/t"\ndevice_authorization_path = "/d"\nclient_id = "c"\n'
)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/o/token/", "https://x.example/o/token/"),
        ("/", "https://x.example/"),
        ("/v1:token", "https://x.example/v1:token"),
        ("/realms/a%20b/token", "https://x.example/realms/a%20b/token"),
        ("/a/.well-known/t", "https://x.example/a/.well-known/t"),
        ("https://X.example:443/o/token/", "https://x.example/o/token/"),
        ("https://tokens.example/t", "https://tokens.example/t"),
        ("https://tokens.example", "https://tokens.example"),
    ],
)
def test_endpoints(path: str, url: str) -> None:
    """Every path that a server may have (RFC 3986 §3.3) can be written, and the URL of an endpoint elsewhere; the slash at its
    end stays."""
    text = OAUTH.replace('"/t"', f'"{path}"').replace('"/d"', f'"{path}"') + f'revocation_path = "{path}"\n'
    ((platform,), problems) = parse(text, "mine.toml")
    assert problems == {}
    assert platform.oauth is not None
    urls = {platform.oauth.token_url, platform.oauth.device_authorization_url, platform.oauth.revocation_url}
    assert urls == {url}


SECRET = OAUTH + 'client_secret = "hunter2"\n'


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_client_secret(share: Path, mode: int) -> None:
    """A secret in a file that only its owner reads is used, and no representation of the platform shows it."""
    (share / "platforms.toml").write_text(SECRET)
    (share / "platforms.toml").chmod(mode)
    platform = Registry(share).get("x")
    assert platform.oauth is not None
    assert platform.oauth.client_secret == "hunter2"
    endpoints = endpoints_of(platform)
    assert endpoints.client_secret == "hunter2"
    assert "hunter2" not in f"{platform!r} {endpoints!r}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_client_secret_that_others_read(share: Path, mode: int) -> None:
    """A file that others can read costs the platforms with a secret, and only them; the hint says the command."""
    (share / "platforms.toml").write_text(SECRET + MINIMAL.removeprefix("\nv = 1\n"))
    (share / "platforms.toml").chmod(mode)
    registry = Registry(share)
    with pytest.raises(ConfigError) as caught:
        registry.get("x")
    assert caught.value.message.endswith(f"its mode is 0{mode:o}, and others may read the secret")
    assert caught.value.hint == f"chmod 600 {share / 'platforms.toml'}"
    assert "hunter2" not in caught.value.line
    assert registry.get("mine").id == "mine"


def test_a_wrong_client_secret_is_not_shown() -> None:
    """An error in a table is reported without the secret's value."""
    for secret in ('"hunter2\\u0000"', '["hunter2"]', "{ hunter2 = 1 }"):
        _, problems = parse(OAUTH + f"client_secret = {secret}\n", "mine.toml")
        assert "hunter2" not in problems["x"].line


def test_models_in_the_table() -> None:
    """Where an API has no `/models`, the table names them, or says with an empty list that there are none."""
    ((asked, named, none), problems) = parse(
        MINIMAL
        + MINIMAL.replace("v = 1", "").replace("mine", "named")
        + 'models = [{ id = "m", context_length = 1000, supports_image_in = true }]\n'
        + MINIMAL.replace("v = 1", "").replace("mine", "none")
        + "models = []\n",
        "mine.toml",
    )
    assert problems == {}
    assert (asked.models, none.models) == (None, ())
    assert named.models == (ListedModel(id="m", context_length=1000, supports_image_in=True),)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("v = ", "mine.toml: not TOML: Invalid value"),
        ("a = " + "[" * 5000, "mine.toml: "),
        ("", "mine.toml: v"),
        ("v = 2\n[platforms]\n", "mine.toml: v"),
        ("v = 1\nplatforms = 3\n", "mine.toml: platforms"),
        ("v = 1\nplatforms.x = 3\n", "mine.toml: platforms.x"),
        (MINIMAL.replace("mine", "Mine"), "mine.toml: platforms.Mine"),
        (MINIMAL.replace("mine", "'a/b'"), "mine.toml: platforms.a/b"),
        (MINIMAL.replace("https", "http"), "mine.toml: platforms.mine.api_base"),
        (MINIMAL.replace('"api_key"', '"device"'), "mine.toml: platforms.mine: "),
        (MINIMAL.replace('"Mine"', '"a\\u001bb"'), "mine.toml: platforms.mine.name"),
        (MINIMAL + "colour = 1\n", "mine.toml: platforms.mine.colour"),
        (MINIMAL + 'search_path = "search"\n', "mine.toml: platforms.mine.search_path"),
        (MINIMAL + 'search_path = "//evil.example"\n', "mine.toml: platforms.mine.search_path"),
        (MINIMAL + "assumed_context_length = 0\n", "mine.toml: platforms.mine.assumed_context_length"),
        (
            MINIMAL + '[[platforms.mine.capability_rules]]\ngives = ["thinking"]\n',
            "mine.toml: platforms.mine.capability_rules.0",
        ),
        (MINIMAL + '[[capability_rules]]\nflag = "x"\ngives = []\n', "mine.toml: capability_rules.0.flag"),
        *(
            (OAUTH.replace('"/t"', f'"{path}"'), "mine.toml: platforms.x.oauth.token_path: ")
            for path in (
                "http://evil.example/t",
                "https://me@evil.example/t",
                "https://evil.example/t?x=1",
                "https://evil.example/a b",
                "https://evil.example/../t",
                "/a//b",
                "/../t",
                "/t%2",
                "/t%zz",
                "/t?x=1",
                "/t#x",
                "t",
                "",
            )
        ),
        (OAUTH + 'issuer = "https://x.example"\n', "mine.toml: platforms.x.oauth: host and issuer are two names"),
        (OAUTH + 'token_endpoint_auth_method = "client_secret_post"\n', "mine.toml: platforms.x.oauth: "),
        (OAUTH + 'client_secret = ""\n', "mine.toml: platforms.x.oauth.client_secret"),
        (
            OAUTH.replace("[platforms.x.oauth]", 'revocation = "none"\n[platforms.x.oauth]')
            + 'revocation_path = "/r"\n',
            'mine.toml: platforms.x: revocation = "none" contradicts',
        ),
        (MINIMAL + 'models = [{ name = "m" }]\n', "mine.toml: platforms.mine.models.0.id"),
        (MINIMAL + 'models = [{ id = "a\\u200bb" }]\n', "mine.toml: platforms.mine.models.0.id"),
        (OAUTH.replace('"device"', '"api_key"'), "mine.toml: platforms.x: "),
        (OAUTH + 'resource = "no scheme"\n', "mine.toml: platforms.x.oauth.resource"),
        (OAUTH + 'resource = "https://a.example/#part"\n', "mine.toml: platforms.x.oauth.resource"),
        (OAUTH + 'host_env = ["a b"]\n', "mine.toml: platforms.x.oauth.host_env.0"),
    ],
)
def test_parse_refuses(text: str, where: str) -> None:
    """A mistake in a text is one line with its table; in one table, it costs that platform only."""
    if where.startswith("mine.toml: platforms."):
        beside = OAUTH.removeprefix("v = 1\n").replace("platforms.x", "platforms.beside")
        (other,), problems = parse(text + beside, "mine.toml")
        ((key, error),) = problems.items()
        assert other.id == "beside"
        assert error.message.startswith(f"mine.toml: platforms.{key}")
    else:
        with pytest.raises(ConfigError) as caught:
            parse(text, "mine.toml")
        error = caught.value
    assert error.message.startswith(where)
    assert "\n" not in error.line
    assert "Value error" not in error.line
    assert "Input should" not in error.line


def test_parse_names_the_next_step() -> None:
    """The caller that gives the text gives the fix too, and it follows every problem with it."""
    _, problems = parse(MINIMAL + "colour = 1\n", "mine.toml", fix="vi mine.toml")
    (error,) = problems.values()
    assert error.line == "mine.toml: platforms.mine.colour: is an unknown key (vi mine.toml)"
    with pytest.raises(ConfigError, match="not TOML") as caught:
        parse("v = ", "mine.toml", fix="vi mine.toml")
    assert caught.value.hint == "vi mine.toml"


def test_overrides(kimi: Platform, moonshot: Platform) -> None:
    """Which variable a URL comes from is known; one that is empty says nothing."""
    environ = {"KIMI_CODE_OAUTH_HOST": " ", "KIMI_OAUTH_HOST": "https://a.example", "KIMI_CODE_BASE_URL": ""}
    assert overrides(kimi, environ) == {"oauth_host": "KIMI_OAUTH_HOST"}
    assert overrides(kimi, {}) == {}
    assert overrides(moonshot, environ) == {}


def test_regions() -> None:
    """The two open platforms differ by the part of the world that they serve."""
    regions = {platform.id: platform.region for platform in registry.all()}
    assert (regions["kimi-code"], regions["moonshot-cn"], regions["moonshot-ai"]) == (None, "cn", "global")


def test_parse_sign_in() -> None:
    """The table that the refused ones are made of is a good one."""
    ((platform,), problems) = parse(OAUTH, "mine.toml")
    assert platform.oauth is not None
    assert problems == {}


def test_built_in_platforms_pass_the_check_of_all_others() -> None:
    """They are read unchecked, so that a command need not load what checks: the check makes the same of their text."""
    text = Path(spec.__file__).with_name("builtin.toml").read_text("utf-8")
    assert parse(text, "builtin.toml") == (spec.builtin(), {})


@pytest.mark.parametrize(
    ("value", "table"),
    [
        (Platform, tables._Platform),
        (OAuthEndpoints, tables._OAuth),
        (CapabilityRule, tables._Rule),
        (ListedModel, tables._Model),
    ],
)
def test_values_and_their_tables_have_the_same_keys(value: Any, table: Any) -> None:
    """No key is checked and lost, and none is there unchecked; defaults agree."""
    keys = {name: value._field_defaults.get(name, MISSING) for name in value._fields}
    checked = {name: MISSING if field.is_required() else field.default for name, field in table.model_fields.items()}
    assert keys == checked
