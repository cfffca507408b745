"""The hooks that the machines name: one Protocol for each machine, one method for each activity.

A hook takes the walk's frozen context and gives back its outcome and the next context. The outcomes are Literals, exactly
the keys of `on` in `machines/*.toml`; a test proves it both ways. A hook whose state holds a lock and walks a child
machine is a context manager: it enters with `acquired` while the lock is held, or with the outcome that it was not.
Hooks report weather as outcomes, with the sentence for people in `trouble`; they raise only for bugs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from kimi_auth.errors import KimiAuthError
from kimi_auth.store import Claim, Snapshot
from kimi_auth.token import Token, left_s, phase
from kimi_auth.wire.outcomes import RevokeOutcome

__all__ = [
    "CredentialContext",
    "Need",
    "SignOutContract",
    "TokenLifecycleContract",
    "TokenRefreshContract",
]


@dataclass(frozen=True, slots=True)
class Need:
    """What a caller needs of a token; with nothing set, one that is fresh.

    `min_ttl_s`: life left, in seconds. `not_bearer`: this access token got a 401 from the platform. `not_fp`: another pair
    than this one (identity, never time). `insist`: a person asked, so a soft refusal is tried again at once.
    """

    min_ttl_s: float = 0.0
    not_bearer: str = field(default="", repr=False)
    not_fp: str = ""
    insist: bool = False

    def met_by(self, snapshot: Snapshot, now_s: float) -> bool:
        """True if the stored pair is fresh at `now_s` and everything asked of it."""
        token = snapshot.token
        return (
            token is not None
            and phase(token, now_s) == "fresh"
            and left_s(token, now_s) >= self.min_ttl_s
            and token.access_token != self.not_bearer
            and snapshot.fp != self.not_fp
        )

    def waits(self, state: str, snapshot: Snapshot, now_s: float) -> bool:
        """True if the need can wait: the pair is in a rest `state` that serves, and it is all that was asked beyond fresh."""
        token = snapshot.token
        return (
            state in SERVES
            and token is not None
            and left_s(token, now_s) >= self.min_ttl_s
            and token.access_token != self.not_bearer
            and snapshot.fp != self.not_fp
        )


SERVES = frozenset({"fresh", "expiring", "usable"})
"""Rest states of token_lifecycle whose access token may be used."""

NOTHING_READ = Snapshot("absent")
NO_CLAIM = Claim("none")


@dataclass(frozen=True, slots=True)
class CredentialContext:
    """What a walk of token_lifecycle, token_refresh or sign_out knows.

    `patience_s`: how long its caller waits, in seconds (0: one try for the lock, which is what *advisory* means; None: for
    ever). `deadline_s`: when that patience ends, monotonic seconds; it bounds the waits for locks and backoffs together.
    `snapshot`: the last read. `claim`: ours or the one that was found. `pair`: what the server gave, or at logout what is to
    be revoked. `trouble`: why it is not fresh. `retry_after_s`: what the server asked for.

    `retry_at_s`: when another try makes sense, unix seconds by the store's clock, 0.0 if waiting would change nothing; set
    by what postpones a renewal, consumed by `back_off`. `paced_until_s`: the backoff that this walk set itself or waits
    out: the next try does not obey it again. `in_doubt`: the last answer was lost; `recoveries`: tries of this process to
    recover from that beyond its patience. `revocation`, `config`: how that part of a logout went, "" before it.
    """

    need: Need = Need()
    patience_s: float | None = 0.0
    deadline_s: float = 0.0
    snapshot: Snapshot = NOTHING_READ
    claim: Claim = NO_CLAIM
    pair: Token | None = None
    trouble: KimiAuthError | None = None
    retry_after_s: float | None = None
    retry_at_s: float = 0.0
    paced_until_s: float = 0.0
    in_doubt: bool = False
    recoveries: int = 0
    revocation: str = ""
    config: str = ""


InspectOutcome = Literal[
    "fresh", "expiring", "expired", "usable", "uncertain", "refused", "revoked", "corrupt", "absent"
]
HoldOutcome = Literal["acquired", "busy", "changed"]
HoldToSignOutOutcome = Literal["acquired", "busy"]
InjectOutcome = Literal["injected"]
BackOffOutcome = Literal["over", "changed", "gave_up"]
WeighOutcome = Literal["works", "ended", "doubtful", "refused"]
RestoreConfigOutcome = Literal["restored", "kept"]


class TokenLifecycleContract(Protocol):
    """token_lifecycle: plain functions."""

    def inspect(self, ctx: CredentialContext, /) -> tuple[InspectOutcome, CredentialContext]: ...
    def hold_credential(
        self, ctx: CredentialContext, /
    ) -> AbstractContextManager[tuple[HoldOutcome, CredentialContext]]: ...
    def back_off(self, ctx: CredentialContext, /) -> tuple[BackOffOutcome, CredentialContext]: ...
    def weigh(self, ctx: CredentialContext, /) -> tuple[WeighOutcome, CredentialContext]: ...
    def inject(self, ctx: CredentialContext, /) -> tuple[InjectOutcome, CredentialContext]: ...
    def hold_credential_to_sign_out(
        self, ctx: CredentialContext, /
    ) -> AbstractContextManager[tuple[HoldToSignOutOutcome, CredentialContext]]: ...
    def restore_config(self, ctx: CredentialContext, /) -> tuple[RestoreConfigOutcome, CredentialContext]: ...


RereadOutcome = Literal["renewable", "satisfied", "gone", "corrupt", "refused", "paced", "foreign"]
ClaimOutcome = Literal["claimed", "heir", "interrupted", "in_flight", "unwritable"]
RenewClaimOutcome = Literal["claimed", "unwritable"]
LookAgainOutcome = Literal["unchanged", "changed"]
WithdrawOutcome = Literal["withdrawn"]
ExchangeOutcome = Literal["tokens", "refused", "unclear", "not_processed", "misconfigured", "ambiguous"]
SaveHeirOutcome = Literal["saved", "unsaved"]
InstallOutcome = Literal["installed", "superseded", "gone", "unsaved"]
RecordRefusalOutcome = Literal["recorded", "unrecorded"]
RecordUnclearOutcome = Literal["recorded"]
PostponeOutcome = Literal["postponed"]


class TokenRefreshContract(Protocol):
    """token_refresh: plain functions, called with the credential's lock held."""

    def reread(self, ctx: CredentialContext, /) -> tuple[RereadOutcome, CredentialContext]: ...
    def claim(self, ctx: CredentialContext, /) -> tuple[ClaimOutcome, CredentialContext]: ...
    def renew_claim(self, ctx: CredentialContext, /) -> tuple[RenewClaimOutcome, CredentialContext]: ...
    def look_again(self, ctx: CredentialContext, /) -> tuple[LookAgainOutcome, CredentialContext]: ...
    def withdraw_claim(self, ctx: CredentialContext, /) -> tuple[WithdrawOutcome, CredentialContext]: ...
    def exchange(self, ctx: CredentialContext, /) -> tuple[ExchangeOutcome, CredentialContext]: ...
    def save_heir(self, ctx: CredentialContext, /) -> tuple[SaveHeirOutcome, CredentialContext]: ...
    def install(self, ctx: CredentialContext, /) -> tuple[InstallOutcome, CredentialContext]: ...
    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]: ...
    def record_refusal(self, ctx: CredentialContext, /) -> tuple[RecordRefusalOutcome, CredentialContext]: ...
    def record_unclear(self, ctx: CredentialContext, /) -> tuple[RecordUnclearOutcome, CredentialContext]: ...
    def postpone(self, ctx: CredentialContext, /) -> tuple[PostponeOutcome, CredentialContext]: ...


EmptyRecordOutcome = Literal["emptied", "nothing", "unwritable", "foreign"]
DiscardHeirOutcome = Literal["discarded"]
ClearSidecarsOutcome = Literal["cleared"]


class SignOutContract(Protocol):
    """sign_out: plain functions, called with the credential's lock held."""

    def empty_record(self, ctx: CredentialContext, /) -> tuple[EmptyRecordOutcome, CredentialContext]: ...
    def discard_heir(self, ctx: CredentialContext, /) -> tuple[DiscardHeirOutcome, CredentialContext]: ...
    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]: ...
    def clear_sidecars(self, ctx: CredentialContext, /) -> tuple[ClearSidecarsOutcome, CredentialContext]: ...
