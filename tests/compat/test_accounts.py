"""The Kimi CLI works with the account in use: the one that config.toml names, whatever a variable says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.accounts import use_account
from kimi_auth.compat.host import session_for, session_of
from kimi_auth.compat.manager import OAuthManager
from kimi_auth.compat.oauth import OAuthRef, load_tokens
from kimi_auth.compat.signing import login_kimi_code, logout_kimi_code
from kimi_auth.login.view import SilentView
from kimi_auth.platforms import registry
from kimi_auth.session import Session, components_of
from kimi_auth.token import Token

WORK = "oauth/kimi-code@work"
HERE = Path(__file__).parent


def in_use(share_dir: Path, label: str) -> None:
    use_account(components_of(Session(share_dir, account=label)))


@pytest.fixture
def two(world: Any) -> Any:
    """Signed in without a label and as `work`, which is in use."""
    asyncio.run(world.another().login(SilentView()))
    asyncio.run(world.another(account="work").login(SilentView()))
    in_use(world.share_dir, "work")
    return world


def host_of(world: Any) -> Any:
    """The host's configuration, as config.toml says it now."""
    config = world.another()._components.config.read()
    return type(world).host(
        world, **{name: config[name] for name in ("providers", "models", "services", "default_model")}
    )


def test_a_key_is_an_account(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key has its own session, and a variable does not matter: config.toml says which login is meant."""
    monkeypatch.setenv("KIMI_AUTH_ACCOUNT", "nowhere")
    tokens = {}
    for key, label in (("oauth/kimi-code", "default"), (WORK, "work")):
        session = session_of(key)
        assert session is not None
        assert session.status().label == label
        tokens[key] = session.access_token_sync()
        stored = load_tokens(OAuthRef("file", key))
        assert stored is not None
        assert stored.access_token == tokens[key]
    assert len(set(tokens.values())) == 2
    assert session_for(registry.get("kimi-code")).status().label == "work"
    for key in ("oauth/kimi-code@", "oauth/kimi-code@A", "oauth/kimi-code@../x", "oauth/nope@work"):
        assert session_of(key) is None


def test_the_manager_gives_the_bearer_of_the_one_in_use(two: Any) -> None:
    """The running model's provider names the key; a renewal goes to that account alone."""
    host = host_of(two)
    runtime = two.runtime(host, model=host.default_model)
    before = two.another(account="default").status().fp
    asyncio.run(OAuthManager(host).ensure_fresh(runtime, force=True))
    assert runtime.llm.chat_provider.client.api_key == two.another(account="work").access_token_sync()
    assert two.another(account="default").status().fp == before
    assert two.state.counts["rotations"] == 1


def test_signing_in_and_out_of_the_one_in_use(two: Any) -> None:
    """The host's /login and /logout mean the account in use; the other one stays signed in."""
    host = host_of(two)
    before = {label: two.another(account=label).status().fp for label in ("default", "work")}

    async def ends_well(events: Any) -> bool:
        return [event.type async for event in events][-1] == "success"

    assert asyncio.run(ends_well(login_kimi_code(host, open_browser=False)))
    assert two.another(account="default").status().fp == before["default"]
    assert two.another(account="work").status().fp != before["work"]
    assert host.providers["managed:kimi-code"].oauth.key == WORK
    assert asyncio.run(ends_well(logout_kimi_code(host)))
    assert two.another(account="work").status().state == "absent"
    assert two.another(account="default").status().fp == before["default"]
    assert host.providers == {}


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_the_kimi_cli_itself(
    two: Any, start: Callable[..., Any], kimi_cli_python: str, kimi_cli_environ: dict[str, str]
) -> None:
    """The Kimi CLI's own code, untouched, reads and renews the login of the account in use, and we go on with what it wrote."""
    old = expire(two, "work")
    theirs = start(
        [kimi_cli_python, str(HERE / "worker_theirs.py")], {**kimi_cli_environ, "OAUTH_KEY_OF_THE_TEST": WORK}
    )
    done = theirs.ask(do="refresh")
    assert (done["status"], two.state.counts["rotations"]) == (200, 1)
    now = two.another(account="work").status()
    assert now.fp == done["pair"] != old
    ours = start([sys.executable, str(HERE / "worker_ours.py")], kimi_cli_environ)
    assert ours.ask(do="read")["status"] == 200
    assert two.another(account="work").access_token_sync()
    assert two.state.snapshot()["families_alive"] == 2


def expire(world: Any, label: str) -> str:
    """The account's access token ends now; the fingerprint of the pair."""
    store = world.another(account=label)._components.store
    token = store.read().token
    with store.locked(NO_LIMIT_S):
        store.put(Token(token.access_token, token.refresh_token, 1.0, token.expires_in_s, issuer=token.issuer))
    return str(store.read().fp)
