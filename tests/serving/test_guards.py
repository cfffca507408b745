"""What the guards refuse: web pages, other users, other names, contradictory requests, endless bodies; and whom they slow down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kimi_auth.serving.guards import (
    BodyTooLarge,
    Guarded,
    SlowDown,
    host_refusal,
    is_from_browser,
    is_same_secret,
    is_strange_path,
    peer_refusal,
    request_refusal,
)
from kimi_auth.serving.listening import unsafe_address
from kimi_auth.serving.server import TCP, Door, Peer

LOCAL = [(b"host", b"127.0.0.1:5000")]
MINE = Door("owner", frozenset({1000}))


def scope(path: str = "/v1/token", headers: list[tuple[bytes, bytes]] | None = None, **more: Any) -> dict[str, Any]:
    state = {"door": more.get("door", TCP), "peer": more.get("peer")}
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": LOCAL if headers is None else headers,
        "state": state,
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:5", "127.9.9.9"])
def test_a_loopback_host_is_served(host: str) -> None:
    """Every name and address of this machine's loopback is its own name."""
    assert host_refusal([(b"host", host.encode())]) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost.",
        "evil.example@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1/evil.example",
        "[::1",
        "[::1].evil.example",
        "192.168.1.2",
        "0.0.0.0",
        "0x7f000001",
        "\xe9vil.example",
    ],
)
def test_another_host_is_refused(host: str) -> None:
    """A name that a web page brought along (DNS rebinding) gets 421, also where it only looks like ours."""
    refusal = host_refusal([(b"host", host.encode("latin-1"))])
    assert refusal is not None
    assert refusal.status == 421


def test_no_host_is_refused() -> None:
    """A request without a Host header names no server, and so not this one."""
    assert host_refusal([]) is not None


def test_a_named_host_is_served() -> None:
    """Where a server is reached by a name of its own, that name is given, and no other one counts."""
    assert host_refusal([(b"host", b"kimi.internal:443")], {"kimi.internal"}) is None
    assert host_refusal([(b"host", b"evil.internal:443")], {"kimi.internal"}) is not None


NODE = (b"sec-fetch-mode", b"cors")


@pytest.mark.parametrize(
    "header",
    [
        (b"origin", b"https://evil.example"),
        (b"origin", b"null"),
        (b"origin", b"http://127.0.0.1:5000"),
        (b"sec-fetch-site", b"none"),
        (b"sec-fetch-mode", b"no-cors"),
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization"),
    ],
)
def test_a_browser_is_told(header: tuple[bytes, bytes]) -> None:
    """Whatever only browsers add marks a web page's request, the page of another local server included."""
    assert is_from_browser([*LOCAL, header])
    assert is_from_browser([*LOCAL, NODE, header])
    assert not is_from_browser(LOCAL)


def test_fetch_of_node_is_no_browser() -> None:
    """Node's `fetch`, with which kimi-code and the JavaScript SDKs ask, marks each request with `Sec-Fetch-Mode: cors` and nothing else."""
    assert not is_from_browser([*LOCAL, NODE])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"localhost"), (b"host", b"evil.example")],
        [*LOCAL, (b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [*LOCAL, (b"content-length", b"1"), (b"content-length", b"2")],
        [*LOCAL, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [*LOCAL, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity")],
        [*LOCAL, (b"content-type", b"a/b"), (b"content-type", b"c/d")],
        [*LOCAL, (b"x_forwarded_for", b"1.2.3.4")],
    ],
)
def test_a_contradictory_request_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """Headers that two servers read differently (request smuggling) get 400."""
    refusal = request_refusal(scope(headers=headers))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "contradictory")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "api",
        "http://evil.example/",
        "/api/../v1/token",
        "/api/./x",
        "/api/%2e%2e/v1/token",
        "/api/%2E./v1/token",
        "/api//v1",
        "//evil.example/x",
        "/api%2fv1",
        "/api/%5c..%5cv1",
        "/api\\..\\v1",
        "/api/%252e%252e/v1",
        "/api/\x00",
        "/api/%00",
        "/api/%0d%0aHost:x",
        "/api/ x",
    ],
)
def test_a_strange_path_is_told(path: str) -> None:
    """A path that one server could read as another path is refused before it is matched."""
    assert is_strange_path(path.encode())


@pytest.mark.parametrize(
    "path", ["/", "/v1/token", "/v1/token/", "/api/oauth/token?a=/../b", "/api/v1/files/a%20b.txt".replace("%20", "-")]
)
def test_a_plain_path_passes(path: str) -> None:
    """Paths as clients send them are served; a query is no part of the path."""
    assert not is_strange_path(path.encode())


