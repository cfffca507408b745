"""`python -m kimi_auth.testing.emulator` as a process: its ready line, its log, its signals, its usage errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from house.patience import NO_LIMIT_S, ended, heard

from kimi_auth.serving.listening import listen
from kimi_auth.testing.emulator import Emulator
from kimi_auth.testing.emulator.program import main

CLIENT_ID = "17e5f671-d194-4dfb-9706-5516cb48c098"
COMMAND = [sys.executable, "-m", "kimi_auth.testing.emulator"]
Start = Callable[..., tuple["subprocess.Popen[str]", dict[str, Any]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(*options)` runs the program and gives it with its ready line; what still runs is killed."""
    with ExitStack() as stack:

        def run(*options: str, command: list[str] = COMMAND) -> tuple[subprocess.Popen[str], dict[str, Any]]:
            process = stack.enter_context(
                subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            return process, json.loads(process.stdout.readline())

        yield run


@pytest.fixture
def keep_signals() -> Iterator[None]:
    """The program takes SIGINT and SIGTERM for itself; give them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_ready_line(start: Start, tmp_path: Path) -> None:
    """One JSON line says where it is and how to point programs at it; its addresses answer."""
    process, ready = start("--approve", "page", "--share-dir", str(tmp_path))
    base = ready["base_url"]
    assert ready == {
        "ready": True, "base_url": base, "oauth_host": base, "api_base": f"{base}/coding/v1", "approve": "page",
        "env": {
            "KIMI_CODE_OAUTH_HOST": base, "KIMI_CODE_BASE_URL": f"{base}/coding/v1", "KIMI_SHARE_DIR": str(tmp_path),
        },
        "pid": process.pid,
    }  # fmt: skip
    with httpx.Client(trust_env=False, verify=False, timeout=NO_LIMIT_S) as http:
        assert http.get(f"{ready['api_base']}/models").status_code == 401
        assert http.get(f"{base}/.well-known/oauth-authorization-server").json()["issuer"] == base


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ignoring", [False, True], ids=["plain", "SIGINT ignored before"])
def test_signals(start: Start, number: signal.Signals, ignoring: bool) -> None:
    """A signal ends it silently, with status 0, while a request is in flight, also where SIGINT came ignored."""
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND] if ignoring else COMMAND
    process, ready = start("--latency", "3600", command=command)
    with httpx.Client(base_url=ready["base_url"], trust_env=False, verify=False, timeout=NO_LIMIT_S) as http:
        host, port = ready["base_url"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as hanging:
            body = f"client_id={CLIENT_ID}&grant_type=refresh_token&refresh_token=x"
            hanging.sendall(
                "POST /api/oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded"
                f"\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            while not http.get("/_emulator/state").json()["counts"].get("refreshes"):
                pass
            process.send_signal(number)
            assert heard(process) == ("", "")
            assert process.returncode == 0


def test_request_log(start: Start, tmp_path: Path) -> None:
    """--log appends a JSON line per request to a private file, with fingerprints instead of tokens."""
    log = tmp_path / "requests.ndjson"
    log.write_text('{"endpoint": "earlier"}\n')
    process, ready = start("--log", str(log), "--approve-after", "0")
    with httpx.Client(base_url=ready["oauth_host"], trust_env=False, verify=False, timeout=NO_LIMIT_S) as http:
        code = http.post("/api/oauth/device_authorization", data={"client_id": CLIENT_ID}).json()
        form = {"client_id": CLIENT_ID, "grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
        grant = http.post("/api/oauth/token", data={**form, "device_code": code["device_code"]}).json()
    process.terminate()
    ended(process)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["endpoint"] for entry in entries] == ["earlier", "device", "token"]
    assert entries[2]["outcome"] == "granted"
    assert set(map(len, entries[2]["tokens"].values())) == {16}
    for secret in (code["device_code"], grant["access_token"], grant["refresh_token"]):
        assert secret not in log.read_text()


def test_new_log_is_private(start: Start, tmp_path: Path) -> None:
    """A log that is made here can be read by its owner only."""
    log = tmp_path / "requests.ndjson"
    start("--log", str(log))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_log_that_cannot_be_written(start: Start) -> None:
    """A full disk is said once on stderr, and the service goes on."""
    process, ready = start("--log", "/dev/full")
    with httpx.Client(base_url=ready["base_url"], trust_env=False, verify=False, timeout=NO_LIMIT_S) as http:
        assert [http.get("/device").status_code for _ in range(2)] == [200, 200]
    process.terminate()
    stdout, stderr = heard(process)
    assert (stdout, stderr) == ("", "kimi-auth emulator: --log /dev/full: No space left on device; no more is logged\n")


def test_ready_line_that_nobody_reads() -> None:
    """Without a reader for its ready line it ends with one sentence."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(COMMAND, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot write the ready line" in done.stderr


def test_options_reach_the_service(start: Start) -> None:
    """Interval, lives and the reuse policy are the ones that were asked for."""
    _, ready = start(
        "--interval", "1", "--code-ttl", "60", "--access-ttl", "30", "--approve-after", "0", "--reuse", "lenient"
    )  # fmt: skip
    with httpx.Client(base_url=ready["base_url"], trust_env=False, verify=False, timeout=NO_LIMIT_S) as http:
        code = http.post("/api/oauth/device_authorization", data={"client_id": CLIENT_ID}).json()
        assert (code["interval"], code["expires_in"]) == (1, 60)
        form = {"client_id": CLIENT_ID, "grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
        grant = http.post("/api/oauth/token", data={**form, "device_code": code["device_code"]}).json()
        assert grant["expires_in"] == 30
        for status in (200, 400):
            old = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": grant["refresh_token"]}
            assert http.post("/api/oauth/token", data=old).status_code == status
        assert http.get("/_emulator/state").json()["families_alive"] == 1


def test_addresses(start: Start) -> None:
    """localhost and IPv6 loopback serve; a wildcard needs --allow-remote and is named by its loopback address."""
    for options in (["--host", "localhost"], ["--host", "::1"], ["--host", "0.0.0.0", "--allow-remote"]):
        if options[1] == "::1" and not has_ipv6_loopback():
            continue
        _, ready = start(*options)
        assert ready["base_url"].startswith(("http://127.0.0.1:", "http://[::1]:"))
        assert (
            httpx.get(f"{ready['base_url']}/device", trust_env=False, verify=False, timeout=NO_LIMIT_S).status_code
            == 200
        )


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [("0.0.0.0", 0, "http://127.0.0.1:"), ("::", 0, "http://[::1]:"), ("127.0.0.2", 0, "http://127.0.0.2:")],
)
def test_base_url(host: str, port: int, base_url: str) -> None:
    """The base URL reaches the socket: a wildcard is named by the loopback address of its family."""
    if ":" in host and not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6; to enable: sysctl net.ipv6.conf.lo.disable_ipv6=0")
    listener, url = listen(host, port)
    with listener:
        assert url == f"{base_url}{listener.getsockname()[1]}"


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("keep_signals")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 is not a loopback address; --allow-remote permits it"),
        (["--host", "192.0.2.1"], "--allow-remote permits it"),
        (["--host", "no such host"], "--allow-remote permits it"),
        (["--host", "192.0.2.1", "--allow-remote"], "cannot listen on 192.0.2.1, port 0:"),
        (["--port", "65536"], "argument --port: '65536' is not a port"),
        (["--port", "-1"], "argument --port"),
        (["--approve", "never"], "argument --approve: invalid choice: 'never'"),
        (["--access-ttl", "soon"], "argument --access-ttl: 'soon' is not a number of seconds"),
        (["--interval", "-1"], "argument --interval: '-1' is not a number of seconds"),
        (["--latency", "inf"], "argument --latency: 'inf' is not a number of seconds"),
        (["--reuse", "maybe"], "argument --reuse: reuse is strict, lenient, none or grace:SECONDS"),
        (["--log", "/nowhere/at/all"], "--log /nowhere/at/all: No such file or directory"),
        (["--acc", "5"], "unrecognized arguments: --acc 5"),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_usage_errors(capfd: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    """What the options make impossible is one line on stderr and status 2."""
    with pytest.raises(SystemExit) as ended:
        main(options)
    stdout, stderr = capfd.readouterr()
    assert (ended.value.code, stdout, stderr.count("\n")) == (2, "", 1)
    assert stderr.startswith("kimi-auth emulator: ")
    assert message in stderr


@pytest.mark.usefixtures("keep_signals")
def test_taken_port(capfd: pytest.CaptureFixture[str]) -> None:
    """A port that is in use is named."""
    with Emulator() as emulator:
        port = emulator.base_url.rpartition(":")[2]
        with pytest.raises(SystemExit, match="2"):
            main(["--port", port])
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in capfd.readouterr().err


@pytest.mark.usefixtures("keep_signals")
def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names every option with its default."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    for option in ("--host", "--port", "--approve-after", "--access-ttl", "--reuse", "--share-dir", "--log", "(900)"):
        assert option in told


def test_without_the_extra() -> None:
    """Without starlette or uvicorn it says in one line what to install."""
    code = "import sys; sys.modules['uvicorn'] = None; from kimi_auth.testing.emulator.program import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'kimi-auth[emulator]'" in done.stderr
