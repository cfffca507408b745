"""The OAuth endpoints and the test bench over real HTTP: statuses, headers, bodies, faults and broken connections."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator import Fault

CLIENT_ID = "17e5f671-d194-4dfb-9706-5516cb48c098"
TOKEN, DEVICE, REVOKE = "/api/oauth/token", "/api/oauth/device_authorization", "/api/oauth/revoke"
Visit = Callable[..., Any]


def test_device_authorization(visitor: Any) -> None:
    """RFC 8628 §3.2: codes, where to type them, and for how long; nothing of it may be cached."""
    answer = visitor.http.post(DEVICE, data={"client_id": CLIENT_ID})
    body = answer.json()
    page = f"{visitor.emulator.base_url}/device"
    assert set(body) == {
        "device_code", "user_code", "verification_uri", "verification_uri_complete", "expires_in", "interval",
    }  # fmt: skip
    assert (body["verification_uri"], body["expires_in"], body["interval"]) == (page, 1800, 0)
    assert body["verification_uri_complete"] == f"{page}?user_code={body['user_code']}"
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")
    assert answer.headers["server"] == "kimi-auth-emulator"


def test_sign_in_and_renew(visitor: Any) -> None:
    """Pending, approved, granted, rotated, and the spent token refused with its whole family."""
    code = visitor.ask_code()
    pending = visitor.poll(code["device_code"])
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    visitor.state.decide(code["user_code"], "approved")
    granted = visitor.poll(code["device_code"])
    first = granted.json()
    assert (granted.status_code, granted.headers["cache-control"], granted.headers["pragma"]) == (
        200, "no-store", "no-cache",
    )  # fmt: skip
    assert {key: first[key] for key in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer", "expires_in": 900, "scope": "kimi-code",
    }  # fmt: skip
    second = visitor.refresh(first["refresh_token"]).json()
    assert set(second) == set(first)
    assert second["refresh_token"] != first["refresh_token"]
    reused = visitor.refresh(first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert visitor.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"


def test_fractions_of_seconds(visit: Visit) -> None:
    """Intervals and lives that are no whole numbers are said as they are."""
    visitor = visit(interval_s=0.25, access_ttl_s=1.5)
    assert visitor.ask_code()["interval"] == 0.25
    assert visitor.sign_in()["expires_in"] == 1.5


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "error"),
    [
        (DEVICE, "", FORM, 400, "invalid_request"),
        (DEVICE, "client_id=", FORM, 400, "invalid_request"),
        (DEVICE, "client_id=me", FORM, 401, "invalid_client"),
        (DEVICE, f"client_id={CLIENT_ID}&client_id={CLIENT_ID}", FORM, 400, "invalid_request"),
        (DEVICE, json.dumps({"client_id": CLIENT_ID}), {"Content-Type": "application/json"}, 400, "invalid_request"),
        (DEVICE, f"client_id={CLIENT_ID}", {}, 400, "invalid_request"),
        (DEVICE, b"client_id=\xff", FORM, 400, "invalid_request"),
        (DEVICE, "client_id=%ff", FORM, 400, "invalid_request"),
        (DEVICE, "&".join(f"a{n}=1" for n in range(60)), FORM, 400, "invalid_request"),
        (DEVICE, b"a=" + b"x" * (1 << 20), FORM, 413, "invalid_request"),
        (TOKEN, "client_id=me&grant_type=refresh_token&refresh_token=x", FORM, 401, "invalid_client"),
        (TOKEN, f"client_id={CLIENT_ID}", FORM, 400, "invalid_request"),
        (TOKEN, f"client_id={CLIENT_ID}&grant_type=password", FORM, 400, "unsupported_grant_type"),
        (TOKEN, f"client_id={CLIENT_ID}&grant_type=refresh_token", FORM, 400, "invalid_request"),
        (TOKEN, f"client_id={CLIENT_ID}&grant_type=refresh_token&refresh_token=x", FORM, 400, "invalid_grant"),
        (TOKEN, "{}", {"Content-Type": "application/json"}, 400, "invalid_request"),
        (REVOKE, f"client_id={CLIENT_ID}", FORM, 400, "invalid_request"),
        (REVOKE, "client_id=me&token=x", FORM, 401, "invalid_client"),
    ],
)
def test_oauth_errors(
    visitor: Any, path: str, content: str | bytes, headers: dict[str, str], status: int, error: str
) -> None:
    """RFC 6749 §5.2: every refusal is JSON with `error` and a sentence, never cached."""
    answer = visitor.http.post(path, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", TOKEN, 405, "POST"),
        ("PUT", DEVICE, 405, "POST"),
        ("GET", REVOKE, 405, "POST"),
        ("GET", "/api/oauth/authorize", 404, None),
    ],
)
def test_wrong_method_or_path(visitor: Any, method: str, path: str, status: int, allow: str | None) -> None:
    """Also 404 and 405 below /api/oauth speak OAuth's JSON."""
    answer = visitor.http.request(method, path)
    assert (answer.status_code, answer.json()["error"], answer.headers.get("allow")) == (
        status, "invalid_request", allow,
    )  # fmt: skip


