"""What each command costs before it does anything: CPU of whole processes, held against Python's own start."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.report import Table, number
from bench.surroundings import file_store, pair, sign_in, sign_in_at
from bench.turns import Row, Turn, medians
from kimi_auth.testing.emulator import Emulator
from kimi_auth.wire.certificates import VARIABLES

__all__ = ["cpu", "table"]

SESSION = "from kimi_auth import Session; print(Session().access_token_sync())"
RENEWAL = "from kimi_auth.session import Session; print(Session(one_shot=True).access_token_sync(refresh=True))"
BARE = """
import os, sys, httpx
form = {"client_id": "17e5f671-d194-4dfb-9706-5516cb48c098", "grant_type": "refresh_token", "refresh_token": sys.argv[1]}
with httpx.Client(trust_env=False, verify=httpx.create_ssl_context()) as client:
    answer = client.post(os.environ["KIMI_CODE_OAUTH_HOST"] + "/api/oauth/token", data=form)
answer.raise_for_status()
print(answer.json()["access_token"])
"""
START = "python -c pass"
COMMAND = "token --refresh"
SCRIPT = "a bare httpx script that does its POST"


def table(folder: Path, *, quick: bool = False) -> Table:
    """CPU of each command line, all in turns, and how many starts of Python it is."""
    kimi_auth = str(Path(sys.executable).with_name("kimi-auth"))
    share_dir = folder / "door"
    sign_in(file_store(share_dir), pair(issuer=""))  # as the Kimi CLI writes it: no issuer
    named = {**_environ(share_dir), "KIMI_CODE_OAUTH_HOST": "https://auth.kimi.com"}
    with Emulator(approve_after_s=0, interval_s=0) as emulator:
        lines = {
            START: ([sys.executable, "-c", "pass"], named, ""),
            "token": ([kimi_auth, "token"], named, "1.3"),
            "token --min-ttl 60": ([kimi_auth, "token", "--min-ttl", "60"], named, "4"),
            "token --json": ([kimi_auth, "token", "--json"], named, "4"),
            "token --platform kimi-code": ([kimi_auth, "token", "--platform", "kimi-code"], named, "4"),
            "--version": ([kimi_auth, "--version"], named, "2"),
            "status": ([kimi_auth, "status"], named, "8"),
            "status --json": ([kimi_auth, "status", "--json"], named, "8"),
            "--help": ([kimi_auth, "--help"], named, "15"),
            "Session().access_token_sync()": ([sys.executable, "-c", SESSION], named, "10"),
            "run -- true": ([kimi_auth, "run", "--", "true"], named, "8"),
        }
        rows = [Row(name, cpu(command, environ)) for name, (command, environ, _) in lines.items()]
        renewed = folder / "door-renewed"
        sign_in_at(emulator, renewed)
        at_emulator = {**_environ(renewed), **emulator.env}
        rows += [
            Row(COMMAND, cpu([kimi_auth, *COMMAND.split()], at_emulator)),
            Row("that renewal by Session(one_shot=True)", cpu([sys.executable, "-c", RENEWAL], at_emulator)),
            Row(SCRIPT, _bare(emulator, at_emulator)),
        ]
        seconds = medians(rows, 1 if quick else 15)
    targets = {name: target for name, (_, _, target) in lines.items()}
    start_s = seconds[START]
    figures = [
        (row.name, number(seconds[row.name] * 1e3), number(seconds[row.name] / start_s), targets.get(row.name, ""))
        for row in rows
    ]
    share = seconds[COMMAND] / seconds[SCRIPT]
    notes = [f"The command that renews is {number(share)} times the bare script (target 1.15), which makes nothing durable and takes no lock; it reads certifi's authorities and Python searches its garbage at the end; the command looks among the system's, and leaves its garbage.", "The record is an old one, without an issuer; KIMI_CODE_OAUTH_HOST names its host."]  # fmt: skip
    return Table("At the door: CPU of whole processes", ("", "ms", "starts", "target"), figures, notes)


def _environ(share_dir: Path) -> dict[str, str]:
    """An environment in which bytecode is kept, as for everything that was installed, and no variable names authorities."""
    out = {"PYTHONDONTWRITEBYTECODE", *VARIABLES}
    kept = {name: value for name, value in os.environ.items() if name not in out}
    return {**kept, "KIMI_SHARE_DIR": str(share_dir)}


def cpu(command: list[str], environ: Mapping[str, str]) -> Turn:
    """The turn of a process that must succeed: the CPU seconds of it and of what it waited for."""

    def turn(times: int) -> float:
        return sum(_cpu_s(command, environ) for _ in range(times))

    turn(1)  # writes the bytecode
    return turn


def _bare(emulator: Emulator, environ: Mapping[str, str]) -> Turn:
    """The turn of the script; each run spends a refresh token of its own, made outside of the measured time."""

    def turn(times: int) -> float:
        spent_s = 0.0
        for _ in range(times):
            grant = emulator.state.poll(emulator.state.issue_code().device_code)
            spent_s += _cpu_s([sys.executable, "-c", BARE, str(grant.refresh_token)], environ)
        return spent_s

    return turn


def _cpu_s(command: list[str], environ: Mapping[str, str]) -> float:
    before = _of_children_s()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return _of_children_s() - before


def _of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
