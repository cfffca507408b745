"""An OAuth server of which only the issuer is known (RFC 8414): what its metadata may say, and what that means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kimi_auth.errors import ConfigError, Unreachable
from kimi_auth.wire import Endpoints, LocatedClient, OAuthServer
from kimi_auth.wire.discovery import other_origins

ISSUER = "https://auth.test/tenant"
FIRST = "https://auth.test/.well-known/oauth-authorization-server/tenant"
SECOND = "https://auth.test/tenant/.well-known/openid-configuration"
METADATA = {
    "issuer": ISSUER,
    "device_authorization_endpoint": "https://auth.test/d",
    "token_endpoint": "https://auth.test/t",
    "revocation_endpoint": "https://auth.test/r",
}
CODE = {"device_code": "D", "user_code": "U", "verification_uri": "https://auth.test/page", "expires_in": 600}
TOKEN = {"access_token": "A", "refresh_token": "R", "expires_in": 900, "token_type": "Bearer"}
ANSWERS = {"https://auth.test/d": CODE, "https://auth.test/t": TOKEN, "https://auth.test/r": {}}


class Server:
    """Metadata by address (anything else is 404), and the endpoints that it names."""

    def __init__(self, clock: Any, metadata: dict[str, Any], *, discover_revocation: bool = True) -> None:
        self.metadata = metadata
        self.asked: list[str] = []
        transport = httpx.MockTransport(self.handle)
        endpoints = Endpoints(ISSUER, "", "", "client", discover_revocation=discover_revocation)
        self.pinned: tuple[str, ...] = ()
        self.client = LocatedClient(
            endpoints,
            {},
            transport=transport,
            async_transport=transport,
            clock=clock,
            pinned=lambda: self.pinned,
        )

    def handle(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.asked.append(url)
        found = self.metadata.get(url, ANSWERS.get(url))
        if isinstance(found, Exception):
            raise found
        if callable(found):
            return found()  # type: ignore[no-any-return]
        return httpx.Response(404) if found is None else httpx.Response(200, json=found)


REQUESTS: dict[str, tuple[Callable[[OAuthServer], Any], str, str]] = {
    "request_code": (lambda client: asyncio.run(client.request_code()), "code", "https://auth.test/d"),
    "poll": (lambda client: asyncio.run(client.poll("D")), "granted", "https://auth.test/t"),
    "exchange": (lambda client: client.exchange("R"), "tokens", "https://auth.test/t"),
    "revoke": (lambda client: client.revoke("R", "refresh_token"), "revoked", "https://auth.test/r"),
}


@pytest.mark.parametrize(("request_", "outcome", "url"), REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("place", [FIRST, SECOND])
def test_every_request_finds_its_endpoint(clock: Any, place: str, request_: Any, outcome: str, url: str) -> None:
    """The metadata is asked for once, at both its addresses in turn, and the request goes where it says."""
    server = Server(clock, {place: METADATA})
    assert request_(server.client).outcome == outcome
    metadata = [FIRST] if place == FIRST else [FIRST, SECOND]
    assert server.asked == [*metadata, url]
    assert request_(server.client).outcome == outcome
    assert server.asked == [*metadata, url, url]
    asyncio.run(server.client.aclose())


def test_closing_what_was_never_opened(clock: Any) -> None:
    """An unused client closes without an error."""
    server = Server(clock, {})
    asyncio.run(server.client.aclose())
    assert server.asked == []


FAULTS: dict[str, Any] = {
    "down": httpx.ConnectError("refused"),
    "slow": httpx.ReadTimeout("slow"),
    "503": lambda: httpx.Response(503),
    "429": lambda: httpx.Response(429, headers={"Retry-After": "7"}),
    "403 of a proxy": lambda: httpx.Response(403, text="<html>"),
    "a captive portal": lambda: httpx.Response(200, html="<html>"),
    "metadata with an error": lambda: httpx.Response(500, json=METADATA),
}
OUTCOMES = {"request_code": "unreachable", "poll": "unreachable", "exchange": "not_processed", "revoke": "failed"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_transient_error_on_the_way(clock: Any, name: str, fault: Any) -> None:
    """Without metadata nothing was sent: it is as if the request itself had met a transient error, and a refresh token
    is unspent."""
    server = Server(clock, {FIRST: fault})
    answer = REQUESTS[name][0](server.client)
    assert answer.outcome == OUTCOMES[name]
    assert isinstance(answer.error, Unreachable) or name == "revoke"
    assert server.asked == ([FIRST] if isinstance(fault, Exception) else [FIRST, SECOND])
    server.metadata = {FIRST: METADATA}
    assert REQUESTS[name][0](server.client).outcome == REQUESTS[name][1]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_transient_error_at_the_first_address_only(clock: Any, name: str) -> None:
    """The other address is asked where the first one was no lost connection."""
    server = Server(clock, {FIRST: FAULTS["503"], SECOND: METADATA})
    assert REQUESTS[name][0](server.client).outcome == REQUESTS[name][1]


def test_both_addresses_share_one_deadline(clock: Any) -> None:
    """A logout is told within its time, however long each of the addresses takes to say nothing."""
    patience_s: list[float] = []

    def dawdle(request: httpx.Request) -> httpx.Response:
        patience_s.append(request.extensions["timeout"]["read"])
        clock.now_s += 4.0
        return httpx.Response(404)

    endpoints = Endpoints(ISSUER, "", "", "client", discover_revocation=True)
    client = LocatedClient(endpoints, {}, transport=httpx.MockTransport(dawdle), clock=clock)
    assert client.revoke("R", "refresh_token").outcome == "failed"
    assert patience_s == [5.0, 1.0]


@pytest.mark.parametrize("name", REQUESTS)
def test_metadata_that_is_cut_off(clock: Any, broken: Any, name: str) -> None:
    """Metadata that begins with a 200 and breaks off is a transient error, too: its status is not that of the
    request."""
    cut = broken(b'{"issuer": ', failure=httpx.ReadError("reset"))
    server = Server(clock, {FIRST: lambda: httpx.Response(200, stream=cut)})
    assert REQUESTS[name][0](server.client).outcome == OUTCOMES[name]
    assert server.asked == [FIRST]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in METADATA.items() if key != name}


UNUSABLE: dict[str, Any] = {
    "nothing there": None,
    "404 with metadata": lambda: httpx.Response(404, json=METADATA),
    "404 in HTML": lambda: httpx.Response(404, html="<html>"),
    "a list": [],
    "another issuer": METADATA | {"issuer": "https://auth.test"},
    "no issuer": without("issuer"),
    "no device grant": without("device_authorization_endpoint"),
    "no token endpoint": without("token_endpoint"),
    "plain http": METADATA | {"token_endpoint": "http://auth.test/t"},
    "a user name": METADATA | {"token_endpoint": "https://u@auth.test/t"},
    "a number": METADATA | {"device_authorization_endpoint": 5},
}
WHERE_UNUSABLE = {"request_code": "refused", "poll": "refused", "exchange": "not_processed", "revoke": "failed"}


@pytest.mark.parametrize("metadata", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("name", REQUESTS)
def test_metadata_that_will_never_do(clock: Any, name: str, metadata: Any) -> None:
    """A server that does not speak for this issuer, or has no device grant, gets no request at all."""
    server = Server(clock, {FIRST: metadata, SECOND: metadata})
    answer = REQUESTS[name][0](server.client)
    assert answer.outcome == WHERE_UNUSABLE[name]
    assert server.asked == [FIRST, SECOND]
    if name == "request_code":
        assert isinstance(answer.error, ConfigError)
        assert "RFC 8414" in answer.error.message


def test_an_address_that_cannot_be_asked(clock: Any) -> None:
    """An issuer on plain http is not asked, whatever it would say."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=METADATA))
    client = LocatedClient(Endpoints("http://auth.test", "", "", "client"), {}, transport=transport, clock=clock)
    assert client.exchange("R").outcome == "not_processed"


