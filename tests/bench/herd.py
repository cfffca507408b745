"""How soon many processes on one database get the token that one of them has renewed: `--only herd --alone`, as it needs psycopg.

Timed from the moment at which the pair is committed until a process has the token in hand; the lease is given back and the
others are notified in between. Processes are timed as programs that go on: each is connected before the fleet begins, and
ends only when all have the token, as the end of an interpreter takes ten times the processor time of a hand-over: 30 to 70 ms.
The moves of the machines are reported then, too. At 0.1 s part of the fleet is still on its way to the lease when the pair is
committed.

"psycopg alone" is the floor: as many processes that do nothing but listen, and read one row when they are told. With more
processes than processors the figures are processor time, so the ratio of the two says more than either.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fleet.database import DatabaseStage
from servers.fixtures import new_cluster

from bench.report import NONE, Table, number
from bench.worker import started
from kimi_auth.store.postgres.sql import CHANNEL

__all__ = ["table"]

HERDS = ((20, (0.1, 12.0)), (100, (0.1, 12.0)))
ROOM = 400
"""Connections of the server: each process may keep its own."""


class Came(NamedTuple):
    """Seconds from the commit to each process but the one that renewed, and the exchanges that it took."""

    seconds: Sequence[float]
    exchanges: str = NONE

    def cells(self, name: str) -> tuple[str, ...]:
        return name, number(statistics.median(self.seconds) * 1e3), number(max(self.seconds) * 1e3), self.exchanges


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds from the committed pair to each process that waits for it."""
    cluster = new_cluster(max_connections=ROOM)
    try:
        lines = []
        for count, latencies_s in ((4, (0.1,)),) if quick else HERDS:
            for latency_s in latencies_s:
                with DatabaseStage(folder / f"{count}-{latency_s}", cluster) as stage:
                    came = hand_over(stage, count, latency_s)
                    lines.append(came.cells(f"{count} processes, {latency_s:g} s"))
            with DatabaseStage(folder / f"{count}-alone", cluster) as stage:
                lines.append(floor(stage, count).cells(f"{count} processes, psycopg alone"))
    finally:
        cluster.close()
    notes = [
        "From the moment at which the one that renews has committed, until a process has the token in hand.",
        "psycopg alone: processes that listen, and read one row when they are told.",
    ]
    return Table(
        "Handed over by a database: milliseconds",
        ("processes, server's latency", "p50", "worst", "exchanges"),
        lines,
        notes,
    )


def hand_over(stage: DatabaseStage, count: int, latency_s: float) -> Came:
    """Of a fleet that needs a token at once, while a server of `latency_s` answers one of them."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    stage.serve(latency_s=latency_s)
    stage.sign_in("expired")
    fleet = stage.start_fleet(count, "obtain_and_stay", patience_s=240.0, moves_later=True)
    while _sessions(stage) <= count:
        time.sleep(0.05)
    stage.go()
    results = [worker.result() for worker in fleet]
    assert {result.error for result in results} == {""}
    assert len({result.access for result in results}) == 1
    for worker in fleet:
        worker.order("again")
        worker.end()
    (committed_s,) = (
        e.at_s for worker in fleet for e in worker.edges if (e.source, e.event) == ("committing", "committed")
    )
    waiters = [worker for worker in fleet if not worker.walked("token_refresh.committing", "committed")]
    return Came([worker.results[0].at_s - committed_s for worker in waiters], str(stage.exchanges))


def floor(stage: DatabaseStage, count: int) -> Came:
    """Of processes that do nothing else, on such a row."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    stage.sign_in("fresh")
    with (
        started(count - 1, "listener", stage.url(), stage.store.key) as listeners,
        stage.cluster.admin(dbname=stage.database) as admin,
    ):
        told_s = time.monotonic()
        admin.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
        answers = [listener.answer() for listener in listeners]
    assert all(answer["found"] for answer in answers)
    return Came([answer["came_s"] - told_s for answer in answers])


def _sessions(stage: DatabaseStage) -> int:
    """How many are connected and idle: the fleet's, and the stage's own."""
    ((count,),) = stage.cluster.ask(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'renewer' AND state = 'idle'",
        stage.database,
    )
    return int(count)
