"""What a credential store promises: the whole surface that the flows know of where a login rests.

Three things lie beside the record, each bound to a pair by its fingerprint (`fp`): the *claim* (a promise on disk that a
rotation of that pair is being sent; once it holds the answer it is the *staged*), the *refusal* (the server ended that
pair), and the *backoff* (when to try again, shared by every process). The *binding* says which OAuth host the record belongs
to: it outlives renewals, because other clients drop the record's own `issuer` when they write it.

Reading never blocks, never locks and never raises for what it finds: what is wrong is said in the answer. Everything that
writes is called with the lock held (`locked`) and raises `StorageError` when the medium refuses; what it wrote is durable
when it returns. One contract test class runs on every store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from kimi_auth.errors import StorageError
from kimi_auth.token import Token

__all__ = [
    "Backoff",
    "Binding",
    "Claim",
    "ClaimState",
    "CredentialStore",
    "RecordState",
    "RevokedMark",
    "Snapshot",
    "Stamp",
]

Stamp = tuple[int, ...]
"""Identity of what a place holds now; equal stamps mean that nothing was installed in between. () when nothing is there."""

RecordState = Literal["absent", "present", "corrupt"]
ClaimState = Literal["none", "made", "renewed", "staged", "interrupted", "in_flight"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the place held at one moment.

    `present`: `token` and its fingerprint `fp`; a record whose tokens are both empty is `present` too (`token.is_empty`).
    `problem` says then why it cannot be replaced, so that its refresh token must not be spent: None if it can.
    `corrupt`: `problem` says why, without a character of the content. `absent`: nothing is there.
    """

    state: RecordState
    stamp: Stamp = ()
    token: Token | None = None
    fp: str = ""
    problem: StorageError | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A rotation of the pair `fp` that was, or is about to be, sent.

    `none`: there is no claim. `made`: this call created it. `renewed`: this call took it over. `staged`: it holds the complete
    answer (`staged`), which its owner could not install. `interrupted`: incomplete, and its owner closed it or is certainly
    dead: the pair may be spent, sending it again is declared recovery. `in_flight`: incomplete, and its owner may still be
    sending; once `wait_s` is 0 it has been silent for longer than a request takes, and a caller that cannot do without a
    new token may recover.

    `nonce` names this claim among all claims on the pair. It and the owner never change; who takes a claim over makes
    another one. `owner`: who made it, for people.
    """

    state: ClaimState
    fp: str = ""
    staged: Token | None = None
    wait_s: float = 0.0
    owner: str = ""
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class RevokedMark:
    """The server's last word on a pair: unix time, and its own words (control characters removed, at most 200)."""

    at_s: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Backoff:
    """When anybody may try again, shared by all processes. Times are unix seconds; a `retry_at_s` more than 15 min
    ahead is void (the clock was set back).

    `failures` transient ends in a row, the last one described by error `code` and `words`. `unrecognized_*`: refusals that were
    no OAuth answer, for pair `unrecognized_fp`: `unrecognized_count` of them at least 60 s apart, the first and the last of these at
    the times given; `unrecognized_retry_at_s` is the `retry_at_s` that the latest one set. `rejected_fp`: the pair whose access
    token the API refused at `rejected_at_s`; `forced` rotations for that reason in a row, the next one not before
    `forced_retry_at_s`. `life_s`: how long the server's tokens live when they arrive, in seconds, as seen; 0.0 unknown.
    """

    retry_at_s: float = 0.0
    failures: int = 0
    code: str = ""
    words: str = ""
    unrecognized_fp: str = ""
    unrecognized_count: int = 0
    unrecognized_first_at_s: float = 0.0
    unrecognized_last_at_s: float = 0.0
    unrecognized_words: str = ""
    rejected_fp: str = ""
    forced: int = 0
    forced_retry_at_s: float = 0.0
    renewed_at_s: float = 0.0
    life_s: float = 0.0
    rejected_at_s: float = 0.0
    unrecognized_retry_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Binding:
    """The OAuth host that the credential belongs to, kept beside the record.

    `issuer`: its URL; "" for a binding that is there and cannot be read, which fits no host. `origins`: the other https
    origins that held the issuer's token and revocation endpoints when the person signed in; no refresh token goes to any
    other one.
    """

    issuer: str
    origins: tuple[str, ...] = ()


