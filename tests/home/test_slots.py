"""Which login is which on kimi-code's home, and how its record is spelt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth import ConfigError, Session
from kimi_auth.clock import SystemClock
from kimi_auth.home import KIMI_CODE, slot
from kimi_auth.session import components_of
from kimi_auth.store import FileStore
from kimi_auth.token import Token
from kimi_auth.wire import device_id

MAINLAND = ("https://auth.kimi.com", "https://api.kimi.com/coding/v1")
GLOBAL = ("https://auth.kimi.ai", "https://api.kimi.ai/coding/v1")
OWN = ("https://login.example", "https://api.example/v1")

SLOTS = [
    (MAINLAND, "oauth/kimi-code"),
    ((" https://auth.kimi.com/ ", "https://api.kimi.com/coding/v1//"), "oauth/kimi-code"),
    (GLOBAL, "oauth/kimi-code-env-0e4f99c69cc27850"),
    (("https://AUTH.kimi.com", MAINLAND[1]), "oauth/kimi-code-env-16fcf4910bd374be"),
]


@pytest.mark.parametrize(("addresses", "key"), SLOTS)
def test_slots(addresses: tuple[str, str], key: str) -> None:
    """The usual addresses have the short name, any other pair a hash of both, as kimi-code computes it."""
    assert slot(*addresses) == key


def provider(host: str | None, base: str, key: str | None = None) -> str:
    """The login in kimi-code's config.toml."""
    key = key or slot(host or MAINLAND[0], base)
    named = f'oauth_host = "{host}"\n' if host else ""
    return f"""
[providers."managed:kimi-code"]
type = "kimi"
base_url = "{base}"
[providers."managed:kimi-code".oauth]
storage = "file"
key = "{key}"
{named}"""


LOGINS = [
    # variables, config.toml, region file, records: the addresses of the login
    ({}, "", "", (), MAINLAND),
    ({}, "", "global\n", (), GLOBAL),
    ({}, "", "mainland-cn", (), MAINLAND),
    ({}, "", "mars", (), MAINLAND),
    ({"KIMI_CODE_REGION_MARKER": "off"}, "", "global", (), MAINLAND),
    ({}, provider(*GLOBAL), "mainland-cn", (), GLOBAL),
    ({}, provider(None, MAINLAND[1]), "global", (), MAINLAND),
    ({}, provider(*OWN), "global", (), OWN),
    ({}, provider(*GLOBAL, key="oauth/kimi-code"), "", (), MAINLAND),
    ({"KIMI_CODE_OAUTH_HOST": OWN[0], "KIMI_CODE_BASE_URL": OWN[1]}, provider(*GLOBAL), "global", (), OWN),
    ({"KIMI_CODE_OAUTH_HOST": OWN[0]}, "", "global", (), (OWN[0], MAINLAND[1])),
    ({}, "", "", (GLOBAL,), GLOBAL),
    ({}, "", "", (GLOBAL, MAINLAND), MAINLAND),
    ({}, "", "mainland-cn", (GLOBAL,), MAINLAND),
]


@pytest.mark.parametrize(("environ", "config", "region", "records", "addresses"), LOGINS)
def test_which_login(
    code_home: Path,
    record: Callable[..., str],
    environ: dict[str, str],
    config: str,
    region: str,
    records: tuple[tuple[str, str], ...],
    addresses: tuple[str, str],
) -> None:
    """Variables, then the login in config.toml if its key is that of its addresses, then the region file, then a record."""
    (code_home / "config.toml").write_text(config)
    if region:
        (code_home / "region").write_text(region)
    for one in records:
        (code_home / f"credentials/{slot(*one)[6:]}.json").write_text(record())
    parts = components_of(Session(home=code_home, environ=environ))
    assert parts.platform.oauth is not None
    assert (parts.platform.oauth.host, parts.platform.api_base) == addresses
    assert parts.store.location.endswith(f"/{slot(*addresses).removeprefix('oauth/')}.json")
    assert parts.platform.provider_key == "managed:kimi-code"


def test_a_named_region(code_home: Path) -> None:
    """A platform that is named is taken; one that kimi-code does not have is refused."""
    for platform, addresses in (("kimi-code", MAINLAND), ("kimi-code-global", GLOBAL)):
        found = Session(home=code_home, platform=platform, environ={}).platform
        assert (found.oauth.host if found.oauth else "", found.api_base) == addresses
    with pytest.raises(ConfigError, match="moonshot"):
        Session(home=code_home, platform="moonshot-ai", environ={})


def test_the_slot_is_the_binding(code_home: Path, record: Callable[..., str]) -> None:
    """A record without a word about its host belongs to the host of its slot, be that the global one or one's own."""
    for addresses in (GLOBAL, OWN):
        environ = dict(zip(("KIMI_CODE_OAUTH_HOST", "KIMI_CODE_BASE_URL"), addresses, strict=True))
        (code_home / f"credentials/{slot(*addresses)[6:]}.json").write_text(record())
        status = Session(home=code_home, environ=environ).status()
        assert (status.state, status.issuer) == ("expiring", addresses[0])


def test_how_a_record_is_spelt(code_home: Path, record: Callable[..., str]) -> None:
    """Byte for byte as kimi-code writes it; a logout leaves its tombstone there, dated, and for good."""
    clock = SystemClock()
    store = FileStore(code_home, clock=clock, layout=KIMI_CODE.layout(code_home, "oauth/kimi-code", clock))
    with store.locked(0.0) as held:
        assert held is not None
        store.put(
            Token("access-1", "refresh-1", 4_000_000_000.7, 900.0, "kimi-code", "Bearer", "https://auth.kimi.com")
        )
        assert store.path.read_text() == record()
        store.sign_out(1_000_000.0)
        empty = {"access_token": "", "refresh_token": "", "expires_at": 0, "scope": "", "token_type": "Bearer"}
        tombstone = json.loads(store.path.read_text())
        assert tombstone == empty | {"expires_in": 0, "signed_out_at": 1_000_000}
        store.tidy(9_000_000.0)
        assert json.loads(store.path.read_text()) == tombstone


def test_device_ids(tmp_path: Path) -> None:
    """Either program's form of the id is taken and kept; a new one has the form of the home's own program."""
    for number, known in enumerate(
        ("0b" * 16, "5f0c7a6e-4c1b-4c58-9d5a-0a1b2c3d4e5f", "5F0C7A6E-4C1B-4C58-9D5A-0A1B2C3D4E5F\n")
    ):
        home = tmp_path / str(number)
        home.mkdir()
        (home / "device_id").write_text(known)
        assert device_id(home) == device_id(home, dashed=True) == known.strip().lower()
        assert (home / "device_id").read_text() == known
    made = device_id(tmp_path / "new", dashed=True)
    assert len(made) == 36
    assert device_id(tmp_path / "new") == made == (tmp_path / "new/device_id").read_text()
