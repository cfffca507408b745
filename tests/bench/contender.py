"""A nursery of programs that share one login: for each order it forks so many, lets all of them go at one moment, and
says how long each waited and which token it got; see `bench.contended`.

    python -m bench.contender ours 16

Everything is imported before the fork, but each child makes its own session, as programs do that were started by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

from bench.surroundings import session_of_kimi_cli
from bench.worker import orders, tell
from kimi_auth import Session

Call = Callable[[], str]


def ours() -> Call:
    session = Session()
    session.status()  # machines and all that is loaded lazily
    return session.access_token_sync


def theirs() -> Call:
    manager, key = session_of_kimi_cli()

    def call() -> str:
        asyncio.run(manager.ensure_fresh())
        return str(manager.get_cached_access_token(key) or "")

    return call


WAYS: dict[str, Callable[[], Call]] = {"ours": ours, "theirs": theirs}


def child(way: str, ready: int, go: int, results: int) -> None:
    call = WAYS[way]()
    os.write(ready, b"r")
    if not os.read(go, 1):
        return  # the nursery is gone
    began_s = time.monotonic()
    try:
        token = call()
    except Exception as error:  # noqa: BLE001 - whatever it is, this program has no token
        token, failure = "", type(error).__name__
    else:
        failure = ""
    said = {"waited_s": time.monotonic() - began_s, "token": token, "error": failure}
    os.write(results, json.dumps(said).encode() + b"\n")  # shorter than a pipe takes in one piece


def round_of(way: str, count: int) -> list[dict[str, object]]:
    """`count` children, once."""
    ready, go, results = os.pipe(), os.pipe(), os.pipe()
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(go[1])
            try:
                child(way, ready[1], go[0], results[1])
            finally:
                os._exit(0)
        children.append(pid)
    for end in (ready[1], go[0], results[1]):
        os.close(end)
    with os.fdopen(ready[0], "rb") as at_the_start, os.fdopen(results[0], "rb") as lines:
        came = len(at_the_start.read(count))
        os.write(go[1], b"g" * came)
        os.close(go[1])
        found = [json.loads(line) for line in lines]
    for pid in children:
        os.waitpid(pid, 0)
    return found


def main() -> None:
    way, count = sys.argv[1], int(sys.argv[2])
    WAYS[way]()  # imported once, for all
    tell(ready=True)
    for _ in orders():
        tell(results=round_of(way, count))


if __name__ == "__main__":
    main()
