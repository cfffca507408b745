"""What a login tells the person, as data: one stream of notices, any number of ways to show it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from kimi_auth.clock import Clock
from kimi_auth.support.language import tr
from kimi_auth.support.text import one_line
from kimi_auth.wire import DeviceCode

__all__ = ["CAUTION", "NOT_YET", "SENT", "LoginView", "Notice", "NoticeKind", "PrintingView", "SilentView", "stays_for"]

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

NOT_YET: Mapping[NoticeKind, str] = {
    "waiting": "authorization_pending",
    "slowed_down": "slow_down",
    "unreachable": "unreachable",
}
"""Notices that mean "not yet", and the error code (RFC 8628 §3.5) that goes with each in events for programs."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened. `message` is a whole sentence without secrets; durations are in seconds. `asker`, with a
    code: the program that asks for the sign-in, and its computer."""

    kind: NoticeKind
    message: str
    code: DeviceCode | None = None
    left_s: float = 0.0
    wait_s: float = 0.0
    count: int = 0
    asker: str = ""


# A device login can be begun by one person and approved by another: RFC 8628 §5.4, and RFC 10027 for all such flows.
CAUTION = tr("Approve only if you started this sign-in.")
SENT = tr("If another person sent you this code, do not approve: it is a trap.")


class LoginView(Protocol):
    """Shows a login. `tell` must not block and must not raise."""

    def tell(self, notice: Notice) -> None:
        """Shows one notice."""

    async def left(self) -> None:
        """Returns when the person leaves the view (q or Esc); a view that cannot be left never returns."""


async def stays_for(view: LoginView, clock: Clock, seconds: float) -> bool:
    """Sleeps in front of the view of a login that waits; False, and at once, if the person leaves the view meanwhile."""
    leaving, resting = asyncio.ensure_future(view.left()), asyncio.ensure_future(clock.sleep_async(seconds))
    try:
        await asyncio.wait({leaving, resting}, return_when=asyncio.FIRST_COMPLETED)
        return not leaving.done()
    finally:
        leaving.cancel()
        resting.cancel()
        await asyncio.gather(leaving, resting, return_exceptions=True)


class SilentView:
    """Shows nothing and cannot be left."""

    def tell(self, notice: Notice) -> None:
        """Nothing is shown."""

    async def left(self) -> None:
        """Never returns."""
        await asyncio.Event().wait()


class PrintingView(SilentView):
    """Prints each notice on standard error, and the code with the page to approve it on; cannot be left.

    Standard output stays the program's own. Where standard error cannot be written, nothing is shown.
    """

    def tell(self, notice: Notice) -> None:
        """Shows the notice in the simplest way: one line, more for a code. A server's text is made fit for a terminal."""
        lines = [notice.message]
        if notice.code is not None:
            lines += [f"page: {notice.code.verification_uri}", f"code: {notice.code.user_code}"]
            lines += [f"asks: {notice.asker}", f"{CAUTION} {SENT}"]
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all under pythonw
            sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))
            sys.stderr.flush()