def test_metadata(visitor: Any) -> None:
    """RFC 8414: the issuer is the base URL, and each endpoint it names answers."""
    base_url = visitor.emulator.base_url
    told = visitor.http.get("/.well-known/oauth-authorization-server").json()
    assert told["issuer"] == base_url
    endpoints = {key: value for key, value in told.items() if key.endswith("_endpoint")}
    assert set(endpoints) == {"device_authorization_endpoint", "token_endpoint", "revocation_endpoint"}
    for url in endpoints.values():
        assert visitor.http.post(url).json()["error"] == "invalid_request"


def test_revocation(visitor: Any) -> None:
    """RFC 7009 §2.2: 200 and an empty body, for a living token and for an unknown one alike."""
    grant = visitor.sign_in()
    for token in (grant["refresh_token"], "a guess"):
        answer = visitor.http.post(
            REVOKE, data={"client_id": CLIENT_ID, "token": token, "token_type_hint": "refresh_token"}
        )
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
    assert visitor.state.judge(grant["access_token"]) == "revoked"


def test_request_log(visitor: Any) -> None:
    """The log tells endpoint, grant, outcome and fingerprints; no token, device code or user code."""
    code = visitor.ask_code()
    visitor.http.get("/device", params={"user_code": code["user_code"]})
    visitor.poll(code["device_code"])
    grant = visitor.sign_in()
    visitor.refresh(grant["refresh_token"])
    visitor.http.get("/coding/v1/models", headers={"Authorization": f"Bearer {grant['access_token']}"})
    log = list(visitor.state.log)
    assert [(entry["endpoint"], entry["grant"], entry["outcome"], entry["status"]) for entry in log] == [
        ("device", None, "issued", 200),
        ("page", None, "confirm", 200),
        ("token", "device_code", "authorization_pending", 400),
        ("device", None, "issued", 200),
        ("token", "device_code", "granted", 200),
        ("token", "refresh_token", "granted", 200),
        ("models", None, "ok", 200),
    ]
    assert log[4]["tokens"].keys() == {"device_code", "new_access_token", "new_refresh_token"}
    assert log[4]["tokens"]["new_refresh_token"] == log[5]["tokens"]["refresh_token"]
    assert log[4]["tokens"]["new_access_token"] == log[6]["tokens"]["access_token"]
    for secret in (code["device_code"], code["user_code"], grant["access_token"], grant["refresh_token"]):
        assert secret not in json.dumps(log)


# Faults


def test_scripted_answer(visitor: Any) -> None:
    """A status, headers and a body replace the answer, for so many requests of one grant."""
    grant = visitor.sign_in()
    script = {
        "endpoint": "token", "grant": "refresh_token", "status": 503, "headers": {"Retry-After": "3"},
        "body": "<h1>Busy</h1>", "times": 2,
    }  # fmt: skip
    assert visitor.bench("faults", [script]).json() == {"faults": 1}
    code = visitor.ask_code()
    assert visitor.poll(code["device_code"]).json()["error"] == "authorization_pending"
    for _ in range(2):
        answer = visitor.refresh(grant["refresh_token"])
        assert (answer.status_code, answer.headers["retry-after"], answer.text) == (503, "3", "<h1>Busy</h1>")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert visitor.refresh(grant["refresh_token"]).status_code == 200
    assert [e["outcome"] for e in visitor.state.log if e["fault"]] == ["not_processed"] * 2


