"""The endpoints through the guards: what a sandbox gets, and the attacks of RFC 9700 and of local web pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kimi_auth.errors import NotSignedIn, Unreachable
from kimi_auth.serving.handles import Handles
from kimi_auth.serving.server import Door, Peer
from kimi_auth.token import key_fingerprint
from serving.conftest import CLIENT_ID, ME, OWNER, TCP, Desk


def door(desk: Desk, grant_id: str, *uids: int) -> Door:
    return Door("grant agent", frozenset(uids or (ME,)), grant_id)


def test_a_handle_is_renewed(desk: Desk) -> None:
    """RFC 6749 §6: a handle brings the current access token, its life, and the handle that goes with it; never a real one."""
    grant = desk.issue()
    answer = desk.renew(desk.handle(grant, number=0), door=door(desk, grant.id))
    assert answer.status_code == 200
    assert answer.json() == {
        "access_token": "access-1",
        "refresh_token": desk.handle(grant),
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "kimi-code",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert "the-real-refresh-token" not in answer.text
    assert desk.login.asked[0].has_fp == key_fingerprint("access-0")


def test_an_old_handle_is_as_good_as_the_newest(desk: Desk) -> None:
    """Two clients with one file, or one that lost an answer, ask with an old handle: both get the current pair."""
    grant = desk.issue()
    desk.login.number = 3
    answers = [desk.renew(desk.handle(grant, number)).json() for number in (1, 2, 3, 1)]
    assert {answer["access_token"] for answer in answers} == {"access-3"}
    assert len({answer["refresh_token"] for answer in answers}) == 1


@pytest.mark.parametrize("at", range(4))
def test_a_forged_handle_is_refused(desk: Desk, at: int) -> None:
    """A handle with another grant, another fingerprint, another MAC or of another key is invalid_grant, and waits longer each time."""
    grant, other = desk.issue("a"), desk.issue("b")
    good = desk.handle(grant)
    forged = [
        good.replace(grant.id, other.id),
        good.replace(key_fingerprint("access-1"), key_fingerprint("access-2")),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        Handles(b"x" * 32).handle(grant.id, key_fingerprint("access-1")),
    ][at]
    answers = [desk.renew(forged) for _ in range(3)]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(400, "invalid_grant")] * 3
    assert desk.slowed == [0.25, 0.5, 1.0]
    assert desk.told()[-3:] == ["refused forged"] * 3
    assert desk.login.asked == []


def test_a_guesser_locks_no_other_client_out(desk: Desk) -> None:
    """While wrong handles of one source wait ever longer, a right one of the same source is answered at once."""
    grant = desk.issue()
    for _ in range(9):
        desk.renew("kah.guess")
    slowed = list(desk.slowed)
    assert desk.renew(desk.handle(grant)).status_code == 200
    assert desk.slowed == slowed


@pytest.mark.parametrize(
    "text", ["", "kah", "kah...", "x" * 100_000, "kas.0.0", "\x00", "é" * 40, "emulated-refresh-1"]
)
def test_no_handle_is_refused(desk: Desk, text: str) -> None:
    """Anything else than a handle, a real refresh token too, is refused without a look at any grant."""
    answer = desk.renew(text)
    assert answer.status_code in {400, 413}
    assert desk.login.asked == []


def test_a_handle_of_another_grant_is_refused_at_this_socket(desk: Desk) -> None:
    """A handle that was carried from one sandbox into another is refused there and written down, and its own grant goes on."""
    mine, other = desk.issue("mine"), desk.issue("other")
    answer = desk.renew(desk.handle(other), door=door(desk, mine.id))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert desk.told()[-1] == "refused other_grant"
    assert desk.renew(desk.handle(other), door=door(desk, other.id)).status_code == 200


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_replayed_handle_of_an_ended_grant_is_refused(desk: Desk, end: str) -> None:
    """After its grant has ended, no handle and no secret of it is worth anything, at any socket; the log has each try."""
    grant = desk.issue(ttl_s=60)
    assert desk.renew(desk.handle(grant)).status_code == 200
    if end == "revoked":
        assert desk.ask("POST", "/api/oauth/revoke", data={"token": desk.handle(grant)}).status_code == 200
    else:
        desk.clock.now_s += 61
    for at in (TCP, door(desk, grant.id)):
        answer = desk.renew(desk.handle(grant), door=at)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        secret = desk.handles.secret(grant.id)
        answer = desk.ask("GET", "/v1/token", door=at, headers={"authorization": f"Bearer {secret}"})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert desk.told()[-4:] == [f"refused {end}"] * 4


def test_a_sandbox_signs_out_of_its_grant_only(desk: Desk) -> None:
    """RFC 7009: a handle that is revoked ends its grant; the login and the other grants stay, and so does 200 for the unknown."""
    grant, other = desk.issue("a"), desk.issue("b")
    for _ in range(2):
        answer = desk.ask("POST", "/api/oauth/revoke", data={"token": desk.handle(grant), "client_id": CLIENT_ID})
        assert (answer.status_code, answer.content) == (200, b"")
    assert desk.ask("POST", "/api/oauth/revoke", data={"token": "access-1"}).status_code == 200
    assert desk.renew(desk.handle(grant)).status_code == 400
    assert desk.renew(desk.handle(other)).status_code == 200


def test_a_handle_of_another_sandbox_ends_nothing(desk: Desk) -> None:
    """At its own socket a sandbox cannot end another one's grant, whose handle it may have seen."""
    mine, other = desk.issue("a"), desk.issue("b")
    answer = desk.ask("POST", "/api/oauth/revoke", data={"token": desk.handle(other)}, door=door(desk, mine.id))
    assert answer.status_code == 400
    assert desk.renew(desk.handle(other)).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_id": "another-client"}, 401, "invalid_client"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"refresh_token": ""}, 400, "invalid_request"),
    ],
)
def test_another_request_is_refused(desk: Desk, form: dict[str, str], status: int, error: str) -> None:
    """Handles are renewed for the login's own client, and nothing else is granted."""
    answer = desk.renew(desk.handle(desk.issue()), form=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert desk.login.asked == []


def test_a_repeated_parameter_is_refused(desk: Desk) -> None:
    """RFC 6749 §3.2: of two refresh tokens in one request neither is chosen."""
    handle = desk.handle(desk.issue())
    body = f"grant_type=refresh_token&refresh_token={handle}&refresh_token={handle}"
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert desk.ask("POST", "/api/oauth/token", content=body, headers=form).json()["error"] == "invalid_request"


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", ""])
def test_a_form_of_a_web_page_is_no_request(desk: Desk, kind: str) -> None:
    """The bodies that a page can send without asking (CSRF) are no token request, even without the marks of a browser."""
    body = f"grant_type=refresh_token&refresh_token={desk.handle(desk.issue())}"
    answer = desk.ask("POST", "/api/oauth/token", content=body, headers={"content-type": kind})
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_a_token_is_posted_for(desk: Desk, method: str) -> None:
    """A handle in a URL, which logs keep and pages can load, is not looked at."""
    answer = desk.ask(method, f"/api/oauth/token?grant_type=refresh_token&refresh_token={desk.handle(desk.issue())}")
    assert answer.status_code == 405
    assert desk.login.asked == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:47823"}, 421),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 403),
        ({"access-control-request-method": "POST"}, 403),
        ({"x_forwarded_host": "evil.example"}, 400),
    ],
)
@pytest.mark.parametrize("at", [OWNER, TCP], ids=["owner", "tcp"])
def test_a_web_page_gets_nothing(desk: Desk, headers: dict[str, str], status: int, at: Door) -> None:
    """Neither a rebound name nor a page's request reaches an endpoint, at the owner's own socket too; no answer allows a page to read."""
    answer = desk.ask("GET", "/v1/token", door=at, headers=headers)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "access-1" not in answer.text
    assert desk.told() != []


