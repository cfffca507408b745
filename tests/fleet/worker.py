"""One process of the fleet: a program that uses a Session, reports every step that it walks, and can be held at any of them.

    python worker.py '{"call": "obtain", "gates": ["token_refresh.staging"], …}'

It answers with one JSON line for each thing that happens: `ready`, `held` (it stands before a step and waits for the order
`on`), `refused` (a lock, after the order `tell_refusal`), `moved` (one transition), `result`, `end`. It obeys one order per
line on its standard input: `on`, `cancel`, `leave`, `again`, `tell_refusal`, `os_exit`. With `go`, a descriptor, it begins
when that pipe is closed, so that a whole fleet begins at one moment.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import kimi_auth
from kimi_auth import drain
from kimi_auth.clock import SystemClock
from kimi_auth.credential import single_flight as flight
from kimi_auth.credential.credential import LAST_WORD_S
from kimi_auth.errors import KimiAuthError, NotSignedIn, SignInEnded, StorageError, Unreachable
from kimi_auth.login.view import SilentView
from kimi_auth.machine import Observers, Transition, recorder_from_environ
from kimi_auth.session import Session
from kimi_auth.signing import sign_in
from kimi_auth.wire import LocatedClient, OAuthClient

HURRY_S = 0.01
LOADED = "kimi_auth.login.moving", "kimi_auth.machine.engine", "kimi_auth.machine.trace"
"""What every walk needs."""

SHORTER = {
    "patience_s": "PATIENCE_S",
    "deadline_s": "EXCHANGE_DEADLINE_S",
    "unsaved_s": "UNSAVED_ONE_SHOT_S",
    "say_after_s": "SAY_AFTER_S",
}
"""Options that shorten a wait of the package, and the constant that says how long it is."""

BEYOND_S = {"patience_s": LAST_WORD_S}
"""A caller waits so much longer than the walk that it waits for, whose patience is what a test means."""


def report(**what: object) -> None:
    """One line, in one write, so that threads and forked children never mix theirs."""
    os.write(1, json.dumps(what).encode() + b"\n")


def print_of(secret: str) -> str:
    """How the server's log names a token."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16] if secret else ""


def shorten(constant: str, seconds: float) -> None:
    """Sets `constant` in every module of the package that knows it; those that make requests are loaded for it."""
    assert LocatedClient
    assert OAuthClient
    ours = [module for name, module in sys.modules.items() if name.startswith("kimi_auth")]
    knowing = [module for module in ours if hasattr(module, constant)]
    assert knowing, constant
    for module in knowing:
        setattr(module, constant, seconds)


def announce_the_wait_at_exit() -> None:
    """The interpreter reports `exiting` when it begins to wait for requests in flight."""
    drain = flight.drain

    def reporting(*args: Any, **kwargs: Any) -> bool:
        if flight.has_main_ended():
            report(exiting=True)
        return drain(*args, **kwargs)

    flight.drain = reporting


