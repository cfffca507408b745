"""`kimi-auth store keep --workers N`: processes that keep every login of the database fresh, until SIGTERM or Ctrl-C.

This process starts the workers, starts one again that has ended, and shows their figures. A worker ends when its pipe to this
process does, so none is left behind. At SIGTERM each takes no more rows, waits for the answers under way, and stores them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from kimi_auth import files
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import ConfigError, KimiAuthError
from kimi_auth.fleet import Keeper, Limits
from kimi_auth.fleet.counts import CONTENT_TYPE, Counts
from kimi_auth.home import choose
from kimi_auth.support.language import tr

__all__ = ["keep"]

REPORT_S = 1.0
AGAIN_S = 1.0
METRICS_PATH = "/metrics"


class Worker:
    """One worker process, and what it said last. `counts` of those that ended before are kept in `before`."""

    def __init__(self, url: str, home: Path, limits: Limits) -> None:
        self._args = url, home, limits
        self.before: list[dict[str, Any]] = []
        self.state: dict[str, Any] | None = None
        self.started_s: float = 0.0
        self.start()

    def start(self) -> None:
        if self.state is not None:
            self.before.append(self.state | {"in_flight": 0})
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.pipe: Connection[Any, Any] = ours
        self.process: BaseProcess = context.Process(target=_work, args=(theirs, *self._args), daemon=False)
        self.state, self.started_s = None, time.monotonic()
        self.process.start()
        theirs.close()

    def hear(self) -> None:
        """Reads what the worker process has said in its pipe since."""
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                self.state = self.pipe.recv()

    def stop(self) -> None:
        """Asks the worker process to end, by closing its pipe."""
        with suppress(OSError):
            self.pipe.close()


def keep(out: Terminal, url: str, *, workers: int, in_flight: int, metrics: str, home: str | None) -> None:
    """Runs the workers for the database at `url` until SIGTERM or SIGINT. Raises ConfigError, and StorageError where the table
    cannot be kept."""
    path = choose(os.environ, home).path
    _look(url, path)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    fleet = [Worker(url, path, Limits(in_flight=in_flight)) for _ in range(workers)]
    try:
        with _shown(metrics, fleet) as where:
            out.say(tr("keeping every login of the database fresh; {where}", where=where or tr("no metrics")))
            while not stopping.wait(REPORT_S):
                _tend(fleet)
    finally:
        for worker in fleet:
            worker.stop()
        for worker in fleet:
            worker.process.join()


def _look(url: str, home: Path) -> None:
    """Raises what no worker could go on with, before `store keep` starts its processes."""
    from kimi_auth.clock import SystemClock
    from kimi_auth.store.postgres.due import DueRows

    rows = DueRows(url, home / "kimi-auth" / "store", SystemClock())
    try:
        rows.queue()
    finally:
        rows.close()


def _tend(fleet: list[Worker]) -> None:
    for worker in fleet:
        worker.hear()
        if not worker.process.is_alive() and time.monotonic() - worker.started_s >= AGAIN_S:
            worker.start()


def _total(fleet: list[Worker]) -> Counts:
    total = Counts()
    for worker in fleet:
        for state in (*worker.before, *([worker.state] if worker.state else [])):
            total.add(state)
    return total


def _work(pipe: Connection, url: str, home: Path, limits: Limits) -> None:
    """A worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the whole group: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def work() -> None:
        keeper = Keeper(url, home, environ=os.environ, limits=limits)
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), keeper.stop)  # nothing is ever sent to us: this is its end
        report = asyncio.create_task(_report(pipe, keeper))
        try:
            await keeper.run()
        finally:
            loop.remove_reader(pipe.fileno())
            report.cancel()

    with suppress(KimiAuthError):  # the parent starts it again
        asyncio.run(work())


async def _report(pipe: Connection, keeper: Keeper) -> None:
    while True:
        with suppress(OSError):
            pipe.send(keeper.counts.state())
        await asyncio.sleep(REPORT_S)


@contextmanager
def _shown(metrics: str, fleet: list[Worker]) -> Iterator[str]:
    """Shows the workers' figures at HOST:PORT, or in a file that is replaced each second. Raises Usage for neither."""
    if not metrics:
        yield ""
        return
    host, colon, port = metrics.rpartition(":")
    if not colon or "/" in metrics:
        with _in_file(Path(metrics), fleet):
            yield metrics
        return
    if not port.isdigit() or int(port) > 65_535:
        raise Usage(tr("--metrics is HOST:PORT, or a file with a / in its name"))
    with _served(host, int(port), fleet) as at:
        yield at


@contextmanager
def _in_file(path: Path, fleet: list[Worker]) -> Iterator[None]:
    ended = threading.Event()

    def write() -> None:
        while True:
            with suppress(OSError, KimiAuthError):
                files.write_durably(path, _total(fleet).text().encode())
            if ended.wait(REPORT_S):
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _served(host: str, port: int, fleet: list[Worker]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            is_known = self.path.partition("?")[0] == METRICS_PATH
            body = _total(fleet).text().encode() if is_known else b""
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a request is no event."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

    try:
        server = Listener((host.strip("[]") or "127.0.0.1", port), Handler)
    except OSError as error:
        words = tr(
            "cannot listen on {address}: {reason}", address=f"{host}:{port}", reason=os.strerror(error.errno or 0)
        )
        raise ConfigError(words, hint=tr("give another one: --metrics HOST:PORT")) from None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}{METRICS_PATH}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
