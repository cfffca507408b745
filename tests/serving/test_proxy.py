"""The proxy between a client and a real server: bearers, streams, bodies, hang-ups, failures of the API and of the login."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from house.libraries import in_library
from house.patience import met
from house.ports import silent_port

from kimi_auth import Session
from kimi_auth.errors import KimiAuthError, NotSignedIn, Unreachable
from kimi_auth.serving import proxy as proxies
from kimi_auth.serving.api_paths import AllowedPaths
from kimi_auth.serving.command_proxy import CommandProxy
from kimi_auth.serving.proxy import HUNG_UP, Proxy
from kimi_auth.serving.upstream import Upstream
from kimi_auth.testing import Emulator, StaticTokens
from serving.api import Api, Asked, Receive, Send, answer, ask, fine
from serving.conftest import Standstill

CHAT = "/api/chat/completions"


class Source(StaticTokens):
    """`first`, and `second` instead of it, once it was refused."""

    def __init__(self, api_base: str, error: KimiAuthError | None = None) -> None:
        super().__init__("first", api_origin=api_base)
        self.now = "first"
        self.error = error

    async def access_token(self) -> str:
        if self.error is not None:
            raise self.error
        return self.now

    async def rejected(self, bearer: str) -> str | None:
        self.rejections.append(bearer)
        self.now = "second"
        return self.now if bearer != self.now else None


def keyed(served: CommandProxy, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {served.secret}", **more}


def told(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)["error"]
    return found


# --- one request -----------------------------------------------------------------------------------------------------


def test_a_request_and_its_answer() -> None:
    """Method, path, query, fields and body reach the API with the live bearer; its status, fields and body come back."""

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        await answer(send, 201, b'{"id": 1}', content_type="application/json", x_request_id="r1", set_cookie="a=1")

    with Api(handler) as api, CommandProxy(Source(api.base)) as served:
        headers = {"X-Api-Key": served.secret, "Cookie": "a=1", "Accept-Encoding": "gzip", "X-Own": "1"}
        status, fields, body = ask(served.url, "POST", "/api/v1/files?purpose=x&key=y", b"data", headers)
    assert (status, body, fields["x-request-id"]) == (201, b'{"id": 1}', "r1")
    assert "set-cookie" not in fields
    (asked,) = api.requests
    assert (asked.method, asked.target, asked.body) == ("POST", "/coding/v1/files?purpose=x", b"data")
    assert asked.headers == {
        "host": api.url.removeprefix("http://"),
        "x-own": "1",
        "content-length": "4",
        "authorization": "Bearer first",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH", "POST"])
def test_methods(method: str) -> None:
    """Each method of an API passes, with a length only where a body may be; a HEAD has no body in its answer."""
    with Api(fine) as api, CommandProxy(Source(api.base)) as served:
        status, _, body = ask(served.url, method, "/api/files/1", headers=keyed(served))
    assert (status, body) == (200, b"" if method == "HEAD" else b"{}")
    assert api.requests[0].headers.get("content-length") == ("0" if method in {"PUT", "PATCH", "POST"} else None)


@pytest.mark.parametrize("status", [204, 304, 402, 403, 404, 429, 500, 529])
def test_other_answers_pass_unchanged(status: int) -> None:
    """Every status but the first 401 is the client's own business, 402 and 403 too."""
    said = b"" if status in {204, 304} else b'{"error": {"message": "no membership"}}'

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        await answer(send, status, said, retry_after="7")

    with Api(handler) as api, CommandProxy(source := Source(api.base)) as served:
        found, fields, body = ask(served.url, "POST", CHAT, b"{}", keyed(served))
    assert (found, body, fields["retry-after"]) == (status, said, "7")
    assert source.rejections == []
    assert len(api.requests) == 1


def test_both_libraries(library: Any) -> None:
    """The connection to the API is of httpx or of httpx2, whichever the program has loaded."""
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return in_library(httpx.Response(200, content=b"fine"), library)

    base = "https://api.kimi.com/coding/v1"
    served = Proxy(Source(base), base, upstream=Upstream(base, library.MockTransport(handler)))
    status, body = asyncio.run(_asked(served, "/api/models"))
    assert (status, body) == (200, b"fine")
    assert isinstance(seen[0], library.Request)
    assert str(seen[0].url) == "https://api.kimi.com/coding/v1/models"


async def _asked(served: Proxy, path: str, receive: Any = None, **options: Any) -> tuple[int, bytes]:
    """A GET straight through ASGI."""
    messages: list[dict[str, Any]] = []

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    outcome = await served.serve(scope, receive or never, send, **options)
    status = messages[0]["status"] if messages else 0
    assert outcome.status == (status or HUNG_UP)
    return status, b"".join(message.get("body", b"") for message in messages)


