"""What a login tells the person, as data: one stream of notices, any number of ways to show it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

from kimi_auth.wire import DeviceCode

__all__ = ["LoginView", "Notice", "NoticeKind", "SilentView"]

NoticeKind = Literal[
    "code",  # show these codes; `code`, `left_s`
    "waiting",  # not approved yet; the next poll comes in `wait_s`
    "slowed_down",  # the server asked for a longer interval; `wait_s` is the new one
    "unreachable",  # a request got no answer; the next one comes in `wait_s`
    "code_expired",  # these codes ran out; new ones are on their way
    "approved",  # the server gave the tokens
    "locked",  # another process holds the credential; waiting for it
    "stored",  # the credential is on disk
    "models",  # `count` models were found
    "configured",  # config.toml is written
    "live",  # running clients were served; `count` of them
    "warning",  # something went wrong that does not end the login
]


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened. `message` is a whole sentence without secrets; durations are in seconds."""

    kind: NoticeKind
    message: str
    code: DeviceCode | None = None
    left_s: float = 0.0
    wait_s: float = 0.0
    count: int = 0


class LoginView(Protocol):
    """Shows a login. `tell` must not block and must not raise."""

    def tell(self, notice: Notice) -> None:
        """Shows one notice."""

    async def left(self) -> None:
        """Returns when the person leaves the view (q or Esc); a view that cannot be left never returns."""


class SilentView:
    """Shows nothing and cannot be left."""

    def tell(self, notice: Notice) -> None:
        """Nothing is shown."""

    async def left(self) -> None:
        await asyncio.Event().wait()
