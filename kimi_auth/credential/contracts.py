"""The hooks that the machines name: one Protocol for each machine, one method for each activity.

A hook takes the walk's frozen context and returns its outcome and the next context. The outcomes are Literals, exactly
the keys of `on` in `machines/*.toml`; a test proves it both ways. A hook whose state holds a lock and walks a child
machine is a context manager: it enters with `acquired` while the lock is held, or with the reason why it is not.
Expected failures are outcomes, with a sentence for people in `error`; exceptions are bugs.

Each docstring states what the hook touches, whether it may be repeated after a crash, and what each outcome promises.
`docs/protocol.md` gives the reasons.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from kimi_auth.credential.context import CredentialContext, Need
from kimi_auth.wire.outcomes import ExchangeOutcome, RevokeOutcome

__all__ = [
    "CredentialContext",
    "Need",
    "SignOutContract",
    "TokenLifecycleContract",
    "TokenRefreshContract",
]


InspectOutcome = Literal[
    "fresh", "expiring", "expired", "usable", "in_doubt", "blocked", "revoked", "corrupt", "absent"
]
HoldOutcome = Literal["acquired", "busy", "changed"]
HoldToSignOutOutcome = Literal["acquired", "busy"]
InjectOutcome = Literal["injected"]
BackOffOutcome = Literal["over", "changed", "gave_up"]
CanStillUseOutcome = Literal["usable", "expired", "in_doubt", "blocked"]
RestoreConfigOutcome = Literal["restored", "kept"]


class TokenLifecycleContract(Protocol):
    """The hooks of `machines/token_lifecycle.toml`: synchronous, called without the credential's lock."""

    def inspect(self, ctx: CredentialContext, /) -> tuple[InspectOutcome, CredentialContext]:
        """Reads the record, its sidecars and the clocks. Takes no lock, sends nothing, writes nothing; repeatable at
        any time.

        `fresh`: more life is left than the renewal window. `expiring`: it works, and a renewal is advisory. `expired`:
        too little life for a request, or the store cannot be asked and no working token of it is known (`error`).
        `usable`: it works, and cannot be renewed now (`error`). `in_doubt`: it has
        expired, and an unfinished claim exists. `blocked`: it has expired, and only unrecognized answers came.
        `revoked`: the server ended the pair. `corrupt`: the record cannot be parsed. `absent`: no record, signed out,
        or another issuer's.
        """

    def hold_credential(
        self, ctx: CredentialContext, /
    ) -> AbstractContextManager[tuple[HoldOutcome, CredentialContext]]:
        """Takes the credential's lock: one try if advisory, else until the patience ends, the record changes or the
        program ends. Creates the lock file and its directory. The kernel frees the lock after a crash; repeatable.

        `acquired`: the lock is held until the block exits, which also closes this walk's unfinished claims. `changed`:
        not held, and the record is no longer `ctx.snapshot`. `busy`: not held; `error` names the holder or the disk's
        error.
        """

    def back_off(self, ctx: CredentialContext, /) -> tuple[BackOffOutcome, CredentialContext]:
        """Waits for `retry_at_s` or for another process, within the walk's deadline. Reads stamps and claims, writes
        nothing; after a crash the next walk waits again.

        `over`: another try makes sense now. `changed`: the record was replaced; `error` is cleared. `gave_up`: the
        wait would outlast the deadline, waiting changes nothing, or the program is ending; `error` keeps the reason.
        """

    def can_still_use(self, ctx: CredentialContext, /) -> tuple[CanStillUseOutcome, CredentialContext]:
        """Classifies `ctx.snapshot` after a failed renewal. Reads the backoff and the claim, writes nothing;
        repeatable.

        `usable`: the access token has life left. `blocked`, `in_doubt`, `expired`: it has none; see `inspect`.
        """

    def inject(self, ctx: CredentialContext, /) -> tuple[InjectOutcome, CredentialContext]:
        """Gives the record's access token to the running clients of this process, "" if the record is absent, revoked
        or corrupt; views it again if it is no longer the one in `ctx.view`. Touches memory only; repeatable.

        `injected`: clients hold the stored token, which may have expired; `ctx.view` is where it is from.
        """

    def hold_credential_to_sign_out(
        self, ctx: CredentialContext, /
    ) -> AbstractContextManager[tuple[HoldToSignOutOutcome, CredentialContext]]:
        """Takes the credential's lock as `hold_credential` does, but waits for the whole patience: a record that
        changes meanwhile is the one to sign out. Repeatable.

        `acquired`: the lock is held until the block exits. `busy`: not held, the login is unchanged; `error` has the
        reason.
        """

    def restore_config(self, ctx: CredentialContext, /) -> tuple[RestoreConfigOutcome, CredentialContext]:
        """Restores config.toml after a sign-out, under the config's own lock. A repeated logout repeats it.

        `restored`: the configuration is as before the login. `kept`: this credential has no configuration, or nothing
        was written because of `error`; the logout is complete either way.
        """