class CredentialStore(Protocol):
    """One credential's place. `place` names it for people ("the file …")."""

    @property
    def place(self) -> str: ...

    # --- reading: any time, by anybody -------------------------------------------------------------------------------
    def read(self) -> Snapshot:
        """What is stored now."""

    def stamp(self) -> Stamp:
        """The stamp that `read` would give, without reading it (a file: one stat)."""

    def still(self, stamp: Stamp) -> bool:
        """Whether nothing was installed since `stamp`, asked before each use of a token: as cheaply as the medium can.

        What any program writes into this place is seen at once; that the place itself was exchanged (a directory renamed,
        a link led elsewhere), after a second at the latest. No protocol rests on it: those compare stamps.
        """

    def revoked_mark(self, fp: str) -> RevokedMark | None:
        """The refusal of pair `fp`; an unreadable one counts as a refusal without words."""

    def peek_claim(self, fp: str) -> Claim:
        """The claim on pair `fp` as it lies there, changed by nobody (never `made`)."""

    def backoff(self) -> Backoff:
        """The shared backoff; an unreadable one counts as none."""

    def binding(self) -> Binding | None:
        """Which OAuth host the record belongs to; None when that was never written."""

    def leftovers(self) -> tuple[str, ...]:
        """What else is kept beside the record and may hold a pair: set aside, or left by a writer that was killed."""

    def holder(self) -> str:
        """Who holds the lock ("pid 123"), "" when nobody does or it cannot be told."""

    # --- taking the place --------------------------------------------------------------------------------------------
    def check_writable(self) -> None:
        """Raises StorageError now if a login could not be stored; leaves no trace."""

    def locked(
        self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None
    ) -> AbstractContextManager[bool]:
        """Holds the one lock that every writer takes, across threads and processes.

        Waits up to `patience_s` seconds (0: one try; None: for ever), or until `give_up()` is true, which is asked many
        times a second while waiting. Enters with True when the lock is held, False when it is not; raises StorageError
        when this place has no lock that works.
        """

    # --- under the lock ----------------------------------------------------------------------------------------------
    def claim(self, fp: str) -> Claim:
        """Makes the claim on pair `fp` if there is none (`made`), else says what is there; clears claims on other pairs.

        A claim whose owner neither closed it nor is certainly dead is `in_flight`; the first meeting of each boot is noted
        beside it, and `wait_s` runs from then. Holding the lock proves nothing about an owner: shared folders grant one lock
        twice. Raises StorageError, with nothing made, where the lock that is held is known not to keep others out, and where
        the record could not be replaced by the answer (only the file is mounted, it is protected, another one has its name
        by now).
        """

    def renew_claim(self, claim: Claim) -> Claim:
        """Takes over `claim`, durably, before anything is sent again; gives the new claim (`renewed`), this process's own.

        Of several processes that take over one claim, with or without a common lock, one succeeds. Raises StorageError for
        the others, and when `claim` is not the claim on its pair any more.
        """

    def withdraw_claim(self, claim: Claim) -> None:
        """Removes `claim`, if it is still there: it is certain that nothing was sent under it."""

    def stage(self, claim: Claim, token: Token) -> None:
        """Writes the answer for the pair of `claim`, which this process owns, into it. Where it has vanished or was taken
        over meanwhile the answer takes its place: it is the newer fact."""

    def commit_staged(self, fp: str) -> None:
        """The staged of pair `fp` becomes the record; everything that was bound to older pairs goes."""

    def put(self, token: Token) -> None:
        """`token` becomes the record (a login: newer than anything); everything bound to older pairs goes. A corrupt
        record is set aside first."""

    def sign_out(self, now_s: float) -> None:
        """The empty record, marked `signed_out_at`, becomes the record. A corrupt record is set aside first."""

    def tidy(self, now_s: float) -> None:
        """Removes an empty signed-out record older than 60 s, the binding of a record that is signed out or absent, and
        everything bound to pairs that are not the record."""

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        """Records that the server ended pair `fp`."""

    def set_backoff(self, backoff: Backoff) -> None:
        """Replaces the shared backoff."""

    def bind(self, binding: Binding | None) -> None:
        """Replaces the binding; None removes it."""