@pytest.mark.parametrize(
    ("metadata", "discover"), [(without("revocation_endpoint"), True), (METADATA, False)], ids=["unnamed", "unwanted"]
)
def test_no_revocation(clock: Any, metadata: dict[str, Any], discover: bool) -> None:
    """An endpoint that is not named, or not wanted, is never guessed."""
    server = Server(clock, {FIRST: metadata}, discover_revocation=discover)
    assert server.client.revoke("R", "refresh_token").outcome == "unsupported"
    assert server.asked == [FIRST]


# --- endpoints at other origins --------------------------------------------------------------------------------------

SPLIT = METADATA | {
    "device_authorization_endpoint": "https://device.test/d",
    "token_endpoint": "https://Tokens.test:443/t",
    "revocation_endpoint": "https://tokens.test:8443/r",
}
ELSEWHERE = ("https://tokens.test", "https://tokens.test:8443")
SPLIT_ANSWERS = {"https://device.test/d": CODE, "https://tokens.test/t": TOKEN, "https://tokens.test:8443/r": {}}


@pytest.fixture
def split(clock: Any) -> Server:
    """A server whose metadata puts every endpoint at another origin."""
    return Server(clock, {FIRST: SPLIT, **SPLIT_ANSWERS})


def test_a_login_is_told_of_other_origins(split: Server) -> None:
    """The device code says to which origins beside the issuer's own the tokens of this login go."""
    answer = asyncio.run(split.client.request_code())
    assert answer.value is not None
    assert answer.value.origins == ELSEWHERE
    assert asyncio.run(split.client.poll("D")).outcome == "granted"