RereadOutcome = Literal["renewable", "satisfied", "gone", "corrupt", "revoked", "backing_off", "foreign"]
ClaimOutcome = Literal["claimed", "staged", "interrupted", "in_flight", "unwritable"]
RenewClaimOutcome = Literal["claimed", "unwritable"]
LookAgainOutcome = Literal["unchanged", "changed"]
WithdrawOutcome = Literal["withdrawn"]
StageOutcome = Literal["staged", "unwritable"]
CommitOutcome = Literal["committed", "superseded", "gone", "unwritable"]
RecordRevokedOutcome = Literal["recorded", "unrecorded"]
RecordUnrecognizedOutcome = Literal["recorded"]
PostponeOutcome = Literal["postponed"]


class TokenRefreshContract(Protocol):
    """The hooks of `machines/token_refresh.toml`: synchronous, called with the credential's lock held."""

    def reread(self, ctx: CredentialContext, /) -> tuple[RereadOutcome, CredentialContext]:
        """Reads the record and its sidecars under the lock. Writes the backoff when `need.not_bearer` is the stored
        token and that rejection is new; repeatable.

        `renewable`: this pair may be exchanged now. `satisfied`: the stored pair meets the need. `gone`: absent or
        signed out. `corrupt`: the record cannot be parsed. `revoked`: the pair has a revoked mark, is a tombstone, or
        has no refresh token. `backing_off`: the shared backoff, or the one for forced rotations, is not over, or the store
        could not be asked (`error`).
        `foreign`: another issuer's. Nothing was sent.
        """

    def claim(self, ctx: CredentialContext, /) -> tuple[ClaimOutcome, CredentialContext]:
        """Creates the write-ahead claim on the pair, durably, and removes sidecars of other pairs. Before that it
        checks that the lock excludes others and that the record can be replaced. Sends nothing. After a crash the claim
        stays, and the next process treats it as interrupted once its owner is certainly dead.

        `claimed`: this walk's claim is on disk. `staged`: an earlier claim holds a complete pair, now `ctx.pair`.
        `interrupted`: an earlier send may have spent the token, and its owner closed the claim, is dead, or has been
        silent for 75 s while this need cannot wait. `in_flight`: its owner may still be sending. `unwritable`: this
        walk has no claim (`error`).
        """

    def renew_claim(self, ctx: CredentialContext, /) -> tuple[RenewClaimOutcome, CredentialContext]:
        """Replaces the interrupted claim by one of this process, in one durable rename, before the token is sent again.
        After a crash the new claim is found as any other.

        `claimed`: this process, and no other, may send. `unwritable`: another process took the claim over, or the disk
        refused; nothing was sent.
        """

    def look_again(self, ctx: CredentialContext, /) -> tuple[LookAgainOutcome, CredentialContext]:
        """Reads the record and its revoked mark after the claim was written. Writes nothing; repeatable.

        `unchanged`: the same pair, replaceable and not revoked. `changed`: anything else; the token must not be sent.
        """

    def withdraw_claim(self, ctx: CredentialContext, /) -> tuple[WithdrawOutcome, CredentialContext]:
        """Removes the claim if this walk made it: the token was certainly not spent under it. A renewed claim stays,
        because it also stands for an earlier send. Repeatable: the nonce must match.

        `withdrawn`: always, also if the removal fails; then the next renewal recovers.
        """

    def exchange(self, ctx: CredentialContext, /) -> tuple[ExchangeOutcome, CredentialContext]:
        """Sends one token request (RFC 6749 §6). Touches the network only. Never repeated without a new claim or a
        renewed one: the refresh token is single-use. Checks the lock directly before, and sends nothing without it.

        `tokens`: the new pair is in `ctx.pair`, and nowhere else. `revoked`: an OAuth error ended the pair.
        `unrecognized`: an error answer that is not OAuth. `not_processed`: this request spent nothing.
        `misconfigured`: the server refuses this client; this request spent nothing. `in_doubt`: the token may be spent.
        """

    def stage(self, ctx: CredentialContext, /) -> tuple[StageOutcome, CredentialContext]:
        """Writes the new pair into the claim and forces it to disk; retries a failing disk while `keeps_trying`, with
        the lock held. After a crash in the middle the checksum fails, and the claim counts as unfinished.

        `staged`: any process can commit the pair. `unwritable`: the pair exists in memory only (`error`).
        """

    def commit(self, ctx: CredentialContext, /) -> tuple[CommitOutcome, CredentialContext]:
        """Compares the record with the one that was exchanged, renames the staged pair onto it and syncs the directory;
        then resets the backoff and writes a missing binding. Retries as `stage` does. Repeatable: after a crash the
        next process finds the pair `staged`, or finds it as the record.

        `committed`: the new pair is the durable record. `superseded`: another record is newer; the staged pair is
        dropped. `gone`: the record is absent or empty; `ctx.pair` is to be revoked. `unwritable`: not durable
        (`error`); a staged pair stays for the next process.
        """

    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]:
        """Revokes `ctx.pair`, which a logout made useless, at the server (RFC 7009). Touches the network only. Best
        effort; after a crash it is not repeated, because the pair was in memory only.

        `revoked`: the server confirmed it. `unsupported`: no endpoint, or no pair. `failed`: the pair may live on.
        """

    def record_revoked(self, ctx: CredentialContext, /) -> tuple[RecordRevokedOutcome, CredentialContext]:
        """Writes the revoked mark of the pair, durably. Repeatable; the mark wins over a claim.

        `recorded`: no process sends this pair again. `unrecorded`: the disk refused, so a later walk may ask once more.
        """

    def record_unrecognized(self, ctx: CredentialContext, /) -> tuple[RecordUnrecognizedOutcome, CredentialContext]:
        """Counts an unrecognized answer in the shared backoff and sets the time of the next try. The write is best
        effort. Repeatable: of several answers within 60 s one counts.

        `recorded`: `retry_at_s` is set; the claim stays, because the token may be spent.
        """

    def postpone(self, ctx: CredentialContext, /) -> tuple[PostponeOutcome, CredentialContext]:
        """Writes the shared backoff after a transient error. The write is best effort; repeating it only doubles the
        delay.

        `postponed`: `retry_at_s` is set if waiting can help. After an answer in doubt it is at most 1 s away,
        once for each walk, unless the server requested a longer delay.
        """


