"""Signing in and out as the Kimi CLI consumes it: an async iterator of events.

Event types are info, error, waiting, verification_url and success; an iteration that is left early ends the login.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from kimi_auth.compat.host import Config, adopt, platforms, session_for
from kimi_auth.credential.status import LoginReport
from kimi_auth.errors import ConfigError, KimiAuthError, LoginCancelled
from kimi_auth.login.view import NOT_YET, Notice, NoticeKind, SilentView
from kimi_auth.session import Session, components_of
from kimi_auth.signing import sign_in
from kimi_auth.support import browser
from kimi_auth.support.text import one_line

__all__ = ["KIMI_CODE_OAUTH_KEY", "OAuthEvent", "OAuthEventKind", "login_kimi_code", "logout_kimi_code"]

KIMI_CODE_OAUTH_KEY = "oauth/kimi-code"

OAuthEventKind = Literal["info", "error", "waiting", "verification_url", "success"]

log: logging.Logger = logging.getLogger("kimi_auth.compat")


@dataclass(frozen=True, slots=True)
class OAuthEvent:
    """One thing that happened, in a sentence; `data` is for programs."""

    type: OAuthEventKind
    message: str
    data: dict[str, Any] | None = None

    def __str__(self) -> str:
        """The sentence for a terminal."""
        return one_line(self.message)

    @property
    def json(self) -> str:
        """The event as the line of JSON that the Kimi CLI's own `login --json` prints, in ASCII."""
        event: dict[str, Any] = {"type": self.type, "message": self.message}
        return json.dumps(event if self.data is None else {**event, "data": self.data})


class _Events(SilentView):
    """A login's notices, as events in a queue; "not yet" is said once, until it changes."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[OAuthEvent | None] = asyncio.Queue()
        self._last: NoticeKind | None = None

    def tell(self, notice: Notice) -> None:
        last, self._last = self._last, notice.kind
        if notice.kind == "code" and notice.code is not None:
            url = notice.code.verification_uri_complete or notice.code.verification_uri
            self._put("info", "Open this link and approve the sign-in there, only if you started it.")
            data = {
                "verification_url": url,
                "user_code": notice.code.user_code,
                "verification_uri": notice.code.verification_uri,
                "expires_in": round(notice.left_s),
            }
            self._put("verification_url", f"{url} (code {notice.code.user_code})", data)
        elif notice.kind not in NOT_YET:
            self._put("info", notice.message)
        elif notice.kind != last:
            self._put("waiting", notice.message, {"error": NOT_YET[notice.kind], "error_description": notice.message})

    def _put(self, kind: OAuthEventKind, message: str, data: dict[str, Any] | None = None) -> None:
        self.queue.put_nowait(OAuthEvent(kind, message, data))


async def login_kimi_code(config: Config, *, open_browser: bool = True) -> AsyncIterator[OAuthEvent]:
    """A new sign-in, even if signed in already; ends with a success or an error event.

    `config`, in memory, becomes what config.toml says after it. Raises for bugs only.
    """
    session = _session(config, "sign-in")
    if isinstance(session, OAuthEvent):
        yield session
        return
    view = _Events()
    login = asyncio.ensure_future(
        sign_in(components_of(session), view, force=True, open_browser=browser.open_browser if open_browser else None)
    )
    login.add_done_callback(lambda _: view.queue.put_nowait(None))
    try:
        while (event := await view.queue.get()) is not None:
            yield event
        report = login.result()
    finally:
        if not login.done():
            login.cancel()
            await asyncio.gather(login, return_exceptions=True)
    _adopt(config, session)
    yield _ended(report)


async def logout_kimi_code(config: Config) -> AsyncIterator[OAuthEvent]:
    """Signs out here, at the server and in config.toml; `config`, in memory, follows. Raises for bugs only."""
    session = _session(config, "sign-out")
    if isinstance(session, OAuthEvent):
        yield session
        return
    try:
        report = await session.logout()
    except KimiAuthError as error:
        yield OAuthEvent("error", error.line)
        return
    _adopt(config, session)
    if report.error is not None:
        yield OAuthEvent("info", report.error.line)
    yield OAuthEvent("success", "Signed out.")


def _session(config: Config, what: str) -> Session | OAuthEvent:
    """The Session of the Kimi Code platform, or the event that says why there is none."""
    if not config.is_from_default_location:
        return OAuthEvent(
            "error", f"{what} works with the default config file only: leave out --config and --config-file"
        )
    try:
        platform = next(one for one in platforms() if one.credential_key == KIMI_CODE_OAUTH_KEY)
        return session_for(platform)
    except ConfigError as error:
        return OAuthEvent("error", error.line)


def _ended(report: LoginReport) -> OAuthEvent:
    if report.state == "signed_in":
        return OAuthEvent("success", "Signed in.", {"models": report.models})
    return OAuthEvent("error", (report.error or LoginCancelled(f"the sign-in ended: {report.state}")).line)


def _adopt(config: Config, session: Session) -> None:
    try:
        adopt(config, components_of(session).config.read())
    except (KimiAuthError, ValueError) as error:
        log.warning("config.toml not adopted: %s", getattr(error, "line", type(error).__name__))