@pytest.mark.parametrize("uid", [ME + 1, 65534, 2**32 - 1])
def test_another_user_gets_nothing(desk: Desk, uid: int) -> None:
    """Whatever they ask, users whom a socket does not name get 403; a grant's users may use its socket, and no other one."""
    grant = desk.issue()
    for at in (OWNER, door(desk, grant.id)):
        for path in ("/v1/token", "/healthz", "/api/oauth/token", "/metrics"):
            assert desk.ask("GET", path, door=at, peer=Peer(uid, 0, 1)).status_code == 403
    assert desk.renew(desk.handle(grant), door=door(desk, grant.id, uid), peer=Peer(uid, 0)).status_code == 200


def test_only_the_owner_asks_without_a_secret(desk: Desk) -> None:
    """At the owner's socket the kernel says who asks; over TCP and at a grant's socket a secret is needed, the right one."""
    grant, other = desk.issue("a"), desk.issue("b")
    assert desk.ask("GET", "/v1/token", door=OWNER).json()["access_token"] == "access-1"
    for at in (TCP, door(desk, grant.id)):
        assert desk.ask("GET", "/v1/token", door=at).status_code == 401
        assert desk.ask("GET", "/metrics", door=at).status_code == 401
        for wrong in ("kas.x", desk.handle(grant), desk.handles.secret(grant.id) + "x"):
            answer = desk.ask("GET", "/v1/token", door=at, headers={"authorization": f"Bearer {wrong}"})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        right = {"authorization": f"Bearer {desk.handles.secret(grant.id)}"}
        assert desk.ask("GET", "/v1/token", door=at, headers=right).status_code == 200
    others = {"authorization": f"Bearer {desk.handles.secret(other.id)}"}
    assert desk.ask("GET", "/v1/token", door=door(desk, grant.id), headers=others).status_code == 401


