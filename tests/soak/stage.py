"""The server, the share dir and the programs; what happens to them, and what the server's records say afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fleet.worker import print_of
from house.patience import ended, joined, until

from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator, Fault

from .plan import Event
from .program import KINDS

PROGRAM = Path(__file__).with_name("program.py")
ACCESS_TTL_S = 4.0
LATENCY_S = 0.3
TICK_S = 0.1
REUSED = "refresh token used twice"
OWNER = re.compile(rb'"pid": (\d+)')


@dataclass
class Call:
    """One call of a program, as it reported it."""

    kind: str
    at_s: float
    waited_s: float
    error: str
    message: str


@dataclass
class Kill:
    """One SIGKILL. `owned`: the server's name of the refresh token whose exchange the killed process owned and had no
    answer to, "" if there was none."""

    at_s: float
    kind: str
    owned: str


@dataclass
class Loss:
    """A login that the server ended because a refresh token came twice."""

    at_s: float
    family: int
    token: str
    killed: Kill | None


class Program:
    """One of the six, with everything that it starts in a session of its own."""

    def __init__(self, kind: str, environ: Mapping[str, str], errors: Path, calls: list[Call]) -> None:
        self.kind, self.errors, self._calls = kind, errors, calls
        with errors.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), kind],
                env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self._calls.append(Call(self.kind, **json.loads(line)))

    def pids(self) -> set[int]:
        """The processes of its session."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, IndexError):
                if int(stat.read_text("ascii", "replace").rpartition(")")[2].split()[3]) == self.process.pid:
                    found.add(int(stat.parent.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> set[int]:
        """Stops its processes; they, once no thread of them can change anything any more."""
        self.signal(signal.SIGSTOP)
        until(lambda _: all(map(_stands, self.pids())), "its stop")
        return self.pids()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        ended(self.process)
        assert self.process.stdin is not None
        self.process.stdin.close()

    def leave(self) -> None:
        """It is told to end, and ends by itself."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self) -> int:
        status = ended(self.process)
        joined(self._reader)
        return status


def _stands(pid: int) -> bool:
    """Whether each thread of the process is stopped, or has ended."""
    try:
        tasks = [stat.read_text("ascii", "replace") for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False  # a thread has ended meanwhile: once more
    return all(task.rpartition(")")[2].split()[0] in "TtZX" for task in tasks)


@dataclass
class Soak:
    """A run: `with Soak(folder) as soak: soak.live(plan)`; then `soak` holds what happened."""

    folder: Path
    calls: list[Call] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    refreshes: list[Mapping[str, Any]] = field(default_factory=list)
    signed_out: list[tuple[float, float]] = field(default_factory=list)
    dropped_at_s: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.emulator = Emulator(
            approve="auto", approve_after_s=0, interval_s=0, access_ttl_s=ACCESS_TTL_S, latency_s=LATENCY_S
        )
        self.emulator.__enter__()
        self.state = self.emulator.state
        self.state.on_record = self._remember
        share = self.folder / "share"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIMI_", "COV"))}
        self.environ = {**kept, **self.emulator.env, "KIMI_SHARE_DIR": str(share), "HOME": str(self.folder)}
        self.store = FileStore(share, clock=SystemClock())
        self.programs: dict[str, Program] = {}
        self._out_since_s: float | None = None
        self._login()
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs.values():
            program.kill()
        self.emulator.__exit__(None, None, None)

    def _remember(self, entry: Mapping[str, Any]) -> None:
        if entry["grant"] == "refresh_token":
            self.refreshes.append(entry)

    # --- the run -----------------------------------------------------------------------------------------------------

    def live(self, events: list[Event], exchanges: int = 0) -> None:
        """Everything that was planned, until there were so many exchanges too, which a slow machine has later; then a calm end:
        the programs leave, and the login still works."""
        for kind in KINDS:
            self._start(kind)
        began_s = time.monotonic()
        for event in events:
            while (left_s := began_s + event.at_s - time.monotonic()) > 0:
                threading.Event().wait(min(left_s, TICK_S))
                self._look_for_losses()
            getattr(self, f"_{event.what}")(*([event.how] if event.how else []))
            self.done[event.what] += 1
        self.state.clear_faults()
        until(lambda tick_s: self._has_made(exchanges) or threading.Event().wait(tick_s), f"{exchanges} exchanges")
        for program in self.programs.values():
            program.leave()
        for kind, program in self.programs.items():
            if status := program.end():
                self.wrong.append(f"{kind} ended with {status}: {program.errors.read_text()[-500:]}")
        self._look_for_losses()
        if (status := self._command("token")) != 0:
            self.wrong.append(f"after the end `kimi-auth token` exits with {status}")

    def _has_made(self, exchanges: int) -> bool:
        self._look_for_losses()
        return self.exchanges >= exchanges

    def _start(self, kind: str) -> None:
        self.programs[kind] = Program(kind, self.environ, self.folder / f"{kind}.stderr", self.calls)

    def _kill(self, kind: str) -> None:
        """SIGKILL to all that a program runs, after a look at what it owned at that moment. `owner`: the program that is
        in an exchange, as soon as one is."""
        if kind == "owner":
            kind = self._exchanging()
        program = self.programs[kind]
        pids = program.stop()
        self.kills.append(Kill(time.time(), kind, self._owned_by(pids)))
        program.kill()
        self._start(kind)

    def _exchanging(self) -> str:
        """The program that owns an exchange without its answer; any one, if there is none for a token's life."""
        until_s = time.monotonic() + ACCESS_TTL_S
        while time.monotonic() < until_s:
            pid = self._claim()[0]
            for kind, program in self.programs.items():
                if pid in program.pids():
                    return kind
            threading.Event().wait(LATENCY_S / 10)
        return next(iter(self.programs))

    def _owned_by(self, pids: set[int]) -> str:
        owner, token = self._claim()
        return token if owner in pids else ""

    def _claim(self) -> tuple[int, str]:
        """The process that owns an exchange of the stored pair and has no answer yet, and the server's name of its token."""
        for claim in self.store.path.parent.glob("*.next"):
            with suppress(OSError):
                text, found = claim.read_bytes(), self.store.read()
                owner = OWNER.search(text)
                if owner and b'"access_token"' not in text and found.token is not None and found.fp in claim.name:
                    return int(owner[1]), print_of(found.token.refresh_token)
        return 0, ""

    def _burst(self) -> None:
        self.state.inject(Fault("token", "refresh_token", status=503, times=None))

    def _calm(self) -> None:
        self.state.clear_faults()

    def _drop(self, how: str) -> None:
        self.state.inject(Fault("token", "refresh_token", drop="before" if how == "before" else "during"))

    def _unauthorized(self) -> None:
        self.dropped_at_s.append(time.time())
        self.state.expire_access()

    def _logout(self) -> None:
        self._out_since_s = time.time()
        if (status := self._command("logout")) != 0:
            self.wrong.append(f"logout exits with {status}")

    def _login(self) -> None:
        if (status := self._command("login", "--force", "--no-browser")) != 0:
            self.wrong.append(f"login exits with {status}")
        if self._out_since_s is not None:
            self.signed_out.append((self._out_since_s, time.time()))
            self._out_since_s = None

    def _command(self, *argv: str) -> int:
        program = [sys.executable, "-m", "kimi_auth", *argv]
        done = subprocess.run(program, env=self.environ, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        return done.returncode

    # --- the server's records ----------------------------------------------------------------------------------------

    def _look_for_losses(self) -> None:
        """Logins that the server has ended since the last look; the person signs in again."""
        known = {loss.family for loss in self.losses}
        for family in self.state.snapshot()["families"]:
            if family["revoked_because"] == REUSED and family["family"] not in known:
                self.losses.append(self._explained(family))
                self._out_since_s = self._out_since_s or self.losses[-1].at_s
                self._login()

    def _explained(self, family: Mapping[str, Any]) -> Loss:
        mine = {*family["refresh"], *family["refresh_spent"]}
        refused = [
            e for e in self.refreshes if e["outcome"] == "invalid_grant" and e["tokens"]["refresh_token"] in mine
        ]
        token = refused[0]["tokens"]["refresh_token"]
        killed = next((kill for kill in self.kills if kill.owned == token), None)
        return Loss(refused[0]["at_s"], family["family"], token, killed)

    @property
    def exchanges(self) -> int:
        return sum(entry["outcome"] == "granted" for entry in self.refreshes)
