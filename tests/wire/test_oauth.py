"""The OAuth client: what it sends, what it never shows, and how it finds where tokens are revoked."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from kimi_auth.errors import ConfigError, KimiAuthError
from kimi_auth.wire import Endpoints, OAuthClient, OAuthServer, fetch_models, fetch_models_sync
from kimi_auth.wire.discovery import endpoint, metadata_urls

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
OK = httpx.Response(200, json={})


def form(request: httpx.Request) -> dict[str, str]:
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    return {key: value for key, [value] in parse_qs(request.content.decode()).items()}


@pytest.mark.parametrize(
    ("request_name", "url", "sent"),
    [
        ("device code", "https://auth.test/device", {"client_id": "client"}),
        (
            "poll",
            "https://auth.test/token",
            {"client_id": "client", "device_code": "se&cr=et +", "grant_type": DEVICE_GRANT},
        ),
        (
            "exchange",
            "https://auth.test/token",
            {"client_id": "client", "grant_type": "refresh_token", "refresh_token": "se&cr=et +"},
        ),
        (
            "revoke",
            "https://auth.test/revoke",
            {"client_id": "client", "token": "se&cr=et +", "token_type_hint": "refresh_token"},
        ),
    ],
)
def test_requests(world: Any, request_name: str, url: str, sent: dict[str, str]) -> None:
    """Each request is a form-encoded POST with exactly the fields of its RFC, our headers and no cookies."""
    it = world(httpx.Response(200, json={}, headers={"Set-Cookie": "tracked=yes"}))
    it.ask(request_name, "se&cr=et +")
    it.ask(request_name, "se&cr=et +")
    request = it.requests[-1]
    assert (request.method, str(request.url)) == ("POST", url)
    assert form(request) == sent
    assert request.headers["X-Msh-Platform"] == "kimi_cli"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"].startswith("kimi-auth/")
    assert "Cookie" not in request.headers
    assert "Authorization" not in request.headers


@pytest.mark.parametrize("request_name", ["device code", "poll", "exchange"])
def test_the_api_that_tokens_are_for(world: Any, request_name: str) -> None:
    """Resource (RFC 8707 §2) and audience go with every request for a code or for tokens, where the platform has them."""
    it = world(httpx.Response(200, json={}), resource="https://api.test", audience="api")
    it.ask(request_name, "x")
    sent = form(it.requests[0])
    assert (sent["resource"], sent["audience"]) == ("https://api.test", "api")


@pytest.mark.parametrize("request_name", ["device code", "poll", "exchange", "revoke"])
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_with_a_secret(world: Any, request_name: str, method: str) -> None:
    """RFC 6749 §2.3.1: every request authenticates the client, in a header or in the form, and never in both."""
    it = world(httpx.Response(200, json={}), client_secret="p:ss wörd%", auth_method=method)
    it.ask(request_name, "x")
    (request,) = it.requests
    sent = form(request)
    assert sent["client_id"] == "client"
    in_header = "Basic " + base64.b64encode(b"client:p%3Ass+w%C3%B6rd%25").decode()
    found = (request.headers.get("Authorization"), sent.get("client_secret"))
    assert found == ((in_header, None) if method == "client_secret_basic" else (None, "p:ss wörd%"))


@pytest.mark.parametrize("request_name", ["device code", "poll", "exchange", "revoke"])
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_an_echoed_client_secret_never_shows(world: Any, request_name: str, method: str) -> None:
    """A server that repeats the client's secret, as it is or as it was sent, does not get it into our messages."""
    secret = "client-s3cret"
    said = f"no client {secret} {base64.b64encode(f'client:{secret}'.encode()).decode()}"
    answer = world(
        httpx.Response(400, json={"error": "invalid_client", "error_description": said}),
        client_secret=secret,
        auth_method=method,
    ).ask(request_name, "x-token-x")
    shown = f"{answer!r} {answer.error!r} {answer.error} {answer.message}"
    assert "s3cret" not in shown
    assert base64.b64encode(f"client:{secret}".encode()).decode() not in shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [("No such client.", "no such client"), ("Please wait...", "please wait..."), ("bad client hunter2.", "hunter")],
)
def test_a_final_full_stop(world: Any, said: str, shown: str) -> None:
    """A server's sentence loses it, but never before a secret that ends in one was looked for."""
    answer = world(
        httpx.Response(400, json={"error": "invalid_client", "error_description": said}),
        client_secret="hunter2.",
        auth_method="client_secret_post",
    ).ask("exchange", "x-token-x")
    message = f"{answer.error}".lower()
    assert (shown in message) is (shown != "hunter")
    assert not message.endswith("client.")


