"""`KIMI_AUTH_STORE=unix:///...`: Session, the keeper and `kimi-auth token` on a login that `kimi-auth serve` has."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from house.environments import unmeasured
from house.patience import met

from kimi_auth import Session
from kimi_auth.__main__ import FallThrough, answer
from kimi_auth.cli import main as full_program
from kimi_auth.errors import ConfigError, KimiAuthError, StorageError
from kimi_auth.store.served import Address, parsed
from serving.conftest import Serving


@pytest.fixture
def environ(serving: Serving, tmp_path: Path) -> dict[str, str]:
    """The environment of a program without a login, beside a running server."""
    serving.start_here()
    inside = {name: value for name, value in serving.env.items() if name != "KIMI_SHARE_DIR"}
    return inside | {"KIMI_SHARE_DIR": str(tmp_path / "inside"), "KIMI_AUTH_STORE": f"unix://{serving.owner}"}


def test_a_session_works_over_the_socket(serving: Serving, environ: dict[str, str], tmp_path: Path) -> None:
    """A token, a renewal after a 401 and the status, without a credential file and without the refresh token."""
    session = Session(environ=environ)
    first = session.access_token_sync()
    assert first == serving.session.access_token_sync()
    second = session.rejected_sync(first)
    assert second not in {None, first}
    assert second == serving.session.access_token_sync()
    status = session.status()
    assert status.state == "fresh"
    assert str(serving.owner) in status.location
    assert not list((tmp_path / "inside").rglob("*.json"))


def test_a_rejected_token_is_rotated_once_in_a_step(serving: Serving, environ: dict[str, str]) -> None:
    """Ten programs that report one token make one rotation; the next report within the backoff changes nothing."""
    first = Session(environ=environ).access_token_sync()
    before = serving.emulator.state.counts["rotations"]
    second = {Session(environ=environ).rejected_sync(first) for _ in range(10)}
    assert len(second) == 1
    assert Session(environ=environ).rejected_sync(second.pop() or "") is None
    assert serving.emulator.state.counts["rotations"] == before + 1


def test_a_forced_renewal_is_the_hosts(serving: Serving, environ: dict[str, str]) -> None:
    """`token --refresh` of such a program renews the login of the host."""
    first = serving.session.access_token_sync()
    second = Session(environ=environ).access_token_sync(refresh=True)
    assert second == serving.session.access_token_sync() != first


def test_the_keeper_follows_the_server(serving: Serving, environ: dict[str, str]) -> None:
    """A running client is given the token of now, and the next one when the host has renewed."""
    session = Session(environ=environ)
    given: list[str] = []
    changed = threading.Event()

    def target(token: str) -> None:
        given.append(token)
        if len(set(given)) > 1:
            changed.set()

    async def life() -> None:
        async with session.kept_fresh(target):
            newest = await asyncio.to_thread(serving.session.access_token_sync, refresh=True)
            await asyncio.to_thread(met, changed)
            assert given[-1] == newest

    asyncio.run(life())


@pytest.mark.parametrize(
    "words", [[], ["--json"], ["--min-ttl", "60"], ["--platform", "kimi-code", "--format", "claude"]]
)
def test_the_fast_lane_says_what_the_program_says(
    environ: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`kimi-auth token` answers from the socket without the full program, and prints what that would print."""
    import time

    line, needs_renewal = answer(["token", *words], environ, time.time())
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert full_program(["token", *words]) == 0
    said = capfd.readouterr().out.strip()
    assert needs_renewal is False
    if "--json" in words:
        ours, theirs = json.loads(line), json.loads(said)
        for told in (ours, theirs):
            del told["expires_in"], told["expires_at"]
        assert ours == theirs
    else:
        assert line == said


