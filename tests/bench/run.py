"""How long things take on this machine, compared with each other in one run: `make bench`. No test depends on it.

Each line is the median of some runs; rows of one table take turns, so that a busy moment hits all of them. The factor
compares with the first row of the table.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from kimi_auth import Session, Token
from kimi_auth.clock import SystemClock
from kimi_auth.machine import Library, Transition, walk_sync
from kimi_auth.store import CredentialStore, FileStore, MemoryStore
from kimi_auth.wire.simulated import SimulatedServer

Rows = dict[str, Callable[[], object]]
SIBLINGS = 8


def compare(title: str, runs: int, rows: Rows, *, per: int = 1) -> None:
    """Runs each row `runs` times, in turns; `per`: how many things one run does."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(runs):
        for name, work in rows.items():
            began_s = time.perf_counter()
            work()
            taken[name].append((time.perf_counter() - began_s) / per)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    first = next(iter(medians.values()))
    print(f"\n{title}")
    for name, median in medians.items():
        print(f"  {name:<52} {median * 1e6:>12,.1f} µs   x {median / first:,.2f}")


def sign_in(store: CredentialStore, server: SimulatedServer) -> None:
    given = server.issue()
    with store.locked(0):
        store.put(
            Token(given.access_token, given.refresh_token, time.time() + 900, 900, issuer="https://auth.kimi.com")
        )


def session_on(folder: Path, store: CredentialStore) -> Session:
    server = SimulatedServer(SystemClock())
    sign_in(store, server)
    return Session(folder, environ={}, store=store, server=server)


def start_up(folder: Path) -> Rows:
    sign_in(FileStore(folder, "oauth/kimi-code", clock=SystemClock()), SimulatedServer(SystemClock()))
    environ = {**os.environ, "KIMI_SHARE_DIR": str(folder)}

    def python(*argv: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *argv], env=environ, check=True, stdout=subprocess.DEVNULL)

    return {
        "python -c pass": python("-c", "pass"),
        "kimi-auth token, fresh (the fast lane)": python("-m", "kimi_auth", "token"),
        "kimi-auth token --min-ttl 1 (the full program)": python("-m", "kimi_auth", "token", "--min-ttl", "1"),
        "python -c 'import httpx'": python("-c", "import httpx"),
    }


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        clock = SystemClock()
        compare("A process that wants a token", 11, start_up(folder / "start"))

        held = session_on(folder / "a", FileStore(folder / "a", "oauth/kimi-code", clock=clock))
        held.access_token_sync()
        reading = FileStore(folder / "a", "oauth/kimi-code", clock=clock)
        compare(
            "A program that wants a token, and has one",
            200,
            {
                "session.access_token_sync(), held": held.access_token_sync,
                "reading and judging the credential": held.status,
                "reading the credential": reading.read,
            },
        )

        on_file = session_on(folder / "b", FileStore(folder / "b", "oauth/kimi-code", clock=clock))
        in_memory = session_on(folder / "c", MemoryStore(clock))
        compare(
            "A renewal, the server's time not counted",
            50,
            {
                "in memory": lambda: in_memory.access_token_sync(refresh=True),
                "on disk: claim, answer, rename, all of it forced out": lambda: on_file.access_token_sync(refresh=True),
            },
        )

        with ThreadPoolExecutor(SIBLINGS) as pool:
            compare(
                f"{SIBLINGS} threads that want one at once, each",
                20,
                {
                    "one renewal for all": lambda: list(
                        pool.map(lambda _: on_file.access_token_sync(refresh=True), range(8))
                    )
                },
                per=SIBLINGS,
            )

        engine_room()


def engine_room() -> None:
    """The price of walking data instead of code."""
    machine = Library.load()["device_login"]
    moves = 0

    happy = {state.activity: next(iter(state.on)) for state in machine.states.values() if state.activity}

    class Hooks:
        """Approves after many polls."""

        def __getattr__(self, activity: str) -> Callable[[int], tuple[str, int]]:
            return lambda polls: (happy[activity], polls)

        def poll_token(self, polls: int) -> tuple[str, int]:
            return ("authorization_pending", polls - 1) if polls else ("granted", 0)

    class Count:
        """Counts transitions."""

        def entered(self, machine: str, state: str, activity: str) -> None:
            """Counts nothing."""

        def moved(self, transition: Transition) -> None:
            nonlocal moves
            moves += 1

    walk_sync(machine, Hooks(), 500, observe=Count())
    compare("The engine", 20, {"one transition": lambda: walk_sync(machine, Hooks(), 500)}, per=moves)


if __name__ == "__main__":
    main()
