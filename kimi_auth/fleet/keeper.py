"""A worker that keeps every login of a table fresh: it takes due rows, many at a time, and walks `token_refresh` for each.

Any number of workers on any number of hosts share a table: a row is taken under a lease with its claim, and passed over by
the others. A worker takes no more rows than it can send for at once, so a claim is never older than its request. To keep
up, `in_flight` of all workers together is at least the rate of rotations times the latency of the server (27/s at 12 s: 324).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from kimi_auth._version import __version__
from kimi_auth.clock import Clock, SystemClock
from kimi_auth.credential.contracts import CredentialContext
from kimi_auth.credential.ports import Ports
from kimi_auth.credential.token_refresh import TokenRefreshHooks
from kimi_auth.errors import KimiAuthError, StorageError
from kimi_auth.machine import NO_OBSERVER, Library, Observer, walk_async
from kimi_auth.platforms import Platform, Registry, resolve
from kimi_auth.platforms.server import server_of
from kimi_auth.store import CredentialStore
from kimi_auth.store.postgres.due import DueRows, Ending, Taken
from kimi_auth.store.postgres.spill import Seen
from kimi_auth.support.logs import logger
from kimi_auth.token import fingerprint

from .counts import Counts
from .hooks import FleetHooks, SendsTokens
from .row_store import RowStore

if TYPE_CHECKING:
    from kimi_auth.token import Token
    from kimi_auth.wire import OAuthServer
    from kimi_auth.wire.loop_clients import LoopClients

__all__ = ["Keeper", "Limits"]

log: logging.Logger = logger("credential")

Found = TypeVar("Found")

DEVICE_ID = "X-Msh-Device-Id"
THREADS = 8
"""That wait for the one connection."""

IDLE_MAX_S = 1.0
RECOVERED_MAX = 10_000
SERVERS_MAX = 10_000
AWAY_S = 1.0
NOT_NOW_S = 5.0
JITTER = 0.1
UNREADABLE_S = 600.0
NEVER = {"gone", "revoked"}
"""Rest states of a pair that no worker takes again: the next login brings another one."""


class Limits(NamedTuple):
    """`in_flight`: requests of this worker at a time; `batch`: rows of one take; `drain_s`: how long an end waits for answers
    that a database does not take."""

    in_flight: int = 400
    batch: int = 100
    drain_s: float = 30.0


class Keeper:
    """One worker. `home`: whose platform files count, and which keeps answers while the database is away."""

    def __init__(
        self,
        url: str,
        home: Path,
        *,
        environ: Mapping[str, str],
        limits: Limits | None = None,
        clock: Clock | None = None,
        observe: Observer = NO_OBSERVER,
    ) -> None:
        from kimi_auth.wire import device_headers
        from kimi_auth.wire.loop_clients import LoopClients

        clock = clock or SystemClock()
        self.rows: DueRows = DueRows(url, home / "kimi-auth" / "store", clock)
        self.counts: Counts = Counts()
        self._limits = limits or Limits()
        self._environ = environ
        self._registry = Registry(home)
        self._headers = device_headers(home, version=__version__)
        self._library = Library.load()
        self._observe = observe
        self._through: LoopClients = LoopClients(None, clock, keeps=False)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kimi-auth keep")
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._free = asyncio.Event()
        self._recovered: OrderedDict[str, None] = OrderedDict()
        self._platforms: dict[str, Platform] = {}
        self._servers: OrderedDict[tuple[str, str, tuple[str, ...]], tuple[OAuthServer, SendsTokens]] = OrderedDict()

    def stop(self) -> None:
        """Takes no more rows, and ends once every answer is stored. From this event loop only."""
        self._stopping.set()
        self._free.set()

    async def run(self) -> None:
        """Keeps the table until `stop`. Raises StorageError for one that this role may not renew, or that is not there."""
        await self._ask(self.rows.queue)  # says at once what will not get better
        watch = asyncio.create_task(self._watch())
        try:
            while not self._stopping.is_set():
                await self._turn()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            watch.cancel()
            await asyncio.gather(watch, *self._tasks, return_exceptions=True)
            await self._through.aclose()
            self._threads.shutdown(wait=True)
            self.rows.close()

    async def _turn(self) -> None:
        """Takes due rows and starts their walks, or waits: for a free slot, a due row, the database."""
        free = self._limits.in_flight - len(self._tasks)
        if free <= 0:
            self._free.clear()
            await self._free.wait()
            return
        try:
            taken = await self._ask(lambda: self.rows.take(min(free, self._limits.batch)))
            next_s = None if taken else await self._ask(self.rows.next_s)
        except StorageError as error:
            self.counts.unreachable += 1
            log.warning("no rows can be taken: %s", error.line)
            await self._pause(AWAY_S * (1 + random.random()))  # noqa: S311 - no secret
            return
        self._start(taken)
        if not taken:
            await self._pause(IDLE_MAX_S if next_s is None else min(max(next_s, 0.01), IDLE_MAX_S))

    def _start(self, taken: list[Taken]) -> None:
        for one in taken:
            task = asyncio.create_task(self._keep(one))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        self.counts.in_flight = len(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.counts.in_flight = len(self._tasks)
        self._free.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a walk failed, its login is taken again when its lease is over: %s", type(error).__name__)
            self.counts.ends["failed"] += 1

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _watch(self) -> None:
        """Each second, the worker takes the rows of another one of this host that has ended, and reads the figures of the
        table."""
        while True:
            await asyncio.sleep(1.0)
            try:
                dead = await self._ask(self.rows.dead)
                room = self._limits.in_flight - len(self._tasks)
                if dead and room > 0 and not self._stopping.is_set():
                    self._start(await self._ask(partial(self.rows.take, min(room, self._limits.batch), dead)))
                self.counts.queue = await self._ask(self.rows.queue)
            except StorageError:
                continue  # the loop that takes rows says it

    async def _ask(self, call: Callable[[], Found]) -> Found:
        """`call` in a thread that waits for the database."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    # --- one row ------------------------------------------------------------------------------------------------------

    async def _keep(self, taken: Taken) -> None:
        """Walks the due row to rest, and gives it back."""
        self.counts.was_late(taken.late_s)
        fp = taken.row.fp or ""
        try:
            kept = await asyncio.to_thread(self._kept_here, taken)
            store = RowStore(taken, str(self.rows.address), self.rows.me, self.rows.cipher, *kept)
            hooks = self._hooks(taken, store)
        except KimiAuthError as error:  # no platform that is known here; an answer on this host whose key is missing
            log.warning("%s is not renewed: %s", taken.key, error.line)
            ending = Ending(fp, drops=bool(taken.nonce), due_in_s=60 * NOT_NOW_S)
            await self._give_back(taken, taken.nonce, ending, "foreign")
            return
        is_second = f"{taken.key} {fp}" in self._recovered
        ctx = CredentialContext(patience_s=None, recoveries=int(is_second))
        state, ctx = await walk_async(self._library["token_refresh"], hooks, ctx, observe=self._observe)
        if ctx.claim.state == "renewed":
            self.counts.recovered += 1
        if ctx.recoveries and not is_second:
            self._recovered[f"{taken.key} {fp}"] = None
            while len(self._recovered) > RECOVERED_MAX:
                self._recovered.popitem(last=False)
        ending = self._ending(state, ctx, fp, store, is_sent=hooks.is_sent)
        await self._give_back(taken, store.nonce, ending, state)

    def _ending(self, state: str, ctx: CredentialContext, fp: str, store: RowStore, *, is_sent: bool) -> Ending:
        """What the worker's walk comes to, for the row."""
        now_s, due_in_s = self.rows.clock.wall_s(), None
        if state == "renewed":
            new = ctx.snapshot.token
            fp = fingerprint(new) if new is not None else fp
        elif state not in NEVER | {"superseded", "adopted"}:
            until_s = ctx.retry_at_s or ctx.backoff_until_s
            due_in_s = until_s - now_s if until_s > now_s else ctx.claim.wait_s or NOT_NOW_S
            due_in_s = UNREADABLE_S if ctx.snapshot.state in {"corrupt", "unreachable"} else due_in_s
            due_in_s *= 1 + random.random() * JITTER  # noqa: S311 - no secret
        drops = store.drops or (bool(store.nonce) and not is_sent and ctx.claim.state in {"none", "made"})
        is_never = state in NEVER
        return Ending(fp, drops, due_in_s, is_never, store.backoff_set, store.bound, store.mark)

    async def _give_back(self, taken: Taken, nonce: str, ending: Ending, state: str) -> None:
        self.counts.ends[state] += 1
        began_s = self.rows.clock.monotonic_s()
        give = partial(self.rows.give_back, taken, nonce, ending, tells=state == "renewed")
        while True:
            try:
                await self._ask(give)
            except StorageError as error:
                if not self._keeps_trying(self.rows.clock.monotonic_s() - began_s):
                    log.warning("a lease was not given back, the next renewal waits for its end: %s", error.line)
                    return
                await asyncio.sleep(AWAY_S)
            else:
                return

    def _kept_here(self, taken: Taken) -> tuple[Token | None, Seen]:
        """The answer to the row's pair that this host keeps, and the newest generation that it has seen."""
        fp = taken.row.fp or ""
        spill = self.rows.spill(taken.key)
        return (spill.answer(fp) if fp else None), spill.newest()

    def _keeps_trying(self, tried_s: float) -> bool:
        return not self._stopping.is_set() or tried_s < self._limits.drain_s

    def _hooks(self, taken: Taken, store: RowStore) -> FleetHooks:
        platform = self._platform_of(taken.key)
        binding = taken.row.host()
        device_id = binding.device_id if binding else ""
        origins = binding.origins if binding and platform.oauth and binding.issuer == platform.oauth.host else ()
        server, send = self._server(platform, device_id, origins)
        oauth = self._registry.get(platform.id).oauth
        ports = Ports(
            cast("CredentialStore", store),
            server,
            self.rows.clock,
            platform.oauth.host if platform.oauth else "",
            built_in=oauth.host if oauth else "",
            device_id=lambda: device_id,
        )
        rules = TokenRefreshHooks(ports)
        return FleetHooks(taken, self.rows, store, rules, send, self._ask, self._keeps_trying)

    def _platform_of(self, key: str) -> Platform:
        """Raises ConfigError for a key of no platform that is known here."""
        name = key.removeprefix("oauth/").partition("@")[0]
        if name not in self._platforms:
            self._platforms[name] = resolve(self._registry.get(name), self._environ)
        return self._platforms[name]

    def _server(self, platform: Platform, device_id: str, origins: tuple[str, ...]) -> tuple[OAuthServer, SendsTokens]:
        """A row's server: the platform's as the device of its login asks it, and how a token is sent over shared connections."""
        key = (platform.id, device_id, origins)
        if key not in self._servers:
            headers = self._headers | ({DEVICE_ID: device_id} if device_id else {})
            server = server_of(platform, headers, lambda: origins)
            exchange: Any = server
            self._servers[key] = server, partial(exchange.exchange_async, through=self._through)
            while len(self._servers) > SERVERS_MAX:
                self._servers.popitem(last=False)
        return self._servers[key]
