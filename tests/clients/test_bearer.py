"""BearerAuth by hand: each rule of the two flows is a row, and no client is in between.

What httpx clients make of them is in test_bearer_clients.py.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from house.libraries import LIBRARIES

from kimi_auth.clients import NOT_RESENT, BearerAuth
from kimi_auth.errors import KimiAuthError, NotSignedIn, Revoked, Unreachable

HOME = "https://api.kimi.com"
Respond = Callable[[httpx.Request], httpx.Response]


def drive_sync(auth: BearerAuth, request: httpx.Request, respond: Respond) -> list[httpx.Response]:
    """All responses of the sync flow: each request it yields is answered by `respond`."""
    flow = auth.sync_auth_flow(request)
    responses = []
    request = next(flow)
    while True:
        responses.append(respond(request))
        try:
            request = flow.send(responses[-1])
        except StopIteration:
            return responses


def drive_async(auth: BearerAuth, request: httpx.Request, respond: Respond) -> list[httpx.Response]:
    """The same with the async flow."""

    async def drive() -> list[httpx.Response]:
        flow = auth.async_auth_flow(request)
        responses = []
        request_now = await anext(flow)
        while True:
            responses.append(respond(request_now))
            try:
                request_now = await flow.asend(responses[-1])
            except StopAsyncIteration:
                return responses

    return asyncio.run(drive())


@pytest.fixture(params=[drive_sync, drive_async], ids=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Any:
    """Each rule holds in both colours."""
    return request.param


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def each(request: pytest.FixtureRequest) -> Any:
    """Each library, in a process that has loaded both."""
    return request.param


class Server:
    """Answers with the given statuses in turn, and notes which Authorization each request carried."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = iter(statuses)
        self.saw: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.saw.append(request.headers.get("Authorization"))
        return LIBRARIES[type(request).__module__].Response(next(self.statuses), request=request)


# --- requests, and calls of the source --------------------------------------------------------------------------------

FIRST, SECOND = "Bearer first", "Bearer second"
ASKED = ["token", "rejected first"]

CONVERSATIONS: list[tuple[str, tuple[int, ...], Any, list[str], list[str]]] = [
    ("200", (200,), "second", [FIRST], ["token"]),
    ("401 is retried once", (401, 200), "second", [FIRST, SECOND], ASKED),
    ("the second 401 is the caller's", (401, 401), "second", [FIRST, SECOND], ASKED),
    ("no newer token", (401,), None, [FIRST], ASKED),
    ("the same token again", (401,), "first", [FIRST], ASKED),
    ("revoked meanwhile", (401,), Revoked("the login has ended"), [FIRST], ASKED),
    ("offline meanwhile", (401,), Unreachable("no network"), [FIRST], ASKED),
    ("a newer token that is none", (401,), "two words", [FIRST], ASKED),
    ("402 is membership", (402,), "second", [FIRST], ["token"]),
    ("403 is a proxy or a permission", (403,), "second", [FIRST], ["token"]),
    ("407", (407,), "second", [FIRST], ["token"]),
    ("500", (500,), "second", [FIRST], ["token"]),
    ("a redirect that is not followed", (302,), "second", [FIRST], ["token"]),
]


@pytest.mark.parametrize(
    ("statuses", "newer", "saw", "asked"), [pytest.param(*row[1:], id=row[0]) for row in CONVERSATIONS]
)
def test_conversation(
    each: Any, drive: Any, scripted: Any, statuses: tuple[int, ...], newer: Any, saw: list[str], asked: list[str]
) -> None:
    """One complaint and one retry for a 401, nothing for anything else, and the last answer is the caller's."""
    source, server = scripted(newer=newer), Server(*statuses)
    responses = drive(BearerAuth(source, origin=HOME), each.Request("GET", f"{HOME}/models"), server)
    assert [response.status_code for response in responses] == list(statuses)
    assert (server.saw, source.asked) == (saw, asked)