@pytest.mark.parametrize("path", ["/v1//token", "/v1/%2e%2e/v1/token", "/V1/token", "/v1/token/", "/v1/tokens"])
def test_a_path_is_itself(desk: Desk, path: str) -> None:
    """No other spelling of a path leads to an endpoint."""
    assert desk.ask("GET", path, door=OWNER).status_code in {400, 404}
    assert desk.login.asked == []


def test_a_body_is_bounded(desk: Desk) -> None:
    """A body that no request needs is refused, with a length and without."""

    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 1024

    form = {"content-type": "application/x-www-form-urlencoded"}
    assert desk.ask("POST", "/api/oauth/token", content=b"x" * 70_000, headers=form).status_code == 413
    assert desk.ask("POST", "/api/oauth/token", content=endless(), headers=form).status_code == 413


@pytest.mark.parametrize("error", [NotSignedIn("not signed in"), Unreachable("no answer")])
def test_no_token_now_is_no_end(desk: Desk, error: Exception) -> None:
    """While the host is signed out or offline a sandbox is told to come again, not that its grant has ended."""
    grant = desk.issue()
    desk.login.error = error
    for answer in (desk.renew(desk.handle(grant)), desk.ask("GET", "/v1/token", door=OWNER)):
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    desk.login.error = None
    assert desk.renew(desk.handle(grant)).status_code == 200


def test_a_grant_that_asks_too_often_is_told_when(desk: Desk) -> None:
    """429 with the time to wait; it is no end of the grant."""
    grant = desk.issue(per_minute=1)
    statuses = [desk.renew(desk.handle(grant)).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    desk.clock.now_s += 60
    assert desk.renew(desk.handle(grant)).status_code == 200


def test_min_ttl_and_rejected_reach_the_login(desk: Desk) -> None:
    """The token endpoint asks for as much life as is wanted, and for another token instead of a refused one."""
    fp = key_fingerprint("access-1")
    assert desk.ask("GET", "/v1/token?min_ttl=120", door=OWNER).json()["fp"] == fp
    assert desk.ask("POST", "/v1/rejected", door=OWNER, json={"fp": fp}).status_code == 200
    assert [(wish.min_ttl_s, wish.has_fp) for wish in desk.login.asked] == [(120.0, ""), (0.0, fp)]


@pytest.mark.parametrize("query", ["min_ttl=nan", "min_ttl=-1", "min_ttl=x", "min_ttl=1e999", "wait=inf&not_fp=x"])
def test_seconds_are_seconds(desk: Desk, query: str) -> None:
    """Numbers that are no time are refused."""
    assert desk.ask("GET", f"/v1/token?{query}", door=OWNER).status_code == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"fp": 1}', b'{"fp": ""}', b"[" * 5000, b"\xff"])
def test_a_rejection_names_a_token(desk: Desk, body: bytes) -> None:
    """A body that names none is refused, whatever it is."""
    assert desk.ask("POST", "/v1/rejected", door=OWNER, content=body).status_code == 400


