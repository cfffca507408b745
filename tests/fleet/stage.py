"""The stage: one server, one credential on disk, any number of real processes around it, and everything that was seen.

    stage.sign_in("expired")
    worker = stage.start("obtain", gates=["token_refresh.committing"])
    worker.held("token_refresh.committing")
    worker.kill()
    assert stage.next_run().access == stage.look().access
    assert violations(stage) == []

Whatever is still running when the stage is left is killed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from house.environments import unmeasured
from house.patience import NO_LIMIT_S, PATIENCE_S, TICK_S, OwnTime, ended, joined

from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore, Snapshot
from kimi_auth.testing.emulator import Emulator, Reuse
from kimi_auth.testing.emulator.records import fingerprint
from kimi_auth.token import Token
from kimi_auth.wire.answers import Grant

__all__ = ["Age", "Edge", "Result", "Stage", "Worker"]

WORKER = Path(__file__).with_name("worker.py")
LOOK_S = 0.05
CALM_S = 0.5
LIFE_S = 900.0
LEFT_S = {"fresh": LIFE_S, "expiring": 300.0, "expired": -10.0, "long expired": -86_400.0, "rejected": LIFE_S}
Age = Literal["fresh", "expiring", "expired", "long expired", "rejected"]


@dataclass(frozen=True)
class Edge:
    """One transition that a process walked; times are seconds of the monotonic clock that all processes share."""

    machine: str
    source: str
    event: str
    target: str
    at_s: float
    seconds: float
    pid: int


@dataclass(frozen=True)
class Result:
    """How one call ended: a fingerprint of the access token that it gave, or the code of the error."""

    access: str
    error: str
    message: str = ""
    waited_s: float = 0.0
    in_flight: bool = False
    state: str = ""
    at_s: float = 0.0


@dataclass
class Pair:
    """What lies on disk, as the server's log names it; empty strings when signed out."""

    access: str = ""
    refresh: str = ""