EmptyRecordOutcome = Literal["emptied", "nothing", "unwritable", "foreign"]
DiscardStagedOutcome = Literal["discarded"]
ClearSidecarsOutcome = Literal["cleared"]


class SignOutContract(Protocol):
    """The hooks of `machines/sign_out.toml`: synchronous, called with the credential's lock held."""

    def empty_record(self, ctx: CredentialContext, /) -> tuple[EmptyRecordOutcome, CredentialContext]:
        """Renames the empty record over the credential, durably. Repeatable: an empty record is `nothing`.

        `emptied`: the logout is final, also after a crash; `ctx.pair` is the old pair, for revocation. `nothing`:
        absent or signed out already. `foreign`: another issuer's record, untouched. `unwritable`: the login stands
        (`error`).
        """

    def discard_staged(self, ctx: CredentialContext, /) -> tuple[DiscardStagedOutcome, CredentialContext]:
        """Removes a staged pair of the old record and takes it along in `ctx.pair`: it is the newest live pair. After a
        crash it is void, because the record is empty; repeatable.

        `discarded`: always, also if there is none or the removal fails.
        """

    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]:
        """Revokes the old pair, or the staged one, from memory (RFC 7009): the disk no longer holds it. Best effort;
        after a crash it is not repeated, and the logout is final all the same.

        `revoked`: the server confirmed it. `unsupported`: no endpoint, or no pair. `failed`: the pair may live on.
        """

    def clear_sidecars(self, ctx: CredentialContext, /) -> tuple[ClearSidecarsOutcome, CredentialContext]:
        """Removes every claim and revoked mark that is not bound to the record, and the binding. Best effort and
        repeatable.

        `cleared`: always; a file that stays is void by its name.
        """
