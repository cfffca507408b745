"""What a hand-over costs at least: psycopg listens, reads one row when it is told, and says when it had it; see `bench.herd`.

python -m bench.listener ADDRESS KEY
"""

from __future__ import annotations

import sys
import time

import psycopg

from bench.worker import orders, tell
from kimi_auth.store.postgres.sql import CHANNEL

TOKEN = "SELECT access, refresh, about, expires_at FROM kimi_auth.credentials WHERE key = %s"


def main() -> None:
    address, key = sys.argv[1:]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(TOKEN, (key,))
        connection.execute(f"LISTEN {CHANNEL}")
        tell(ready=True)
        for _ in connection.notifies(stop_after=1):
            pass
        found = connection.execute(TOKEN, (key,)).fetchone()
        came_s = time.monotonic()
        tell(came_s=came_s, found=found is not None)
        for _ in orders():  # its end would cost the others more than the hand-over
            pass


if __name__ == "__main__":
    main()
