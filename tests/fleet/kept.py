"""Measures `kimi-auth store keep`: rotations a second, how late they are, and whether anything was sent twice.

    python -m fleet.kept --logins 10000 --seconds 120      in tests/; starts a cluster and a server of its own

The logins are those of 900 s, due evenly, as after hours. The server revokes on reuse. Say the load with the figures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from servers.postgres import Cluster

from fleet.test_keep import Server, Table, is_kept, keeping

DUE_S = 900 * 5 / 12 * 0.95


def late(figures: dict[str, float], before: dict[str, float]) -> str:
    """The shares of the rotations that were taken within these delays."""

    def since(name: str) -> float:
        return figures.get(name, 0.0) - before.get(name, 0.0)

    count = since("kimi_auth_late_seconds_count") or 1.0
    bounds = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "5")
    shares = [(bound, since(f'kimi_auth_late_seconds_bucket{{le="{bound}"}}') / count) for bound in bounds]
    return ", ".join(f"≤ {bound} s {share:.2%}" for bound, share in shares)


def main(logins: int, seconds: float, workers: int) -> None:
    cluster, server = Cluster(), Server(ttl_s=900.0, latency_s=0.1)
    cluster.make_tables()
    try:
        with tempfile.TemporaryDirectory() as home:
            table = Table(cluster, Path(home), server)
            table.sign_in_many(logins, spread_s=DUE_S)
            with keeping(table, "--workers", str(workers)) as command:
                time.sleep(10.0)  # the rows that were due while the workers started
                before, at, from_s = command.metrics(), server.exchanges, time.monotonic()
                time.sleep(seconds)
                figures, passed_s = command.metrics(), time.monotonic() - from_s
                rate = (server.exchanges - at) / passed_s
            print(
                f"{logins} logins, {workers} workers: {rate:.1f} rotations/s for {passed_s:.0f} s, demand {logins / DUE_S:.1f}"
            )
            print(f"late: {late(figures, before)}")
            print(
                f"nothing sent twice, none lost: {is_kept(table)}; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors"
            )
    finally:
        server.close()
        cluster.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logins", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    main(given.logins, given.seconds, given.workers)
