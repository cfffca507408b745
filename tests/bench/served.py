"""A token over the socket of `kimi-auth serve`: what a request takes, beside one that asks nothing, and what the server holds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from bench.door import cpu
from bench.report import Table, number
from bench.surroundings import sign_in_at
from bench.turns import Row, calls, medians
from kimi_auth.store.served import Address, ask
from kimi_auth.testing.emulator import Emulator

__all__ = ["table"]

TOKEN, NOTHING = "token, at the owner's socket", "healthz, which asks nothing"
TARGETS = {TOKEN: "1.0"}


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds of one request on a new connection, all in turns; the memory of the server at its end."""
    share_dir = folder / "served"
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as emulator, _short() as sockets:
        sign_in_at(emulator, share_dir, left_s=36_000.0)
        environ = {**os.environ, **emulator.env, "KIMI_SHARE_DIR": str(share_dir)}
        line = [sys.executable, "-m", "kimi_auth", "serve", "--json", "--sockets", sockets]
        with subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = Address(json.loads(server.stdout.readline())["socket"])
                rows = [Row(NOTHING, calls(_asks(address, "/healthz"))), Row(TOKEN, calls(_asks(address, "/v1/token")))]
                seconds = medians(rows, 1 if quick else 15, 0.0 if quick else 0.2)
                before_mib = _memory_mib(server.pid)
                requests = 200 if quick else 100_000
                _many(address, requests)
                memory_mib = _memory_mib(server.pid)
                starts = _starts(address, environ, 1 if quick else 15)
            finally:
                server.terminate()
    figures = [(name, number(taken * 1e3), TARGETS.get(name, "")) for name, taken in seconds.items()]
    notes = [
        f"`kimi-auth token` over the socket takes the CPU of {number(starts)} starts of Python (target 4).",
        "Each on a connection of its own.",
        f"The server held {before_mib:.0f} MiB before and {memory_mib:.0f} MiB after {requests:,} more requests for a token (target 60).",
        f"Loaded, because they are installed here and not with the extra alone: {', '.join(_beside()) or 'nothing'}.",
    ]
    return Table("A token from kimi-auth serve: milliseconds", ("", "ms", "target"), figures, notes)


def _starts(address: Address, environ: Mapping[str, str], turns: int) -> float:
    """The CPU of `kimi-auth token` over the socket, in starts of Python."""
    kimi_auth = str(Path(sys.executable).with_name("kimi-auth"))
    kept = {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept["KIMI_AUTH_STORE"] = f"unix://{address.path}"
    rows = [Row("token", cpu([kimi_auth, "token"], kept)), Row("start", cpu([sys.executable, "-c", "pass"], kept))]
    seconds = medians(rows, turns)
    return seconds["token"] / seconds["start"]


def _asks(address: Address, target: str) -> Callable[[], object]:
    def call() -> object:
        status, _ = ask(address, target)
        assert status == 200
        return status

    return call


PIPELINED = 50


def _many(address: Address, count: int) -> None:
    """Tokens on one connection, so many requests at once that the server alone is busy."""
    asked = b"GET /v1/token HTTP/1.1\r\nHost: localhost\r\n\r\n" * PIPELINED
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address.path))
        for _ in range(count // PIPELINED):
            connection.sendall(asked)
            got = b""
            while got.count(b'"access_token"') < PIPELINED or not got.endswith(b"}"):
                got += connection.recv(65536)
            if got.count(b" 200 OK\r\n") != PIPELINED:
                raise RuntimeError("the bench's server refuses a token")


def _beside() -> list[str]:
    """Packages that httpcore and typer load where they find them, some MiB each."""
    return [name for name in ("pydantic", "trio") if find_spec(name) is not None]


def _short() -> tempfile.TemporaryDirectory[str]:
    """A directory with a short name: the path of a socket may have some hundred bytes."""
    return tempfile.TemporaryDirectory(prefix="kb", dir="/tmp")


def _memory_mib(pid: int) -> float:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
