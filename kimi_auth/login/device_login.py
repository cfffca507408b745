"""The real hooks of device_login (RFC 8628): coroutines that ask, show, wait, poll, store, discover, write and serve."""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import replace

from kimi_auth.credential.contracts import InjectOutcome
from kimi_auth.credential.ports import Ports, token_from
from kimi_auth.errors import CodeExpired, ConfigError, LoginCancelled, SignInEnded, StorageError
from kimi_auth.login.contracts import (
    CheckStoreOutcome,
    LoginContext,
    PauseBeforeCodeOutcome,
    RenewCodeOutcome,
    ReturnGrantOutcome,
    ShowCodeOutcome,
    StoreCredentialOutcome,
    SyncModelsOutcome,
    WaitOutcome,
    WriteConfigOutcome,
)
from kimi_auth.login.ports import LoginPorts
from kimi_auth.login.storing import Storing
from kimi_auth.login.view import Notice, NoticeKind, stays_for
from kimi_auth.store import Binding, View
from kimi_auth.support.language import counted, listed, tr
from kimi_auth.wire import Answer, DeviceCode, Grant
from kimi_auth.wire.outcomes import CodeOutcome, PollOutcome

__all__ = ["DeviceLoginHooks"]

NEW_CODES_MAX = 3
CODE_TRIES_MAX = 5
INTERVAL_FACTOR = 1.2
"""Polls wait a fifth longer than asked: the clocks of virtual machines run fast, and slow_down is for good."""

INTERVAL_MIN_S = 1.0
SLOW_DOWN_S = 5.0
"""Each slow_down adds this to the interval (RFC 8628 §3.5)."""

BACK_OFF_MAX_S = 60.0
"""As long as a person can be made to wait for the next request, whatever Retry-After asks for."""

REJECTIONS_MAX = 4
"""Polls in a row that may get a client error without an OAuth error: with their waits, a minute or more of a gateway that
does not know the server yet."""

LOCK_NOTICE_S = 2.0
"""A longer wait for the credential's lock is told to the person."""

HOST_SHOWN_MAX = 40
NO_ANSWER = tr("the server did not answer")
LAST_WORD_S = 2.0
"""How long an interrupted login waits for the answer of a poll that is in flight: it may be the grant."""


