"""The real hooks of `machines/grant.toml`, and the walks that the server and the command line make with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from kimi_auth.errors import KimiAuthError, StorageError
from kimi_auth.machine import NO_OBSERVER, Library, Observer, walk_async
from kimi_auth.support.language import tr
from kimi_auth.token import Token, key_fingerprint

from .audit import Audit
from .contracts import (
    AccountOutcome,
    ActivateOutcome,
    AdmitOutcome,
    GrantContext,
    HandOutOutcome,
    InspectOutcome,
    IssueOutcome,
    RevokeOutcome,
    Wish,
)
from .rate import Rates
from .records import Caller, Grant, GrantFiles

__all__ = ["ENDED", "GrantHooks", "GrantLife", "Login"]

ENDED = ("expired", "revoked", "corrupt", "absent")
"""Rest states of a grant that is worth nothing."""


class Login(Protocol):
    """The login whose tokens are handed out."""

    async def token_for(self, wish: Wish) -> Token:
        """A token that serves the wish. Raises a KimiAuthError where there is none now."""


class GrantHooks:
    """The hooks of `machines/grant.toml`, on files. `login`: None for a command that hands nothing out. `now_s`: unix seconds,
    `monotonic_s`: for rates."""

    def __init__(
        self,
        files: GrantFiles,
        audit: Audit,
        login: Login | None,
        *,
        now_s: Callable[[], float],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._files = files
        self._audit = audit
        self._login = login
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._rates = Rates()

    async def inspect(self, ctx: GrantContext, /) -> tuple[InspectOutcome, GrantContext]:
        found = self._files.standing(ctx.id, self._now_s())
        return found.phase, replace(ctx, grant=found.grant or ctx.grant)

    async def issue(self, ctx: GrantContext, /) -> tuple[IssueOutcome, GrantContext]:
        assert ctx.grant is not None
        try:
            await self._note("issued", ctx)  # a line for a grant that came to nothing, rather than a grant without one
            await asyncio.to_thread(self._files.issue, ctx.grant)
        except StorageError as error:
            return "unwritable", replace(ctx, error=error)
        return "issued", ctx

    async def admit(self, ctx: GrantContext, /) -> tuple[AdmitOutcome, GrantContext]:
        found = self._files.standing(ctx.id, self._now_s())
        if found.phase in ENDED or found.grant is None:
            return "ended", ctx
        ctx = replace(ctx, grant=found.grant)
        wait_s = self._rates.wait_s(found.grant, self._monotonic_s())
        if found.phase == "issued":
            return "first", ctx
        return ("limited", replace(ctx, retry_after_s=wait_s)) if wait_s else ("admitted", ctx)

    async def activate(self, ctx: GrantContext, /) -> tuple[ActivateOutcome, GrantContext]:
        try:
            await self._note("activated", ctx)
            await asyncio.to_thread(self._files.note_use, ctx.id, self._now_s())
        except StorageError as error:
            return "unwritable", replace(ctx, error=error)
        return "activated", ctx

    async def hand_out(self, ctx: GrantContext, /) -> tuple[HandOutOutcome, GrantContext]:
        assert self._login is not None
        try:
            token = await self._login.token_for(ctx.wish)
        except KimiAuthError as error:
            return "unavailable", replace(ctx, error=error)
        return "found", replace(ctx, token=token)

    async def account_for(self, ctx: GrantContext, /) -> tuple[AccountOutcome, GrantContext]:
        assert ctx.token is not None
        if self._files.standing(ctx.id, self._now_s()).phase in ENDED:
            return "ended", replace(ctx, token=None)
        try:
            fp = key_fingerprint(ctx.token.access_token)
            self._audit.write(ctx.wish.what, ctx.caller, ctx.grant, fp=fp, about=ctx.wish.about)
        except StorageError as error:
            return "unwritable", replace(ctx, token=None, error=error)
        return "recorded", ctx

    async def revoke(self, ctx: GrantContext, /) -> tuple[RevokeOutcome, GrantContext]:
        try:
            await asyncio.to_thread(self._files.revoke, ctx.id, self._now_s(), ctx.caller.door)
        except StorageError as error:
            return "unwritable", replace(ctx, error=error)
        self._rates.forget(ctx.id)
        try:
            await self._note("revoked", ctx)
        except StorageError as error:  # it has ended all the same
            return "revoked", replace(ctx, error=error)
        return "revoked", ctx

    async def _note(self, what: str, ctx: GrantContext) -> None:
        """The audit line of a change, forced to disk."""
        await asyncio.to_thread(self._audit.write, what, ctx.caller, ctx.grant, durably=True)


class GrantLife:
    """Walks the machine: each method is one walk, begun by a look at the files."""

    def __init__(self, hooks: GrantHooks, *, observe: Observer = NO_OBSERVER) -> None:
        self._hooks = hooks
        self._machine = Library.load()["grant"]
        self._observe = observe

    async def look(self, grant_id: str) -> tuple[str, GrantContext]:
        """The state of a grant."""
        return await self._walk(GrantContext(grant_id))

    async def issue(self, grant: Grant, caller: Caller) -> Grant:
        """Issues a grant, as a walk. Raises StorageError where it cannot be written."""
        ctx = GrantContext(grant.id, caller, grant=grant)
        state, ctx = await self._walk(ctx)
        state, ctx = await self._walk(ctx, at=state, event="issue")
        if state != "issued":
            raise ctx.error or StorageError(tr("the grant could not be written"))
        return grant

    async def ask(self, grant_id: str, caller: Caller, wish: Wish) -> tuple[str, GrantContext]:
        """Walks `machines/grant.toml` for one request of a sandbox: the state that it comes to, and the answer there."""
        state, ctx = await self._walk(GrantContext(grant_id, caller, wish))
        return (state, ctx) if state in ENDED else await self._walk(ctx, at=state, event="ask")

    async def revoke(self, grant_id: str, caller: Caller) -> tuple[str, GrantContext]:
        """Ends a grant, as a walk; one that has ended by its time, or is not there, stays as it is."""
        state, ctx = await self._walk(GrantContext(grant_id, caller))
        if state in {"expired", "revoked", "absent"}:
            return state, ctx
        return await self._walk(ctx, at=state, event="revoke")

    async def _walk(
        self, ctx: GrantContext, at: str | None = None, event: str | None = None
    ) -> tuple[str, GrantContext]:
        return await walk_async(self._machine, self._hooks, ctx, at=at, event=event, observe=self._observe)
