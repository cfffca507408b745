"""A platform without code of its own: it is added by a file alone, and lives a whole life at a server of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers.real_server import CLIENT_ID, RealServer

from kimi_auth.clock import SystemClock
from kimi_auth.errors import ConfigError, NotSignedIn
from kimi_auth.login.view import Notice, SilentView
from kimi_auth.platforms import registry
from kimi_auth.session import Session
from kimi_auth.store import Binding
from kimi_auth.wire import LocatedClient

HOST = 'host = "{host}"\ndevice_authorization_path = "/api/oauth/device_authorization"\ntoken_path = "/api/oauth/token"'
PLATFORM = """
v = 1

[platforms.acme]
name = "Acme Models"
auth = "device"
api_base = "{base}"
search_path = "/search"
revocation = "discover"
capability_rules = [{{ id_prefix = "kimi-k2", gives = ["image_in"] }}]

[platforms.acme.oauth]
{where}
client_id = "{client}"
"""


class Hurry(SystemClock):
    """Two polls follow without a pause."""

    async def sleep_async(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Approving:
    """A person who approves the code as soon as it is shown."""

    def __init__(self, server: RealServer) -> None:
        self._server = server

    def tell(self, notice: Notice) -> None:
        if notice.code is not None:
            self._server.approve(notice.code.user_code)

    async def left(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("where", [HOST, 'issuer = "{host}"', 'issuer = "{host}/"'], ids=["paths", "issuer", "slash"])
def test_its_whole_life(share: Path, oidc_server_factory: Callable[..., RealServer], where: str) -> None:
    """Added by `platforms.toml` alone: login, token, renewal, models, status, verify, logout."""
    server = oidc_server_factory(interval_s=0)
    where = where.format(host=server.oauth_host)
    (share / "platforms.toml").write_text(PLATFORM.format(base=server.api_base, where=where, client=CLIENT_ID))

    def session() -> Session:
        return Session(share, platform="acme", environ={}, clock=Hurry())

    assert session().status().state == "absent"
    report = asyncio.run(session().login(Approving(server)))
    assert (report.state, report.models, report.error) == ("signed_in", 2, None)
    config = session()._components.config.read()
    assert config["default_model"] == "acme/kimi-for-coding"
    assert config["models"]["acme/kimi-k2-turbo"]["capabilities"] == ["image_in"]
    assert "capabilities" not in config["models"]["acme/kimi-for-coding"]
    assert config["services"].keys() == {"moonshot_search"}
    assert (share / "credentials" / "acme.json").exists()

    first = session().access_token_sync()
    second = session().access_token_sync(refresh=True)
    assert second != first
    assert asyncio.run(session().models.verify()) == ("valid", None)
    assert not asyncio.run(session().models.sync())
    (synced,) = asyncio.run(Session(share, environ={}).models.sync_all())
    assert (synced.platform.id, bool(synced.change), synced.error) == ("acme", False, None)
    status = session().status()
    assert (status.state, status.platform_name, status.issuer) == ("fresh", "Acme Models", server.oauth_host)
    assert Session(share, environ={}).platform.id == "acme", "the default model says which platform is meant"

    report = asyncio.run(session().logout())
    assert (report.state, report.revocation, report.config) == ("absent", "revoked", "restored")
    assert not session()._components.config.path.exists()
    with pytest.raises(NotSignedIn):
        session().access_token_sync()


def test_an_unknown_platform(share: Path) -> None:
    """A session for an unknown id says which ones there are."""
    with pytest.raises(ConfigError) as caught:
        Session(share, platform="acme", environ={})
    assert caught.value.hint == f"known: {', '.join(platform.id for platform in registry.all())}"


def test_a_default_model_of_a_platform_that_is_gone(share: Path, api: Any, known: Any) -> None:
    """A config that speaks of a platform which is no longer known does not stand in the way of the others."""
    (share / "config.toml").write_text(
        'default_model = "gone/m"\n[providers."managed:gone"]\ntype = "kimi"\n'
        '[models."gone/m"]\nprovider = "managed:gone"\nmodel = "m"\nmax_context_size = 1\n'
    )
    assert Session(share, environ={}).platform.id == "kimi-code"
    (share / "platforms.toml").write_text("[broken")
    assert Session(share, environ={}).platform.id == "kimi-code"
    assert asyncio.run(Session(share, environ={}).models.sync_all()) == ()


class Split:
    """An issuer whose metadata puts its token and revocation endpoints on other hosts; it notes each request and its
    host."""

    def __init__(self, api_base: str) -> None:
        self.tokens = "https://tokens.acme.example"
        self.sent: list[str] = []
        self.given = 0
        self.transport = httpx.MockTransport(self.answer)
        self.platform = PLATFORM.format(base=api_base, where='issuer = "https://acme.example"', client="c")

    def answer(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        if url == "https://acme.example/.well-known/oauth-authorization-server":
            endpoints = {"token_endpoint": f"{self.tokens}/t", "revocation_endpoint": f"{self.tokens}/r"}
            device = {"issuer": "https://acme.example", "device_authorization_endpoint": "https://acme.example/d"}
            return httpx.Response(200, json=device | endpoints)
        self.sent.append(url)
        if url.endswith("/d"):
            code = {
                "device_code": "D",
                "user_code": "U",
                "verification_uri": "https://acme.example/page",
                "expires_in": 60,
            }
            return httpx.Response(200, json=code)
        self.given += 1
        pair = {"access_token": f"A{self.given}", "refresh_token": f"R{self.given}", "expires_in": 900}
        return httpx.Response(200, json=pair | {"token_type": "Bearer"})


class Listening(SilentView):
    """Keeps what the person is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, notice: Notice) -> None:
        self.told.append(notice.message)


def test_tokens_go_where_the_sign_in_said(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hosts that the metadata named at the sign-in are shown and bound; one that it names later gets nothing."""
    split = Split("http://127.0.0.1:9/v1")
    (share / "platforms.toml").write_text(split.platform)
    wired = partial(LocatedClient, transport=split.transport, async_transport=split.transport)
    monkeypatch.setattr("kimi_auth.wire.LocatedClient", wired)

    def session() -> Session:
        return Session(share, platform="acme", environ={}, clock=Hurry())

    view = Listening()
    assert asyncio.run(session().login(view)).state == "models_pending"
    assert sum("https://tokens.acme.example" in words for words in view.told) == 1
    bound = Binding("https://acme.example", ("https://tokens.acme.example",))
    assert session()._components.store.binding() == session().status().binding == bound
    assert session().access_token_sync(refresh=True) == "A2"
    assert set(split.sent) == {"https://acme.example/d", "https://tokens.acme.example/t"}

    split.tokens, split.sent = "https://evil.example", []
    with pytest.raises(ConfigError, match=r"evil\.example did not handle tokens for this login's issuer") as caught:
        session().access_token_sync(refresh=True)
    assert caught.value.exit_status == 9
    assert "kimi-auth login --platform acme --force" in caught.value.hint
    assert session().access_token_sync() == "A2", "the stored token still works"
    report = session().logout_sync()
    assert (report.state, report.revocation) == ("absent", "failed")
    assert split.sent == []
    assert session()._components.store.binding() is None