class Worker:
    """One process, seen from the test."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process = process
        self.errors = errors
        self.edges: list[Edge] = []
        self.results: list[Result] = []
        self.was_killed = False
        self._reports: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._untaken: list[dict[str, Any]] = []
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                said = json.loads(line)
                if "moved" in said:
                    machine, source, event, target = said["moved"]
                    times = said["at_s"], said["seconds"]
                    self.edges.append(Edge(machine, source, event, target, *times, said["pid"]))
                    continue
                if "result" in said:
                    known = {name: said[name] for name in Result.__dataclass_fields__ if name in said}
                    self.results.append(Result(**known))
                self._reports.put(said)
        self._reports.put(None)

    def wait_for(self, name: str) -> dict[str, Any]:
        """The next report that has `name`; fails the test if the process ends before it says so."""
        own = OwnTime()
        while (said := self._take(name, TICK_S)) is None:
            if self._has_ended or own.read() > PATIENCE_S:
                how = "ended without" if self._has_ended else "did not report"
                raise AssertionError(f"worker {self.pid} {how} {name!r}: {self.story()}")
        return said

    def _take(self, name: str, patience_s: float) -> dict[str, Any] | None:
        """The first report with `name` that no caller took yet; reports of other threads stay for those who ask for
        them."""
        if (said := self._pick(name)) is not None or self._has_ended:
            return said
        try:
            latest = self._reports.get(timeout=patience_s)
        except queue.Empty:
            return None
        if latest is None:
            self._has_ended = True
        else:
            self._untaken.append(latest)
        return self._pick(name)

    def _pick(self, name: str) -> dict[str, Any] | None:
        found = next((said for said in self._untaken if name in said), None)
        if found is not None:
            self._untaken.remove(found)
        return found

    def soon(self, name: str) -> dict[str, Any] | None:
        """The report that has `name`, None if the process stands still, with its threads asleep, and has not made it."""
        calm = OwnTime()  # the server's threads are ours: it does not count that they wait for a processor
        while not self._has_ended:
            if (said := self._take(name, LOOK_S)) is not None:
                return said
            if not self._sleeps():
                calm = OwnTime()
            elif calm.read() > CALM_S:
                break
        return None

    def _sleeps(self) -> bool:
        tasks = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(task.read_text("ascii").rpartition(")")[2].split()[0] == "S" for task in tasks)

    def held(self, step: str) -> None:
        """Waits until the process stands before `step`."""
        said = self.wait_for("held")
        assert said["held"] == step

    def waits(self) -> None:
        """The process, which stands before a step that takes a lock, goes on until it is refused that lock."""
        self.order("tell_refusal")
        self.order("on")
        self.wait_for("refused")

    def result(self) -> Result:
        """How the call ended."""
        said = self.wait_for("result")
        return Result(**{name: said[name] for name in Result.__dataclass_fields__ if name in said})

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(word.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"worker {self.pid} has ended before {word!r}: {self.story()}") from None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal and waits until the kernel has handed it over; the process may be ended by it."""
        self.process.send_signal(number)
        while self._is_pending(number):
            os.sched_yield()  # the kernel's work: no clock can tell when it is done

    def _is_pending(self, number: signal.Signals) -> bool:
        if self.process.poll() is not None:
            return False
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines()
        except OSError:
            return False
        sets = [int(line.split()[1], 16) for line in lines if line.startswith(("ShdPnd:", "SigPnd:"))]
        return any(waiting >> (number - 1) & 1 for waiting in sets)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.was_killed = True
        self.process.kill()
        ended(self.process)
        joined(self._reader)

    def end(self) -> int:
        """Waits for the end by itself; the exit status, negative for a signal."""
        try:
            status = ended(self.process)
        except AssertionError:
            raise AssertionError(f"worker {self.pid} does not end: {self.story()}") from None
        joined(self._reader)
        return status

    def walked(self, source: str, event: str | None = None) -> int:
        """How often the process left the state `machine.state`, with `event` if one is named."""
        return sum(f"{e.machine}.{e.source}" == source and event in (None, e.event) for e in self.edges)

    def story(self) -> str:
        """What a failing test has to say of this process."""
        walk = " > ".join(f"{edge.source}:{edge.event}" for edge in self.edges)
        return f"walked {walk or 'nothing'}; {self.results}; stderr: {self.stderr()}"

    def stderr(self) -> str:
        return self.errors.read_text("utf-8", "replace")