def test_the_fast_lane_loads_next_to_nothing(environ: dict[str, str]) -> None:
    """Of the modules that cost a start, none is loaded for a token over the socket."""
    program = (
        "import sys; sys.argv = ['kimi-auth', 'token']; from kimi_auth.__main__ import main; status = main();"
        "print(sorted({'socket','json','asyncio','httpx','typer','kimi_auth.session','http'} & set(sys.modules)), status, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=unmeasured(environ), capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[] 0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KIMI_AUTH_STORE", "unix:///nowhere/kimi.sock"),
        ("KIMI_AUTH_STORE", "unix://relative"),
        ("KIMI_AUTH_STORE", "postgresql://host/db"),
        ("KIMI_AUTH_ACCOUNT", "work"),
    ],
)
def test_the_fast_lane_steps_aside(environ: dict[str, str], name: str, value: str) -> None:
    """Where the full program has something to say, the fast lane has no opinion."""
    with pytest.raises(FallThrough):
        answer(["token"], environ | {name: value}, 0.0)


def test_no_server_is_said(environ: dict[str, str], serving: Serving) -> None:
    """Without a server there is one sentence that names the socket; a token in hand goes on being used."""
    session = Session(environ=environ)
    token = session.access_token_sync()
    serving.stop_here()
    assert session.access_token_sync() == token
    with pytest.raises(KimiAuthError, match=r"kimi\.sock"):
        Session(environ=environ).access_token_sync(timeout_s=0.0)
    status = Session(environ=environ).status()
    assert (status.state, status.error is not None) == ("expired", True)


def test_signing_in_and_out_is_the_hosts(environ: dict[str, str], serving: Serving) -> None:
    """Neither login nor logout of such a program touches the login of the host."""
    session = Session(environ=environ)
    session.access_token_sync()
    with pytest.raises(StorageError):
        session.logout_sync()
    with pytest.raises(KimiAuthError):
        session.login_sync(force=True, open_browser=lambda _: None)
    assert serving.session.status().state == "fresh"


def test_in_a_sandbox_a_grants_secret_is_needed(environ: dict[str, str], serving: Serving, tmp_path: Path) -> None:
    """At a grant's socket the file with its secret makes the difference; after its end the program is told so."""
    box = serving.grant("agent")
    secret = tmp_path / "secret"
    secret.write_text(box.secret + "\n")
    bare = f"unix://{box.socket_dir}/kimi.sock"
    inside = environ | {"KIMI_AUTH_STORE": f"{bare}?secret-file={secret}"}
    assert Session(environ=inside).access_token_sync() == box.token.access_token
    with pytest.raises(KimiAuthError):
        Session(environ=environ | {"KIMI_AUTH_STORE": bare}).access_token_sync(timeout_s=0.0)
    serving.revoke("agent")
    with pytest.raises(KimiAuthError):
        Session(environ=inside).access_token_sync(timeout_s=0.0)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "unix:",
        "unix://",
        "unix://a/b",
        "unix:///a?b",
        "unix:///a?secret-file=b",
        "unix:///a#b",
        "unix:///a%41",
        "UNIX:///a",
    ],
)
def test_another_url_is_refused(url: str) -> None:
    """A path is written as it is: nothing of it can be read in two ways."""
    with pytest.raises(ValueError, match=r"unix:///PATH|secret"):
        parsed(url)


def test_an_unknown_scheme_is_said_without_its_url() -> None:
    """The error names the variable and the known schemes, never the URL, in which a password may stand."""
    with pytest.raises(ConfigError) as caught:
        Session(environ=os.environ | {"KIMI_AUTH_STORE": "gopher://user:hunter2@host/db"})
    assert "hunter2" not in caught.value.line
    assert "KIMI_AUTH_STORE" in caught.value.line


@pytest.mark.parametrize("content", ["", "two words", "caf\xe9", "\n"])
def test_a_secret_is_one_word(tmp_path: Path, content: str) -> None:
    """A file that holds no secret is no secret, and nothing of it is sent."""
    file = tmp_path / "secret"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"secret|ascii|decode"):
        Address("/x", str(file)).secret()
