"""One program of the soak: it uses the login in its own way until its standard input ends, and reports each call.

    python program.py KIND

A report is one JSON line: how long the call waited (seconds), the error's code ("" for none) and its message. What a
killed program was about to report is lost with it, and nothing else depends on it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import httpx

from kimi_auth import BearerAuth, Session
from kimi_auth.errors import KimiAuthError

PAUSE_S = 0.2
CODES = {3: "not_signed_in", 4: "revoked", 5: "unreachable", 8: "storage", 9: "config"}
OVER = threading.Event()


class Http(Exception):
    """An answer of the API that the program has no use for."""


def said(began_s: float, error: str = "", words: str = "") -> None:
    """One line, in one write: threads never mix theirs."""
    line = {"at_s": time.time(), "waited_s": time.monotonic() - began_s, "error": error, "message": words}
    os.write(1, json.dumps(line).encode() + b"\n")


def failed(began_s: float, error: Exception) -> None:
    code = error.code if isinstance(error, KimiAuthError) else f"{type(error).__name__}: {error}"
    said(began_s, code, error.message if isinstance(error, KimiAuthError) else "")


def again(call: Callable[[], object]) -> None:
    """Calls until it is over."""
    while not OVER.wait(PAUSE_S):
        began_s = time.monotonic()
        try:
            call()
        except (KimiAuthError, httpx.HTTPError, Http) as error:
            failed(began_s, error)
        else:
            said(began_s)


async def again_async(call: Callable[[], Awaitable[object]]) -> None:
    while not OVER.is_set():
        await asyncio.sleep(PAUSE_S)
        began_s = time.monotonic()
        try:
            await call()
        except KimiAuthError as error:
            failed(began_s, error)
        else:
            said(began_s)


def command(*argv: str) -> None:
    """Runs the command line again and again; its exit status is the answer."""
    while not OVER.wait(PAUSE_S):
        began_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "kimi_auth", *argv],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        error = CODES.get(done.returncode, f"exit {done.returncode}") if done.returncode else ""
        said(began_s, error, done.stderr.strip().rpartition("\n")[2] if error else "")


# --- the kinds -------------------------------------------------------------------------------------------------------


def kept_fresh() -> None:
    """A service: an event loop for its whole life, and a client that is kept fresh."""

    async def serve() -> None:
        session = Session()
        async with session.kept_fresh(lambda token: None):
            await again_async(session.access_token)

    asyncio.run(serve())


def threads() -> None:
    """A program without an event loop, with three threads that share a session."""
    session = Session()
    others = [threading.Thread(target=again, args=(session.access_token_sync,)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()


def token() -> None:
    """A shell script with a credential helper."""
    command("token")


def run() -> None:
    """A wrapper that starts commands."""
    command("run", "--", "true")


def bearer() -> None:
    """A client of the API; it meets the 401 of tokens that the server dropped."""
    session = Session()
    with httpx.Client(auth=BearerAuth(session), trust_env=False, timeout=None) as client:

        def ask() -> None:
            answer = client.get(f"{session.api_origin}/models")
            if answer.status_code != 200:
                raise Http(f"HTTP {answer.status_code}")

        again(ask)


def status() -> None:
    """A panel that looks at the login all the time, and asks for a token by a new session each time."""

    def look() -> None:
        session = Session()
        session.status()
        session.access_token_sync()

    again(look)


KINDS: dict[str, Callable[[], None]] = {
    work.__name__: work for work in (kept_fresh, threads, token, run, bearer, status)
}


def watch() -> None:
    while os.read(0, 4096):
        pass
    OVER.set()


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    KINDS[sys.argv[1]]()