def test_processed_but_not_said(visitor: Any) -> None:
    """A processed request that is answered with an error has spent its token all the same."""
    grant = visitor.sign_in()
    visitor.state.inject(Fault("token", status=502, processed=True, body={"error": "upstream"}))
    answer = visitor.refresh(grant["refresh_token"])
    assert (answer.status_code, answer.json()) == (502, {"error": "upstream"})
    assert visitor.state.log[-1]["outcome"] == "granted"
    assert visitor.refresh(grant["refresh_token"]).json()["error"] == "invalid_grant"


def test_empty_answers(visitor: Any) -> None:
    """A status alone has an empty body, and a 304 or 204 is a proper one."""
    visitor.state.inject(*(Fault("models", status=status) for status in (500, 204)))
    answers = [visitor.http.get("/coding/v1/models") for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(500, b""), (204, b"")]


@pytest.mark.parametrize(("drop", "rotations"), [("before", 0), ("after", 1)])
def test_dropped_connection(visitor: Any, drop: str, rotations: int) -> None:
    """The connection closes without a byte of answer, before or after the token was spent, and only this once."""
    grant = visitor.sign_in()
    visitor.bench("faults", {"endpoint": "token", "drop": drop})
    with pytest.raises(httpx.RemoteProtocolError):
        visitor.refresh(grant["refresh_token"])
    assert visitor.state.counts["rotations"] == rotations
    assert visitor.state.log[-1]["status"] is None
    assert visitor.refresh(grant["refresh_token"]).status_code == (400 if rotations else 200)


@pytest.mark.parametrize("script", [{}, {"status": 200, "body": '{"access_token": "a'}], ids=["whole", "torn"])
def test_connection_breaks_in_the_body(visitor: Any, script: dict[str, Any]) -> None:
    """Headers and body arrive, the promised end does not: the client keeps the bytes and sees the break."""
    grant = visitor.sign_in()
    visitor.state.inject(Fault("token", drop="during", **script))
    form = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": grant["refresh_token"]}
    kept: list[bytes] = []
    with visitor.http.stream("POST", TOKEN, data=form) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            kept.extend(answer.iter_raw())
    if script:
        assert b"".join(kept) == b'{"access_token": "a'
    else:
        assert visitor.state.judge(json.loads(b"".join(kept))["access_token"]) == "ok"


def test_work_goes_on_without_the_client(visitor: Any) -> None:
    """A client that hangs up while its answer is delayed has spent its token."""
    grant = visitor.sign_in()
    visitor.state.inject(Fault("token", latency_s=600))

    def wait(step: str, _: object) -> None:
        if step == "http11.receive_response_headers.started":
            assert visitor.state.wait_for(lambda state: state.counts["rotations"] == 1, NO_LIMIT_S)

    with pytest.raises(httpx.ReadTimeout):
        visitor.http.post(
            TOKEN,
            data={"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": grant["refresh_token"]},
            timeout=httpx.Timeout(NO_LIMIT_S, read=0.05),
            extensions={"trace": wait},
        )
    assert visitor.refresh(grant["refresh_token"]).status_code == 400


def test_latency_setting_delays_the_answer_only(visit: Visit) -> None:
    """With a latency the token is spent on arrival, its answer comes later; other endpoints are prompt."""
    visitor = visit(latency_s=600)
    code = visitor.ask_code()
    visitor.state.decide(code["user_code"], "approved")

    def poll() -> None:
        with contextlib.suppress(httpx.HTTPError), httpx.Client(trust_env=False, timeout=NO_LIMIT_S) as http:
            form = {"client_id": CLIENT_ID, "grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
            http.post(
                f"{visitor.emulator.base_url}{TOKEN}",
                data={**form, "device_code": code["device_code"]},
                timeout=NO_LIMIT_S,
            )

    poller = threading.Thread(target=poll)
    poller.start()
    assert visitor.state.wait_for(lambda state: state.counts["exchanges"] == 1, NO_LIMIT_S)
    visitor.emulator.__exit__(None, None, None)
    poller.join()


# The test bench


def test_bench_plays_the_person(visitor: Any) -> None:
    """approve, deny and expire act on a user code, and say why they cannot."""
    acts = [("approve", "approved", None), ("deny", "denied", "access_denied"), ("expire", "expired", "expired_token")]
    for command, verdict, error in acts:
        code = visitor.ask_code()
        typed = {"user_code": code["user_code"].lower()}
        assert visitor.bench(command, typed).json() == {"verdict": verdict}
        assert visitor.poll(code["device_code"]).json().get("error") == error
        assert visitor.bench(command, typed).status_code in (409, 410)
        unknown = visitor.bench(command, {"user_code": "nothing"})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "unknown"})


