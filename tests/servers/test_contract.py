"""What every server must do on the wire, asked with bare httpx: the ground that the project's own client stands on.

Two servers of others and the project's emulator pass the same tests. Where servers may differ, ANSWERS lists what the
ones that were met answer; a client has to understand all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from servers.bare_client import Answer, Client, brief, ok
from servers.fixtures import SERVERS, Pool
from servers.real_server import CLIENT_ID, DEVICE_CODE_GRANT, PageError

ANSWERS: Final[dict[str, set[Answer]]] = {
    "pending": {(400, "authorization_pending")},
    "polled too early": {(400, "slow_down")},
    "refused by the user": {(400, "access_denied")},
    "polled again after a refusal": {(400, "access_denied"), (400, "invalid_grant")},
    "device code expired": {(400, "expired_token")},
    "unknown device code": {(400, "invalid_grant"), (400, "invalid_request")},
    "poll after the 200": {(400, "invalid_grant"), (400, "invalid_request")},
    "refresh token spent, unknown, expired or revoked": {(400, "invalid_grant")},
    "empty refresh token": {(400, "invalid_request"), (400, "invalid_grant")},
    "revocation, whatever the token": {(200, None)},
    "unknown client": {(401, "invalid_client"), (400, "invalid_client")},
    "unknown grant type": {(400, "unsupported_grant_type")},
    "parameter missing": {(400, "invalid_request")},
    "wrong method": {(404, None), (405, None), (405, "invalid_request")},
    "JSON body": {(400, "invalid_request"), (400, "invalid_client"), (400, "unsupported_grant_type")},
}
REVOCATION_BODIES: Final = {b"", b"{}"}


def expect(step: str, response: httpx.Response) -> None:
    """The answer is one of those that ANSWERS allows at this step."""
    assert brief(response) in ANSWERS[step], f"{step}: {brief(response)}"


REAL_SERVERS: Final = ("oidc-provider", "authlib")


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.real_server] * (n in REAL_SERVERS)) for n in SERVERS])
def client(request: pytest.FixtureRequest, server_pool: Pool) -> Iterator[Client]:
    """A bare client of each server in turn, whose clock stands."""
    with Client(server_pool.get(request.param)) as client:
        client.server.stand()
        yield client


class TestContract:
    def test_device_answer(self, client: Client) -> None:
        """RFC 8628 §3.2: the codes, where to take them, and how long they live; the interval may be left out."""
        response = client.device()
        body = ok(response)
        assert len(body["device_code"]) >= 20
        assert body["user_code"] not in body["device_code"]
        assert body["verification_uri"] == client.server.oauth_host + client.server.page
        complete = urlsplit(body["verification_uri_complete"])
        assert parse_qs(complete.query) == {"user_code": [body["user_code"]]}
        assert body["verification_uri_complete"].startswith(body["verification_uri"])
        assert body["expires_in"] == client.server.settings.code_ttl_s
        assert body.get("interval", 5) == client.server.settings.interval_s
        assert response.headers["cache-control"] == "no-store"

    def test_codes_are_never_given_twice(self, client: Client) -> None:
        """Two walks have nothing in common."""
        first, second = client.device().json(), client.device().json()
        assert first["device_code"] != second["device_code"]
        assert first["user_code"] != second["user_code"]

    def test_pending(self, client: Client) -> None:
        """RFC 8628 §3.5: before the person has decided, and again an interval later."""
        code = client.device().json()["device_code"]
        expect("pending", client.poll(code))
        client.server.advance(5)
        expect("pending", client.poll(code))

    def test_slow_down(self, client: Client) -> None:
        """RFC 8628 §3.5: a poll within the interval costs 5 s, for good: the old backoff is too fast from then on."""
        code = client.device().json()["device_code"]
        expect("pending", client.poll(code))
        expect("polled too early", client.poll(code))
        client.server.advance(6)
        expect("polled too early", client.poll(code))
        client.server.advance(15)
        expect("pending", client.poll(code))
        client.server.advance(15)
        expect("pending", client.poll(code))

    def test_each_code_has_its_own_pace(self, client: Client) -> None:
        """Two logins at the same moment do not slow each other down."""
        first, second = (client.device().json()["device_code"] for _ in range(2))
        expect("pending", client.poll(first))
        expect("pending", client.poll(second))

    def test_granted(self, client: Client) -> None:
        """RFC 6749 §5.1: a bearer token with its life and its successor, not to be cached."""
        codes = client.device().json()
        expect("pending", client.poll(codes["device_code"]))
        client.server.approve(codes["user_code"])
        client.server.advance(5)
        response = client.poll(codes["device_code"])
        body = ok(response)
        assert body["token_type"].lower() == "bearer"
        assert body["expires_in"] == client.server.settings.access_ttl_s
        assert body["access_token"] != body["refresh_token"]
        assert isinstance(body["scope"], str)
        assert response.headers["cache-control"] == "no-store"
        assert client.models_status(body) == 200

    def test_denied(self, client: Client) -> None:
        """RFC 8628 §3.5: the refusal is told at least once, and no later poll gives tokens."""
        codes = client.device().json()
        client.server.deny(codes["user_code"])
        expect("refused by the user", client.poll(codes["device_code"]))
        expect("polled again after a refusal", client.poll(codes["device_code"]))

    def test_a_decision_is_final(self, client: Client) -> None:
        """A code that was decided upon cannot be decided upon again."""
        code = client.device().json()["user_code"]
        client.server.deny(code)
        with pytest.raises(PageError):
            client.server.approve(code)

    def test_unknown_user_code(self, client: Client) -> None:
        """A person who mistypes approves nothing."""
        with pytest.raises(PageError):
            client.server.approve("BBBB-BBBB")

    @pytest.mark.parametrize("typed", ["{}", "{} ", "lower", "no dash"])
    def test_user_code_as_people_type_it(self, client: Client, typed: str) -> None:
        """RFC 8628 §6.1: case and separators are the server's to forgive."""
        codes = client.device().json()
        code = codes["user_code"]
        client.server.approve({"lower": code.lower(), "no dash": code.replace("-", "")}.get(typed, typed.format(code)))
        ok(client.poll(codes["device_code"]))

    def test_expired(self, client: Client) -> None:
        """RFC 8628 §3.5: the code dies on time, keeps saying so, and cannot be approved any more."""
        codes = client.device().json()
        client.server.advance(client.server.settings.code_ttl_s)
        expect("device code expired", client.poll(codes["device_code"]))
        with pytest.raises(PageError):
            client.server.approve(codes["user_code"])
        client.server.advance(86_400)
        expect("device code expired", client.poll(codes["device_code"]))

    def test_a_code_lives_to_its_end(self, client: Client) -> None:
        """A second before its end a code can still be approved and exchanged."""
        codes = client.device().json()
        client.server.advance(client.server.settings.code_ttl_s - 2)
        client.server.approve(codes["user_code"])
        ok(client.poll(codes["device_code"]))

    def test_unknown_device_code(self, client: Client) -> None:
        """A code that was never issued has one of two names."""
        expect("unknown device code", client.poll("no-such-device-code"))

    def test_poll_after_the_grant(self, client: Client) -> None:
        """A code gives tokens once; some servers revoke what it gave when it returns, so a client never polls again."""
        codes = client.device().json()
        client.server.approve(codes["user_code"])
        ok(client.poll(codes["device_code"]))
        client.server.advance(5)
        expect("poll after the 200", client.poll(codes["device_code"]))

    def test_refresh_rotates(self, client: Client) -> None:
        """RFC 6749 §6: a new pair with a whole life, over and over."""
        pairs = [client.sign_in()]
        for _ in range(3):
            pairs.append(ok(client.refresh(pairs[-1]["refresh_token"])))
            assert pairs[-1]["expires_in"] == client.server.settings.access_ttl_s
            assert client.models_status(pairs[-1]) == 200
        assert len({pair[kind] for pair in pairs for kind in ("access_token", "refresh_token")}) == 8

    def test_refresh_after_the_access_token_expired(self, client: Client) -> None:
        """The access token dies on time, its refresh token outlives it."""
        pair = client.sign_in()
        client.server.advance(client.server.settings.access_ttl_s - 2)
        assert client.models_status(pair) == 200
        client.server.advance(2)
        assert client.models_status(pair) == 401
        assert client.models_status(ok(client.refresh(pair["refresh_token"]))) == 200

    def test_refresh_token_expires(self, client: Client) -> None:
        """An unused login ends with its refresh token; a rotation starts that life anew."""
        ttl_s = client.server.settings.refresh_ttl_s
        pair = client.sign_in()
        client.server.advance(ttl_s - 2)
        pair = ok(client.refresh(pair["refresh_token"]))
        client.server.advance(ttl_s - 2)
        pair = ok(client.refresh(pair["refresh_token"]))
        client.server.advance(ttl_s)
        expect("refresh token spent, unknown, expired or revoked", client.refresh(pair["refresh_token"]))

    def test_spent_refresh_token(self, client: Client) -> None:
        """RFC 9700 §4.14.2: a spent refresh token is refused, and takes the newest one with it."""
        first = client.sign_in()
        second = ok(client.refresh(first["refresh_token"]))
        third = ok(client.refresh(second["refresh_token"]))
        for pair in (first, third):
            expect("refresh token spent, unknown, expired or revoked", client.refresh(pair["refresh_token"]))

    def test_logins_are_independent(self, client: Client) -> None:
        """Reuse in one login leaves another login of the same person alone."""
        lost, kept = client.sign_in(), client.sign_in()
        ok(client.refresh(lost["refresh_token"]))
        expect("refresh token spent, unknown, expired or revoked", client.refresh(lost["refresh_token"]))
        assert client.models_status(kept) == 200
        ok(client.refresh(kept["refresh_token"]))

    def test_parallel_refreshes_lose_the_login(self, client: Client) -> None:
        """Why one refresh token must never be sent twice: one caller wins, and what it won is dead already."""
        token = client.sign_in()["refresh_token"]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: client.refresh(token), range(20)))
        (winner,) = (answer for answer in answers if answer.status_code == 200)
        for answer in answers:
            if answer is not winner:
                expect("refresh token spent, unknown, expired or revoked", answer)
        after = client.refresh(winner.json()["refresh_token"])
        expect("refresh token spent, unknown, expired or revoked", after)

    @pytest.mark.parametrize("token", ["no-such-token", "x" * 4000])
    def test_refresh_with_rubbish(self, client: Client, token: str) -> None:
        """A refresh token that was never issued."""
        expect("refresh token spent, unknown, expired or revoked", client.refresh(token))

    def test_refresh_with_an_empty_token(self, client: Client) -> None:
        """An empty parameter counts as missing, or as a token that is unknown."""
        expect("empty refresh token", client.refresh(""))

    @pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
    def test_revocation(self, client: Client, kind: str) -> None:
        """RFC 7009 §2.2: 200 with an empty body or an empty object, twice too; the revoked token is dead."""
        pair = client.sign_in()
        for _ in range(2):
            response = client.revoke(pair[kind])
            expect("revocation, whatever the token", response)
            assert response.content in REVOCATION_BODIES
        assert client.models_status(pair) == 401
        if kind == "refresh_token":
            expect("refresh token spent, unknown, expired or revoked", client.refresh(pair[kind]))

    @pytest.mark.parametrize("token", ["no-such-token", "x" * 4000])
    def test_revocation_of_rubbish(self, client: Client, token: str) -> None:
        """RFC 7009 §2.2: an unknown token is as good as revoked."""
        expect("revocation, whatever the token", client.revoke(token))

    def test_unknown_client(self, client: Client) -> None:
        """RFC 6749 §5.2: `invalid_client` at every endpoint, with one of two statuses."""
        stranger = {"client_id": "00000000-0000-0000-0000-000000000000"}
        expect("unknown client", client.device(**stranger))
        expect("unknown client", client.token(grant_type="refresh_token", refresh_token="any", **stranger))
        expect("unknown client", client.token(grant_type=DEVICE_CODE_GRANT, device_code="any", **stranger))

    def test_unknown_grant_type(self, client: Client) -> None:
        """RFC 6749 §5.2."""
        expect("unknown grant type", client.token(grant_type="no-such-grant"))

    def test_device_code_missing(self, client: Client) -> None:
        """RFC 6749 §5.2."""
        expect("parameter missing", client.token(grant_type=DEVICE_CODE_GRANT))

    @pytest.mark.parametrize("path", ["device_authorization", "token"])
    def test_wrong_method(self, client: Client, path: str) -> None:
        """GET is not how these are asked; the answer need not be OAuth's."""
        expect("wrong method", client.http.get(f"/api/oauth/{path}"))

    @pytest.mark.parametrize("path", ["device_authorization", "token"])
    def test_json_body(self, client: Client, path: str) -> None:
        """RFC 6749 §4.1.3: parameters are form-encoded, whatever the client may wish."""
        body = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": "any"}
        expect("JSON body", client.http.post(f"/api/oauth/{path}", json=body))

    def test_metadata(self, client: Client) -> None:
        """RFC 8414 §2: the issuer, and the endpoints on its own origin, revocation among them."""
        body = ok(client.http.get("/.well-known/oauth-authorization-server"))
        host = client.server.oauth_host
        assert body["issuer"] == host
        assert body["device_authorization_endpoint"] == f"{host}/api/oauth/device_authorization"
        assert body["token_endpoint"] == f"{host}/api/oauth/token"
        assert body["revocation_endpoint"] == f"{host}/api/oauth/revoke"
        assert {DEVICE_CODE_GRANT, "refresh_token"} <= set(body["grant_types_supported"])

    @pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer no-such-token", "Basic bm86Ym9keQ=="])
    def test_models_without_a_bearer(self, client: Client, authorization: str | None) -> None:
        """RFC 6750 §3: no token, no models."""
        assert client.models(authorization).status_code == 401

    def test_models(self, client: Client) -> None:
        """The catalogue, for a bearer whose scheme may be in any case; a refresh token is not one."""
        pair = client.sign_in()
        listed = ok(client.models(f"bearer {pair['access_token']}"))["data"]
        assert all(isinstance(model["id"], str) and model["context_length"] > 0 for model in listed)
        assert "kimi-for-coding" in [model["id"] for model in listed]
        assert client.models(f"Bearer {pair['refresh_token']}").status_code == 401