class DeviceLoginHooks:
    """Implements `DeviceLoginContract`."""

    def __init__(self, effects: Ports, around: LoginPorts) -> None:
        self._ports = effects
        self._store = effects.store
        self._server = effects.server
        self._clock = effects.clock
        self._storing = Storing(effects)
        self._issuer = effects.issuer
        self._device_id = effects.device_id
        self._around = around
        self._view = around.view

    async def check_store(self, ctx: LoginContext, /) -> tuple[CheckStoreOutcome, LoginContext]:
        view, state, error = self._ports.look()
        if not ctx.force:
            # One that the server has ended stands no more, though its token may still work. An expired token stands only
            # for a renewal that nothing is known against: `token` would fail, and a person who signs in wants one.
            is_refused = view.backoff.unrecognized_fp == view.snapshot.fp
            is_renewable = state == "expired" and error is None and not is_refused
            serves = state in {"fresh", "expiring", "usable"} and not isinstance(error, SignInEnded)
            if serves or is_renewable:
                ctx = replace(ctx, token=view.snapshot.token)
                if await asyncio.to_thread(self._around.config.lacks):
                    return "unfinished", ctx
                return "already_signed_in", replace(ctx, already=True)
            if isinstance(error, ConfigError):
                return "blocked", replace(ctx, error=error)
        try:
            await asyncio.to_thread(self._store.check_writable)
            await asyncio.to_thread(self._around.config.check)
        except (StorageError, ConfigError) as problem:
            return "blocked", replace(ctx, error=problem)
        return "ready", ctx

    async def request_code(self, ctx: LoginContext, /) -> tuple[CodeOutcome, LoginContext]:
        sent_at_s = self._clock.boottime_s()  # a code's life goes on while the machine sleeps
        answer = await self._server.request_code()
        if answer.outcome == "code" and (code := answer.value) is not None:
            interval_s = max(INTERVAL_MIN_S, min(max(ctx.interval_s, code.interval_s), code.expires_in_s / 2))
            return "code", replace(
                ctx,
                code=code,
                codes=ctx.codes + 1,
                code_at_s=sent_at_s,
                deadline_s=sent_at_s + code.expires_in_s,
                interval_s=interval_s,
                wait_s=INTERVAL_FACTOR * interval_s,
                failures=0,
                error=None,
            )
        failures = ctx.failures + 1
        wait_s = min(max(2.0 ** (failures - 1), answer.retry_after_s or 0.0), BACK_OFF_MAX_S)
        return answer.outcome, replace(ctx, failures=failures, wait_s=wait_s, error=answer.error)

    async def pause_before_code(self, ctx: LoginContext, /) -> tuple[PauseBeforeCodeOutcome, LoginContext]:
        if ctx.failures >= CODE_TRIES_MAX:
            return "gave_up", ctx
        self._tell("unreachable", ctx.error.message if ctx.error else NO_ANSWER, wait_s=ctx.wait_s)
        if not await stays_for(self._view, self._clock, ctx.wait_s):
            return "cancelled", _left(ctx)
        return "again", ctx

    async def show_code(self, ctx: LoginContext, /) -> tuple[ShowCodeOutcome, LoginContext]:
        code = ctx.known_code
        left_s = ctx.deadline_s - self._clock.boottime_s()
        if code.origins and ctx.codes == 1:
            self._tell(
                "warning",
                tr(
                    "{issuer} has tokens handled at {origins}: your tokens will go there.",
                    issuer=self._issuer,
                    origins=listed(code.origins),
                ),
            )
        self._view.tell(
            Notice(
                "code",
                tr(
                    "Open {url} and enter the code {code}.",
                    url=code.verification_uri,
                    code=code.user_code,
                ),
                code=code,
                left_s=left_s,
                asker=tr(
                    "{program} on {host}",
                    program="kimi-auth",
                    host=socket.gethostname()[:HOST_SHOWN_MAX] or tr("this computer"),
                ),
            )
        )
        if self._around.open_browser is not None:
            # Without the code: every user of the machine can read a browser's command line.
            self._around.open_browser(code.verification_uri)
        return "shown", ctx

    async def wait(self, ctx: LoginContext, /) -> tuple[WaitOutcome, LoginContext]:
        left_s = ctx.deadline_s - self._clock.boottime_s()
        if not await stays_for(self._view, self._clock, max(0.0, min(ctx.wait_s, left_s))):
            return "cancelled", _left(ctx)
        if self._clock.boottime_s() >= ctx.deadline_s:
            return "lapsed", replace(ctx, error=CodeExpired(tr("the code expired before it was approved")))
        return "elapsed", ctx

    async def poll_token(self, ctx: LoginContext, /) -> tuple[PollOutcome, LoginContext]:
        sent_at_s = self._clock.wall_s()
        request = asyncio.ensure_future(self._server.poll(ctx.known_code.device_code))
        try:
            answer = await asyncio.shield(request)
        except asyncio.CancelledError:
            await self._keep_a_late_grant(ctx.known_code, request, sent_at_s)
            raise
        if answer.outcome == "granted" and answer.value is not None:
            token = token_from(answer.value, sent_at_s=sent_at_s, issuer=self._issuer)
            self._tell("approved", tr("The sign-in was approved."))
            return "granted", replace(ctx, token=token, error=None)
        failures = ctx.failures + 1 if answer.outcome == "unreachable" else 0
        is_rejected = answer.outcome == "unreachable" and isinstance(answer.error, SignInEnded)
        rejections = ctx.rejections + 1 if is_rejected else 0
        if rejections == REJECTIONS_MAX:
            return "refused", replace(ctx, error=answer.error)
        interval_s = ctx.interval_s + (SLOW_DOWN_S if answer.outcome == "slow_down" else 0.0)
        backed_off_s = min(interval_s * 2.0 ** min(failures, 10), BACK_OFF_MAX_S) if failures else 0.0
        wait_s = max(INTERVAL_FACTOR * interval_s, backed_off_s, min(answer.retry_after_s or 0.0, BACK_OFF_MAX_S))
        told: dict[str, tuple[NoticeKind, str]] = {
            "authorization_pending": ("waiting", tr("Waiting for your approval.")),
            "slow_down": (
                "slowed_down",
                tr("The server asks for a poll every {seconds:.0f} s.", seconds=interval_s),
            ),
            "unreachable": ("unreachable", answer.error.message if answer.error else NO_ANSWER),
        }
        if answer.outcome in told:
            self._tell(*told[answer.outcome], wait_s=wait_s)
        return answer.outcome, replace(
            ctx,
            failures=failures,
            rejections=rejections,
            interval_s=interval_s,
            wait_s=wait_s,
            error=answer.error,
        )

    async def renew_code(self, ctx: LoginContext, /) -> tuple[RenewCodeOutcome, LoginContext]:
        if ctx.codes > NEW_CODES_MAX:
            return "exhausted", replace(ctx, error=CodeExpired(tr("none of the codes was approved in time")))
        self._tell("code_expired", tr("The code expired; requesting a new one."))
        next_at_s = ctx.code_at_s + max(ctx.interval_s, ctx.known_code.interval_s)
        if not await stays_for(self._view, self._clock, max(0.0, next_at_s - self._clock.boottime_s())):
            return "cancelled", _left(ctx)
        return "renewed", replace(ctx, failures=0)

    async def store_credential(self, ctx: LoginContext, /) -> tuple[StoreCredentialOutcome, LoginContext]:
        token = ctx.known_token
        binding = Binding(self._issuer, ctx.code.origins if ctx.code else (), self._device_id())
        if token.token_type != "Bearer":
            # RFC 6749 §7.1: what the client does not understand it must not use.
            unfit = ConfigError(
                tr("{issuer} issued tokens that are not bearer tokens, so they were not stored", issuer=self._issuer),
                hint=tr("check the OAuth host and the client id of the platform"),
            )
            return "unwritable", replace(ctx, error=unfit)
        give_up = threading.Event()
        storing = asyncio.ensure_future(asyncio.to_thread(self._storing.put, token, binding, give_up))
        try:
            done, _ = await asyncio.wait({storing}, timeout=LOCK_NOTICE_S)
            if not done:
                holder = self._store.holder() or tr("another process")
                self._tell("locked", tr("{holder} holds the credential; waiting for it.", holder=holder))
            before = await asyncio.shield(storing)
        except asyncio.CancelledError:
            give_up.set()
            if not isinstance(await storing, View):
                await asyncio.to_thread(self._storing.give_back, token)
            raise
        if not isinstance(before, View):
            return "unwritable", replace(ctx, error=before)
        self._tell("stored", tr("Stored in {location}.", location=self._store.location))
        replaced = before.snapshot.token
        if replaced is not None and self._around.revokes_replaced and self._storing.is_ours(before):
            await asyncio.to_thread(self._storing.give_back, replaced)
        return "stored", ctx

    async def return_grant(self, ctx: LoginContext, /) -> tuple[ReturnGrantOutcome, LoginContext]:
        giving = asyncio.ensure_future(asyncio.to_thread(self._storing.give_back, ctx.known_token))
        try:
            await asyncio.shield(giving)
        except asyncio.CancelledError:
            await giving  # within 5 s: a grant without a holder must not stay alive
            raise
        return "returned", replace(ctx, token=None)

    async def sync_models(self, ctx: LoginContext, /) -> tuple[SyncModelsOutcome, LoginContext]:
        found = await self._around.discover(ctx.known_token.access_token)
        ctx = replace(ctx, notes=found.notes)
        if found.error is not None:
            return "unavailable", replace(ctx, error=found.error)
        number = len(found.models)
        said = counted(number, tr("1 model found."), tr("{number} models found."))
        said = said if number else tr("The platform lists no models.")
        self._tell("models", said, count=number)
        return "synced", replace(ctx, catalogue=found.models)

    async def write_config(self, ctx: LoginContext, /) -> tuple[WriteConfigOutcome, LoginContext]:
        try:
            written = await asyncio.to_thread(self._around.config.install, ctx.catalogue)
        except ConfigError as error:
            return "unwritable", replace(ctx, error=error)
        if written is not False:
            self._tell("configured", tr("The configuration is written."))
        return "configured", ctx

    async def inject(self, ctx: LoginContext, /) -> tuple[InjectOutcome, LoginContext]:
        self._around.serve(ctx.known_token.access_token)
        self._tell("live", tr("The token is live."))
        return "injected", ctx

    # --- hands -------------------------------------------------------------------------------------------------------

    def _tell(self, kind: NoticeKind, message: str, *, wait_s: float = 0.0, count: int = 0) -> None:
        self._view.tell(Notice(kind, message, wait_s=wait_s, count=count))

    async def _keep_a_late_grant(
        self, code: DeviceCode, request: asyncio.Future[Answer[PollOutcome, Grant]], sent_at_s: float
    ) -> None:
        """The login was interrupted while a poll was in flight: if its answer is the grant, that is stored all the same."""
        await asyncio.wait({request}, timeout=LAST_WORD_S)
        if not request.done():
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            return
        grant = request.result().value
        if grant is not None:
            token = token_from(grant, sent_at_s=sent_at_s, issuer=self._issuer)
            await self.store_credential(LoginContext(code=code, token=token))


def _left(ctx: LoginContext) -> LoginContext:
    return replace(ctx, error=LoginCancelled(tr("the login was cancelled before it was approved")))