def test_bench_ends_and_resets(visitor: Any) -> None:
    """expire_access, revoke_family, membership, models and reset change what the API answers."""
    models = "/coding/v1/models"
    headers = visitor.bearer()
    assert visitor.http.get(models, headers=headers).status_code == 200
    assert visitor.bench("membership", {"active": False}).json() == {"membership": False}
    assert visitor.http.get(models, headers=headers).status_code == 402
    assert visitor.bench("membership", {"active": True}).json() == {"membership": True}
    assert visitor.bench("models", [{"id": "kimi-next", "supports_reasoning": True}]).json() == {"models": 1}
    assert [m["display_name"] for m in visitor.http.get(models, headers=headers).json()["data"]] == ["kimi-next"]
    assert visitor.bench("expire_access", {"family": 2}).json() == {"expired": 0}
    assert visitor.bench("expire_access").json() == {"expired": 1}
    assert visitor.http.get(models, headers=headers).status_code == 401
    assert visitor.bench("revoke_family", {"family": 1}).json() == {"revoked": 1}
    seen = visitor.http.get("/_emulator/state").json()
    assert (seen["families_alive"], seen["families"][0]["revoked_because"]) == (0, "ended by the person")
    assert visitor.bench("reset").json() == {"reset": True}
    assert visitor.http.get("/_emulator/state").json()["families"] == []


def test_bench_clears_faults(visitor: Any) -> None:
    """DELETE /_emulator/faults removes the remaining faults."""
    visitor.bench("faults", {"endpoint": "device", "status": 500, "times": None})
    assert visitor.http.post(DEVICE, data={"client_id": CLIENT_ID}).status_code == 500
    assert visitor.http.delete("/_emulator/faults").json() == {"faults": 0}
    assert visitor.ask_code()


@pytest.mark.parametrize(
    ("command", "content", "message"),
    [
        ("faults", '[{"endpoint": "token", "status": 7}]', "status is a whole number"),
        ("faults", "{", "Expecting"),
        ("faults", "[" * 100_000, ""),
        ("models", "{}", "the body is a list"),
        ("models", '[{"id": 7}]', "string id"),
        ("models", '[{"id": "x", "context_length": "long"}]', "'context_length' is unknown or of the wrong type"),
        ("models", '[{"id": "x", "speed": 1}]', "'speed' is unknown"),
        ("approve", "{}", "user_code must be a str"),
        ("approve", "[]", "must be a JSON object"),
        ("membership", '{"active": 1}', "active must be a bool"),
        ("expire_access", '{"family": "1"}', "family must be a int"),
    ],
)
def test_bench_refuses_nonsense(visitor: Any, command: str, content: str, message: str) -> None:
    """A command that makes no sense is a 400 that says why, and changes nothing."""
    answer = visitor.http.post(f"/_emulator/{command}", content=content)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/_emulator/state", {"Origin": "https://example.com"}, 403),
        ("/_emulator/state", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/_emulator/state", {"Host": "rebound.example.com"}, 421),
        ("/device", {"Host": "rebound.example.com"}, 421),
        ("/device", {"Host": "[::1"}, 421),
        ("/device", {"Host": "localhost:1234"}, 200),
        ("/device", {"Host": "[::1]:80"}, 200),
        ("/device", {"Host": "127.8.8.8"}, 200),
    ],
)
def test_web_pages_are_kept_out(visitor: Any, path: str, headers: dict[str, str], status: int) -> None:
    """No web page reaches the test bench, and no foreign host name reaches anything."""
    assert visitor.http.get(path, headers=headers).status_code == status


@pytest.fixture
def wire(visitor: Any) -> Iterator[socket.socket]:
    """A bare TCP connection to the emulator."""
    url = urlsplit(visitor.emulator.base_url)
    with socket.create_connection((url.hostname, url.port), timeout=NO_LIMIT_S) as connection:
        yield connection


def test_garbage_on_the_wire(wire: socket.socket) -> None:
    """Bytes that are not HTTP are answered with a 400 and a closed connection."""
    wire.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    assert wire.recv(1000).startswith(b"HTTP/1.1 400 ")
