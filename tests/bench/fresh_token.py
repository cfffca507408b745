"""What a program pays for a token each time it needs one and has one: ours and the peers' usual way, in one process.

Run as a program, under strace, it makes `CALLS` calls of each row between two marks, so that they can be counted.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.report import NONE, Table, number
from bench.surroundings import LIFE_S, file_store, pair, session_of_kimi_cli, sign_in
from bench.turns import Row, calls, calls_async, medians
from bench.worker import command, environ
from kimi_auth import Session

__all__ = ["counted", "rows", "table"]

CALLS = 100
MARK = "/kimi-auth-bench"

AT_ONCE, SOON, NEVER = "at once", "within 1 s", "no"


def table(folder: Path, *, quick: bool = False) -> Table:
    """Microseconds and system calls of one call, and whether it notices that another process has renewed."""
    with asyncio.Runner() as runner:
        found = rows(folder, runner)
        seconds = medians(found, 5 if quick else 301, 0.001 if quick else 0.002)
    counts, error = _system_calls(folder)
    first = seconds[found[0].name]
    lines = [
        (
            row.name,
            number(seconds[row.name] * 1e6) if row.turn else NONE,
            number(seconds[row.name] / first) if row.turn else NONE,
            counts.get(row.name, NONE),
            row.remark if row.turn else NONE,
        )
        for row in found
    ]
    return Table(
        "A fresh token in a running program",
        ("", "µs", "factor", "syscalls", "notices"),
        lines,
        [
            "'notices': whether it sees that another process has renewed the login or signed out.",
            "The Kimi CLI asks once a turn; between turns its client keeps the token that it was given.",
            *([error] if error else []),
            *(f"{row.name} is missing: {row.remark}." for row in found if row.turn is None),
        ],
    )


def rows(folder: Path, runner: asyncio.Runner) -> list[Row]:
    """All of them, each tried once: one that does not give its token is a bug."""
    share_dir = folder / "fresh"
    os.environ["KIMI_SHARE_DIR"] = str(share_dir)
    stored = sign_in(file_store(share_dir), pair())
    session, throttled = Session(share_dir), Session(share_dir, recheck_every_s=1.0)
    ours: list[tuple[str, Callable[[], Any], str]] = [
        ("kimi-auth, sync", session.access_token_sync, AT_ONCE),
        ("kimi-auth, async", session.access_token, AT_ONCE),
        ("kimi-auth, sync, recheck_every_s=1", throttled.access_token_sync, SOON),
        ("kimi-auth, async, recheck_every_s=1", throttled.access_token, SOON),
        ("kimi-auth, reading it anew", lambda: session._supply.token_sync().access_token, AT_ONCE),
    ]
    found = [_row(name, call, stored.access_token, remark, runner) for name, call, remark in ours]
    for peer in (_kimi_cli, _msal, _google_auth, _botocore):
        name, make = peer()
        try:
            made = list(make(stored.access_token))
        except ImportError as missing:
            found.append(Row(name, None, str(missing)))
        else:
            found += [_row(*row, runner) for row in made]
    path = str(file_store(share_dir).path)
    return [*found, Row("for scale: one os.stat of the file", calls(lambda: os.stat(path)), AT_ONCE)]  # noqa: PTH116


def _row(name: str, call: Callable[[], Any], expected: str, remark: str, runner: asyncio.Runner) -> Row:
    if asyncio.iscoroutinefunction(call):
        given, turn = runner.run(call()), calls_async(call, runner)
    else:
        given, turn = call(), calls(call)
    assert given == expected, f"{name} does not give its token"
    return Row(name, turn, remark)


# --- the peers -------------------------------------------------------------------------------------------------------

Made = Iterator[tuple[str, Callable[[], Any], str, str]]
"""The row's name, the call, the token that it must give, whether it notices other processes."""

Peer = tuple[str, Callable[[str], Made]]


def _named(package: str, name: str) -> str:
    try:
        return f"{name} {version(package)}"
    except ModuleNotFoundError:
        return name


def _kimi_cli() -> Peer:
    name = _named("kimi-cli", "Kimi CLI")

    def make(stored: str) -> Made:
        manager, key = session_of_kimi_cli()

        async def fresh() -> str:
            await manager.ensure_fresh()
            return manager.get_cached_access_token(key) or ""

        yield f"{name}, async", fresh, stored, AT_ONCE

    return name, make


