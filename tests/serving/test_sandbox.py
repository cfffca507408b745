"""A stock kimi-auth in namespaces of its own: no network but loopback, and of the host's files only the socket and the home that was
written for it. It lives a whole life there, and the login's refresh token is nowhere to be found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.conftest import ME, Serving

pytestmark = pytest.mark.containers

INSIDE = r"""
set -e
ip link set lo up 2>/dev/null || "$PYTHON" - <<'UP'
import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
UP
mount --make-rprivate /
mount -t tmpfs tmpfs "$HOST_DIR"
exec "$PYTHON" -W ignore "$SCRIPT"
"""

LIFE = r"""
import json, os, subprocess, sys, time, glob
REAL = sys.stdin.readline().strip()
relay = subprocess.Popen([sys.executable, os.environ["RELAY"], os.environ["SOCKET"], "47823"])
import socket
while True:
    try:
        socket.create_connection(("127.0.0.1", 47823)).close(); break
    except OSError: time.sleep(0.01)
def kimi(*words):
    done = subprocess.run([sys.executable, "-m", "kimi_auth", *words], capture_output=True, text=True)
    return [done.returncode, done.stdout.strip(), done.stderr.strip()]
def tell(**said): print(json.dumps(said), flush=True)
def heard(): return sys.stdin.readline().strip()
tell(network=os.listdir("/sys/class/net") if os.path.isdir("/sys/class/net") else [], host=os.listdir(os.environ["HOST_DIR"]))
tell(token=kimi("token"))
from kimi_auth import Session
from kimi_auth.clock import SystemClock
class Moved(SystemClock):
    by_s = 0.0
    def wall_s(self): return super().wall_s() + self.by_s
    def boottime_s(self): return super().boottime_s() + self.by_s
clock = Moved()
session = Session(clock=clock)
old = session.access_token_sync()
heard()
tell(next=session.rejected_sync(old))
for _ in range(9):
    heard()
    clock.by_s += 1000.0
    tell(next=session.access_token_sync())
tell(status=session.status().state, program=kimi("status")[0])
heard()
clock.by_s += 1000.0
try: tell(signed_out=session.access_token_sync(timeout_s=2.0))
except Exception as error: tell(signed_out=type(error).__name__)
heard()
clock.by_s += 100.0
tell(again=session.access_token_sync())
holder = subprocess.Popen(
    [sys.executable, "-c", "from kimi_auth import Session; s = Session(); s.access_token_sync(); print(s.status().state, flush=True); input()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
holder.stdout.readline()
needle, control = REAL.encode(), b"kah."
found, seen = [], 0
for folder in (os.environ["KIMI_SHARE_DIR"], os.path.dirname(os.environ["SOCKET"])):
    for path in glob.glob(folder + "/**", recursive=True):
        if os.path.isfile(path) and needle in open(path, "rb").read(): found.append(path)
for pid in (relay.pid, holder.pid):
    if needle in open(f"/proc/{pid}/environ", "rb").read(): found.append(f"environ {pid}")
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if "r" not in rights or "[v" in line: continue
            try: memory.seek(start); content = memory.read(end - start)
            except (OSError, ValueError, OverflowError): continue
            seen += pid == holder.pid and control in content
            if needle in content: found.append(f"memory {pid} {line.split()[-1]}")
holder.communicate("\n")
tell(found=found, is_seen=seen > 0, handle=json.load(open(os.environ["KIMI_SHARE_DIR"] + "/credentials/kimi-code.json"))["refresh_token"][:4])
tell(logout=kimi("logout")[0], then=kimi("token")[0])
relay.terminate(); relay.wait()
"""


@pytest.fixture
def unshare() -> list[str]:
    """The command that gives a program network and mounts of its own."""
    found = shutil.which("unshare")
    if found is None or os.geteuid() != 0:
        pytest.skip("needs root and unshare: run as root, apt-get install util-linux")
    return [found, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]


def test_a_stock_client_lives_on_handles(serving: Serving, unshare: list[str], tmp_path: Path) -> None:
    """Token, a renewal after a 401, nine after its end, status, the host's logout and login, and its own logout, which ends the grant and leaves
    the host signed in."""
    serving.start_here()
    box = serving.grant("agent")
    home = serving.sockets.parent / "home"
    box.write(home, ME)
    script = serving.sockets.parent / "life.py"
    script.write_text(LIFE)
    real = json.loads((serving.share_dir / "credentials" / "kimi-code.json").read_text())["refresh_token"]
    from kimi_auth.serving import relay

    env = {name: value for name, value in serving.env.items() if not name.startswith("KIMI_")}
    env |= {
        "KIMI_SHARE_DIR": str(home),
        "KIMI_CODE_OAUTH_HOST": box.oauth_host,
        "PYTHON": sys.executable,
        "SCRIPT": str(script),
        "RELAY": str(relay.__file__),
        "SOCKET": str(box.socket_dir / "kimi.sock"),
        "HOST_DIR": str(serving.share_dir),
    }
    sandbox = subprocess.Popen(
        [*unshare, "sh", "-c", INSIDE], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sandbox.stdin is not None
    assert sandbox.stdout is not None

    def say(text: str) -> None:
        assert sandbox.stdin is not None
        sandbox.stdin.write(text + "\n")
        sandbox.stdin.flush()

    def told() -> dict[str, Any]:
        assert sandbox.stdout is not None
        found: dict[str, Any] = json.loads(sandbox.stdout.readline())
        return found

    say(real)
    assert told()["host"] == []
    assert told() == {"token": [0, box.token.access_token, ""]}
    seen = {box.token.access_token}
    for _ in range(10):
        newest = serving.session.access_token_sync(refresh=True)
        say("renewed")
        answer = told()
        assert answer == {"next": newest}
        seen.add(newest)
    assert len(seen) == 11
    assert told() == {"status": "fresh", "program": 0}
    newest_real = json.loads((serving.share_dir / "credentials" / "kimi-code.json").read_text())["refresh_token"]
    assert newest_real != real
    serving.session.logout_sync()
    say("signed out")
    assert told() == {"signed_out": "Unreachable"}
    serving.emulator.sign_in(serving.share_dir)
    say("signed in")
    assert "again" in told()
    assert told() == {"found": [], "is_seen": True, "handle": "kah."}
    assert told() == {"logout": 0, "then": 3}
    assert sandbox.wait() == 0
    for stream in (sandbox.stdin, sandbox.stdout):
        stream.close()
    assert serving.session.status().state == "fresh"
    assert [one.phase for one in serving.places.grants().all(0.0)] == ["revoked"]
    for path in (home, box.socket_dir):
        for file in path.rglob("*"):
            if file.is_file():
                assert "emulated-refresh" not in file.read_text()