@dataclass
class Stage:
    """`share_dir` is where the credential lies; `folder` takes everything that the credential's disk should not."""

    folder: Path
    share_dir: Path = field(default=Path())
    workers: list[Worker] = field(default_factory=list)
    seen: list[Pair] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    order: dict[str, int] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    """Of every process, beside what names the server."""

    def __post_init__(self) -> None:
        if self.share_dir == Path():
            self.share_dir = self.folder / "share"
        self.store = FileStore(self.share_dir, clock=SystemClock())
        self.emulator = Emulator(approve_after_s=0, interval_s=0)
        self.state = self.emulator.state
        self.state.on_record = self._remember

    def __enter__(self) -> Self:
        self.emulator.__enter__()
        self._read_end, self._write_end = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
            if worker.process.stdin:
                with suppress(BrokenPipeError):
                    worker.process.stdin.close()
        self.go()
        os.close(self._read_end)
        self.emulator.__exit__(None, None, None)

    # --- the server --------------------------------------------------------------------------------------------------

    def serve(self, *, reuse: str | None = None, **settings: Any) -> None:
        """Changes how the server behaves, from the next request on."""
        if reuse is not None:
            settings["reuse"] = Reuse.parse(reuse)
        self.state.settings = replace(self.state.settings, **settings)

    @property
    def sends(self) -> list[Mapping[str, Any]]:
        """Every refresh request that arrived, in the order of arrival."""
        return [entry for entry in list(self.state.log) if entry["grant"] == "refresh_token"]

    @property
    def exchanges(self) -> int:
        """Pairs that the server gave for a refresh token."""
        return self.state.counts["rotations"]

    @property
    def families(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.state.snapshot()["families"]
        return found

    def arrived(self, refreshes: int) -> None:
        """Waits until so many refresh requests were answered or are being answered."""
        assert self.state.wait_for(lambda state: len(self.sends) >= refreshes, NO_LIMIT_S)

    def _remember(self, entry: Mapping[str, Any]) -> None:
        if new := entry["tokens"].get("new_refresh_token"):
            self.order.setdefault(new, len(self.order))

    # --- the credential ----------------------------------------------------------------------------------------------

    def issue(self, age: Age = "expired") -> Token:
        """A pair of a new login, which has come to `age`."""
        code = self.state.issue_code()
        return self.token(self.state.poll(code.device_code), age)

    def token(self, grant: Grant, age: Age) -> Token:
        self.order.setdefault(fingerprint(grant.refresh_token), len(self.order))
        ends_at_s = time.time() + LEFT_S[age]
        issuer = self.emulator.oauth_host
        return Token(grant.access_token, grant.refresh_token, ends_at_s, LIFE_S, grant.scope, "Bearer", issuer)

    def sign_in(self, age: Age = "expired") -> Token:
        """A credential on disk; `rejected` is one that looks fresh and that the API does not take any more."""
        token = self.issue(age)
        with self.store.locked(NO_LIMIT_S) as held:
            assert held
            self.store.put(token)
        if age == "rejected":
            self.state.expire_access()
        self.look()
        return token

    def overwrite(self, token: Token | None) -> None:
        """What a program without our lock does: another record, or none, whatever is going on."""
        if token is None:
            self.store.path.unlink()
            self.written.append("")
            return
        new = self.store.path.with_name("tmpabcd1234.tmp")
        new.touch(0o600)
        new.write_text(json.dumps(token.record()), "utf-8")
        new.replace(self.store.path)
        self.written.append(fingerprint(token.refresh_token) if token.refresh_token else "")

    @property
    def snapshot(self) -> Snapshot:
        return self.store.read()

    def look(self) -> Pair:
        """What lies on disk now; every look is remembered."""
        token = self.snapshot.token
        pair = Pair()
        if token is not None and not token.is_empty:
            pair = Pair(fingerprint(token.access_token), fingerprint(token.refresh_token))
        self.seen.append(pair)
        return pair

    @property
    def works(self) -> bool:
        """Does the API take what lies on disk?"""
        token = self.snapshot.token
        return token is not None and self.state.judge(token.access_token) == "ok"

    # --- processes ---------------------------------------------------------------------------------------------------

    def start(self, call: str, *, fleet: bool = False, **options: Any) -> Worker:
        """A process that makes one call, and has come as far as being ready for it; of a `fleet`, it begins at `go`."""
        own_environ = options.pop("environ", {})
        options = {"call": call, "share_dir": str(self.share_dir), **options}
        pass_fds = tuple(options[name] for name in ("start",) if name in options)
        if fleet:
            options["go"] = self._read_end
            pass_fds = (*pass_fds, self._read_end)
        environ = unmeasured()
        errors = self.folder / f"worker-{len(self.workers)}.stderr"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(WORKER), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**environ, **self.emulator.env, **self.environ, **own_environ},
                pass_fds=pass_fds,
            )
        worker = Worker(process, errors)
        self.workers.append(worker)
        if not fleet:
            worker.wait_for("ready")
        return worker

    def start_fleet(self, count: int, call: str, **options: Any) -> list[Worker]:
        """`count` processes that are ready and wait for `go`."""
        workers = [self.start(call, fleet=True, **options) for _ in range(count)]
        for worker in workers:
            worker.wait_for("ready")
        return workers

    def go(self) -> None:
        """The whole fleet begins."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    def next_run(self, **options: Any) -> Result:
        """What a program that starts now gets: the plain call, without anything held or hurried."""
        worker = self.start("obtain", **{"one_shot": True, **options})
        result = worker.result()
        assert worker.end() == 0, worker.story()
        self.look()
        return result


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose ends are closed at the latest here."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)