def announce_a_refusal() -> None:
    """The process reports `refused` when the kernel next refuses it a lock: from then on it waits."""
    flock = fcntl.flock

    def trying(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        except BlockingIOError:
            fcntl.flock = flock
            report(refused=True)
            raise

    fcntl.flock = trying


class Clock(SystemClock):
    """The machine's clocks, set wrong where a test wants it, or boot time standing still, so that a slow start adds nothing;
    in a hurry, sleeps are short and the clocks stay true."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._wall_s = float(options.get("wall_offset_s", 0.0))
        self._boottime_s = float(options.get("boottime_offset_s", 0.0))
        self._boottime_at_s: float | None = options.get("boottime_at_s")
        self._boot_id = str(options.get("boot_id", ""))
        self._hurry = bool(options.get("hurry", False))

    def wall_s(self) -> float:
        return super().wall_s() + self._wall_s

    def boottime_s(self) -> float:
        return super().boottime_s() + self._boottime_s if self._boottime_at_s is None else self._boottime_at_s

    def boot_id(self) -> str:
        return self._boot_id or super().boot_id()

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, HURRY_S) if self._hurry else seconds)

    async def sleep_async(self, seconds: float) -> None:
        await super().sleep_async(min(seconds, HURRY_S) if self._hurry else seconds)


class Orders:
    """What the test says, read by a thread of its own."""

    def __init__(self) -> None:
        self.on: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.again: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.handlers: dict[str, Callable[[], object]] = {
            "on": lambda: self.on.put(None),
            "again": lambda: self.again.put(None),
            "tell_refusal": announce_a_refusal,
            "os_exit": lambda: os._exit(7),
        }
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        rest = b""
        while read := os.read(0, 4096):
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                self.handlers[line.decode()]()


class Gate:
    """An observer that holds the walk before each of the named steps, once each, until the order `on`. `kept`: what it would
    report of each move, where that waits for the order `again`, as a report takes the processor that a measure needs."""

    def __init__(self, steps: list[str], orders: Orders, *, keeps: bool = False) -> None:
        self._steps = list(steps)
        self._orders = orders
        self._keeps = keeps
        self.kept: list[dict[str, Any]] = []

    def entered(self, machine: str, state: str, _activity: str) -> None:
        step = f"{machine}.{state}"
        if self._steps and self._steps[0] == step:
            self._steps.pop(0)
            report(held=step)
            self._orders.on.get()

    def moved(self, transition: Transition) -> None:
        edge = [transition.machine, transition.source, transition.event, transition.target]
        move = {"moved": edge, "at_s": time.monotonic(), "seconds": transition.seconds, "pid": os.getpid()}
        if self._keeps:
            self.kept.append(move)
        else:
            report(**move)


def break_disk(flag: Path, share_dir: Path) -> None:
    """While the file `flag` is there, every write of this process below `share_dir` fails with the error that it names."""

    def check() -> None:
        if flag.exists():
            number = getattr(errno, flag.read_text("ascii").strip())
            raise OSError(number, os.strerror(number))

    def checked(call: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def checking(*args: Any, **kwargs: Any) -> Any:
            if writes(*args, **kwargs):
                check()
            return call(*args, **kwargs)

        return checking

    def is_ours(path: Any, directory: int | None) -> bool:
        place = Path(f"/proc/self/fd/{directory}").readlink() if directory is not None else Path()
        return isinstance(path, str | Path) and (place / path).is_relative_to(share_dir)

    def opens_to_write(path: Any, flags: int = 0, *_: Any, dir_fd: int | None = None) -> bool:
        return is_ours(path, dir_fd) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def renames(old: Any, _: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> bool:
        return is_ours(old, src_dir_fd)

    os.open = checked(os.open, opens_to_write)
    os.pwrite = checked(os.pwrite, lambda *_: True)
    os.posix_fallocate = checked(os.posix_fallocate, lambda *_: True)
    os.replace = checked(os.replace, renames)
    os.rename = checked(os.rename, renames)


class Worker:
    """The process: its session, and the calls that it knows."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.orders = Orders()
        self.gate = Gate(options.get("gates", []), self.orders, keeps=bool(options.get("moves_later", False)))
        self.session = Session(
            options["share_dir"],
            clock=Clock(options),
            observe=Observers(self.gate, recorder_from_environ()),
            one_shot=bool(options.get("one_shot", False)),
        )
        self.began_s = 0.0

    def prepare(self) -> None:
        """Everything that is loaded lazily, so that the moment of `go` is the same for all."""
        if "broken" in self.options:
            break_disk(Path(self.options["broken"]), Path(self.options["share_dir"]))
        for option, constant in SHORTER.items():
            if option in self.options:
                shorten(constant, float(self.options[option]) + BEYOND_S.get(option, 0.0))
        for name in LOADED:
            import_module(name)
        self.session._components.library  # noqa: B018
        self.session._components.ports  # noqa: B018

    def run(self) -> None:
        token = self.session._components.store.read().token
        self.bearer = self.options.get("bearer") or (token.access_token if token else "")
        report(ready=os.getpid())
        if "go" in self.options:
            os.read(self.options["go"], 1)
        self.began_s = time.monotonic()
        getattr(self, self.options["call"])()

    def tell(self, access: str | None, **more: object) -> None:
        """The end of one call that was served; `None` is what `rejected` says when there is no other token."""
        at_s = time.monotonic()
        waited_s = at_s - self.began_s
        report(
            result=True, access=print_of(access or ""), error="", waited_s=waited_s, at_s=at_s, pid=os.getpid(), **more
        )

    def fail(self, error: BaseException, **more: object) -> None:
        code = error.code if isinstance(error, KimiAuthError) else type(error).__name__
        words = error.message if isinstance(error, KimiAuthError) else ""
        waited_s = time.monotonic() - self.began_s
        report(result=True, access="", error=code, message=words, waited_s=waited_s, pid=os.getpid(), **more)

    def attempt(self, call: Callable[[], str | None], **more: object) -> None:
        """Calls until it is served, `tries` times at most; between them it waits as long as the shared backoff asks."""
        for left in reversed(range(int(self.options.get("tries", 1)))):
            try:
                access = call()
            except Unreachable as error:
                if not left:
                    self.fail(error, **more)
                    return
                ahead_s = self.session._components.store.backoff().retry_at_s - time.time()
                time.sleep(min(max(ahead_s, 0.05), 10.0))
            except KimiAuthError as error:
                self.fail(error, **more)
                return
            else:
                if access is None and left:
                    ahead_s = self.session._components.store.backoff().retry_at_s - time.time()
                    time.sleep(min(max(ahead_s, 0.05), 10.0))
                    continue
                self.tell(access, in_flight=flight.in_flight(), **more)
                return

    # --- calls -------------------------------------------------------------------------------------------------------

    def obtain(self) -> None:
        """Code without an event loop: a token."""
        self.attempt(self.session.access_token_sync)

    def renew(self) -> None:
        """Renews again and again until the order `again`; where the login is in another store, or on its way, it looks again."""
        report(renewing=True)
        while self.orders.again.empty():
            try:
                self.session.access_token_sync(refresh=True, timeout_s=self.options.get("each_s", 5.0))
            except (NotSignedIn, SignInEnded, StorageError, Unreachable):
                time.sleep(0.02)
        self.tell("")

    def obtain_in_thread(self) -> None:
        """A worker thread obtains; the main thread waits for it, inside of the public guard with `guard`."""
        with kimi_auth.signals_deferred() if self.options.get("guard") else nullcontext():
            thread = threading.Thread(target=self.obtain)
            thread.start()
            thread.join()

    def obtain_and_stay(self) -> None:
        """A token that works, and a renewal in the background: the program goes on until the order `again`."""
        self.obtain()
        self.orders.again.get()
        for move in self.gate.kept:
            report(**move)

    def give_up(self) -> None:
        """The caller's patience ends before the answer comes, on the order `cancel`; then the program ends."""

        async def body() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._on_order("cancel", task.cancel)
            with suppress(asyncio.CancelledError):
                await self.session.access_token()

        asyncio.run(body())

    def rejected(self) -> None:
        """Code without an event loop: the API refused the stored bearer."""
        self.attempt(lambda: self.session.rejected_sync(self.bearer))

    def twice(self) -> None:
        """`obtain` or `rejected`, whatever is in flight lands, and, on the order `again`, what a later caller gets."""
        getattr(self, self.options["first"])()
        drain()
        report(landed=True)
        self.orders.again.get()
        self.began_s = time.monotonic()
        self.attempt(self.session.access_token_sync, again=True)

    def logout(self) -> None:
        self._report_of(self.session.logout_sync)

    def obtain_async(self) -> None:
        self._cancellable(self.session.access_token)

    def logout_async(self) -> None:
        self._cancellable(self.session.logout)

    def login(self) -> None:
        self._cancellable(lambda: sign_in(self.session._components, SilentView(), force=True))

    def swarm(self) -> None:
        """`count` coroutines report the same bearer; on the order `cancel` the first of them is cancelled."""

        async def one() -> dict[str, str]:
            try:
                return {"access": print_of(await self.session.rejected(self.bearer) or "")}
            except asyncio.CancelledError:
                return {"error": "CancelledError"}

        async def all_of_them() -> list[dict[str, str]]:
            tasks = [asyncio.create_task(one()) for _ in range(int(self.options["count"]))]
            self._on_order("cancel", tasks[0].cancel)
            return await asyncio.gather(*tasks)

        report(swarm=asyncio.run(all_of_them()))

    def kept_fresh(self) -> None:
        """A client is served until the order `leave`."""
        served: list[str] = []

        async def stay() -> None:
            leave = asyncio.Event()
            self._on_order("leave", leave.set)
            async with self.session.kept_fresh(served.append):
                report(inside=True, access=print_of(served[-1] if served else ""))
                await leave.wait()
                report(leaving=True)
            self.tell(served[-1])

        asyncio.run(stay())

    def fork(self) -> None:
        """A renewal is in the air; a child of `multiprocessing` then asks for itself."""
        self.attempt(self.session.access_token_sync)
        report(forking=True)
        child = multiprocessing.get_context("fork").Process(target=self._child)
        child.start()
        child.join()
        report(children=child.exitcode)

    def prefork(self) -> None:
        """A server that loads everything, then forks its workers; each asks when `start` is closed."""
        self.attempt(self.session.access_token_sync)
        children = []
        for _ in range(int(self.options["count"])):
            pid = os.fork()
            if pid == 0:
                os.read(self.options["start"], 1)
                self._child()
                os._exit(0)
            children.append(pid)
        report(forked=children)
        statuses = [os.waitpid(pid, 0)[1] for pid in children]
        report(children=max(statuses))

    # --- hands -------------------------------------------------------------------------------------------------------

    def _child(self) -> None:
        self.began_s = time.monotonic()
        self.attempt(self.session.access_token_sync, child=True)

    def _on_order(self, name: str, act: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        self.orders.handlers[name] = lambda: loop.call_soon_threadsafe(act)

    def _report_of(self, call: Callable[[], Any]) -> None:
        try:
            answer = call()
        except KimiAuthError as error:
            self.fail(error)
        else:
            self.tell(answer if isinstance(answer, str) else "", state=getattr(answer, "state", ""))

    def _cancellable(self, call: Callable[[], Any]) -> None:
        async def body() -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._on_order("cancel", task.cancel)
            try:
                return await call()
            except asyncio.CancelledError:
                report(cancelled=True)
                raise

        try:
            self._report_of(lambda: asyncio.run(body()))
        except asyncio.CancelledError as cancelled:
            self.fail(cancelled)
        except RuntimeError as stopped:
            # A second Ctrl-C that meets the end of the task comes out of `asyncio.run` as "Event loop stopped".
            raise stopped.__context__ if isinstance(stopped.__context__, KeyboardInterrupt) else stopped from None


def main() -> int:
    # A shell starts background jobs with SIGINT ignored; a test that sends one wants it seen.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    worker = Worker(json.loads(sys.argv[1]))
    worker.prepare()
    announce_the_wait_at_exit()
    try:
        worker.run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tested event has happened; the report must come through
        report(end="KeyboardInterrupt")
        return 130
    report(end="returned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
