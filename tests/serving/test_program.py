"""`kimi-auth serve` as a program: lives, deaths and a new start, seen by its clients."""

from __future__ import annotations

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
from house.patience import until

from kimi_auth.serving.handles import Handles
from kimi_auth.serving.records import GrantFiles
from serving.conftest import CLIENT_ID, Serving


def renewed(serving: Serving, grant: dict[str, Any], handle: str | None = None) -> httpx.Response:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": handle or grant["record"]["refresh_token"],
        "client_id": CLIENT_ID,
    }
    with serving.client(grant["socket"]) as client:
        return client.post("/api/oauth/token", data=form)


def there(path: str | Path) -> None:
    until(lambda _: Path(path).exists(), f"{path}") if not Path(path).exists() else None


def gone(path: str | Path) -> None:
    until(lambda tick_s: time.sleep(tick_s) or not Path(path).exists(), f"the end of {path}")


def answers(ask: Callable[[], httpx.Response], tries: int = 400) -> httpx.Response:
    """The answer of a server that is being started again meanwhile."""
    for _ in range(tries):
        try:
            return ask()
        except httpx.TransportError:
            time.sleep(0.05)
    return ask()


def test_a_grant_is_served_from_its_issue_to_its_end(serving: Serving) -> None:
    """A grant issued beside a running server gets its socket; 10 rotations reach its sandbox; revoked by the owner, its handle is worth
    nothing, its socket goes, and the login stays."""
    serving.start()
    grant = serving.grant("agent")
    there(grant["socket"])
    pair = grant["record"]
    seen = {pair["access_token"]}
    for _ in range(10):
        done = serving.run("token", "--refresh")
        assert done.returncode == 0, done.stderr
        answer = renewed(serving, grant, pair["refresh_token"])
        assert answer.status_code == 200
        pair = answer.json()
        assert pair["access_token"] == done.stdout.strip()
        seen.add(pair["access_token"])
    assert len(seen) == 11
    assert serving.run("serve", "grants", "revoke", "agent").returncode == 0
    gone(grant["socket"])
    with serving.client() as client:
        assert client.get("/v1/token").status_code == 200
    assert json.loads(serving.run("serve", "grants", "list", "--json").stdout)["grants"][0]["state"] == "revoked"
    assert serving.end() == (0, "")


def test_a_rejected_token_is_rotated_once_for_all(serving: Serving) -> None:
    """20 sandboxes that got a 401 for one token make one rotation, and get the same new token; asked again at once, it stays."""
    serving.start()
    grant = serving.grant("agent")
    there(grant["socket"])
    before = serving.emulator.state.counts["exchanges"]
    with ThreadPoolExecutor(20) as pool:
        answered = list(pool.map(lambda _: renewed(serving, grant), range(20)))
    assert {answer.status_code for answer in answered} == {200}
    pairs = {answer.json()["access_token"] for answer in answered}
    assert len(pairs) == 1
    assert pairs != {grant["record"]["access_token"]}
    newest = answered[0].json()["refresh_token"]
    again = [renewed(serving, grant, newest).json()["access_token"] for _ in range(5)]
    assert serving.emulator.state.counts["exchanges"] - before <= 2
    assert len(set(again)) == 1


def test_a_host_that_signs_out_and_in_again_keeps_its_sandboxes(serving: Serving) -> None:
    """While the host is signed out sandboxes are told to come again; after its next sign-in the same handle brings a token."""
    serving.start()
    grant = serving.grant("agent")
    there(grant["socket"])
    assert serving.run("logout").returncode == 0
    answer = renewed(serving, grant)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    serving.emulator.sign_in(serving.share_dir)
    answer = renewed(serving, grant)
    assert answer.status_code == 200
    assert answer.json()["access_token"] != grant["record"]["access_token"]