def test_a_grant_covers_its_paths_only() -> None:
    """A request for another path gets 403 with its reason, and never reaches the API."""
    with Api(fine) as api:
        served = Proxy(Source(api.base), api.base)
        status, body = asyncio.run(_asked(served, "/api/v1/files", allowed=AllowedPaths(["/models"])))
    assert (status, told(body)["code"]) == (403, "path_not_allowed")
    assert api.requests == []


# --- refused bearers -------------------------------------------------------------------------------------------------


async def picky(asked: Asked, receive: Receive, send: Send) -> None:
    """Takes `second` only."""
    is_known = asked.bearer == "second"
    await answer(send, 200 if is_known else 401, b"ok" if is_known else b'{"error": "invalid"}')


def test_a_refused_bearer() -> None:
    """A 401 is answered within the request: the same body goes again with the newer bearer, on the same connection."""
    with Api(picky) as api, CommandProxy(source := Source(api.base)) as served:
        status, _, body = ask(served.url, "POST", CHAT, b"x" * 100_000, keyed(served))
    assert (status, body) == (200, b"ok")
    assert [(asked.bearer, len(asked.body)) for asked in api.requests] == [("first", 100_000), ("second", 100_000)]
    assert source.rejections == ["first"]


def test_a_bearer_that_stays_refused() -> None:
    """A second 401 is the client's, as the API said it, and the next request is served as ever."""
    is_open = threading.Event()

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        await answer(send, *((200, b"ok") if is_open.is_set() else (401, b'{"error": {"message": "expired"}}')))

    with Api(handler) as api, CommandProxy(Source(api.base)) as served:
        refused = ask(served.url, "POST", CHAT, b"{}", keyed(served))
        is_open.set()
        again = ask(served.url, "POST", CHAT, b"{}", keyed(served))
    assert (refused[0], refused[2]) == (401, b'{"error": {"message": "expired"}}')
    assert (again[0], again[2]) == (200, b"ok")
    assert len(api.requests) == 3


@pytest.fixture
def signed_in(tmp_path: Path) -> Iterator[Emulator]:
    """A real login at an emulator."""
    with Emulator(approve_after_s=0, interval_s=0, share_dir=str(tmp_path / "share")) as emulator:
        emulator.sign_in()
        yield emulator


def test_twenty_refused_requests_rotate_once(signed_in: Emulator) -> None:
    """Twenty requests that all meet a 401 cause one rotation, and twenty answers; a second 401 at once ends no service."""
    body = json.dumps({"model": "kimi-for-coding", "messages": [{"role": "user", "content": "hello"}]})
    state = signed_in.state
    session = Session(environ=signed_in.env, clock=Standstill())
    with CommandProxy(session) as served, ThreadPoolExecutor(20) as pool:

        def chat(_: int) -> int:
            return ask(served.url, "POST", CHAT, body, keyed(served))[0]

        assert chat(0) == 200
        state.expire_access()
        assert list(pool.map(chat, range(20))) == [200] * 20
        assert state.counts["refreshes"] == 1
        state.expire_access()
        assert list(pool.map(chat, range(5))) == [401] * 5  # renewed for this reason just now: not again so soon
        assert state.counts["refreshes"] == 1
        assert ask(served.url, "GET", "/api/nothing", headers=keyed(served))[0] in {401, 404}
    assert session.status().state in {"fresh", "expiring"}
    assert state.reused == []


def test_a_second_401_seconds_later(signed_in: Emulator) -> None:
    """Seconds after a rotation for a 401, another one is the clients' and no second rotation; half a minute later there is one, and
    every request is answered again. No sign-in was needed for it."""
    state, clock = signed_in.state, Standstill()
    session = Session(environ=signed_in.env, clock=clock)
    with CommandProxy(session) as served, ThreadPoolExecutor(20) as pool:

        def get(_: int) -> int:
            return ask(served.url, "GET", "/api/v1/models", headers=keyed(served))[0]

        for wait_s, status, refreshes in ((0.0, 200, 1), (5.0, 401, 1), (40.0, 200, 2)):
            clock.go_on(wait_s)
            state.expire_access()
            assert list(pool.map(get, range(20))) == [status] * 20
            assert state.counts["refreshes"] == refreshes
    assert session.status().state == "fresh"
    assert (state.reused, state.counts["device_codes"]) == ([], 0)


# --- streams ---------------------------------------------------------------------------------------------------------


