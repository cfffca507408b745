"""What a sandbox can do to its host with what it was given: its socket's directory, its home, its connections."""

from __future__ import annotations

import logging
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, until

from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.serving import server as serving_server
from kimi_auth.serving.command_broker import CommandBroker
from kimi_auth.serving.listening import listen_unix
from kimi_auth.serving.program import Options, serve
from kimi_auth.serving.sandbox import Sandbox
from serving.conftest import ME, Desk, Looks, Serving, gone, has_arrived, there, to_the_end

HOST = b"Host: localhost\r\n"


def connected(path: Path) -> socket.socket:
    """A connection to a UNIX socket."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(NO_LIMIT_S)
    made.connect(str(path))
    return made


@pytest.fixture
def box(serving: Serving, tmp_path: Path) -> Sandbox:
    """A sandbox whose home was written."""
    made = serving.grant("agent")._replace(home=tmp_path / "box")
    made.write(tmp_path / "box", ME)
    return made


@pytest.mark.parametrize("name", ["credentials", "secret", "credentials/kimi-code.json"])
def test_a_home_that_is_written_again_leads_nowhere_else(
    serving: Serving, box: Sandbox, tmp_path: Path, name: str
) -> None:
    """A sandbox that puts a link into its home, to the host's own credential, does not have it overwritten when its owner writes
    that home again."""
    home, own = tmp_path / "box", serving.share_dir / name
    own.exists() or own.write_text("the host's")
    before = {path: path.read_bytes() for path in serving.share_dir.rglob("*") if path.is_file()}
    place = home / name
    if place.is_dir():
        for one in place.iterdir():
            one.unlink()
        place.rmdir()
    else:
        place.unlink()
    place.symlink_to(own)
    if name == "credentials":
        with pytest.raises(OSError, match=str(place)):
            box.write(home, ME)
    else:
        box.write(home, ME)
        assert not place.is_symlink()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("left", ["file", "directory", "link"])
def test_what_a_sandbox_puts_in_its_sockets_place_stops_no_other(
    serving: Serving, left: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory of a socket is the sandbox's to write: with a file, a directory or a link instead of the socket, the server starts
    and ends grants as ever, serves every other one, and says which one it cannot serve."""
    bad, good = serving.grant("bad"), serving.grant("good")
    bad.socket_dir.mkdir(parents=True)
    place = bad.socket_dir / "kimi.sock"
    if left == "file":
        place.touch()
    elif left == "directory":
        (place / "in it").mkdir(parents=True)
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING, "kimi_auth"):
        serving.start_here()
        there(good.socket_dir / "kimi.sock")
        assert serving.renew(good).status_code == 200
        serving.revoke("bad")
        serving.revoke("good")
        gone(good.socket_dir / "kimi.sock")
        assert serving.get("/healthz").status_code == 200
    assert str(place) in caplog.text
    assert caplog.text.count("the grant bad is not served") == 1