STATIC = "Bearer sk-static"
WITHOUT_A_TOKEN: list[tuple[str, tuple[int, ...], Any, Any, list[str], list[str]]] = [
    ("nobody is signed in", (200,), NotSignedIn("nobody"), None, [STATIC], ["token"]),
    ("the login has ended", (200,), Revoked("ended"), None, [STATIC], ["token"]),
    ("offline", (200,), Unreachable("no network"), None, [STATIC], ["token"]),
    ("the static key is refused too", (401,), NotSignedIn("nobody"), None, [STATIC], ["token", "rejected sk-static"]),
    ("a login came", (401, 200), NotSignedIn("n"), "second", [STATIC, SECOND], ["token", "rejected sk-static"]),
    ("no newer token", (401, 200), "first", None, [FIRST, STATIC], ASKED),
    ("a newer token is better", (401, 200), "first", "second", [FIRST, SECOND], ASKED),
    ("neither is taken", (401, 401), "first", None, [FIRST, STATIC], ASKED),
]


@pytest.mark.parametrize(
    ("statuses", "token", "newer", "saw", "asked"), [pytest.param(*row[1:], id=row[0]) for row in WITHOUT_A_TOKEN]
)
def test_static_key(
    drive: Any, scripted: Any, statuses: tuple[int, ...], token: Any, newer: Any, saw: list[str], asked: list[str]
) -> None:
    """A source's static key is sent where there is no token, and once more where there is no newer one."""
    source, server = scripted(token, newer), Server(*statuses)
    source.__static_key__ = lambda: "sk-static"
    responses = drive(BearerAuth(source, origin=HOME), httpx.Request("GET", f"{HOME}/models"), server)
    assert [response.status_code for response in responses] == list(statuses)
    assert (server.saw, source.asked) == (saw, asked)


def test_no_static_key(drive: Any, scripted: Any) -> None:
    """A source that knows none says why there is no token; nothing is sent, and nothing goes to another origin."""
    source, server = scripted(NotSignedIn("nobody"), None), Server(200)
    source.__static_key__ = lambda: ""
    with pytest.raises(NotSignedIn, match="nobody"):
        drive(BearerAuth(source, origin=HOME), httpx.Request("GET", HOME), server)
    assert server.saw == []
    source.__static_key__ = lambda: "sk-static"
    drive(BearerAuth(source, origin=HOME), httpx.Request("GET", "https://example.com"), server)
    assert server.saw == [None]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": "Bearer sk-of-the-client"}, id="an api key of the client"),
        pytest.param([("authorization", "Basic x"), ("Authorization", "Bearer y")], id="two of them"),
    ],
)
def test_ours_wins(drive: Any, scripted: Any, headers: Any) -> None:
    """At home the request carries one Authorization, ours, whatever the client put there."""
    request = httpx.Request("GET", HOME, headers=headers)
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get_list("authorization"))
        return httpx.Response(200, request=request)

    drive(BearerAuth(scripted(), origin=HOME), request, respond)
    assert seen == [[FIRST]]


# --- a URL that refuses a token which its origin accepts elsewhere --------------------------------------------------


class Api:
    """An API of which some URLs refuse what the token may do; `dropped`: the token itself is refused everywhere."""

    def __init__(self, *refusing: str) -> None:
        self.refusing = set(refusing)
        self.dropped = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        refused = request.url.path in self.refusing or request.headers["Authorization"] == f"Bearer {self.dropped}"
        return httpx.Response(401 if refused else 200, request=request)


def test_a_url_that_refuses_is_reported_once(drive: Any, scripted: Any) -> None:
    """After one report and one newer token, a 401 at that URL is the caller's while the token is accepted elsewhere."""
    source, api = scripted(), Api("/images")
    auth = BearerAuth(source, origin=HOME)
    for path in ("/models", "/images", *["/models", "/images", "/images"] * 3):
        if source.asked.count("rejected first"):
            source.token = "second"
        drive(auth, httpx.Request("GET", f"{HOME}{path}"), api)
    assert [said for said in source.asked if said != "token"] == ["rejected first"]


def test_a_token_that_the_server_dropped_is_reported(drive: Any, scripted: Any) -> None:
    """A 401 at a URL that accepted the token before is about the token, whatever another URL refuses."""
    source, api = scripted(newer=None), Api("/images")
    auth = BearerAuth(source, origin=HOME)
    for path in ("/models", "/images", "/models", "/images"):
        drive(auth, httpx.Request("GET", f"{HOME}{path}"), api)
    assert source.asked.count("rejected first") == 1
    api.dropped = "first"
    for _ in range(3):
        drive(auth, httpx.Request("GET", f"{HOME}/models"), api)
    assert source.asked.count("rejected first") == 4


