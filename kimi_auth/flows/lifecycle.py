"""The real hooks of token_lifecycle and sign_out: reading, judging, taking the lock, and what happens outside of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

from kimi_auth.errors import ConfigError, CredentialLocked, KimiAuthError, StorageError, Unreachable
from kimi_auth.flows import judge
from kimi_auth.flows.contracts import (
    ClearSidecarsOutcome,
    CredentialContext,
    DiscardHeirOutcome,
    EmptyRecordOutcome,
    HoldOutcome,
    HoldToSignOutOutcome,
    InjectOutcome,
    InspectOutcome,
    PauseOutcome,
    RestoreConfigOutcome,
    WeighOutcome,
)
from kimi_auth.flows.refresh import Effects, RefreshWork
from kimi_auth.store import Snapshot

__all__ = ["ConfigHome", "CredentialWork", "no_targets"]

log = logging.getLogger("kimi_auth.flows")

RECOVERY_PAUSE_S = 1.0


class ConfigHome(Protocol):
    """What a logout does to the configuration."""

    def restore(self) -> None:
        """Gives back what the login replaced, or removes what it put there. Raises ConfigError; then nothing was written."""


def no_targets(access_token: str) -> None:
    """Nobody is served."""


class CredentialWork(RefreshWork):
    """Implements `LifecycleHooks`, `RefreshHooks` and `SignOutHooks`: one credential, one pair of hands.

    `serve` gives the access token to running clients ("" after a sign-out); it must not raise. `config` is None where no
    configuration belongs to the credential.
    """

    def __init__(
        self, effects: Effects, *, serve: Callable[[str], object] = no_targets, config: ConfigHome | None = None
    ) -> None:
        super().__init__(effects)
        self._serve = serve
        self._config = config

    # --- token_lifecycle ---------------------------------------------------------------------------------------------

    def inspect(self, ctx: CredentialContext, /) -> tuple[InspectOutcome, CredentialContext]:
        snapshot, state, trouble = self._effects.look()
        return state, replace(ctx, snapshot=snapshot, trouble=trouble or ctx.trouble)

    @contextmanager
    def hold_credential(
        self, ctx: CredentialContext, /
    ) -> Generator[tuple[HoldOutcome, CredentialContext], None, None]:
        def changed() -> bool:
            return self._store.stamp() != ctx.snapshot.stamp

        with ExitStack() as held:
            trouble = self._take_lock(held, ctx, None if ctx.patience_s == 0 else changed)
            if trouble is None:
                yield "acquired", ctx
            elif changed():
                yield "changed", ctx
            else:
                yield "busy", replace(ctx, trouble=trouble)

    def pause_before_recovery(self, ctx: CredentialContext, /) -> tuple[PauseOutcome, CredentialContext]:
        if (
            ctx.recoveries
            or (ctx.retry_after_s or 0.0) > RECOVERY_PAUSE_S
            or not self._effects.recovers(ctx.patience_s)
        ):
            return "enough", ctx
        self._clock.sleep(RECOVERY_PAUSE_S)
        return "again", replace(ctx, recoveries=ctx.recoveries + 1)

    def weigh(self, ctx: CredentialContext, /) -> tuple[WeighOutcome, CredentialContext]:
        pace = self._store.pace()
        if judge.still_works(ctx.snapshot, pace, self._effects.judged_at_s()):
            return "works", ctx
        if ctx.snapshot.fp and judge.is_soft_refusal(pace, ctx.snapshot.fp):
            return "refused", replace(ctx, trouble=judge.softly_refused(pace))
        if ctx.snapshot.fp and self._store.peek_claim(ctx.snapshot.fp).state in {"interrupted", "elsewhere"}:
            return "doubtful", replace(
                ctx, trouble=ctx.trouble or Unreachable("a renewal was sent and its answer is not known")
            )
        return "ended", ctx

    def inject(self, ctx: CredentialContext, /) -> tuple[InjectOutcome, CredentialContext]:
        snapshot, state, _ = self._effects.look()
        usable = state not in {"absent", "revoked", "corrupt"}
        self._serve(snapshot.token.access_token if snapshot.token and usable else "")
        return "injected", replace(ctx, snapshot=snapshot)

    @contextmanager
    def hold_credential_to_sign_out(
        self, ctx: CredentialContext, /
    ) -> Generator[tuple[HoldToSignOutOutcome, CredentialContext], None, None]:
        with ExitStack() as held:
            trouble = self._take_lock(held, ctx, None)
            if trouble is None:
                yield "acquired", ctx
            else:
                yield "busy", replace(ctx, trouble=trouble)

    def restore_config(self, ctx: CredentialContext, /) -> tuple[RestoreConfigOutcome, CredentialContext]:
        if self._config is None:
            return "kept", replace(ctx, config="kept")
        try:
            self._config.restore()
        except ConfigError as trouble:
            return "kept", replace(ctx, config="kept", trouble=trouble)
        return "restored", replace(ctx, config="restored")

    # --- sign_out ----------------------------------------------------------------------------------------------------

    def empty_record(self, ctx: CredentialContext, /) -> tuple[EmptyRecordOutcome, CredentialContext]:
        snapshot = self._store.read()
        ctx = replace(ctx, snapshot=snapshot)
        if snapshot.state == "absent" or (snapshot.token is not None and snapshot.token.signed_out_at_s):
            return "nothing", ctx
        if snapshot.token is not None and not snapshot.token.is_empty:
            foreign = self._effects.not_ours(snapshot.token)
            if foreign is not None:
                return "foreign", replace(ctx, trouble=foreign)
        ctx = replace(ctx, pair=snapshot.token)
        try:
            self._store.sign_out(self._clock.wall_s())
        except StorageError as trouble:
            return "unwritable", replace(ctx, trouble=trouble)
        return "emptied", ctx

    def discard_heir(self, ctx: CredentialContext, /) -> tuple[DiscardHeirOutcome, CredentialContext]:
        if ctx.snapshot.fp and (claim := self._store.peek_claim(ctx.snapshot.fp)).state == "heir":
            self._drop_claim(ctx.snapshot.fp)
            return "discarded", replace(ctx, pair=claim.heir)
        return "discarded", ctx

    def clear_sidecars(self, ctx: CredentialContext, /) -> tuple[ClearSidecarsOutcome, CredentialContext]:
        try:
            self._store.tidy(self._clock.wall_s())
        except StorageError as trouble:
            log.warning("something is left beside the credential, it does no harm: %s", trouble)
        return "cleared", ctx

    def remove_old_logout(self, snapshot: Snapshot) -> None:
        """Removes the empty record of a logout once everybody has had the time to see it; best effort."""
        if snapshot.token is None or not snapshot.token.signed_out_at_s:
            return
        try:
            with self._store.locked(0.0) as held:
                if held:
                    self._store.tidy(self._clock.wall_s())
        except StorageError as trouble:
            log.info("the record of an old logout stays: %s", trouble.message)

    def _take_lock(
        self, held: ExitStack, ctx: CredentialContext, give_up: Callable[[], bool] | None
    ) -> KimiAuthError | None:
        """Enters the lock into `held`; None when it is held, else the sentence that says why not."""
        try:
            if held.enter_context(self._store.locked(ctx.patience_s, give_up=give_up)):
                return None
        except StorageError as trouble:
            return trouble
        holder = self._store.holder() or "another process"
        return CredentialLocked(f"{holder} holds the lock of {self._store.place}")