def test_scope_is_sent_when_the_platform_has_one(world: Any) -> None:
    """A scope goes with the code request and nothing else."""
    it = world(OK)
    endpoints = Endpoints("https://a.test", "https://a.test/d", "https://a.test/t", "c", scope="openid offline")
    client = OAuthClient(endpoints, {}, async_transport=it.transport)
    asyncio.run(client.request_code())
    assert form(it.requests[0]) == {"client_id": "c", "scope": "openid offline"}


def test_it_is_an_oauth_server(world: Any) -> None:
    """The client fits the contract that the flows depend on."""
    server: OAuthServer = world(OK).oauth
    assert isinstance(server, OAuthClient)


@pytest.mark.parametrize("request_name", ["poll", "exchange", "revoke", "models"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
@pytest.mark.parametrize(
    "echo",
    [
        lambda secret: {"json": {"error": secret, "error_description": f"no such token {secret}"}},
        lambda secret: {"json": {"detail": secret, "data": {"access_token": secret}}},
        lambda secret: {"html": f"<p>your request was refresh_token={secret}</p>"},
        lambda secret: {"content": secret.encode()},
    ],
)
def test_an_echoed_secret_never_shows(world: Any, request_name: str, status: int, echo: Callable[[str], Any]) -> None:
    """A server that repeats what it was sent does not get it into our messages."""
    secret = "tiny-s3cret"
    answer = world(httpx.Response(status, **echo(secret))).ask(request_name, secret)
    assert "s3cret" not in f"{answer!r} {answer.error!r} {answer.error} {answer.message}"


def test_a_secret_from_the_server_never_shows(world: Any) -> None:
    """An answer with tokens that cannot be used is described without them."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0"
    body = json.dumps({"access_token": f"{token} {token}", "refresh_token": "shorty"})
    answer = world(httpx.Response(200, content=body.encode())).ask("exchange")
    assert answer.outcome == "in_doubt"
    assert token not in str(answer.error)
    assert "shorty" not in str(answer.error)


def test_errors_hold_no_request(world: Any) -> None:
    """An Answer can be kept: its error has no traceback, no cause and no context that would hold the request."""
    error = world(httpx.ConnectError("refused")).ask("exchange").error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


@pytest.mark.parametrize(
    "host", ["http://auth.test", "http://10.0.0.1:8080", "ftp://auth.test", "auth.test", "https://u:s3cret@auth.test"]
)
@pytest.mark.parametrize(
    ("request_name", "outcome"),
    [
        ("device code", "refused"),
        ("poll", "refused"),
        ("exchange", "not_processed"),
        ("revoke", "failed"),
        ("models", "unavailable"),
    ],
)
def test_a_bad_address_is_refused_before_anything_is_sent(
    world: Any, host: str, request_name: str, outcome: str
) -> None:
    """Plain http to another host, other schemes and user-info in a URL end as a configuration error, with nothing
    sent."""
    it = world(OK, host=host, revocation_url=f"{host}/revoke")
    answer = it.ask(request_name)
    assert answer.outcome == outcome
    assert type(answer.error) is ConfigError
    assert "s3cret" not in str(answer.error)
    assert it.requests == []


@pytest.mark.parametrize(
    ("host", "plain_http"), [("http://127.0.0.1:1", False), ("http://[::1]", False), ("http://auth.test", True)]
)
def test_plain_http_on_loopback_or_when_asked_for(world: Any, host: str, *, plain_http: bool) -> None:
    """Loopback needs no https, and an explicit flag lifts the rule."""
    it = world(httpx.Response(200, json={"access_token": "a"}), host=host, plain_http=plain_http)
    assert it.ask("exchange").outcome == "tokens"


@pytest.mark.parametrize("headers", [{"X-Msh-Device-Name": "a\nb"}, {"X-Msh-Device-Name": "caf\u00e9"}])
def test_a_header_that_cannot_be_sent(world: Any, headers: dict[str, str]) -> None:
    """A header with control or foreign characters is named, and nothing is sent."""
    it = world(OK, headers=headers)
    answer = it.ask("exchange")
    assert answer.outcome == "not_processed"
    assert "the header X-Msh-Device-Name" in str(answer.error)
    assert it.requests == []


def test_a_token_that_cannot_be_written(world: Any) -> None:
    """A refresh token that has no UTF-8 form is not sent, and not shown."""
    it = world(OK)
    answer = it.ask("exchange", "s3cret\ud800")
    assert (answer.outcome, it.requests) == ("not_processed", [])
    assert "s3cret" not in str(answer.error)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", "extra `socks`"),
        ("ALL_PROXY", "gopher://u:s3cret@proxy.test", "ALL_PROXY"),
        ("ALL_PROXY", "http://user:s3cret/word@proxy.test:3128", "ALL_PROXY"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "No such file"),
    ],
)
def test_settings_that_cannot_be_used(
    world: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    """A proxy or certificate setting that no client can be made from is a configuration error, not a traceback."""
    if "socks" in value:
        monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(variable, value)
    endpoints = Endpoints(
        "https://a.test", "https://a.test/d", "https://a.test/t", "c", revocation_url="https://a.test/r"
    )
    client = OAuthClient(endpoints, {})
    for answer, outcome in [
        (client.exchange("a-refresh-token"), "not_processed"),
        (asyncio.run(client.poll("a-device-code")), "refused"),
    ]:
        assert answer.outcome == outcome
        assert isinstance(answer.error, ConfigError)
        assert says in str(answer.error)
        assert "s3cret" not in str(answer.error)


# --- revocation ----------------------------------------------------------------------------------------------------------

ISSUER = "https://auth.test"
FIRST = f"{ISSUER}/.well-known/oauth-authorization-server"
SECOND = f"{ISSUER}/.well-known/openid-configuration"


def metadata(**more: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, "revocation_endpoint": f"{ISSUER}/revocation"} | more


@pytest.mark.parametrize(
    ("pages", "outcome", "asked"),
    [
        ({FIRST: (200, metadata()), f"{ISSUER}/revocation": (200, {})}, "revoked", [FIRST, f"{ISSUER}/revocation"]),
        (
            {SECOND: (200, metadata()), f"{ISSUER}/revocation": (200, {})},
            "revoked",
            [FIRST, SECOND, f"{ISSUER}/revocation"],
        ),
        ({}, "unsupported", [FIRST, SECOND]),
        ({FIRST: (200, metadata(issuer="https://evil.test"))}, "unsupported", [FIRST, SECOND]),
        ({FIRST: (200, {"issuer": ISSUER})}, "unsupported", [FIRST, SECOND]),
        ({FIRST: (200, metadata(revocation_endpoint="https://other.test/r"))}, "failed", [FIRST]),
        ({FIRST: (503, {})}, "failed", [FIRST, SECOND]),
        ({FIRST: (429, {})}, "failed", [FIRST, SECOND]),
        ({SECOND: (500, metadata())}, "failed", [FIRST, SECOND]),
        ({FIRST: (404, metadata()), SECOND: (201, metadata())}, "failed", [FIRST, SECOND]),
        ({FIRST: (302, {}), SECOND: (404, {})}, "failed", [FIRST, SECOND]),
        ({FIRST: (403, {}), SECOND: (403, {})}, "failed", [FIRST, SECOND]),
        (
            {FIRST: (500, metadata()), SECOND: (200, metadata()), f"{ISSUER}/revocation": (200, {})},
            "revoked",
            [FIRST, SECOND, f"{ISSUER}/revocation"],
        ),
    ],
)
def test_discovery(world: Any, pages: dict[str, tuple[int, Any]], outcome: str, asked: list[str]) -> None:
    """The endpoint comes from the issuer's own metadata or there is none; a guess is never made."""

    def reply(request: httpx.Request) -> httpx.Response:
        status, body = pages.get(str(request.url), (404, {}))
        return httpx.Response(status, json=body)

    it = world(reply, revocation_url="")
    assert it.ask("revoke").outcome == outcome
    assert [str(request.url) for request in it.requests] == asked


def test_discovery_without_a_network(world: Any) -> None:
    """When the metadata cannot be asked for, revocation failed; it is not called unsupported."""
    it = world(httpx.ConnectError("down"), revocation_url="")
    assert it.ask("revoke").outcome == "failed"
    assert len(it.requests) == 1


def test_metadata_that_breaks_off_is_no_revocation(world: Any, broken: Any) -> None:
    """The status of the metadata says nothing about a revocation that was never asked for."""
    stream = broken(b'{"issuer"', failure=httpx.ReadError("reset"))
    it = world(lambda request: httpx.Response(200, stream=stream), revocation_url="")
    answer = it.ask("revoke")
    assert (answer.outcome, answer.status) == ("failed", 0)
    assert "its metadata" in str(answer.error)
    assert {request.method for request in it.requests} == {"GET"}


def test_discovery_can_be_forbidden(world: Any) -> None:
    """A platform that is known to have no revocation is not asked."""
    it = world(OK)
    client = OAuthClient(
        Endpoints(ISSUER, f"{ISSUER}/d", f"{ISSUER}/t", "c", discover_revocation=False),
        {},
        transport=it.transport,
    )
    answer = client.revoke("t", "refresh_token")
    assert (answer.outcome, it.requests) == ("unsupported", [])
    assert isinstance(answer.error, KimiAuthError)
    assert "auth.test names no address" in str(answer.error)


def test_discovery_and_revocation_share_one_deadline(world: Any) -> None:
    """Time that finding the endpoint took is missing from the revocation."""

    def reply(request: httpx.Request) -> httpx.Response:
        it.clock.sleep(3.0)
        return httpx.Response(404, json={})

    it = world(reply, revocation_url="")
    assert it.ask("revoke").outcome == "unsupported"
    timeouts = [request.extensions["timeout"] for request in it.requests]
    assert [(limits["connect"], limits["read"]) for limits in timeouts] == [(5.0, 5.0), (2.0, 2.0)]
    it.requests.clear()
    assert it.oauth.revoke("t", "refresh_token", deadline_s=2.0).outcome == "failed"
    assert len(it.requests) == 1


def test_metadata_urls() -> None:
    """RFC 8414 puts the well-known part before the issuer's path, OpenID Connect behind it."""
    assert metadata_urls("https://a.test/") == (
        "https://a.test/.well-known/oauth-authorization-server",
        "https://a.test/.well-known/openid-configuration",
    )
    assert metadata_urls("https://a.test/tenant/") == (
        "https://a.test/.well-known/oauth-authorization-server/tenant",
        "https://a.test/tenant/.well-known/openid-configuration",
    )


@pytest.mark.parametrize(
    ("data", "issuer", "found"),
    [
        (metadata(), ISSUER, f"{ISSUER}/revocation"),
        (metadata(issuer=ISSUER + "/"), ISSUER, f"{ISSUER}/revocation"),
        (metadata(revocation_endpoint="https://other.test/r"), ISSUER, "https://other.test/r"),
        (metadata(revocation_endpoint="http://auth.test/r"), ISSUER, ""),
        (metadata(revocation_endpoint="http://localhost/r"), ISSUER, ""),
        (metadata(revocation_endpoint="https://u@auth.test/r"), ISSUER, ""),
        (metadata(revocation_endpoint=5), ISSUER, ""),
        (metadata(issuer=5), ISSUER, ""),
        (metadata(issuer="HTTPS://Auth.Test:443"), ISSUER, f"{ISSUER}/revocation"),
        (metadata(issuer="https://auth.test:444"), ISSUER, ""),
        (metadata(issuer=f"{ISSUER}/Tenant"), f"{ISSUER}/tenant", ""),
        (metadata(issuer=f"{ISSUER}?tenant"), ISSUER, ""),
        (metadata(issuer="https://u@auth.test"), ISSUER, ""),
        (metadata(issuer="auth.test"), ISSUER, ""),
        (
            metadata(issuer="http://LocalHost:1", revocation_endpoint="http://LocalHost:1/r"),
            "http://localhost:1",
            "http://LocalHost:1/r",
        ),
        (metadata(issuer=f"{ISSUER}/tenant"), ISSUER, ""),
        ({}, ISSUER, ""),
        (
            metadata(issuer="http://[::1]:1", revocation_endpoint="http://[::1]:1/r"),
            "http://[::1]:1",
            "http://[::1]:1/r",
        ),
        (metadata(issuer="http://[::1]:1", revocation_endpoint="http://[::1]:2/r"), "http://[::1]:1", ""),
    ],
)
def test_revocation_endpoint(data: dict[str, Any], issuer: str, found: str) -> None:
    """Metadata counts if it speaks for our issuer, and its endpoint if it is https or the issuer's own host."""
    assert endpoint(data, issuer, "revocation_endpoint") == found


# --- models --------------------------------------------------------------------------------------------------------------


def test_models_request(world: Any) -> None:
    """The models are asked for with the bearer, and with the ETag if there is one."""
    it = world(lambda request: httpx.Response(200, json={"data": []}, headers={"ETag": '"v2"'}))
    answer = asyncio.run(it.models("token", etag='"v1"'))
    assert answer.value.etag == '"v2"'
    assert answer.value.data == {"data": []}
    request = it.requests[0]
    assert (request.method, str(request.url)) == ("GET", "https://auth.test/models")
    assert request.headers["Authorization"] == "Bearer token"
    assert request.headers["If-None-Match"] == '"v1"'
    assert request.headers["X-Msh-Platform"] == "kimi_cli"
    it.models_sync("token")
    assert "If-None-Match" not in it.requests[1].headers


@pytest.mark.parametrize("etag", ["a b", "x" * 300, "caf\u00e9", ""])
def test_a_strange_etag_is_forgotten(world: Any, etag: str) -> None:
    """An ETag that could not be sent back is not kept."""
    it = world(httpx.Response(200, json={"data": []}, headers=[(b"etag", etag.encode())]))
    assert it.models_sync("token").value.etag == ""


def habitual(kind: type[Any], it: Any) -> Any:
    return kind(transport=it.transport, auth=("u", "p"), follow_redirects=True)


def ask_in_thread(it: Any) -> str:
    with habitual(it.library.Client, it) as client:
        return fetch_models_sync("https://api.test/v1/", "token", {}, client=client).outcome


def ask_in_loop(it: Any) -> str:
    async def run() -> str:
        async with habitual(it.library.AsyncClient, it) as client:
            return (await fetch_models("https://api.test/v1/", "token", {}, client=client)).outcome

    return asyncio.run(run())


@pytest.mark.parametrize("ask", [ask_in_thread, ask_in_loop])
def test_a_given_clients_habits_do_not_count(world: Any, ask: Callable[[Any], str]) -> None:
    """Neither the auth nor the redirects of the client that is lent to us change the request."""
    it = world(lambda request: httpx.Response(302, headers={"Location": "https://portal.test/"}))
    assert ask(it) == "unavailable"
    assert [str(request.url) for request in it.requests] == ["https://api.test/v1/models"]
    assert it.requests[0].headers["Authorization"] == "Bearer token"


def test_a_bearer_that_cannot_be_sent(world: Any) -> None:
    """An API key with a line break in it is a configuration error and is not shown."""
    it = world(OK)
    answer = it.models_sync("s3cret\nX-Injected: 1")
    assert (answer.outcome, it.requests) == ("unavailable", [])
    assert "the header Authorization" in str(answer.error)
    assert "s3cret" not in str(answer.error)
