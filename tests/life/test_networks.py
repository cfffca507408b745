"""The ways to a server: proxies, private certificates, IPv6, names that do not resolve, connections that do not keep.

What the environment says is obeyed by logins (an event loop) and renewals (threads) alike, and everything is on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from house.patience import NO_LIMIT_S
from house.ports import silent_port

from kimi_auth import BearerAuth, ConfigError, Unreachable, signing
from kimi_auth.clock import VirtualClock
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import NoticeKind
from kimi_auth.signing import adopt_login
from life.authority import Authority
from life.proxy import Proxy
from life.world import Home, Person, ScriptedServer, oauth_error

PENDING: Final = oauth_error("authorization_pending")


class ConnectProxy(Proxy):
    """An HTTP proxy on loopback: tunnels (RFC 9110 §9.3.6) and notes; turns away those that `refuse` is left for."""

    def __init__(self) -> None:
        self.refused = 0
        self.refuse = 0
        self.asked_for: list[str] = []
        super().__init__()
        self.url = f"http://{self.address}"

    def serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (part := client.recv(4096)):
            head += part
        if not head.startswith(b"CONNECT "):
            return
        where = head.split()[1].decode()
        self.asked_for.append(where)
        if self.refuse:
            self.refuse -= 1
            self.refused += 1
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
            client.shutdown(socket.SHUT_RDWR)
            return
        host, _, port = where.rpartition(":")
        self.connect(client, host.strip("[]"), int(port), b"HTTP/1.1 200 Connected\r\n\r\n")


@pytest.fixture
def clock(life: Home) -> VirtualClock:
    assert isinstance(life.clock, VirtualClock)
    return life.clock


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as proxy:
        yield proxy


Serve = Callable[..., ScriptedServer]


@pytest.fixture
def serve(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server and lets the environment name it."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> ScriptedServer:
            server = stack.enter_context(ScriptedServer(clock.monotonic_s, **settings))
            for name, value in server.env.items():
                monkeypatch.setenv(name, value)
            return server

        yield start


@pytest.fixture
def tls_server(serve: Serve, authority: Authority) -> ScriptedServer:
    """A server with a certificate that only our authority vouches for, which SSL_CERT_FILE names."""
    return serve(tls=authority.server)


def sign_in(life: Home) -> LoginReport:
    return asyncio.run(signing.sign_in(life.session()._components, Person()))


def whole_life(life: Home, clock: VirtualClock, server: ScriptedServer) -> None:
    """Sign in, renew, call the API, sign out."""
    assert sign_in(life).state == "signed_in"
    clock.advance(1000)
    session = life.session()
    assert session.access_token_sync() == life.record["access_token"]
    with httpx.Client(auth=BearerAuth(session), timeout=NO_LIMIT_S) as client:
        assert client.get(f"{session.api_origin}/models").status_code == 200
    report = session.logout_sync()
    assert (report.state, report.revocation, report.config) == ("absent", "revoked", "restored")
    counts = {name: server.count(name) for name in ("code", "poll", "exchange", "revoke")}
    assert counts == {"code": 1, "poll": 1, "exchange": 1, "revoke": 1}


def test_a_private_certificate_authority(life: Home, clock: VirtualClock, tls_server: ScriptedServer) -> None:
    """SSL_CERT_FILE names who is trusted, for logins, renewals and revocations."""
    whole_life(life, clock, tls_server)


def test_an_unknown_certificate_authority(
    life: Home, tls_server: ScriptedServer, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it nothing is sent, the reason is told at once with the names of the presented certificate, and a login that is
    stored stays: with the variable set again, the same token is renewed."""
    assert sign_in(life).state == "signed_in"
    trusted = os.environ["SSL_CERT_FILE"]
    monkeypatch.delenv("SSL_CERT_FILE")
    clock.advance(1000)
    before, began_s = life.record, clock.monotonic_s()
    with pytest.raises(
        ConfigError, match=r"certificate is not trusted .*: it is for loopback, issued by a private CA"
    ) as raised:
        life.session().access_token_sync()
    assert raised.value.line.isprintable()
    assert "SSL_CERT_FILE" in raised.value.hint
    assert (tls_server.count("exchange"), life.record) == (0, before)
    report = asyncio.run(signing.sign_in(life.session()._components, person := Person(), force=True))
    assert (report.state, person.notices) == ("failed", [])
    assert "certificate" in str(report.error)
    assert (tls_server.count("code"), life.record, clock.monotonic_s()) == (1, before, began_s)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusted)
    clock.advance(2)
    assert life.session().access_token_sync() == life.record["access_token"] != before["access_token"]


@pytest.mark.parametrize("content", [None, b"", b"not a certificate\n"], ids=["missing", "empty", "nonsense"])
def test_a_certificate_file_that_cannot_be_used(
    content: bytes | None,
    life: Home,
    clock: VirtualClock,
    tls_server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken SSL_CERT_FILE is a setting to fix: nothing is sent and nothing is lost."""
    assert sign_in(life).state == "signed_in"
    file = tmp_path / "broken.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    clock.advance(1000)
    before = life.record
    with pytest.raises(Exception, match=r"certificate|CA file|No such file") as raised:
        life.session().access_token_sync()
    assert type(raised.value).__module__ == "kimi_auth.errors"
    assert raised.value.exit_status in (5, 9)  # type: ignore[attr-defined]
    assert (tls_server.count("exchange"), life.record) == (0, before)


def test_https_proxy(
    life: Home, clock: VirtualClock, tls_server: ScriptedServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY carries everything, through tunnels that the proxy cannot read."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    whole_life(life, clock, tls_server)
    assert proxy.asked_for == [tls_server.url.removeprefix("https://")] * tls_server.connections


@pytest.mark.parametrize("spelling", ["127.0.0.1", "*", "localhost, 127.0.0.1"])
def test_no_proxy(
    spelling: str,
    life: Home,
    clock: VirtualClock,
    tls_server: ScriptedServer,
    proxy: ConnectProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """NO_PROXY names the hosts that are reached directly."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", spelling)
    whole_life(life, clock, tls_server)
    assert proxy.asked_for == []


