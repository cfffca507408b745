"""The proxy as a route of the service: whose key it takes, which paths a grant covers, and the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from kimi_auth.errors import NotSignedIn
from kimi_auth.serving.app import build_app
from kimi_auth.serving.proxied import routes_of
from kimi_auth.serving.proxy import BODY_BYTES_MAX, Proxy
from kimi_auth.serving.records import Grant
from kimi_auth.serving.server import Door
from kimi_auth.serving.upstream import Upstream
from kimi_auth.testing import StaticTokens
from serving.conftest import ME, OWNER, TCP, Desk

BASE = "https://api.kimi.com/coding/v1"


class Api:
    """An API in memory, which says whose bearer it got."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json={"bearer": request.headers["authorization"].removeprefix("Bearer ")})


@pytest.fixture
def api(desk: Desk) -> Api:
    """An API behind the desk."""
    found, source = Api(), StaticTokens("access-of-the-login", api_origin=BASE)
    proxy = Proxy(source, BASE, upstream=Upstream(BASE, httpx.MockTransport(found)))
    desk.app = build_app(desk.service, more=routes_of(source, proxy)(desk.service))
    return found


def keyed(desk: Desk, grant: Grant, name: str = "x-api-key") -> dict[str, str]:
    return {name: desk.handles.secret(grant.id)}


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-goog-api-key"])
def test_a_grant_s_key(desk: Desk, api: Api, name: str) -> None:
    """A grant's secret is a key in whatever field a client puts it, at its own socket and over TCP; the API gets the login's token."""
    grant = desk.issue()
    for door in (TCP, Door("grant agent", frozenset({ME}), grant.id)):
        found = desk.ask("GET", "/api/v1/models", door=door, headers=keyed(desk, grant, name))
        assert (found.status_code, found.json()) == (200, {"bearer": "access-of-the-login"})
    assert desk.service.counts["proxied", "grant"] == 2
    assert desk.service.counts["answered", "200"] == 2


def test_the_token_is_a_key_at_its_socket(desk: Desk, api: Api) -> None:
    """At a grant's socket the access token of now is a key, as kimi-code sends it; an earlier one is refused without a wait, and over TCP
    neither is worth anything."""
    grant = desk.issue()
    desk.login.number = 2
    door = Door("grant agent", frozenset({ME}), grant.id)
    asked = [(door, "access-2", 200), (door, "access-1", 401), (TCP, "access-2", 401)]
    for at, key, status in asked:
        found = desk.ask("GET", "/api/v1/models", door=at, headers={"authorization": f"Bearer {key}"})
        assert found.status_code == status
        assert desk.slowed == ([] if at is door else [0.25])


def test_the_owner_needs_no_key(desk: Desk, api: Api) -> None:
    """At the owner's own socket the user is known."""
    assert desk.ask("GET", "/api/models", door=OWNER).status_code == 200


def test_the_audit_log(desk: Desk, api: Api) -> None:
    """Each request that is passed on has a line with its grant, method and path, and without its query or a token."""
    grant = desk.issue()
    desk.ask("POST", "/api/chat/completions?trace=1", headers=keyed(desk, grant), content=b"{}")
    line = list(desk.audit.lines())[-1]
    assert (line["what"], line["grant"], line["about"]) == ("proxied", "agent", "POST /chat/completions")
    assert "access" not in json.dumps({name: value for name, value in line.items() if name != "fp"})


def test_paths_of_a_grant(desk: Desk, api: Api) -> None:
    """A grant with paths covers those, and the list survives on disk."""
    grant = desk.issue(paths=("/models", "/files/*"))
    assert desk.files.standing(grant.id, desk.clock.now_s).grant == grant
    statuses = {
        path: desk.ask("GET", f"/api/v1{path}", headers=keyed(desk, grant)).status_code
        for path in ("/models", "/files/1", "/files", "/chat/completions", "/models/x")
    }
    assert statuses == {"/models": 200, "/files/1": 200, "/files": 403, "/chat/completions": 403, "/models/x": 403}
    assert len(api.requests) == 2


@pytest.mark.parametrize("paths", [("models",), ("/a//b",), ("/x",) * 65])
def test_paths_that_are_none(paths: tuple[str, ...]) -> None:
    """A grant with a path that cannot be one is not issued."""
    with pytest.raises(ValueError, match="path"):
        Grant.new("agent", (ME,), 1.0, paths=paths)


def test_a_record_without_paths(desk: Desk) -> None:
    """A damaged list of paths covers nothing, rather than everything."""
    grant = desk.issue()
    place = Path(desk.files.folder) / "grants" / f"{grant.id}.grant"
    told = json.loads(place.read_text())
    for damaged in (None, "*", [1], ["models"]):
        with pytest.raises(ValueError, match="path"):
            Grant.parsed(grant.id, json.dumps({**told, "paths": damaged}).encode())


def test_refusals_have_the_form_of_the_api(desk: Desk, api: Api) -> None:
    """Of the guards, of the grant and of the login: a client of the API can show each of them; nothing reaches the API."""
    grant = desk.issue()
    key = keyed(desk, grant)
    asked = {
        "none": desk.ask("GET", "/api/models"),
        "forged": desk.ask("GET", "/api/models", headers={"x-api-key": "kas.guess"}),
        "handle": desk.ask("GET", "/api/models", headers={"x-api-key": desk.handle(grant)}),
        "browser": desk.ask("GET", "/api/models", headers={**key, "origin": "https://evil.example"}),
        "host": desk.ask("GET", "/api/models", headers={**key, "host": "evil.example"}),
        "path": desk.ask("GET", "/api/a%2Fb", headers=key),
        "method": desk.ask("TRACE", "/api/models", headers=key),
        "large": desk.ask("POST", "/api/files", headers={**key, "content-length": str(BODY_BYTES_MAX + 1)}),
    }
    desk.login.error = NotSignedIn("not signed in")
    asked["login"] = desk.ask("GET", "/api/models", headers=key)
    desk.clock.now_s += 1
    found = {name: (one.status_code, one.json()["error"]["code"], one.json()["type"]) for name, one in asked.items()}
    assert {name: status for name, (status, _, _) in found.items()} == {
        "none": 401,
        "forged": 401,
        "handle": 401,
        "browser": 403,
        "host": 421,
        "path": 400,
        "method": 405,
        "large": 413,
        "login": 503,
    }
    assert {kind for _, _, kind in found.values()} == {"error"}
    assert api.requests == []


def test_an_ended_grant(desk: Desk, api: Api) -> None:
    """A revoked grant's key is refused at once."""
    grant = desk.issue()
    desk.files.revoke(grant.id, desk.clock.now_s, "test")
    found = desk.ask("GET", "/api/models", headers=keyed(desk, grant))
    assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_token")
    assert api.requests == []


def test_a_rate(desk: Desk, api: Api) -> None:
    """A grant that asks too often is told when to come again."""
    grant = desk.issue(per_minute=1)
    found = [desk.ask("GET", "/api/models", headers=keyed(desk, grant)) for _ in range(4)]
    assert found[-1].status_code == 429
    assert int(found[-1].headers["retry-after"]) > 0
    assert found[-1].json()["error"]["code"] == "slow_down"
