"""What the proxy adds: a request, the first event of a stream, requests at once, and memory, beside the same API asked directly."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench.report import NONE, Table, number
from bench.worker import Worker

__all__ = ["Figures", "drawn", "measured", "table"]

CLIENTS = 16
BODY = b'{"model": "kimi-for-coding", "messages": [{"role": "user", "content": "hello"}]%s}'


@dataclass(frozen=True)
class Figures:
    """Milliseconds of one request alone (median), and until its first event; of CPU for each request with 16 clients; requests
    in a second; resident MiB before and after."""

    alone_ms: float
    event_ms: float
    cpu_ms: float
    per_s: float
    before_mib: float
    after_mib: float


def table(folder: Path, *, quick: bool = False) -> Table:
    """The API directly, the API through the proxy, and the difference."""
    requests = 320 if quick else 100_000
    return drawn(*measured(5 if quick else 1000, requests), requests)


def drawn(direct: Figures, through: Figures, requests: int) -> Table:
    """The figures of both."""
    alone_ms, event_ms = through.alone_ms - direct.alone_ms, through.event_ms - direct.event_ms
    rows = [
        ("directly", *_cells(direct)),
        ("through the proxy", *_cells(through)),
        ("added", number(alone_ms), number(event_ms), NONE, NONE, NONE),
        ("target", "1.5", "2", NONE, "1,000", "60"),
    ]
    notes = [
        "'alone': one request after the other; 'event': until the first event of a stream.",
        f"'CPU': of the server in that row for each request, with {CLIENTS} clients at once.",
        "'a second': how many requests that makes on a core of its own.",
        f"A request through the proxy takes the CPU of {number(through.cpu_ms / max(direct.cpu_ms, 1e-3))} requests of a bare uvicorn application, the API here.",
        f"'MiB': of the server after {requests:,} requests, a tenth of them directly.",
    ]
    head = ("", "alone", "event", "CPU", "a second", "MiB")
    return Table("The proxy: milliseconds of a request, and memory", head, rows, notes)


def _cells(found: Figures) -> tuple[str, ...]:
    return (
        number(found.alone_ms),
        number(found.event_ms),
        number(found.cpu_ms),
        number(found.per_s),
        number(found.after_mib),
    )


def measured(alone: int, at_once: int) -> tuple[Figures, Figures]:
    """Figures of the API and of the proxy: `alone` requests in turns, then `at_once` through 16 connections (a tenth of them
    directly)."""
    with Worker("serving", "api") as api:
        direct = api.answer()["url"]
        with Worker("serving", "proxy", f"{direct}/v1") as proxy:
            told = proxy.answer()
            return asyncio.run(_measured(api, direct, proxy, told["url"], told["secret"], alone, at_once))


async def _measured(
    api: Worker, direct: str, proxy: Worker, through: str, secret: str, alone: int, at_once: int
) -> tuple[Figures, Figures]:
    ways = ((direct, "/v1/chat/completions", ""), (through, "/api/chat/completions", secret))
    clients = [await _Client.connected(*way) for way in ways]
    times: list[list[float]] = [[], []]
    events: list[list[float]] = [[], []]
    for number_of_turn in range(alone + 5):
        for at, client in enumerate(clients):
            whole_s, event_s = await client.ask(), await client.first_event()
            if number_of_turn >= 5:  # the first ones open connections
                times[at].append(whole_s)
                events[at].append(event_s)
    for client in clients:
        await client.aclose()
    figures = []
    for at, (server, way, count) in enumerate(((api, ways[0], at_once // 10), (proxy, ways[1], at_once))):
        await _all_at_once(way, min(count, 10 * CLIENTS))
        before = server.ask("now")
        await _all_at_once(way, count)
        after = server.ask("now")
        cpu_ms = (after["cpu_s"] - before["cpu_s"]) / count * 1e3
        figures.append(
            Figures(
                statistics.median(times[at]) * 1e3,
                statistics.median(events[at]) * 1e3,
                cpu_ms,
                1e3 / max(cpu_ms, 1e-3),
                before["held_mib"],
                after["held_mib"],
            )
        )
    return figures[0], figures[1]


async def _all_at_once(way: tuple[str, str, str], count: int) -> None:
    async def some() -> None:
        client = await _Client.connected(*way)
        for _ in range(max(1, count // CLIENTS)):
            await client.ask()
        await client.aclose()

    await asyncio.gather(*(some() for _ in range(CLIENTS)))


class _Client:
    """A connection that costs next to nothing, so that the servers alone are measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    @classmethod
    async def connected(cls, url: str, path: str, secret: str) -> _Client:
        host = url.removeprefix("http://")
        name, port = host.split(":")
        fields = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {secret or 'none'}"]
        fields += ["Accept: application/json", "Content-Type: application/json", "User-Agent: bench"]
        return cls(*await asyncio.open_connection(name, int(port)), "\r\n".join(fields))

    async def ask(self) -> float:
        """A whole answer; how many seconds it took."""
        began_s = time.perf_counter()
        self._send(BODY % b"")
        head = await self._head_of_answer()
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        return time.perf_counter() - began_s

    async def first_event(self) -> float:
        """A stream; how many seconds its first event took."""
        began_s = time.perf_counter()
        self._send(BODY % b', "stream": true')
        await self._head_of_answer()
        await self._reader.readuntil(b"\n\n")
        taken_s = time.perf_counter() - began_s
        await self._reader.readuntil(b"\r\n0\r\n\r\n")
        return taken_s

    async def aclose(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def _send(self, body: bytes) -> None:
        self._writer.write(f"{self._head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def _head_of_answer(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the bench's server answers {head[:40]!r}")
        return head
