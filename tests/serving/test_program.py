"""`kimi-auth serve` as a program: lives, deaths and a new start, seen by its clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from house.patience import NO_LIMIT_S, joined, met, until

from kimi_auth.errors import ConfigError
from kimi_auth.serving import login as serving_login
from kimi_auth.serving.handles import Handles
from kimi_auth.serving.program import Options, serve
from kimi_auth.serving.records import GrantFiles
from kimi_auth.serving.sandbox import Sandbox
from serving.conftest import Reply, Serving, UnixConnection, gone, has_arrived, there


def answers(ask: Callable[[], Reply]) -> Reply:
    """The answer of a server that is being started again meanwhile."""

    def asked(_: float) -> list[Reply]:
        try:
            return [ask()]
        except OSError:
            time.sleep(0.05)
            return []

    return until(asked, "an answer")[0]


def test_a_grant_is_served_from_its_issue_to_its_end(serving: Serving) -> None:
    """A grant issued beside a running server gets its socket; 10 rotations reach its sandbox; revoked by the owner, its handle is worth
    nothing, its socket goes, and the login stays."""
    serving.start_here()
    box = serving.grant("agent")
    pair = {"access_token": box.token.access_token, "refresh_token": box.pair.refresh_token}
    seen = {pair["access_token"]}
    for _ in range(10):
        newest = serving.session.access_token_sync(refresh=True)
        answer = serving.renew(box, pair["refresh_token"])
        assert answer.status_code == 200
        pair = answer.json()
        assert pair["access_token"] == newest
        seen.add(newest)
    assert len(seen) == 11
    serving.revoke("agent")
    gone(box.socket_dir / "kimi.sock")
    assert box.socket_dir.is_dir()  # where it is mounted, a new grant of this name is found again
    assert serving.get("/v1/token").status_code == 200


def test_a_rejected_token_is_rotated_once_for_all(serving: Serving) -> None:
    """20 sandboxes that got a 401 for one token make one rotation, and get the same new token; asked again at once, it stays."""
    serving.start_here()
    box = serving.grant("agent")
    counts = serving.emulator.state.counts
    before = counts["rotations"]
    with ThreadPoolExecutor(20) as pool:
        answered = list(pool.map(lambda _: serving.renew(box), range(20)))
    assert {answer.status_code for answer in answered} == {200}
    pairs = {answer.json()["access_token"] for answer in answered}
    assert counts["rotations"] - before == len(pairs) == 1
    assert pairs != {box.token.access_token}
    newest = answered[0].json()["refresh_token"]
    again = {serving.renew(box, newest).json()["access_token"] for _ in range(5)}
    assert again == pairs
    assert counts["rotations"] - before == 1


def test_a_host_that_signs_out_and_in_again_keeps_its_sandboxes(serving: Serving) -> None:
    """While the host is signed out sandboxes are told to come again; after its next sign-in the same handle brings a token."""
    serving.start_here()
    box = serving.grant("agent")
    serving.session.logout_sync()
    answer = serving.renew(box)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    serving.emulator.sign_in(serving.share_dir)
    answer = serving.renew(box)
    assert answer.status_code == 200
    assert answer.json()["access_token"] != box.token.access_token


@pytest.mark.parametrize("at", ["issued", "asked"])
def test_killed_at_any_moment_it_goes_on_as_it_was(serving: Serving, at: str) -> None:
    """kill -9 right after a grant, or with requests in flight: started again, grants, audit log and login are as they were, old
    handles work, no lock or socket of the dead server is in the way, and no spent refresh token is sent."""
    serving.start()
    boxes = [serving.grant("agent")]
    assert serving.renew(boxes[0]).status_code == 200
    stop = threading.Event()

    def asking() -> None:
        while not stop.is_set():
            try:
                serving.renew(boxes[0])
            except OSError:
                stop.wait(0.01)

    threads = [threading.Thread(target=asking) for _ in range(4 if at == "asked" else 0)]
    for thread in threads:
        thread.start()
    if at == "issued":
        boxes.append(serving.grant("second"))
    log = serving.places.audit.read_bytes()
    serving.end(signal.SIGKILL)
    serving.start()
    stop.set()
    for thread in threads:
        joined(thread)
    for box in boxes:
        assert answers(lambda box=box: serving.renew(box)).status_code == 200
    assert serving.places.audit.read_bytes().startswith(log)
    assert [one.phase for one in serving.places.grants().all(time.time())] == ["active"] * len(boxes)
    assert serving.emulator.state.counts["reuse_seen"] == 0
    assert serving.session.access_token_sync()


SANDBOXES, EACH = 200, 3


def test_many_sandboxes_ask_through_a_new_start(serving: Serving) -> None:
    """200 sandboxes with a grant and a socket each ask three times while the server is killed and started again: all get one and the same
    token, the login is not renewed for it, and after the new start each socket is served."""
    boxes = [serving.grant(f"agent-{number}") for number in range(SANDBOXES)]
    serving.start()
    for box in boxes:
        there(box.socket_dir / "kimi.sock")
    rotations = serving.emulator.state.counts["rotations"]
    begun = threading.Semaphore(0)

    def asking(box: Sandbox) -> set[str]:
        tokens = set()
        for _ in range(EACH):
            begun.release()
            answer = answers(lambda: serving.get_token(box))
            assert answer.status_code == 200
            tokens.add(str(answer.json()["access_token"]))
        return tokens

    with ThreadPoolExecutor(SANDBOXES) as pool:
        asked = [pool.submit(asking, box) for box in boxes]
        for _ in range(SANDBOXES * EACH // 2):
            begun.acquire()
        serving.end(signal.SIGKILL)
        serving.start()
        tokens = set().union(*(each.result() for each in asked))
    assert tokens == {boxes[0].token.access_token}
    assert serving.emulator.state.counts["rotations"] == rotations
    assert {answers(lambda box=box: serving.get_token(box)).status_code for box in boxes} == {200}


def test_two_servers_of_one_login_are_one_too_many(serving: Serving) -> None:
    """The second one says so and leaves the first one's sockets alone."""
    serving.start()
    with pytest.raises(ConfigError, match="another kimi-auth serve"):
        serve(serving.session, serving.places, Options(), lambda _: None)
    assert serving.get("/readyz").status_code == 200