def test_events_pass_as_they_come() -> None:
    """An event is at the client before the API has sent the next one."""
    may_go_on = [threading.Event() for _ in range(3)]

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, gate in enumerate(may_go_on):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await asyncio.to_thread(met, gate)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    with Api(handler) as api, CommandProxy(Source(api.base)) as served:
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"))
        connection.request("POST", CHAT, b"{}", keyed(served))
        response = connection.getresponse()
        assert response.getheader("content-type") == "text/event-stream"
        for number, gate in enumerate(may_go_on):
            assert response.read1() == b"data: %d\n\n" % number
            gate.set()
        assert response.read() == b""
        connection.close()


@pytest.mark.parametrize("when", ["before the head", "in the stream"])
def test_hanging_up_ends_the_request_to_the_api(when: str) -> None:
    """A client that goes away takes its request with it, before the API has answered or in the middle of a stream."""
    has_begun, has_ended = threading.Event(), threading.Event()

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        if when == "in the stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        has_begun.set()
        assert (await receive())["type"] == "http.disconnect"
        has_ended.set()

    with Api(handler) as api, CommandProxy(Source(api.base)) as served:
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"))
        connection.request("POST", CHAT, b"{}", keyed(served))
        if when == "in the stream":
            assert connection.getresponse().read1() == b"data: 1\n\n"
        met(has_begun)
        assert connection.sock is not None or when == "in the stream"
        connection.close()
        met(has_ended)
        assert ask(served.url, "OPTIONS", CHAT, headers=keyed(served))[0] == 405  # it serves on


def test_an_answer_that_breaks_off() -> None:
    """A stream that the API cuts is cut at the client too, which cannot take it for complete."""

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        raise SystemError("the API ends in the middle")

    logging.getLogger("uvicorn.error").disabled = True
    try:
        with Api(handler) as api, CommandProxy(Source(api.base)) as served:
            connection = http.client.HTTPConnection(served.url.removeprefix("http://"))
            connection.request("POST", CHAT, b"{}", keyed(served))
            response = connection.getresponse()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
            connection.close()
            assert ask(served.url, "OPTIONS", CHAT, headers=keyed(served))[0] == 405
    finally:
        logging.getLogger("uvicorn.error").disabled = False


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_a_large_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of 32 MiB passes whole."""
    with Api(fine) as api, CommandProxy(Source(api.base)) as served:
        status, _, _ = ask(served.url, "POST", "/api/files", b"x" * (32 << 20), keyed(served))
    assert (status, len(api.requests[0].body)) == (200, 32 << 20)


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_that_is_too_large(is_declared: bool) -> None:
    """A longer one is refused, by its length or as soon as it is too long, and never reaches the API."""
    size = proxies.BODY_BYTES_MAX + 1

    async def work(served: Proxy) -> tuple[int, bytes]:
        left = [b"x" * (1 << 20)] * 33
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

        async def send(message: Any) -> None:
            messages.append(message)

        declared = (b"content-length", b"%d" % size) if is_declared else (b"transfer-encoding", b"chunked")
        scope = {"type": "http", "method": "POST", "path": "/api/files", "query_string": b"", "headers": [declared]}
        outcome = await served.serve(scope, receive, send)
        assert len(left) == (33 if is_declared else 0)
        return outcome.status, messages[1]["body"]

    with Api(fine) as api:
        served = Proxy(Source(api.base), api.base)
        status, body = asyncio.run(work(served))
        assert (status, told(body)["type"], told(body)["code"]) == (413, "request_too_large", "too_large")
        assert api.requests == []
        assert served._room_bytes == proxies.BODIES_BYTES_MAX


def test_too_many_bodies_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies have so much memory together; one that finds none is asked to come again, and the memory is free afterwards."""
    monkeypatch.setattr(proxies, "BODIES_BYTES_MAX", 10)
    with Api(fine) as api:
        served = Proxy(Source(api.base), api.base)

        async def work(size: int) -> int:
            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b"x" * size, "more_body": False}

            async def send(message: Any) -> None: ...

            fields = [(b"content-length", b"%d" % size)]
            scope = {"type": "http", "method": "POST", "path": "/api/files", "query_string": b"", "headers": fields}
            return (await served.serve(scope, _then_never(receive), send)).status

        async def all_of_them() -> list[int]:
            found = [await work(11), await work(10), await work(10)]
            await served.aclose()
            return found

        assert asyncio.run(all_of_them()) == [503, 200, 200]


def _then_never(receive: Any) -> Any:
    has_been = False

    async def once() -> Any:
        nonlocal has_been
        if has_been:
            await asyncio.Event().wait()
        has_been = True
        return await receive()

    return once