def test_a_socket_appears_whole_from_a_directory_that_no_sandbox_sees(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modes are set before the sandbox can put a link instead of it, which would change the modes of the link's target."""
    seen: list[list[str]] = []
    inside = short / "agent"
    inside.mkdir()
    chmod = Path.chmod

    def noted(path: Path, mode: int, **more: Any) -> None:
        seen.append([one.name for one in inside.iterdir()])
        chmod(path, mode, **more)

    monkeypatch.setattr(Path, "chmod", noted)
    listener = listen_unix(inside / "kimi.sock", 0o666, staging=short)
    listener.close()
    assert seen == [[]]
    assert [one.name for one in inside.iterdir()] == ["kimi.sock"]
    assert stat.S_IMODE((inside / "kimi.sock").stat().st_mode) == 0o666
    assert [one.name for one in short.iterdir()] == ["agent"]


def test_the_servers_own_sockets_are_staged_outside(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the socket is ever in a directory that a sandbox sees."""
    staged: list[Path] = []
    bind = socket.socket.bind

    class Noted(socket.socket):
        def bind(self, address: Any, /) -> None:
            if isinstance(address, str):
                staged.append(Path(address))
            bind(self, address)

    monkeypatch.setattr(serving_server.socket, "socket", Noted)
    serving.start_here()
    serving.grant("agent")
    assert {place.parent for place in staged} == {serving.sockets}


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\n" + HOST])
def test_a_request_that_never_ends_is_ended(serving: Serving, looks: Looks, sent: bytes) -> None:
    """A connection that sends nothing, or a head without an end (slowloris), is closed."""
    serving.start_here()
    with connected(serving.owner) as connection:
        connection.sendall(sent)
        has_arrived(connection)
        looks.begin(serving.server)
        assert to_the_end(connection) == b""


def test_a_body_that_never_ends_is_ended(serving: Serving, looks: Looks) -> None:
    """The same for a body of which nothing more comes."""
    serving.start_here()
    with connected(serving.owner) as connection:
        connection.sendall(b"POST /v1/rejected HTTP/1.1\r\n" + HOST + b"Content-Length: 20\r\n\r\n{")
        has_arrived(connection)
        looks.begin(serving.server)
        assert b"200" not in to_the_end(connection)


def test_a_client_that_waits_for_its_answer_is_not_slow(serving: Serving, looks: Looks) -> None:
    """A long poll that is longer than what a request may take to arrive is answered, and so is the next request."""
    serving.start_here()
    fp = serving.get("/v1/token").json()["fp"]
    with connected(serving.owner) as connection:
        connection.sendall(f"GET /v1/token?not_fp={fp}&wait=50 HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        has_arrived(connection)
        looks.begin(serving.server)
        looks.pass_by(5)
        serving.session.access_token_sync(refresh=True)
        assert b" 200 " in connection.recv(65536)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert b" 200 " in to_the_end(connection)


def test_one_sandbox_takes_no_connection_from_another(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A door has so many connections at once; one more is closed, other doors go on, and a free one is given again."""
    monkeypatch.setattr(serving_server, "CONNECTIONS_MAX", 3)
    serving.start_here()
    greedy, other = serving.grant("greedy"), serving.grant("other")
    held = [connected(greedy.socket_dir / "kimi.sock") for _ in range(3)]
    with pytest.raises(ConnectionError):
        serving.renew(greedy)
    assert serving.renew(other).status_code == 200
    held.pop().close()
    until(lambda _: served(serving, greedy), "a free connection")
    for connection in held:
        connection.close()


def served(serving: Serving, box: Sandbox) -> bool:
    """Whether a sandbox is answered."""
    try:
        return serving.renew(box).status_code == 200
    except OSError:
        return False


def test_what_a_client_sends_fills_no_journal(serving: Serving) -> None:
    """Requests that are no HTTP, or ask for a WebSocket, leave nothing on standard error."""
    serving.start()
    for sent in (
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ):
        with connected(serving.owner) as connection:
            connection.sendall(sent)
            assert to_the_end(connection)
    assert serving.end() == (0, "")


@pytest.mark.skipif(ME != 0, reason="needs root, to make another user's directory")
@pytest.mark.parametrize("where", ["sockets", "owner", "link"])
def test_sockets_in_another_users_directory_are_refused(serving: Serving, tmp_path: Path, where: str) -> None:
    """A directory that another user owns or may write to, or a link instead of it, would let that user put a socket of theirs there."""
    serving.sockets.mkdir()
    if where == "sockets":
        serving.sockets.chmod(0o777)
    elif where == "owner":
        (serving.sockets / "owner").mkdir()
        os.chown(serving.sockets / "owner", 12345, -1)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (serving.sockets / "owner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises((StorageError, ConfigError, OSError)) as failed:
        serve(serving.session, serving.places, Options(), lambda _: pytest.fail("it serves"))
    assert str(serving.sockets) in str(failed.value)


def test_the_first_request_counts(desk: Desk) -> None:
    """A first request counts against the rate of its grant like each other one."""
    grant = desk.issue(per_minute=1)
    assert desk.renew(desk.handle(grant)).status_code == 200
    assert desk.renew(desk.handle(grant)).status_code == 429


def test_a_full_disk_is_said_on_both_sides(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its line in the audit log no token leaves: the sandbox hears that the host cannot write, without its paths, and the host's
    log names the file."""
    grant = desk.issue()
    assert desk.renew(desk.handle(grant)).status_code == 200

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28), str(desk.audit.path))

    monkeypatch.setattr(desk.audit, "_append", full)
    with caplog.at_level(logging.WARNING, "kimi_auth"):
        answers = [desk.renew(desk.handle(grant)) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {503}
    said = answers[0].json()["error_description"]
    assert "the host cannot write" in said
    assert str(desk.audit.path) not in said
    assert str(desk.audit.path) in caplog.text


def test_a_command_is_not_started_without_its_socket(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, short: Path
) -> None:
    """Where the socket of `run --brokered` cannot be served, its grant is revoked, its directory goes, and an error says so."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))

    async def ends_at_once(_: object) -> None:
        pass

    monkeypatch.setattr(serving_server.LoopbackServer, "main_loop", ends_at_once)
    with pytest.raises(StorageError, match="could not be served"), CommandBroker(serving.session):
        pytest.fail("it began")
    assert [one.name for one in short.iterdir()] == []
    assert [one.phase for one in serving.places.grants().all(1e10)] == ["revoked"]