def test_requests_end_in_order(serving: Serving) -> None:
    """At the end a request in flight is still answered, and the socket takes no more; the program's exit status is 0."""
    serving.start()
    fp = serving.get("/v1/token").json()["fp"]
    with contextlib.closing(UnixConnection(serving.owner)) as waiting:
        waiting.request("GET", f"/v1/token?not_fp={fp}&wait=4")
        has_arrived(waiting.sock)  # a connection without a request is closed at the end
        assert serving.end() == (0, "")
        assert waiting.getresponse().status == 200
    with pytest.raises((ConnectionError, FileNotFoundError)):
        serving.get("/readyz")


def test_a_renewal_reaches_who_waits(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long poll is answered when another process has renewed the login."""
    monkeypatch.setattr(serving_login, "WAIT_MAX_S", NO_LIMIT_S)  # it has the new token at the end of its wait, too
    serving.start_here()
    assert serving.here is not None
    login, waits = serving.here._service.login, threading.Event()
    changed = login.changed

    async def noted(has_fp: str, wait_s: float) -> None:
        waits.set()
        await changed(has_fp, wait_s)

    monkeypatch.setattr(login, "changed", noted)
    fp = serving.get("/v1/token").json()["fp"]
    with contextlib.closing(UnixConnection(serving.owner)) as waiting:
        waiting.request("GET", f"/v1/token?not_fp={fp}&wait={NO_LIMIT_S}")
        met(waits)
        newest = serving.session.access_token_sync(refresh=True)
        assert json.loads(waiting.getresponse().read())["access_token"] == newest


def test_tcp_needs_a_secret(serving: Serving) -> None:
    """On loopback a grant's secret brings a token; without it 401; with a wrong name 421."""
    url = serving.start_here(listen=("127.0.0.1", 0))["url"]
    box = serving.grant("tool")
    secret = {"authorization": f"Bearer {box.secret}"}
    assert httpx.get(f"{url}/v1/token", timeout=NO_LIMIT_S).status_code == 401
    assert (
        httpx.get(f"{url}/v1/token", headers=secret, timeout=NO_LIMIT_S).json()["access_token"]
        == box.token.access_token
    )
    assert (
        httpx.get(f"{url}/v1/token", headers=secret | {"host": "evil.example"}, timeout=NO_LIMIT_S).status_code == 421
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"listen": ("0.0.0.0", 0)}, "not a loopback address"),
        ({"listen": ("0.0.0.0", 0), "allow_remote": True}, "there is no TLS"),
        ({"certificate": Path("/nowhere.pem")}, "/nowhere.pem"),
    ],
)
def test_what_must_not_be_served_is_refused(serving: Serving, options: dict[str, Any], words: str) -> None:
    """A public address without TLS and the word of its owner, and a certificate that is not there, stop it before it listens."""
    with pytest.raises(ConfigError, match=words):
        serve(serving.session, serving.places, Options(**options), lambda _: None)


@pytest.mark.root
def test_another_user_is_refused_by_the_kernels_word(serving: Serving, short: Path) -> None:
    """At a socket that another user can open, the kernel's word decides: 403 for the wrong one, a token for the one who is named."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    short.chmod(0o755)
    serving.start_here()
    box = serving.grant("agent", uids=(65534,))
    path = str(box.socket_dir / "kimi.sock")
    program = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.recv(99).split()[1].decode())"
    )

    def as_user(uid: int) -> str:
        line = ["/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable, "-c", program]
        return subprocess.run(
            [*line, path],
            user=uid,
            group=uid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        ).stdout.strip()

    assert as_user(65534) == "200"
    assert as_user(65533) == "403"
    assert serving.get("/healthz", Path(path)).status_code == 403  # root is not named either


def test_sockets_of_the_service_manager_are_served(serving: Serving, short: Path) -> None:
    """A socket that systemd listens on already, as the units in examples have it, is served as the owner's own; readiness is
    told to it."""
    path, notify = short / "systemd.sock", short / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(notify))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    program = (
        "import os,sys; os.dup2(int(sys.argv.pop(1)), 3); os.environ['LISTEN_PID']=str(os.getpid());"
        "from kimi_auth.__main__ import main; sys.exit(main())"
    )
    words = ["serve", "--json", "--sockets", str(serving.sockets)]
    serving.process = subprocess.Popen(
        [sys.executable, "-c", program, str(listener.fileno()), *words],
        env=serving.env | {"LISTEN_FDS": "1", "NOTIFY_SOCKET": str(notify)},
        pass_fds=[listener.fileno(), 3] if listener.fileno() != 3 else [3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    listener.close()
    assert serving.process.stdout is not None
    serving.process.stdout.readline()
    assert manager.recv(100) == b"READY=1"
    assert serving.get("/v1/token", path).status_code == 200
    assert serving.end() == (0, "")
    assert manager.recv(100) == b"STOPPING=1"
    manager.close()


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """Processes that need the key at one moment all get the same one."""
    with ThreadPoolExecutor(8) as pool:
        made: Iterator[Handles] = pool.map(lambda _: GrantFiles(tmp_path / "serving").handles(), range(8))
        assert len({handles.handle("0" * 16, "1" * 16) for handles in made}) == 1
