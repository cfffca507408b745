"""How soon many processes on one database get the token that one of them has renewed: `--only herd --alone`, as it needs psycopg."""

from __future__ import annotations

import statistics
from pathlib import Path

from fleet.database import DatabaseStage
from servers.fixtures import new_cluster

from bench.report import Table, number

__all__ = ["table"]

HERDS = ((20, 0.1), (20, 12.0), (100, 0.1), (100, 12.0))
ROOM = 400
"""Connections of the server: each process may keep its own."""


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds from the committed pair to each process that waits for it."""
    cluster = new_cluster(max_connections=ROOM)
    try:
        lines = []
        for count, latency_s in ((4, 0.1),) if quick else HERDS:
            with DatabaseStage(folder / f"{count}-{latency_s}", cluster) as stage:
                came_s, exchanges = hand_over(stage, count, latency_s)
            cells = (statistics.median(came_s), max(came_s))
            lines.append((f"{count} processes, {latency_s:g} s", *(number(one * 1e3) for one in cells), str(exchanges)))
    finally:
        cluster.close()
    notes = ["From the moment at which the one that renews has committed, until a process has the token in hand."]
    return Table(
        "Handed over by a database: milliseconds",
        ("processes, server's latency", "p50", "worst", "exchanges"),
        lines,
        notes,
    )


def hand_over(stage: DatabaseStage, count: int, latency_s: float) -> tuple[list[float], int]:
    """The seconds that each process but the renewing one waited for the committed pair, and how many exchanges there were."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    stage.serve(latency_s=latency_s)
    stage.sign_in("expired")
    fleet = stage.start_fleet(count, "obtain_and_stay", patience_s=240.0)
    stage.go()
    results = [worker.result() for worker in fleet]
    assert {result.error for result in results} == {""}
    for worker in fleet:
        worker.order("again")
        worker.end()
    (committed_s,) = (
        e.at_s for worker in fleet for e in worker.edges if (e.source, e.event) == ("committing", "committed")
    )
    waiters = [worker for worker in fleet if not worker.walked("token_refresh.committing", "committed")]
    return [worker.results[0].at_s - committed_s for worker in waiters], stage.exchanges