def test_a_url_that_accepts_again_is_reported_again(drive: Any, scripted: Any) -> None:
    """Each URL is treated by its own last answer."""
    source, api = scripted(newer=None), Api("/images")
    auth = BearerAuth(source, origin=HOME)
    for path in ("/models", "/images", "/models"):
        drive(auth, httpx.Request("GET", f"{HOME}{path}"), api)
    api.refusing.clear()
    drive(auth, httpx.Request("GET", f"{HOME}/images"), api)
    api.refusing.add("/images")
    drive(auth, httpx.Request("GET", f"{HOME}/images"), api)
    assert source.asked.count("rejected first") == 2


def test_so_many_urls_are_remembered_and_no_more(drive: Any, scripted: Any) -> None:
    """A program that asks for ever new URLs fills no memory with them."""
    source = scripted(newer=None)
    auth = BearerAuth(source, origin=HOME)
    for number in range(600):
        drive(auth, httpx.Request("GET", f"{HOME}/{number}"), Api(f"/{number}"))
    assert len(auth._bearers._seen._refusing) == 256
    assert "first" not in repr(vars(auth))


# --- where the token goes ---------------------------------------------------------------------------------------------

ORIGINS = [
    ("the same", HOME, HOME, True),
    ("a path below", HOME, f"{HOME}/coding/v1/models?page=2", True),
    ("an API base is in its origin", f"{HOME}/coding/v1", f"{HOME}/other", True),
    ("default port", HOME, "https://api.kimi.com:443/x", True),
    ("case", "HTTPS://API.Kimi.com", f"{HOME}/x", True),
    ("user name in the URL", HOME, "https://me@api.kimi.com/x", True),
    ("loopback with its port", "http://127.0.0.1:8000", "http://127.0.0.1:8000/x", True),
    ("IPv6", "http://[::1]:8000", "http://[::1]:8000/x", True),
    ("international name", "https://bücher.example", "https://xn--bcher-kva.example/x", True),
    ("other host", HOME, "https://api.moonshot.cn/x", False),
    ("subdomain", HOME, "https://evil.api.kimi.com/x", False),
    ("prefix of a host", HOME, "https://api.kimi.com.evil.example/x", False),
    ("host as user name", HOME, "https://api.kimi.com@evil.example/x", False),
    ("other port", HOME, "https://api.kimi.com:8443/x", False),
    ("without TLS", HOME, "http://api.kimi.com/x", False),
    ("trailing dot", HOME, "https://api.kimi.com./x", False),
]


@pytest.mark.parametrize(("origin", "url", "at_home"), [pytest.param(*row[1:], id=row[0]) for row in ORIGINS])
def test_origin(each: Any, drive: Any, scripted: Any, caplog: Any, origin: str, url: str, at_home: bool) -> None:
    """Abroad no bearer is sent, the source is not even asked, and a 401 is passed on; other headers stay. The reason is
    logged at DEBUG."""
    caplog.set_level(logging.DEBUG)
    source, server = scripted(), Server(401, 200)
    request = each.Request("GET", url, headers={"Authorization": "Bearer theirs"})
    drive(BearerAuth(source, origin=origin), request, server)
    assert server.saw == ([FIRST, SECOND] if at_home else ["Bearer theirs"])
    assert source.asked == (ASKED if at_home else [])
    said = [record.levelname for record in caplog.records if record.getMessage().startswith("not signed: ")]
    assert said == ([] if at_home else ["DEBUG"])


def test_origin_of_the_source(drive: Any, scripted: Any) -> None:
    """A source that names its API origin is believed; an explicit origin comes first."""
    source = scripted()
    source.api_origin = f"{HOME}/coding/v1"
    assert repr(BearerAuth(source)) == "BearerAuth(origin='https://api.kimi.com')"
    assert repr(BearerAuth(source, origin="http://[::1]:80")) == "BearerAuth(origin='http://[::1]')"
    server = Server(200)
    drive(BearerAuth(source), httpx.Request("GET", "https://example.com"), server)
    assert server.saw == [None]