def test_a_proxy_that_turns_us_away_for_a_while(
    life: Home, clock: VirtualClock, tls_server: ScriptedServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """407 to CONNECT means that nothing was sent: a login goes on, a renewal is tried again later with the same token."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    proxy.refuse = 2
    person = Person()
    report = asyncio.run(signing.sign_in(life.session()._components, person))
    assert report.state == "signed_in"
    assert [notice.message for notice in person.notices if notice.kind == "unreachable"] == [
        f"{tls_server.url.removeprefix('https://')} cannot be reached: the proxy answers HTTP 407"
    ] * 2

    clock.advance(1000)
    proxy.refuse = 20
    with pytest.raises(Unreachable, match="the proxy answers HTTP 407"):
        life.session().access_token_sync()
    assert not [name for name in life.files if name.endswith(".next")]
    refused, proxy.refuse = proxy.refused, 0
    clock.advance(60)
    assert life.session().access_token_sync() == life.record["access_token"]
    assert (tls_server.count("exchange"), tls_server.reuse_seen, proxy.refused) == (1, 0, refused)


def test_a_proxy_that_is_not_there(
    life: Home, clock: VirtualClock, tls_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that does not run is named as such, and costs nothing."""
    assert sign_in(life).state == "signed_in"
    clock.advance(1000)
    with silent_port() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(Unreachable, match="Connection refused"):
            life.session().access_token_sync()
    assert life.session().status().state == "expired"
    assert tls_server.count("exchange") == 0


@pytest.mark.parametrize("value", ["ftp://127.0.0.1:1", "http://[", "nonsense:nonsense"])
def test_a_proxy_setting_that_cannot_be_used(
    value: str, life: Home, clock: VirtualClock, tls_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's address that is none is a setting to fix, not a crash."""
    assert sign_in(life).state == "signed_in"
    monkeypatch.setenv("HTTPS_PROXY", value)
    clock.advance(1000)
    with pytest.raises(Exception, match=r"(nothing was sent to|cannot be reached)") as raised:
        life.session().access_token_sync()
    assert type(raised.value).__module__ == "kimi_auth.errors"
    report = asyncio.run(signing.sign_in(life.session()._components, Person(), force=True))
    assert (report.state, tls_server.count("exchange"), tls_server.count("code")) == ("failed", 0, 1)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_ipv6(tls: bool, life: Home, clock: VirtualClock, serve: Serve, authority: Authority) -> None:
    """A server at [::1], with and without TLS."""
    server = serve(host="::1", tls=authority.server if tls else None)
    whole_life(life, clock, server)
    assert life.files.count("config.toml") == 0


def test_a_name_that_does_not_resolve(
    life: Home, clock: VirtualClock, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login gives up after five tries and says why; a stored one waits for the network."""
    serve()
    assert sign_in(life).state == "signed_in"
    clock.advance(1000)
    before = life.record
    monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", "https://auth.kimi-auth-test.invalid")  # RFC 6761 §6.4: never resolves
    adopt_login(life.session()._components, "https://auth.kimi-auth-test.invalid")
    with pytest.raises(Unreachable, match=r"auth\.kimi-auth-test\.invalid cannot be reached: \w+") as raised:
        life.session().access_token_sync()
    assert "you are still signed in" in raised.value.line
    report = asyncio.run(signing.sign_in(life.session()._components, person := Person(), force=True))
    assert (report.state, len(person.notices)) == ("failed", 4)
    assert isinstance(report.error, Unreachable)
    assert life.record["refresh_token"] == before["refresh_token"]


def test_connections_that_are_not_kept(life: Home, clock: VirtualClock, serve: Serve) -> None:
    """A server that silently closes what it said it would keep costs a login no poll and a renewal no token."""
    server = serve()
    server.keep_alive = "closed silently"
    server.script["poll"] = iter([PENDING] * 5)
    cues: list[NoticeKind] = ["code", *["waiting"] * 5, "approved"]
    person = Person(*((cue, lambda _: server.wait_until_closed()) for cue in cues))  # in reality seconds go by
    assert asyncio.run(signing.sign_in(life.session()._components, person)).state == "signed_in"
    assert person.kinds == [*cues, "stored", "models", "configured", "live"]
    for _ in range(3):
        clock.advance(1000)
        life.session().access_token_sync()
    assert (server.count("poll"), server.count("exchange"), server.reuse_seen) == (6, 3, 0)


def test_a_kept_connection_that_dies_under_a_request(life: Home, serve: Serve) -> None:
    """The next poll goes out on the kept connection and meets its end: that is a transient error, and the login goes
    on."""
    server = serve()
    server.script["poll"] = iter([PENDING, "drop", PENDING, "reset"])
    person = Person()
    assert asyncio.run(signing.sign_in(life.session()._components, person)).state == "signed_in"
    assert [kind for kind in person.kinds if kind in ("waiting", "unreachable")] == [
        "waiting",
        "unreachable",
        "waiting",
        "unreachable",
    ]
    assert server.count("poll") == 5
    assert server.connections < 6  # two of them ask for the models and for the account


def test_nothing_of_the_environment_is_left(life: Home) -> None:
    """These tests see no proxy of the machine that they run on."""
    assert not [name for name in os.environ if name.lower().endswith("_proxy")]
    assert not life.share_dir.exists()