def test_a_client_that_leaves_while_it_sends() -> None:
    """Half a body is no request: nothing reaches the API, and its memory is free."""

    async def work(served: Proxy) -> int:
        messages = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            raise AssertionError(message)

        fields = [(b"content-length", b"8")]
        scope = {"type": "http", "method": "POST", "path": "/api/files", "query_string": b"", "headers": fields}
        return (await served.serve(scope, receive, send)).status

    with Api(fine) as api:
        served = Proxy(Source(api.base), api.base)
        assert asyncio.run(work(served)) == HUNG_UP
        assert api.requests == []
        assert served._room_bytes == proxies.BODIES_BYTES_MAX


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        ("ConnectError", 502, "the API did not answer: All is lost"),
        ("ReadTimeout", 504, "the API did not answer: no complete answer in time"),
        ("RemoteProtocolError", 502, "the API did not answer: the connection ended early or does not speak HTTP"),
        ("ReadError", 502, "the API did not answer: the connection broke"),
    ],
)
def test_an_api_that_fails(library: Any, failure: str, status: int, message: str) -> None:
    """A failure on the way is an error of ours that clients repeat; its text holds nothing of the request."""

    def handler(request: Any) -> Any:
        raise getattr(library, failure)("All is lost")

    base = "https://api.kimi.com/coding/v1"
    served = Proxy(Source(base), base, upstream=Upstream(base, library.MockTransport(handler)))
    found, body = asyncio.run(_asked(served, "/api/models"))
    assert (found, told(body)["code"]) == (status, "unreachable")
    assert told(body)["message"].startswith(message)


def test_no_api_there() -> None:
    """A port where nothing listens gives 502 and the system's reason."""
    with silent_port() as port, CommandProxy(Source(f"http://127.0.0.1:{port}/v1")) as served:
        status, headers, body = ask(served.url, "POST", CHAT, b"{}", keyed(served))
    assert (status, told(body)["code"], headers["x-should-retry"]) == (502, "unreachable", "true")
    assert "Connection refused" in told(body)["message"]


@pytest.mark.parametrize(
    ("error", "status"), [(NotSignedIn("not signed in"), 401), (Unreachable("no answer", retry_after_s=3), 503)]
)
def test_no_login(error: KimiAuthError, status: int) -> None:
    """Without a token the client gets kimi-auth's own error with the next step, and the API is not asked."""
    with Api(fine) as api, CommandProxy(Source(api.base, error)) as served:
        found, _, body = ask(served.url, "POST", CHAT, b"{}", keyed(served))
    assert (found, told(body)["code"], told(body)["message"]) == (status, error.code, error.line)
    assert api.requests == []


def test_a_redirect_is_not_followed() -> None:
    """A redirect to another host is an error, and one within the API leads through the proxy."""

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        await answer(send, 307, b"", location="https://evil.example/x" if asked.target.endswith("away") else "there")

    with Api(handler) as api, CommandProxy(Source(api.base)) as served:
        away = ask(served.url, "POST", "/api/away", b"{}", keyed(served))
        near = ask(served.url, "POST", "/api/here", b"{}", keyed(served))
    assert (away[0], told(away[2])["code"], "location" in away[1]) == (502, "redirected", False)
    assert (near[0], near[1]["location"]) == (307, "/api/there")
    assert len(api.requests) == 2


def test_a_base_for_no_bearer() -> None:
    """A bearer goes over TLS or to this machine: another base is refused when the proxy is made."""
    with pytest.raises(ValueError, match="no bearer is sent"):
        Proxy(Source("http://api.kimi.com/v1"), "http://api.kimi.com/v1")


def test_cancelling_is_no_hanging_up() -> None:
    """The server's own stop ends a request as a cancellation, which goes on to its caller."""

    has_come = threading.Event()

    async def handler(asked: Asked, receive: Receive, send: Send) -> None:
        has_come.set()
        await receive()

    async def work(api: Api) -> bool:
        served = Proxy(Source(api.base), api.base)
        task = asyncio.create_task(_asked(served, "/api/models"))
        await asyncio.to_thread(met, has_come)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await served.aclose()
        return task.cancelled()

    with Api(handler) as api:
        assert asyncio.run(work(api))


def test_connections_are_used_again() -> None:
    """Requests one after the other use one connection to the API; an idle one is closed after its time."""

    async def work(api: Api) -> list[int]:
        upstream = Upstream(api.base)
        served = Proxy(Source(api.base), api.base, upstream=upstream)
        counts = []
        for _ in range(3):
            await _asked(served, "/api/models")
            counts.append(len(upstream._idle))
        await asyncio.gather(*(_asked(served, "/api/models") for _ in range(4)))
        counts.append(len(upstream._idle))
        await served.aclose()
        counts.append(len(upstream._idle))
        return counts

    with Api(fine) as api:
        counts = asyncio.run(work(api))
    assert counts[:3] == [1, 1, 1]
    assert 1 <= counts[3] <= 4
    assert counts[4] == 0
