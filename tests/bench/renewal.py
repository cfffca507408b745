"""What a renewal costs from end to end, the server's own time not counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.report import NONE, Table, number
from bench.surroundings import NOWHERE, file_store, pair, session_of_kimi_cli, sign_in, sign_in_at
from bench.turns import Row, calls, calls_async, medians
from kimi_auth import Session
from kimi_auth.clock import SystemClock
from kimi_auth.store import CredentialStore, MemoryStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

__all__ = ["table"]

SIBLINGS = 8


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds of one rotation: in memory, on disk, and with HTTP to a server on this machine."""
    with (
        Emulator(approve_after_s=0, interval_s=0) as emulator,
        asyncio.Runner() as runner,
        ThreadPoolExecutor(8) as pool,
    ):
        os.environ |= emulator.env
        on_disk = _simulated(folder / "disk", file_store(folder / "disk"))
        sign_in_at(emulator, folder / "http")
        over_http = Session(folder / "http")
        rows = [
            Row("in memory, no HTTP", calls(_simulated(folder / "memory", MemoryStore(SystemClock())))),
            Row("on disk, no HTTP: claim, answer, rename, made durable", calls(on_disk)),
            Row(f"the same, wanted by {SIBLINGS} threads at once", calls(lambda: list(pool.map(lambda _: on_disk(), range(SIBLINGS))))),
            Row("on disk, HTTP on loopback", calls(lambda: over_http.access_token_sync(refresh=True))),
            _kimi_cli(emulator, folder / "http-theirs", runner),
        ]  # fmt: skip
        seconds = medians(rows, 2 if quick else 51)
    lines = [(row.name, number(seconds[row.name] * 1e3) if row.turn else NONE) for row in rows]
    notes = [f"{row.name} is missing: {row.remark}." for row in rows if row.turn is None]
    return Table("A renewal from end to end", ("", "ms"), lines, notes)


def _simulated(share_dir: Path, store: CredentialStore) -> Callable[[], str]:
    server = SimulatedServer(SystemClock())
    given, like = server.issue(), pair()
    sign_in(store, Token(given.access_token, given.refresh_token, like.expires_at_s, like.expires_in_s, issuer=NOWHERE))
    session = Session(share_dir, environ={"KIMI_CODE_OAUTH_HOST": NOWHERE}, store=store, server=server)
    return lambda: session.access_token_sync(refresh=True)


def _kimi_cli(emulator: Emulator, share_dir: Path, runner: asyncio.Runner) -> Row:
    try:
        name = f"Kimi CLI {version('kimi-cli')}, on disk, HTTP on loopback"
    except PackageNotFoundError:
        return Row("Kimi CLI", None, "it is not installed here")
    os.environ["KIMI_SHARE_DIR"] = str(share_dir)
    sign_in_at(emulator, share_dir)
    manager, _ = session_of_kimi_cli()
    return Row(name, calls_async(lambda: manager.ensure_fresh(force=True), runner))