@pytest.mark.parametrize(
    "origin", ["", "api.kimi.com", "/coding/v1", "https://", "https://\0", "mailto:x@y", "http://a:b"]
)
def test_origin_must_be_an_origin(scripted: Any, origin: str) -> None:
    """A wrong origin is found when the client is built, not when its requests go unsigned."""
    with pytest.raises(ValueError, match="absolute URL"):
        BearerAuth(scripted(), origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://api.kimi.com",
        "ftp://api.kimi.com",
        "ws://localhost",
        "http://0.0.0.0",
        "http://localhost.evil.example",
        "http://192.168.0.1",
    ],
)
def test_no_bearer_without_tls(scripted: Any, origin: str) -> None:
    """RFC 6750 §5.3: a bearer takes TLS; plain http is for loopback hosts, and other schemes for nothing."""
    with pytest.raises(ValueError, match="no bearer is sent to"):
        BearerAuth(scripted(), origin=origin)


def test_an_origin_has_to_be_known(scripted: Any) -> None:
    """Where neither the source nor the caller names one, no client is signed at all."""
    with pytest.raises(ValueError, match="origin="):
        BearerAuth(scripted())


REDIRECTED: list[tuple[str, str | None, str, str | None]] = [
    ("401 from another host", HOME, "https://cdn.example/x", None),
    ("401 from another host that was told the token", HOME, "https://cdn.example/x", FIRST),
    ("401 from home, where the redirects dropped the token", HOME, f"{HOME}/x", None),
    ("401 from home to another token", HOME, f"{HOME}/x", "Bearer theirs"),
]


@pytest.mark.parametrize(("origin", "url", "carried"), [pytest.param(*row[1:], id=row[0]) for row in REDIRECTED])
def test_whose_401_it_is(drive: Any, scripted: Any, origin: str | None, url: str, carried: str | None) -> None:
    """Only our origin's answer to our bearer says anything about our bearer."""
    source = scripted()
    last = httpx.Request("GET", url, headers={} if carried is None else {"Authorization": carried})
    responses = drive(
        BearerAuth(source, origin=origin),
        httpx.Request("GET", f"{HOME}/a"),
        lambda _: httpx.Response(401, request=last),
    )
    assert [response.status_code for response in responses] == [401]
    assert source.asked == ["token"]


def test_refused_request_is_sent_again_not_the_first(drive: Any, scripted: Any) -> None:
    """A POST that was processed and redirected to a GET is not repeated: the GET was refused."""
    sent: list[httpx.Request] = []
    followed = httpx.Request("GET", f"{HOME}/result", headers={"Authorization": FIRST})

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, request=request) if len(sent) == 2 else httpx.Response(401, request=followed)

    drive(BearerAuth(scripted(), origin=HOME), httpx.Request("POST", f"{HOME}/job", content=b"x"), respond)
    assert [(request.method, request.url.path) for request in sent] == [("POST", "/job"), ("GET", "/result")]
    assert followed.headers["Authorization"] == SECOND


# --- errors of the source ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "two words", "line\n", "tab\t", "schlüssel", "nul\0"])
def test_no_header_is_made_of_what_is_no_token(drive: Any, scripted: Any, token: str) -> None:
    """A token that cannot stand in a header is refused before h11 can quote it in an error."""
    with pytest.raises(KimiAuthError, match="RFC 6750") as caught:
        drive(BearerAuth(scripted(token), origin=HOME), httpx.Request("GET", HOME), Server())
    assert not token or token not in str(caught.value)


def test_errors_before_the_first_send_are_the_callers(drive: Any, scripted: Any) -> None:
    """Who has no token sends nothing and learns why."""
    source, server = scripted(Revoked("the login has ended")), Server()
    with pytest.raises(Revoked, match="has ended"):
        drive(BearerAuth(source, origin=HOME), httpx.Request("GET", HOME), server)
    assert server.saw == []


def test_bugs_of_the_source_are_not_swallowed(drive: Any, scripted: Any) -> None:
    """Only a KimiAuthError is an expected failure, also after a 401."""
    source = scripted(newer="second")
    source.rejected_sync = lambda _bearer: 1 // 0
    with pytest.raises(ZeroDivisionError):
        drive(BearerAuth(source, origin=HOME), httpx.Request("GET", HOME), Server(401))