def test_a_long_poll_is_answered_at_a_change_or_in_time(desk: Desk) -> None:
    """`wait` with `not_fp` answers once there is another token; at the end of the wait with the same one."""
    fp = key_fingerprint("access-1")
    assert desk.ask("GET", f"/v1/token?not_fp={fp}&wait=0.05", door=OWNER).json()["fp"] == fp
    desk.login.number = 2
    answer = desk.ask("GET", f"/v1/token?not_fp={fp}&wait=50", door=OWNER).json()
    assert answer["access_token"] == "access-2"


def test_metrics_count_and_name_no_grant(desk: Desk) -> None:
    """OpenMetrics: the tokens handed out and the refusals, without a grant's name, a secret or a token."""
    grant = desk.issue("secret-project")
    desk.renew(desk.handle(grant))
    desk.renew("kah.x")
    answer = desk.ask("GET", "/metrics", door=OWNER)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert 'kimi_auth_token_total{to="grant"} 1' in answer.text
    assert 'kimi_auth_refused_total{why="forged"} 1' in answer.text
    assert answer.text.endswith("# EOF\n")
    assert "secret-project" not in answer.text
    assert "access-1" not in answer.text


def test_the_audit_log_holds_no_secret(desk: Desk) -> None:
    """Handles, secrets and tokens never reach the log; who asked, when, and what became of it do."""
    grant = desk.issue()
    handle = desk.handle(grant)
    desk.renew(handle, door=door(desk, grant.id))
    desk.renew(handle + "x")
    text = desk.audit.path.read_text()
    for secret in (handle, desk.handles.secret(grant.id), "access-1", "the-real-refresh-token"):
        assert secret not in text
    line = next(line for line in desk.audit.lines() if line["what"] == "token")
    assert line == {
        "at": desk.clock.now_s,
        "what": "token",
        "grant": "agent",
        "id": grant.id,
        "uid": ME,
        "pid": 1,
        "door": "grant agent",
        "fp": key_fingerprint("access-1"),
    }


def test_refusals_fill_no_disk(desk: Desk) -> None:
    """A page that knocks for hours leaves a bounded number of lines a minute; the metrics count every knock."""
    for _ in range(100):
        desk.ask("GET", "/v1/token", door=OWNER, headers={"origin": "null"})
    assert len(desk.told()) == 60
    assert 'kimi_auth_refused_total{why="browser"} 100' in desk.ask("GET", "/metrics", door=OWNER).text
    desk.clock.now_s += 61
    desk.ask("GET", "/v1/token", door=OWNER, headers={"origin": "null"})
    assert len(desk.told()) == 61


def test_a_sandbox_that_signs_in_is_told_where(desk: Desk) -> None:
    """There is no device grant here; the error names the command on the host."""
    answer = desk.ask("POST", "/api/oauth/device_authorization", data={"client_id": CLIENT_ID})
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    assert "kimi-auth serve grant" in answer.json()["error_description"]


def test_metadata_names_the_address_that_was_used(desk: Desk) -> None:
    """RFC 8414: the issuer is where the client asked, with refresh tokens only."""
    told = desk.ask("GET", "/.well-known/oauth-authorization-server").json()
    assert told["issuer"] == "http://127.0.0.1:1"
    assert told["grant_types_supported"] == ["refresh_token"]


def test_the_description_is_complete(desk: Desk) -> None:
    """The OpenAPI description names both requests, and every schema that it refers to."""
    told = desk.ask("GET", "/openapi.json").json()
    assert set(told["paths"]) == {"/v1/token", "/v1/rejected"}
    for part in json.dumps(told).split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in told["components"]["schemas"]
    answer = desk.ask("GET", "/v1/token", door=OWNER).json()
    assert set(told["components"]["schemas"]["Token"]["required"]) <= set(answer)


def test_the_log_goes_on_after_a_torn_line_and_a_rotation(desk: Desk, tmp_path: Path) -> None:
    """Lines that cannot be read, half a one that a power cut left too, take no other one with them; a log that was renamed away
    is made anew."""
    desk.audit.path.parent.mkdir(exist_ok=True)
    desk.audit.path.write_bytes(b"[" * 100_000 + b'\n[]\n{"at": 1, "wh')
    desk.audit.path.chmod(0o600)
    desk.issue("a")
    assert desk.told() == ["issued"]
    desk.audit.path.rename(tmp_path / "audit.log.1")
    desk.issue("b")
    assert desk.told() == ["issued"]