def _msal() -> Peer:
    """Its cache holds a token; it asks its authority's addresses at the start, from a network that is not there."""
    name = _named("msal", "MSAL")
    tenant, scope = "https://login.microsoftonline.com/organizations", "bench"

    class Network:
        """Answers the one request that it makes at the start."""

        def get(self, url: str, **_: object) -> Any:
            at = {"issuer": f"{tenant}/v2.0"} | {
                f"{kind}_endpoint": f"{tenant}/{kind}" for kind in ("authorization", "token", "device_authorization")
            }
            return type("Answer", (), {"status_code": 200, "headers": {}, "text": json.dumps(at)})

    def make(_: str) -> Made:
        import msal  # type: ignore[import-not-found,unused-ignore]

        token = pair(1).access_token
        app = msal.PublicClientApplication("bench", authority=tenant, http_client=Network())
        client_info = base64.urlsafe_b64encode(json.dumps({"uid": "bench", "utid": "bench"}).encode()).decode()
        response = {
            "access_token": token,
            "refresh_token": "refresh",
            "expires_in": int(LIFE_S),
            "client_info": client_info,
            "token_type": "Bearer",
        }
        app.token_cache.add(
            {"client_id": "bench", "scope": [scope], "token_endpoint": f"{tenant}/token", "response": response}
        )
        (account,) = app.get_accounts()

        def silent() -> str:
            return str(app.acquire_token_silent([scope], account=account)["access_token"])

        yield f"{name}, acquire_token_silent", silent, token, NEVER

    return name, make


def _google_auth() -> Peer:
    name = _named("google-auth", "google-auth")

    def make(_: str) -> Made:
        from google.oauth2.credentials import Credentials  # type: ignore[import-not-found,unused-ignore]

        token = pair(2).access_token
        ends = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=LIFE_S)
        credentials = Credentials(token, "refresh", token_uri="https://x.test", client_id="bench", expiry=ends)

        def by_hand() -> str:
            return str(credentials.token) if credentials.valid else ""

        def before() -> str:
            headers: dict[str, str] = {}
            credentials.before_request(None, "GET", "https://x.test", headers)
            return headers["authorization"].removeprefix("Bearer ")

        yield f"{name}, valid and token", by_hand, token, NEVER
        yield f"{name}, before_request", before, token, NEVER

    return name, make


def _botocore() -> Peer:
    name = _named("botocore", "botocore")

    def make(_: str) -> Made:
        from botocore.credentials import RefreshableCredentials  # type: ignore[import-not-found,unused-ignore]

        token = pair(3).access_token
        ends = datetime.now(UTC) + timedelta(seconds=LIFE_S)

        def refresh() -> dict[str, str]:
            raise AssertionError("it is fresh")

        credentials = RefreshableCredentials("key", "secret", token, ends, refresh, "bench")

        def frozen() -> str:
            return str(credentials.get_frozen_credentials().token)

        yield f"{name}, get_frozen_credentials", frozen, token, NEVER

    return name, make


# --- system calls ----------------------------------------------------------------------------------------------------


def _system_calls(folder: Path) -> tuple[dict[str, str], str]:
    """How many system calls one call of each row makes, and why they could not be counted."""
    strace = shutil.which("strace")
    if strace is None:
        return {}, "System calls are not counted: there is no strace."
    log = folder / "strace.log"
    done = subprocess.run(
        [strace, "-qq", "-o", str(log), *command("fresh_token", str(folder))],
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return {}, f"System calls are not counted: strace or its program failed: {why}"
    return counted(log.read_text("utf-8", "replace")), ""


def counted(log: str) -> dict[str, str]:
    """System calls of one call of each row: what lies between the marks in a log of strace, where a call is a line."""
    marks: dict[str, list[int]] = {}
    for at, line in enumerate(log.splitlines()):
        if match := re.search(f'"{MARK}/([0-9a-f]+)"', line):
            marks.setdefault(bytes.fromhex(match[1]).decode(), []).append(at)
    # Twice as many calls cost the loop around them no more: the difference is what the calls cost.
    return {
        name: f"{round(((end - middle) - (middle - start)) / CALLS, 1):g}"
        for name, (start, middle, end) in marks.items()
    }


def main() -> None:
    """Each row, called for strace."""
    with asyncio.Runner() as runner:
        for row in rows(Path(sys.argv[1]) / "traced", runner):
            if row.turn is not None:
                row.turn(CALLS)
                for times in (CALLS, 2 * CALLS, 0):
                    os.access(f"{MARK}/{row.name.encode().hex()}", os.F_OK)
                    row.turn(times)


if __name__ == "__main__":
    main()