@pytest.mark.parametrize("at", ["idle", "issued", "asked"])
def test_killed_at_any_moment_it_goes_on_as_it_was(serving: Serving, at: str) -> None:
    """kill -9 while idle, right after a grant, or with requests in flight: started again, grants, audit log and login are as they
    were, old handles work, and no lock or socket of the dead one is in the way."""
    serving.start()
    grant = serving.grant("agent")
    there(grant["socket"])
    assert renewed(serving, grant).status_code == 200
    others: list[dict[str, Any]] = []
    stop = threading.Event()

    def asking() -> None:
        while not stop.is_set():
            try:
                renewed(serving, grant)
            except httpx.TransportError:
                stop.wait(0.01)

    threads = [threading.Thread(target=asking) for _ in range(4 if at == "asked" else 0)]
    for thread in threads:
        thread.start()
    if at == "issued":
        others.append(serving.grant("second"))
    log = serving.places.audit.read_bytes()
    serving.end(signal.SIGKILL)
    serving.start()
    stop.set()
    for thread in threads:
        thread.join()
    for one in (grant, *others):
        there(one["socket"])
        assert answers(lambda one=one: renewed(serving, one)).status_code == 200
    assert serving.places.audit.read_bytes().startswith(log)
    listed = json.loads(serving.run("serve", "grants", "list", "--json").stdout)["grants"]
    assert [one["state"] for one in listed] == ["active"] * (1 + len(others))
    assert serving.emulator.state.counts.get("reuse", 0) == 0
    assert serving.run("token").returncode == 0


def test_many_sandboxes_ask_through_a_new_start(serving: Serving) -> None:
    """200 requests, some of them while the server is killed and started again, all end with one and the same token."""
    serving.start()
    grant = serving.grant("agent", "--per-minute", "100000")
    there(grant["socket"])
    first = renewed(serving, grant).json()
    begun = threading.Semaphore(0)

    def one(number: int) -> str:
        begun.release()
        answer = answers(lambda: renewed(serving, grant, grant["record"]["refresh_token"]))
        assert answer.status_code == 200
        return str(answer.json()["access_token"])

    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(one, number) for number in range(200)]
        for _ in range(60):
            begun.acquire()
        serving.end(signal.SIGKILL)
        serving.start()
        tokens = {each.result() for each in asked}
    assert tokens == {first["access_token"]}


def test_two_servers_of_one_login_are_one_too_many(serving: Serving) -> None:
    """The second one says so and leaves the first one's sockets alone."""
    serving.start()
    done = serving.run("serve", "--sockets", str(serving.sockets))
    assert done.returncode == 9
    assert "another kimi-auth serve" in done.stderr
    with serving.client() as client:
        assert client.get("/readyz").status_code == 200


def test_requests_end_in_order(serving: Serving) -> None:
    """SIGTERM: a request in flight is still answered, the exit status is 0, and the socket takes no more."""
    serving.start()
    with serving.client() as client:
        fp = client.get("/v1/token").json()["fp"]
        waiting = ThreadPoolExecutor(1).submit(lambda: httpx_get(serving, f"/v1/token?not_fp={fp}&wait=3"))
        until(lambda tick_s: time.sleep(tick_s) or busy(serving), "a request in flight")
    assert serving.end() == (0, "")
    assert waiting.result().status_code == 200
    with pytest.raises(httpx.TransportError), serving.client() as client:
        client.get("/readyz")


def httpx_get(serving: Serving, path: str) -> httpx.Response:
    with serving.client() as client:
        return client.get(path)


