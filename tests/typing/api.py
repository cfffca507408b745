"""The public surface as type checkers see it. `make check` has mypy read this file; it is never run.

An ignored error is an error that must be there: where mypy stops finding it, the unused ignore fails the check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal, assert_type

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import requests
from websockets.asyncio.client import ClientConnection

from kimi_auth import (
    BearerAuth,
    KimiAuthError,
    NotSignedIn,
    Session,
    SignInEnded,
    __version__,
    signals_deferred,
)
from kimi_auth.clients import (
    AiohttpMiddleware,
    AnthropicCredentials,
    AsyncAnthropicCredentials,
    RequestsAuth,
    Target,
    TokenSource,
    WebsocketAuth,
    as_target,
)
from kimi_auth.clock import Clock, SystemClock
from kimi_auth.credential.contracts import (
    CanStillUseOutcome,
    CredentialContext,
    InjectOutcome,
    SignOutContract,
    TokenLifecycleContract,
    TokenRefreshContract,
)
from kimi_auth.credential.status import LoginReport, LogoutReport, Status
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.login.contracts import DeviceLoginContract
from kimi_auth.login.device_login import DeviceLoginHooks
from kimi_auth.login.view import LoginView, Notice, SilentView
from kimi_auth.machine import EdgeRecorder, Library, Machine, Observer
from kimi_auth.models import Change, ModelEntry
from kimi_auth.store import CredentialStore, FileStore, MemoryStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.wire import OAuthClient, OAuthServer


def a_session() -> None:
    clock = SystemClock()
    session = Session(
        Path("share"),
        platform="kimi-code",
        environ={},
        clock=clock,
        store=MemoryStore(clock),
        server=SimulatedServer(clock),
        observe=EdgeRecorder(),
        one_shot=True,
    )
    Session("share")
    Session(platform=7)  # type: ignore[arg-type]
    assert_type(session.access_token_sync(min_ttl_s=60.0, refresh=True), str)
    assert_type(session.rejected_sync("bearer"), str | None)
    assert_type(session.status(), Status)
    assert_type(session.logout_sync(), LogoutReport)
    assert_type(session.attach(print), Callable[[], None])
    assert_type(session.api_origin, str)
    session.access_token_sync(60.0)  # type: ignore[call-arg]
    assert_type(session.status().expires_at_s, float)
    with signals_deferred() as nothing:
        assert_type(nothing, None)
    version: str = __version__  # mypy says str, pyright its literal
    print(version)


async def a_program(session: Session, client: object) -> None:
    assert_type(await session.access_token(min_ttl_s=60.0), str)
    assert_type(await session.rejected("bearer"), str | None)
    assert_type((await session.models.verify()).says, Literal["valid", "invalid", "unknown"])
    assert_type(await session.login(SilentView(), force=True, open_browser=print), LoginReport)
    assert_type(await session.logout(), LogoutReport)
    assert_type(await session.models.fetch(), tuple[ModelEntry, ...])
    assert_type(await session.models.sync(dry_run=True), Change)
    async with session.kept_fresh(client, print) as same:
        assert_type(same, Session)
    async with httpx.AsyncClient(auth=BearerAuth(session)) as http:
        await http.get("https://api.kimi.com/coding/v1/models")
    httpx.Client(auth=BearerAuth(session, origin="https://api.kimi.com"))
    async with httpx2.AsyncClient(auth=BearerAuth(session)) as http2:
        await http2.get("https://api.kimi.com/coding/v1/models")
    httpx2.Client(auth=BearerAuth(session, origin="https://api.kimi.com"))
    BearerAuth("token")  # type: ignore[arg-type]


async def other_clients(session: Session) -> None:
    requests.get("https://api.kimi.com", auth=RequestsAuth(session), timeout=60)
    aiohttp.ClientSession(middlewares=[AiohttpMiddleware(session)])
    anthropic.Anthropic(credentials=AnthropicCredentials(session))
    anthropic.AsyncAnthropic(credentials=AsyncAnthropicCredentials(session))
    anthropic.Anthropic(credentials=AsyncAnthropicCredentials(session))  # type: ignore[arg-type]
    openai.OpenAI(api_key=session.access_token_sync, http_client=httpx2.Client(auth=BearerAuth(session)))
    openai.AsyncOpenAI(api_key=session.access_token)
    assert_type(await WebsocketAuth(session).connect("wss://api.kimi.com"), ClientConnection)


def errors(error: KimiAuthError) -> None:
    assert_type(error.line, str)
    assert_type(error.hint, str)
    assert_type(error.exit_status, int)
    assert_type(error.code, str)
    tree: type[KimiAuthError] = NotSignedIn
    tree = SignInEnded
    del tree


class MyView:
    """A view needs these two methods, and no base class."""

    def tell(self, notice: Notice) -> None:
        assert_type(notice.message, str)

    async def left(self) -> None:
        await asyncio.Event().wait()


def contracts(
    session: Session, file: FileStore, memory: MemoryStore, http: OAuthClient, simulated: SimulatedServer
) -> None:
    stores: list[CredentialStore] = [file, memory]
    servers: list[OAuthServer] = [http, simulated]
    source: TokenSource = session
    view: LoginView = MyView()
    clock: Clock = SystemClock()
    observer: Observer = EdgeRecorder()
    target: Target = as_target(print)
    machine: Machine = Library.load()["device_login"]
    del stores, servers, source, view, clock, observer, target, machine


def hooks(work: CredentialHooks, login: DeviceLoginHooks) -> None:
    lifecycle: TokenLifecycleContract = work
    refresh: TokenRefreshContract = work
    sign_out: SignOutContract = work
    device_login: DeviceLoginContract = login
    del lifecycle, refresh, sign_out, device_login


def undeclared_outcome(ctx: CredentialContext) -> tuple[InjectOutcome, CredentialContext]:
    return "swallowed", ctx  # type: ignore[return-value]


class Forgetful(CredentialHooks):
    """A hook may not answer more than its contract knows."""

    def can_still_use(  # type: ignore[override]
        self, ctx: CredentialContext, /
    ) -> tuple[CanStillUseOutcome | Literal["forgotten"], CredentialContext]:
        return "forgotten", ctx