def test_errors_after_a_401_are_logged_without_the_token(
    drive: Any, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Why there was no retry is one line on `kimi_auth.clients`, with the next step."""
    error = Unreachable("no network")
    with caplog.at_level(logging.DEBUG, "kimi_auth.clients"):
        drive(BearerAuth(scripted(newer=error), origin=HOME), httpx.Request("GET", HOME), Server(401))
    assert [(record.name, record.levelname) for record in caplog.records] == [("kimi_auth.clients", "WARNING")]
    assert error.line in caplog.text
    assert "first" not in caplog.text


# --- which bodies can be sent twice -----------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def readable(self) -> bool:
        return True


def _generator() -> Iterator[bytes]:
    yield b"x"


async def _async_generator() -> AsyncIterator[bytes]:
    yield b"x"


def _closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


def _read_beforehand(library: Any) -> Any:
    request = library.Request("POST", HOME, content=_generator())
    request.read()
    return request


def _with_closed_file(library: Any) -> Any:
    file = io.BytesIO(b"x")
    request = library.Request("POST", HOME, files={"f": file})
    file.close()
    return request


def post(**body: Any) -> Callable[[Any], Any]:
    return lambda library: library.Request("POST", HOME, **body)


BODIES: list[tuple[str, Callable[[Any], Any], bool]] = [
    ("none", post(), True),
    ("bytes", post(content=b"x"), True),
    ("text", post(content="x"), True),
    ("json", post(json={"a": 1}), True),
    ("form", post(data={"a": "1"}), True),
    ("multipart of bytes", post(data={"a": "1"}, files={"f": ("n", b"x", "text/plain")}), True),
    ("multipart of text", post(files={"f": ("n", "x")}), True),
    ("multipart of a seekable file", post(files={"f": io.BytesIO(b"x")}), True),
    ("multipart of a file that is closed meanwhile", _with_closed_file, False),
    ("multipart of a pipe", post(files={"f": Pipe()}), False),
    ("multipart of a seekable file and a pipe", post(files=[("f", io.BytesIO(b"x")), ("g", Pipe())]), False),
    ("a file as content", post(content=io.BytesIO(b"x")), False),
    ("a generator", lambda library: library.Request("POST", HOME, content=_generator()), False),
    ("a list of chunks", post(content=[b"x", b"y"]), False),
    ("an async generator", lambda library: library.Request("POST", HOME, content=_async_generator()), False),
    ("a generator that was read", _read_beforehand, True),
    ("a stream of a stranger", lambda library: library.Request("POST", HOME, stream=library.SyncByteStream()), False),
]


@pytest.mark.parametrize(("make", "resent"), [pytest.param(*row[1:], id=row[0]) for row in BODIES])
def test_which_bodies_are_sent_again(
    drive: Any, scripted: Any, caplog: pytest.LogCaptureFixture, each: Any, make: Callable[[Any], Any], resent: bool
) -> None:
    """A spent body is never sent short: the 401 says so, the log says so, and the source knows the bearer is bad."""
    source, server = scripted(), Server(401, 200)
    responses = drive(BearerAuth(source, origin=HOME), make(each), server)
    assert server.saw == ([FIRST, SECOND] if resent else [FIRST])
    assert source.asked == ASKED
    assert (NOT_RESENT in responses[0].extensions) is not resent
    assert ("is consumed" in caplog.text) is not resent
    assert "first" not in caplog.text
    assert "second" not in caplog.text


def test_without_a_newer_token_the_body_is_no_matter(
    drive: Any, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A spent body is not blamed for a retry that would not have come."""
    responses = drive(
        BearerAuth(scripted(newer=None), origin=HOME), httpx.Request("POST", HOME, content=_generator()), Server(401)
    )
    assert NOT_RESENT not in responses[0].extensions
    assert not caplog.records


def test_repr_shows_no_token(scripted: Any) -> None:
    """What a debugger prints holds the origin and nothing else."""
    assert repr(BearerAuth(scripted("secret-token"), origin=HOME)) == f"BearerAuth(origin={HOME!r})"