def test_only_its_users_come_in_by_a_door() -> None:
    """Another user, root included, and a peer that the kernel cannot name get 403 at a door with users."""
    assert peer_refusal(MINE, Peer(1000, 1000)) is None
    assert peer_refusal(TCP, None) is None
    for peer in (Peer(1001, 1000), Peer(0, 0), Peer(-1, -1), None):
        refusal = peer_refusal(MINE, peer)
        assert refusal is not None
        assert refusal.status == 403


@pytest.mark.parametrize(
    ("given", "expected", "same"),
    [("a", "a", True), ("a", "b", False), ("", "", False), ("", "a", False), ("\udc80", "a", False), ("é", "e", False)],
)
def test_secrets_are_compared_whole(given: str, expected: str, *, same: bool) -> None:
    """Equal is equal; no secret is never the right one, and no text of a client makes it fail."""
    assert is_same_secret(given, expected) is same


@pytest.mark.parametrize(
    ("host", "has_tls", "allow_remote", "ok"),
    [
        ("127.0.0.1", False, False, True),
        ("localhost", False, False, True),
        ("0.0.0.0", False, False, False),
        ("0.0.0.0", True, False, False),
        ("0.0.0.0", False, True, False),
        ("0.0.0.0", True, True, True),
        ("192.0.2.1", False, True, False),
    ],
)
def test_a_public_address_needs_tls_and_a_word(host: str, has_tls: bool, allow_remote: bool, ok: bool) -> None:
    """Other machines reach the server over TLS only, and only where its owner said so."""
    assert (unsafe_address(host, has_tls=has_tls, allow_remote=allow_remote) == "") is ok


def test_wrong_secrets_wait_longer_and_longer() -> None:
    """Each wrong secret of a source doubles its wait up to a bound; another source starts at the first one; the count ends."""
    slow = SlowDown()
    waits = [slow.delay_s("uid 1", 100.0) for _ in range(9)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    assert slow.delay_s("uid 2", 100.0) == 0.25
    assert slow.delay_s("uid 1", 100.0 + SlowDown.FORGOTTEN_AFTER_S + 1) == 0.25


def test_many_sources_cost_bounded_memory() -> None:
    """A guesser with a new address for each guess fills no memory."""
    slow = SlowDown()
    for number in range(SlowDown.SOURCES_MAX + 10):
        slow.delay_s(str(number), 0.0)
    assert len(slow._wrong) == SlowDown.SOURCES_MAX


def run(app: Any, asked: dict[str, Any], *bodies: bytes, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    """The status of an answer through the guards, and all messages."""
    sent: list[dict[str, Any]] = []
    parts = list(bodies) or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guarded(app, **options)(asked, receive, send))  # type: ignore[arg-type]
    return sent[0]["status"], sent


async def reads_all(_: Any, receive: Any, send: Any) -> None:
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_plain_request_passes() -> None:
    """Guards let through what they have nothing against."""
    assert run(reads_all, scope(), b"x")[0] == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (scope(headers=[(b"host", b"evil.example")]), 421),
        (scope(headers=[*LOCAL, (b"origin", b"null")]), 403),
        (scope(headers=[*LOCAL, (b"content-length", b"11")]), 413),
        (scope(headers=[*LOCAL, (b"content-length", b"9" * 5000)]), 413),
        (scope(headers=[*LOCAL, (b"content-length", b"-1")]), 413),
        (scope("/a/../b"), 400),
        (scope(door=MINE, peer=Peer(5, 5)), 403),
    ],
)
def test_a_refused_request_reaches_no_app(asked: dict[str, Any], status: int) -> None:
    """Each guard answers instead of the app, permits no page to read it, and closes the connection."""

    async def unreachable(*_: Any) -> None:
        raise AssertionError

    got, sent = run(unreachable, asked, body_max={"/": 10})
    assert got == status
    names = {name for name, _ in sent[0]["headers"]}
    assert not [name for name in names if name.startswith(b"access-control")]
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_body_without_a_length_is_bounded() -> None:
    """A chunked body that grows beyond the limit of its path gets 413, and the app never sees the rest."""
    assert run(reads_all, scope(), b"12345", b"67890", body_max={"/": 10, "/other": 1})[0] == 200
    assert run(reads_all, scope(), b"12345", b"678901", body_max={"/": 10})[0] == 413
    assert run(reads_all, scope("/api/big"), b"12345678901", body_max={"/": 10, "/api/": 20})[0] == 200


def test_a_begun_answer_is_not_answered_again() -> None:
    """An app that answers before it has read everything is not followed by a second answer."""

    async def hasty(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    with pytest.raises(BodyTooLarge):
        run(hasty, scope(), b"12345678901", body_max={"/": 10})