def busy(serving: Serving) -> bool:
    """Whether a connection of a client's stands at the owner's socket."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(str(serving.owner)) for line in lines) > 1


def test_a_renewal_reaches_who_waits(serving: Serving) -> None:
    """A long poll is answered when another process has renewed the login."""
    serving.start()
    fp = httpx_get(serving, "/v1/token").json()["fp"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: httpx_get(serving, f"/v1/token?not_fp={fp}&wait=50"))
        renewed_by_another = serving.run("token", "--refresh").stdout.strip()
        assert waiting.result().json()["access_token"] == renewed_by_another


def test_tcp_needs_a_secret(serving: Serving) -> None:
    """On loopback a grant's secret brings a token; without it 401; with a wrong name 421."""
    url = serving.start("--listen", "127.0.0.1:0")["url"]
    grant = serving.grant("tool")
    secret = {"authorization": f"Bearer {grant['secret']}"}
    assert httpx.get(f"{url}/v1/token").status_code == 401
    assert httpx.get(f"{url}/v1/token", headers=secret).json()["access_token"] == grant["record"]["access_token"]
    assert httpx.get(f"{url}/v1/token", headers=secret | {"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--listen", "0.0.0.0:0"], 9, "not a loopback address"),
        (["--listen", "0.0.0.0:0", "--allow-remote"], 9, "there is no TLS"),
        (["--listen", "nonsense"], 2, "HOST:PORT"),
        (["--certificate", "/nowhere.pem"], 9, "/nowhere.pem"),
        (["start", "something"], 2, "something"),
    ],
)
def test_what_cannot_be_served_is_said(serving: Serving, options: list[str], status: int, words: str) -> None:
    """A public address without TLS and the word of its owner, and options that mean nothing, end in one line."""
    done = serving.run("serve", *options, "--sockets", str(serving.sockets))
    assert done.returncode == status
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.root
def test_another_user_is_refused_by_the_kernels_word(serving: Serving, short: Path) -> None:
    """At a socket that another user can open, the kernel's word decides: 403 for the wrong one, a token for the one who is named."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    short.chmod(0o755)
    serving.start()
    grant = serving.grant("agent", "--uid", "65534")
    there(grant["socket"])
    program = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.recv(99).split()[1].decode())"
    )

    def as_user(uid: int) -> str:
        line = ["/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable, "-c", program]
        return subprocess.run(
            [*line, grant["socket"]],
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
    with serving.client(grant["socket"]) as client:
        assert client.get("/healthz").status_code == 403  # root is not named either


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
    with serving.client(path) as client:
        assert client.get("/v1/token").status_code == 200
    assert serving.end() == (0, "")
    assert manager.recv(100) == b"STOPPING=1"
    manager.close()


def test_a_grant_is_issued_once(serving: Serving) -> None:
    """A name that stands is not given twice; after its end it may be used again, with another id; `owner` is taken."""
    first = serving.grant("agent", "--ttl", "3600")
    assert serving.run("serve", "grant", "agent").returncode == 2
    assert serving.run("serve", "grant", "owner").returncode == 2
    assert serving.run("serve", "grants", "revoke", "agent").returncode == 0
    assert serving.grant("agent")["id"] != first["id"]
    assert serving.run("serve", "grants", "revoke", "nobody").returncode == 2


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "-x", "x" * 64, "a b", "é"])
def test_a_grants_name_is_a_name(serving: Serving, name: str) -> None:
    """Names that could lead out of a directory, or look like options, are refused."""
    assert serving.run("serve", "grant", "--", name).returncode == 2


def test_the_recipes_name_their_parts(serving: Serving, tmp_path: Path) -> None:
    """Each form that is printed names the directory of the socket and the written home, and is what its program reads; the real
    refresh token is in none of them."""
    real = json.loads((serving.share_dir / "credentials" / "kimi-code.json").read_text())["refresh_token"]
    home = tmp_path / "box"
    for form in ("record", "env", "docker", "devcontainer", "kubernetes"):
        done = serving.run(
            "serve",
            "grant",
            f"for-{form}",
            "--write",
            str(home / form),
            "--as",
            form,
            "--sockets",
            str(serving.sockets),
        )
        assert done.returncode == 0, done.stderr
        assert real not in done.stdout + done.stderr
        files = [path for path in (home / form).rglob("*") if path.is_file()]
        assert len(files) == 3
        for path in files:
            assert path.stat().st_mode & 0o077 == 0
            assert real not in path.read_text()
        if form in {"devcontainer", "kubernetes"}:
            assert str(serving.sockets / f"for-{form}") in json.dumps(json.loads(done.stdout))
        elif form == "docker":
            assert f"{serving.sockets}/for-docker:/run/kimi" in done.stdout


def test_a_damaged_key_is_said(serving: Serving) -> None:
    """Without its key no handle can be read: the server says which file, and starts nothing."""
    serving.grant("agent")
    key = serving.places.folder / "key"
    key.write_text("nonsense")
    done = serving.run("serve", "--sockets", str(serving.sockets))
    assert done.returncode == 8
    assert str(key) in done.stderr


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """Processes that need the key at one moment all get the same one."""
    with ThreadPoolExecutor(8) as pool:
        made: Iterator[Handles] = pool.map(lambda _: GrantFiles(tmp_path / "serving").handles(), range(8))
        assert len({handles.handle("0" * 16, "1" * 16) for handles in made}) == 1
