"""The real hooks of token_lifecycle and sign_out. `kimi_auth.credential.contracts` states what each hook promises."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from kimi_auth.credential import backoff as backoffs
from kimi_auth.credential.classify import still_works
from kimi_auth.credential.context import CredentialContext
from kimi_auth.credential.contracts import (
    BackOffOutcome,
    CanStillUseOutcome,
    ClearSidecarsOutcome,
    DiscardStagedOutcome,
    EmptyRecordOutcome,
    HoldOutcome,
    HoldToSignOutOutcome,
    InjectOutcome,
    InspectOutcome,
    RestoreConfigOutcome,
)
from kimi_auth.credential.ports import Ports
from kimi_auth.credential.token_refresh import TokenRefreshHooks
from kimi_auth.errors import ConfigError, CredentialLocked, KimiAuthError, StorageError, Unreachable
from kimi_auth.store import Hold, Snapshot, View
from kimi_auth.support.language import tr

__all__ = ["ConfigHome", "CredentialHooks", "no_targets"]

log: logging.Logger = logging.getLogger("kimi_auth.credential")

WATCH_S = (0.05, 0.5)
"""The shortest and the longest poll interval of a caller that waits for a backoff, in seconds."""

WATCH_SHARE = 0.05
"""The poll interval is this share of the wait so far, so a change is noticed about 5 % late."""

MOMENT_S = 0.001
"""The shortest sleep, in seconds: less would not move every clock, and the loop would spin."""


class ConfigHome(Protocol):
    """The configuration, as a logout uses it."""

    def restore(self) -> bool:
        """Restores the entries that the login replaced, removes those that it added. False: its owner has declared it, and
        it stays as it is. Raises ConfigError; then nothing was written."""


def no_targets(access_token: str) -> None:
    """How the hooks of token_lifecycle serve a token in a process without running clients: not at all."""


class CredentialHooks(TokenRefreshHooks):
    """Implements `TokenLifecycleContract`, `TokenRefreshContract` and `SignOutContract` for one credential.

    `serve` gives the access token to running clients ("" after a sign-out); it must not raise. `config` is None where
    no configuration belongs to the credential.
    """

    def __init__(
        self, effects: Ports, *, serve: Callable[[str], object] = no_targets, config: ConfigHome | None = None
    ) -> None:
        super().__init__(effects)
        self._serve = serve
        self._config = config

    # --- token_lifecycle ---------------------------------------------------------------------------------------------

    def inspect(self, ctx: CredentialContext, /) -> tuple[InspectOutcome, CredentialContext]:
        view, state, error = self._ports.look()
        return state, ctx._replace(view=view, error=error or ctx.error)

    @contextmanager
    def hold_credential(
        self, ctx: CredentialContext, /
    ) -> Generator[tuple[HoldOutcome, CredentialContext], None, None]:
        def changed() -> bool:
            return self._store.stamp() != ctx.snapshot.stamp

        def gives_up() -> bool:
            return self._ports.is_ending() or changed()

        # A waiter stops early when the record changes: the holder renewed, and its token is there without the lock.
        with ExitStack() as held:
            hold = self._take_lock(held, ctx, None if ctx.patience_s == 0 else gives_up)
            if not isinstance(hold, KimiAuthError):
                yield "acquired", ctx._replace(hold=hold)
            elif changed():
                yield "changed", ctx
            else:
                yield "busy", ctx._replace(error=hold)

    def back_off(self, ctx: CredentialContext, /) -> tuple[BackOffOutcome, CredentialContext]:
        """Waits in token_lifecycle until `retry_at_s` without the lock. It polls another owner's claim until the
        deadline even if `retry_at_s` is later: the owner may finish or end at any moment."""
        left_s, is_claimed = self._left_s(ctx), ctx.claim.state == "in_flight"
        wait_s = (ctx.retry_at_s or ctx.backoff_until_s) - self._clock.wall_s()
        is_useless = not ctx.retry_at_s or (wait_s > left_s and not is_claimed)
        waited_s = 0.0  # summed from the sleeps: a wall clock that is set back must not prolong the wait
        while self._store.stamp() == ctx.snapshot.stamp:
            if is_useless:
                return "gave_up", _told(ctx, wait_s)
            if is_claimed and self._store.peek_claim(ctx.snapshot.fp).state != ctx.claim.state:
                return "over", ctx._replace(retry_at_s=0.0)
            if waited_s >= left_s or not self._left_s(ctx) or not self._ports.recovers(ctx.patience_s):
                return "gave_up", _told(ctx, wait_s - waited_s)
            shortest_s, longest_s = WATCH_S
            next_look_s = min(max(waited_s * WATCH_SHARE, shortest_s), longest_s)
            slice_s = min(next_look_s, max(wait_s - waited_s, MOMENT_S))
            self._clock.sleep(slice_s)
            waited_s += slice_s
            if waited_s >= wait_s or self._clock.wall_s() >= ctx.retry_at_s:
                return "over", ctx._replace(retry_at_s=0.0)
        return "changed", ctx._replace(retry_at_s=0.0, error=None)

    def can_still_use(self, ctx: CredentialContext, /) -> tuple[CanStillUseOutcome, CredentialContext]:
        # A failed renewal must not take away a token that still works: a transient error signs no user out.
        if still_works(ctx.snapshot, self._ports.now().age_s):
            return "usable", ctx
        backoff = self._store.backoff()
        if ctx.snapshot.fp and backoffs.is_blocked(backoff, ctx.snapshot.fp):
            return "blocked", ctx._replace(error=backoffs.blocked(backoff))
        if ctx.snapshot.fp and self._store.peek_claim(ctx.snapshot.fp).state in {"interrupted", "in_flight"}:
            return "in_doubt", ctx._replace(
                error=ctx.error or Unreachable(tr("a renewal was sent and its answer is not known"))
            )
        return "expired", ctx

    def inject(self, ctx: CredentialContext, /) -> tuple[InjectOutcome, CredentialContext]:
        # The lock was released: another program may have replaced the record that this walk knows.
        view = ctx.view if self._store.stamp() == ctx.snapshot.stamp else self._store.view()
        state, _ = self._ports.classify(view)
        token = None if state in {"absent", "revoked", "corrupt"} else view.snapshot.token
        self._serve(token.access_token if token else "")
        return "injected", ctx._replace(view=view)

    @contextmanager
    def hold_credential_to_sign_out(
        self, ctx: CredentialContext, /
    ) -> Generator[tuple[HoldToSignOutOutcome, CredentialContext], None, None]:
        # No early stop: an exchange that ends meanwhile writes a new pair, and that pair is the one to sign out.
        with ExitStack() as held:
            hold = self._take_lock(held, ctx, None)
            if not isinstance(hold, KimiAuthError):
                yield "acquired", ctx._replace(hold=hold)
            else:
                yield "busy", ctx._replace(error=hold)

    def restore_config(self, ctx: CredentialContext, /) -> tuple[RestoreConfigOutcome, CredentialContext]:
        if self._config is None:
            return "kept", ctx._replace(config="kept")
        try:
            is_clean = self._config.restore()
        except ConfigError as error:
            return "kept", ctx._replace(config="kept", error=error)
        return "restored", ctx._replace(config="restored" if is_clean else "")

    # --- sign_out ----------------------------------------------------------------------------------------------------

    def empty_record(self, ctx: CredentialContext, /) -> tuple[EmptyRecordOutcome, CredentialContext]:
        view = self._store.view()
        token = view.snapshot.token
        ctx = ctx._replace(view=view)
        if view.snapshot.state == "absent" or (token is not None and token.signed_out_at_s):
            return "nothing", ctx
        # The revocation request goes to this issuer, and must never carry another issuer's token.
        if foreign := self._ports.not_ours(view):
            return "foreign", ctx._replace(error=foreign)
        ctx = ctx._replace(pair=token)  # kept in memory: after the next line the disk no longer has it
        try:
            self._store.sign_out(self._clock.wall_s())
        except StorageError as error:
            return "unwritable", ctx._replace(error=error)
        return "emptied", ctx

    def discard_staged(self, ctx: CredentialContext, /) -> tuple[DiscardStagedOutcome, CredentialContext]:
        # The staged pair replaced the record's pair at the server, so revoking the old one would leave it alive.
        if ctx.view.claim.state == "staged":
            self._drop_claim(ctx.view.claim)
            return "discarded", ctx._replace(pair=ctx.view.claim.staged)
        return "discarded", ctx

    def clear_sidecars(self, ctx: CredentialContext, /) -> tuple[ClearSidecarsOutcome, CredentialContext]:
        # Sidecars go last: after a crash, an intact record without its claim would be sent again as if unspent.
        try:
            self._store.tidy(self._clock.wall_s())
        except StorageError as error:
            log.warning("something is left beside the credential, it does no harm: %s", error)
        return "cleared", ctx

    def remove_old_logout(self, snapshot: Snapshot) -> None:
        """Removes the empty record that sign_out left, once other programs had the time to adopt it (60 s); best effort."""
        if snapshot.token is None or not snapshot.token.signed_out_at_s:
            return
        try:
            with self._store.locked(0.0) as held:
                if held:
                    self._store.tidy(self._clock.wall_s())
        except StorageError as error:
            log.info("the record of an old logout stays: %s", error.message)

    def _take_lock(
        self, held: ExitStack, ctx: CredentialContext, give_up: Callable[[], bool] | None
    ) -> Hold | KimiAuthError:
        """Enters the credential's lock into `held`, for the hook that walks token_refresh. Returns it, or why it is not held."""
        patience_s = self._left_s(ctx) if ctx.patience_s else ctx.patience_s
        try:
            if hold := held.enter_context(self._store.locked(patience_s, give_up=give_up)):
                return hold
        except StorageError as error:
            return error
        holder = self._store.holder() or tr("another process")
        return CredentialLocked(
            tr("{holder} holds the lock of {location}", holder=holder, location=self._store.location)
        )

    def other_holder(self) -> str:
        """The other process that holds the lock for which a hook of token_lifecycle waits, for people; "" for none."""
        holder = self._store.holder()
        return "" if holder.startswith(f"pid {os.getpid()} ") else holder

    def deadline_s(self, patience_s: float) -> float:
        """The deadline of a caller's patience that begins now, by the clock of the hooks: monotonic seconds."""
        return self._clock.monotonic_s() + patience_s

    def left_s(self, deadline_s: float) -> float:
        """Seconds until the deadline of a caller's patience, by the clock of the hooks; never negative."""
        return max(0.0, deadline_s - self._clock.monotonic_s())

    def retry_in_s(self, view: View) -> float:
        """Seconds until a keeper of token_lifecycle finds the viewed backoff over; 0.0 if a renewal may start now."""
        wall_s = self._clock.wall_s()
        return max(0.0, backoffs.retry_at_s(view.backoff, wall_s) - wall_s)

    def can_wait(self, ctx: CredentialContext, deadline_s: float) -> bool:
        """True if a walk of token_lifecycle that ran out of patience could continue with one that lasts until `deadline_s`."""
        if ctx.deadline_s >= deadline_s or not self._ports.recovers(ctx.patience_s):
            return False
        if isinstance(ctx.error, CredentialLocked):
            return True
        return bool(ctx.retry_at_s) and ctx.retry_at_s - self._clock.wall_s() <= self.left_s(deadline_s)

    def _left_s(self, ctx: CredentialContext) -> float:
        return self.left_s(ctx.deadline_s)


def _told(ctx: CredentialContext, wait_s: float) -> CredentialContext:
    """Adds the time until the next try to the error, if the backoff is why the walk gives up."""
    if ctx.error is None or wait_s <= 0 or ctx.claim.state == "in_flight":
        return ctx
    return ctx._replace(error=backoffs.postponed(ctx.error, wait_s))