def test_a_login_at_the_issuer_itself(clock: Any) -> None:
    """Where all is at one origin there is nothing to tell."""
    answer = asyncio.run(Server(clock, {FIRST: METADATA}).client.request_code())
    assert answer.value is not None
    assert answer.value.origins == ()


@pytest.mark.parametrize(
    ("pinned", "exchange", "revoke"),
    [
        ((), "not_processed", "failed"),
        (("https://other.test",), "not_processed", "failed"),
        (("https://device.test",), "not_processed", "failed"),
        (ELSEWHERE[:1], "tokens", "failed"),
        (ELSEWHERE[1:], "not_processed", "revoked"),
        (ELSEWHERE, "tokens", "revoked"),
    ],
)
def test_a_stored_token_goes_to_pinned_origins_only(
    split: Server, pinned: tuple[str, ...], exchange: str, revoke: str
) -> None:
    """Metadata that names an origin to which the login is not bound gets nothing but the question for itself."""
    split.pinned = pinned
    answers = [split.client.exchange("R"), split.client.revoke("R", "refresh_token")]
    assert [answer.outcome for answer in answers] == [exchange, revoke]
    wanted = {
        FIRST,
        *(["https://tokens.test/t"] if exchange == "tokens" else []),
        *(["https://tokens.test:8443/r"] if revoke == "revoked" else []),
    }
    assert set(split.asked) == wanted
    for answer in answers:
        if answer.outcome in {"not_processed", "failed"}:
            assert isinstance(answer.error, ConfigError)
            assert "tokens.test" in answer.error.message.lower()


@pytest.mark.parametrize("pinned", [(), ELSEWHERE])
def test_endpoints_elsewhere_that_the_platform_names(clock: Any, pinned: tuple[str, ...]) -> None:
    """Endpoints at other origins need no metadata: the login is told of them, and a stored token goes to pinned ones only."""
    split = Server(clock, SPLIT_ANSWERS)
    endpoints = Endpoints(
        ISSUER, "https://device.test/d", "https://tokens.test/t", "c", revocation_url=f"{ELSEWHERE[1]}/r"
    )
    transport = httpx.MockTransport(split.handle)
    client = LocatedClient(
        endpoints, {}, transport=transport, async_transport=transport, clock=clock, pinned=lambda: pinned
    )
    outcomes = [client.exchange("R").outcome, client.revoke("R", "refresh_token").outcome]
    assert outcomes == (["tokens", "revoked"] if pinned else ["not_processed", "failed"])
    answer = asyncio.run(client.request_code())
    assert answer.value is not None
    assert answer.value.origins == ELSEWHERE
    assert set(split.asked) <= SPLIT_ANSWERS.keys()


def test_a_revocation_endpoint_that_metadata_does_not_name(clock: Any) -> None:
    """The platform's own revocation endpoint counts, whatever else the metadata names."""
    server = Server(clock, {FIRST: METADATA, "https://auth.test/own": {}})
    server.client._endpoints = server.client._endpoints._replace(revocation_url="https://auth.test/own")
    assert server.client.revoke("R", "refresh_token").outcome == "revoked"
    assert server.asked == [FIRST, "https://auth.test/own"]


def test_a_code_pins_nothing(split: Server) -> None:
    """That a code was asked for is no consent: until a login is stored, its origins get no stored token."""
    asyncio.run(split.client.request_code())
    assert split.client.exchange("R").outcome == "not_processed"


def test_a_grant_may_go_back_where_it_came_from(split: Server) -> None:
    """A grant that could not be stored is revoked there; another token is not."""
    asyncio.run(split.client.request_code())
    asyncio.run(split.client.poll("D"))
    assert split.client.revoke("another", "refresh_token").outcome == "failed"
    assert split.client.revoke("R", "refresh_token").outcome == "revoked"
    assert split.asked[-1] == "https://tokens.test:8443/r"


@pytest.mark.parametrize(
    ("issuer", "urls", "others"),
    [
        ("https://a.test/tenant", ("https://a.test/t", "https://A.test:443/r", ""), ()),
        ("https://a.test", ("https://a.test:444/t",), ("https://a.test:444",)),
        (
            "http://localhost:1",
            ("http://localhost:2/t", "https://localhost:1/r"),
            ("http://localhost:2", "https://localhost:1"),
        ),
        ("https://a.test", ("https://b.test/t", "https://b.test/r"), ("https://b.test",)),
        ("https://[::1]:1", ("https://[::1]:1/t", "https://[::2]/r"), ("https://[::2]",)),
    ],
)
def test_other_origins(issuer: str, urls: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Scheme, host and port make an origin (RFC 6454 §4); each is named once, in one spelling."""
    assert other_origins(issuer, *urls) == others
