"""The proxy of one command at its door: the key, web pages, other names, escapes and smuggled requests, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import pytest
from house.patience import NO_LIMIT_S, until

from kimi_auth.serving import guards
from kimi_auth.serving.command_proxy import CommandProxy
from kimi_auth.serving.guards import SlowDown
from kimi_auth.testing import StaticTokens
from serving.api import Api, ask, fine


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(fine) as found:
        yield found


@pytest.fixture
def served(api: Api) -> Iterator[CommandProxy]:
    with CommandProxy(StaticTokens(api_origin=api.base)) as found:
        yield found


def raw(served: CommandProxy, request: str) -> tuple[int, bytes]:
    """The status of the first answer to these bytes, and everything that came back until the connection was closed."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=NO_LIMIT_S) as sent:
        sent.sendall(request.replace("\n", "\r\n").replace("KEY", served.secret).encode("latin-1"))
        found = b""
        while part := sent.recv(65536):
            found += part
    return int(found.split(b" ", 2)[1]) if found else 0, found


KEYED = "Host: 127.0.0.1\nAuthorization: Bearer KEY\nConnection: close\n"


def test_a_plain_request(served: CommandProxy, api: Api) -> None:
    """The harness's own request is served, so that a refusal below is one of the attack."""
    assert raw(served, f"GET /api/models HTTP/1.1\n{KEYED}\n")[0] == 200
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic KEY"},
        {"Authorization": "Bearer KEY.."},
        {"X-Api-Key": ""},
        {"Cookie": "key=KEY"},
        {"Proxy-Authorization": "Bearer KEY"},
    ],
    ids=str,
)
def test_a_request_without_the_key(
    served: CommandProxy, api: Api, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this command's key nothing is asked of the API; the answer tells where the key is, and not what it is."""
    monkeypatch.setattr(SlowDown, "FIRST_S", 0.0)
    sent = {name: value.replace("KEY", served.secret) for name, value in headers.items()}
    status, fields, body = ask(served.url, "GET", "/api/models", headers=sent)
    error = json.loads(body)["error"]
    assert (status, error["type"], error["code"]) == (401, "authentication_error", "wrong_key")
    assert "kimi-auth run --proxy" in error["message"]
    assert served.secret not in body.decode()
    assert fields["x-should-retry"] == "false"
    assert api.requests == []


def test_a_guesser_locks_out_no_one(served: CommandProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """While wrong keys wait for their answers, the right one is served at once."""
    held: list[Callable[[], object]] = []

    async def wait(delay_s: float) -> None:
        assert delay_s > 0
        over = asyncio.Event()
        held.append(partial(asyncio.get_running_loop().call_soon_threadsafe, over.set))
        await over.wait()

    monkeypatch.setattr(guards, "asyncio", SimpleNamespace(sleep=wait))
    with ThreadPoolExecutor(8) as pool:
        wrong = [pool.submit(ask, served.url, "GET", "/api/models", None, {"X-Api-Key": f"{n}"}) for n in range(8)]
        try:
            until(lambda tick_s: len(held) == 8 or time.sleep(min(tick_s, 0.02)), "the wait of eight wrong keys")
            assert ask(served.url, "GET", "/api/models", headers={"X-Api-Key": served.secret})[0] == 200
            assert not any(one.done() for one in wrong)
        finally:
            for let_go in held:
                let_go()
        assert {one.result()[0] for one in wrong} == {401}


def test_the_key_is_no_part_of_a_repr(served: CommandProxy) -> None:
    """The repr of a proxy shows its address only, and each proxy has a key of its own."""
    with CommandProxy(StaticTokens(api_origin="http://127.0.0.1:9/v1")) as other:
        assert other.secret != served.secret
        assert len(other.secret) >= 43
        assert repr(other) == f"CommandProxy(url='{other.url}')"


@pytest.mark.parametrize(
    ("base", "shown"), [("/coding/v1", "/api/v1"), ("/coding/v1/", "/api/v1"), ("/api", "/api"), ("", "/api")]
)
def test_base_url(base: str, shown: str) -> None:
    """The base URL has the version where the API's has it, as clients of OpenAI expect it."""
    served = CommandProxy(StaticTokens(api_origin=f"http://127.0.0.1:9{base}"))
    assert served.base_url == shown


BROWSERS = {
    "a page's fetch": "Origin: https://evil.example",
    "a page's form": "Origin: null",
    "a page's image": "Sec-Fetch-Site: cross-site",
    "a page of this machine": "Origin: http://127.0.0.1:8000",
    "a preflight": "Origin: https://evil.example\nAccess-Control-Request-Method: POST",
}


@pytest.mark.parametrize("mark", BROWSERS.values(), ids=BROWSERS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_web_page(served: CommandProxy, api: Api, mark: str, method: str) -> None:
    """No web page may use the proxy, not even one that knows the key, and no answer permits it to read one."""
    status, answer = raw(served, f"{method} /api/models HTTP/1.1\n{KEYED}{mark}\n\n")
    assert status == 403
    assert b"access-control" not in answer.lower()
    assert api.requests == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.nip.io", "[::1].evil.example", ""])
def test_dns_rebinding(served: CommandProxy, api: Api, host: str) -> None:
    """A page whose own name resolves to 127.0.0.1 is refused by that name."""
    status, _ = raw(served, f"GET /api/models HTTP/1.1\nHost: {host}\nX-Api-Key: KEY\nConnection: close\n\n")
    assert status in {400, 421}
    assert api.requests == []


ESCAPES = [
    "/api/../admin",
    "/api/%2e%2e/admin",
    "/api/..%2fadmin",
    "/api/..%5cadmin",
    "/api/..\\admin",
    "/api/%252e%252e/admin",
    "/api//admin",
    "//evil.example/api/models",
    "/api/..;/admin",
    "/api/models%00",
    "/api/models%0d%0aX:%20y",
    "http://evil.example/api/models",
    "https://api.kimi.com/coding/v1/models",
    "/v1/models",
    "/",
    "/metrics",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leads_elsewhere(served: CommandProxy, api: Api, path: str) -> None:
    """Nothing outside of the API is reached, by any spelling."""
    assert raw(served, f"GET {path} HTTP/1.1\n{KEYED}\n")[0] in {400, 404}
    assert api.requests == []


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "OPTIONS", "PROPFIND"])
def test_other_methods(served: CommandProxy, api: Api, method: str) -> None:
    """The proxy is no tunnel and no mirror."""
    target = "api.kimi.com:443" if method == "CONNECT" else "/api/models"
    assert raw(served, f"{method} {target} HTTP/1.1\n{KEYED}\n")[0] in {400, 405}
    assert api.requests == []


SMUGGLED = "GET /api/smuggled HTTP/1.1\nHost: 127.0.0.1\nX-Api-Key: KEY\n\n"
SMUGGLING = {
    "CL.TE": f"Content-Length: 6\nTransfer-Encoding: chunked\n\n0\n\n{SMUGGLED}",
    "TE.CL": f"Transfer-Encoding: chunked\nContent-Length: 4\n\n5c\n{SMUGGLED}\n0\n\n",
    "two lengths": f"Content-Length: 0\nContent-Length: 44\n\n{SMUGGLED}",
    "two lengths in one": f"Content-Length: 0, 44\n\n{SMUGGLED}",
    "a signed length": f"Content-Length: +0\n\n{SMUGGLED}",
    "a length of other digits": f"Content-Length: 0x0\n\n{SMUGGLED}",
    "two codings": f"Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n{SMUGGLED}",
    "an unknown coding": f"Transfer-Encoding: xchunked\n\n0\n\n{SMUGGLED}",
    "a coding with a blank before the colon": f"Transfer-Encoding : chunked\n\n0\n\n{SMUGGLED}",
    "an underscore for a dash": f"Content_Length: 44\n\n{SMUGGLED}",
    "two hosts": f"Host: evil.example\n\n{SMUGGLED}",
}


@pytest.mark.parametrize("rest", SMUGGLING.values(), ids=SMUGGLING)
def test_a_smuggled_request(served: CommandProxy, api: Api, rest: str) -> None:
    """A request whose end, or whose host, could be read in two ways is refused, and what follows it is not read at all."""
    status, answer = raw(served, f"POST /api/files HTTP/1.1\nHost: 127.0.0.1\nX-Api-Key: KEY\n{rest}")
    assert status in {400, 501}
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert api.requests == []


def test_a_line_break_in_a_field(served: CommandProxy, api: Api) -> None:
    """A bare CR or LF in a field's value makes no second field, here or at the API."""
    for value in ("a\rX-Smuggled: 1", "a\x0bb", "a\0b"):
        status, _ = raw(served, f"GET /api/models HTTP/1.1\n{KEYED}X-Own: {value}\n\n")
        assert status == 400
    assert api.requests == []


def test_a_head_without_end(served: CommandProxy, api: Api) -> None:
    """A head that does not end is not read to its end."""
    with contextlib.suppress(ConnectionError):  # the connection may be closed while we still send
        assert raw(served, f"GET /api/models HTTP/1.1\n{KEYED}X-Own: {'x' * 2_000_000}\n\n")[0] in {400, 431, 0}
    assert api.requests == []
