"""A clock that only tests move, and an emulator that runs by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator import Emulator

CLIENT_ID = "17e5f671-d194-4dfb-9706-5516cb48c098"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass
class Clock:
    """Unix seconds that stand still until `pass_s` moves them."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


class Visitor:
    """An HTTP client at one emulator, with the requests that tests keep making."""

    def __init__(self, emulator: Emulator, http: httpx.Client) -> None:
        self.emulator = emulator
        self.state = emulator.state
        self.http = http

    def ask_code(self, **headers: str) -> dict[str, Any]:
        answer = self.http.post("/api/oauth/device_authorization", data={"client_id": CLIENT_ID}, headers=headers)
        assert answer.status_code == 200
        return dict(answer.json())

    def poll(self, device_code: str) -> httpx.Response:
        return self.token(grant_type=DEVICE_GRANT, device_code=device_code)

    def refresh(self, refresh_token: str) -> httpx.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def token(self, **form: str) -> httpx.Response:
        return self.http.post("/api/oauth/token", data={"client_id": CLIENT_ID, **form})

    def sign_in(self) -> dict[str, Any]:
        """A token answer, approved at once."""
        code = self.ask_code()
        self.state.decide(code["user_code"], "approved")
        return dict(self.poll(code["device_code"]).json())

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.sign_in()['access_token']}"}

    def bench(self, command: str, body: object = None) -> httpx.Response:
        return self.http.post(f"/_emulator/{command}", json={} if body is None else body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def visit(clock: Clock) -> Iterator[Callable[..., Visitor]]:
    """`visit(**options)` starts an emulator by the test's clock, approved by hand, and gives its visitor."""
    with ExitStack() as stack:

        def start(**options: Any) -> Visitor:
            emulator = stack.enter_context(Emulator(**{"approve": "page", "interval_s": 0, "now_s": clock, **options}))
            # No TLS: load no certificates.
            http = httpx.Client(base_url=emulator.base_url, trust_env=False, verify=False, timeout=NO_LIMIT_S)
            return Visitor(emulator, stack.enter_context(http))

        yield start


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    return visit()
