"""A stage whose server keeps an answer back until the test lets it go, whatever time a signal to the client takes.

    stage.hold("token", "refresh_token")
    worker = stage.start("obtain")
    stage.arrived(1)
    worker.send(signal.SIGINT)
    stage.let_go(worker, IN_FLIGHT)

The server answers every other request meanwhile. An answer that is never let go ends with the stage.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Self
from unittest.mock import patch

from fleet.stage import Stage, Worker
from house.patience import met
from starlette.background import BackgroundTask
from starlette.responses import Response

from kimi_auth.testing.emulator import app, oauth
from kimi_auth.testing.emulator.authorization_server import State
from kimi_auth.testing.emulator.call import Call, Endpoint

__all__ = ["IN_FLIGHT", "HoldingStage", "stop"]

IN_FLIGHT = "in flight"
"""The step after `exchanging`, `polling` or `revoking`: the request was processed, and its answer is kept back."""

REAL = app._serve


class HoldingStage(Stage):
    """`hold` keeps the answer to one request back. The request itself is processed and logged, as `Fault.latency_s` has it."""

    _held: tuple[str, str | None] | None = None

    def __enter__(self) -> Self:
        self._is_let_go, self._was_sent = asyncio.Event(), threading.Event()
        self._patched = patch.object(app, "_serve", self._serve)
        self._patched.start()
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._patched.stop()

    def hold(self, endpoint: str, grant: str | None = None) -> None:
        """Keeps back the answer to the next request to `endpoint`."""
        self._held = endpoint, grant

    def let_go(self, worker: Worker, step: str) -> None:
        """Lets the process go on from `step`; from IN_FLIGHT it does with its answer, which has been sent then."""
        if step == IN_FLIGHT:
            self._loop.call_soon_threadsafe(self._is_let_go.set)
            met(self._was_sent)
        else:
            worker.order("on")

    async def _serve(self, state: State, name: str, endpoint: Endpoint, call: Call) -> Response:
        self._loop = asyncio.get_running_loop()
        is_held = self._held == (name, oauth.grant_name(call) if name == "token" else None)
        if is_held:
            self._held = None
        response = await REAL(state, name, endpoint, call)
        if is_held:
            await self._is_let_go.wait()
            response.background = BackgroundTask(self._sent)
        return response

    async def _sent(self) -> None:
        self._was_sent.set()


def stop(worker: Worker) -> None:
    """SIGSTOP, and waits until every thread of the process stands."""
    worker.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
