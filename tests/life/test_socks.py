"""A whole life through a SOCKS 5 proxy that is really there: logins, renewals and revocations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kimi_auth import ConfigError, Unreachable
from kimi_auth.clock import VirtualClock
from kimi_auth.signing import sign_in
from life.authority import Authority
from life.socks import SocksProxy
from life.world import Home, Person, ScriptedServer

Proxies = Callable[..., SocksProxy]


@pytest.fixture
def clock(life: Home) -> VirtualClock:
    assert isinstance(life.clock, VirtualClock)
    return life.clock


@pytest.fixture
def server(clock: VirtualClock, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server behind TLS, named by the environment."""
    with ScriptedServer(clock.monotonic_s, tls=authority.server) as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxies]:
    """Starts proxies and lets the environment name the last one."""
    with contextlib.ExitStack() as stack:

        def start(spelling: str, *login: str, variable: str = "ALL_PROXY") -> SocksProxy:
            proxy = stack.enter_context(SocksProxy(*login))
            monkeypatch.setenv(variable, spelling.format(proxy.address))
            return proxy

        yield start


@pytest.mark.parametrize(
    ("spelling", "variable", "login"),
    [
        ("socks5://{}", "ALL_PROXY", ()),
        ("socks5h://{}", "HTTPS_PROXY", ()),
        ("socks://{}", "all_proxy", ()),
        ("SOCKS://{}/", "ALL_PROXY", ()),
        ("'socks5://{}'", "HTTPS_PROXY", ()),
        ("socks5://person:pass%2Fword@{}", "ALL_PROXY", ("person", "pass/word")),
    ],
)
def test_a_whole_life_through_socks(
    life: Home,
    clock: VirtualClock,
    server: ScriptedServer,
    proxy: Proxies,
    spelling: str,
    variable: str,
    login: tuple[str, ...],
) -> None:
    """Every request reaches the server through the proxy, however its address is spelt."""
    through = proxy(spelling, *login, variable=variable)
    assert asyncio.run(life.session().login(Person())).state == "signed_in"
    clock.advance(1000)
    assert life.session().access_token_sync() == life.record["access_token"]
    assert life.session().logout_sync().revocation == "revoked"
    assert len(through.asked_for) == server.connections > 0
    assert through.logins == [login] * len(through.asked_for) if login else not through.logins


@pytest.mark.parametrize(
    ("turns_away", "login", "spelling", "message"),
    [
        (5, (), "socks5://{}", "Connection refused"),
        (0, ("person", "other"), "socks5://person:s3cret@{}", "Invalid username/password"),
        (0, (), "socks5://person:s3cret@{}", "NO ACCEPTABLE METHODS"),
    ],
)
def test_a_socks_proxy_that_turns_us_away(
    life: Home,
    clock: VirtualClock,
    server: ScriptedServer,
    proxy: Proxies,
    turns_away: int,
    login: tuple[str, ...],
    spelling: str,
    message: str,
) -> None:
    """Nothing was sent, so the login stays and the next renewal needs no recovery."""
    assert asyncio.run(life.session().login(Person())).state == "signed_in"
    clock.advance(1000)
    proxy(spelling, *login).turns_away = turns_away
    with pytest.raises(Unreachable, match=message) as raised:
        life.session().access_token_sync()
    report = asyncio.run(sign_in(life.session()._components, Person(), force=True))
    assert (report.state, message in str(report.error)) == ("failed", True)
    assert "s3cret" not in f"{raised.value.line} {report.error}"
    assert not [name for name in life.files if name.endswith(".next")]
    assert server.count("exchange") == 0


@pytest.mark.parametrize("exempt", ["127.0.0.0/8", "10.0.0.0/8,'127.0.0.1'", "::1 127.0.0.1"])
def test_no_proxy_exempts_a_block(
    life: Home, server: ScriptedServer, proxy: Proxies, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    """A block of addresses in NO_PROXY is reached directly."""
    through = proxy("socks5://{}")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert asyncio.run(life.session().login(Person())).state == "signed_in"
    assert (through.asked_for, server.connections > 0) == ([], True)


def test_socks_without_the_extra(
    life: Home, clock: VirtualClock, server: ScriptedServer, proxy: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package the message names the extra and the command, at once and without a request."""
    assert asyncio.run(life.session().login(Person())).state == "signed_in"
    clock.advance(1000)
    proxy("socks5://{}")
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    began_s: Any = clock.monotonic_s()
    with pytest.raises(ConfigError, match="the extra `socks`") as raised:
        life.session().access_token_sync()
    assert raised.value.hint == "install it: pip install 'kimi-auth[socks]'"
    assert (clock.monotonic_s(), server.count("exchange")) == (began_s, 0)
