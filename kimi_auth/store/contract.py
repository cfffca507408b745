"""The contract of a credential store: the whole interface between the flows and the location of a login.

Four sidecars lie beside the record. Two are bound to a pair by its fingerprint (`fp`): the *claim* (a write-ahead
intent: a rotation of that pair is being sent; once it holds the answer, that is the *staged pair*) and the *revoked
mark* (the server ended that pair). The *backoff* (when to retry) is shared by every process. The *binding* names the
OAuth host of the record: it outlives renewals, because other clients drop the record's own `issuer` when they write it.

Reads never block, never lock and never raise for bad content: the result carries the error. Decisions are made from
`view`; the other reads serve comparisons and people. Every write is called with the lock held (`locked`), raises
`StorageError` if the medium refuses, and is durable when it returns. One contract test class runs on every store.

A store that is asked over a network answers reads from memory: what it saw last, or `unreachable` where it saw nothing
yet or cannot be asked. `look` asks it, in a thread; under the lock every `view` and `read` does. So no read of any store
lets an event loop wait. Times are those of the store's `clock`: hosts that share a store share its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from kimi_auth.clock import Clock
from kimi_auth.errors import StorageError
from kimi_auth.token import Token

__all__ = [
    "Backoff",
    "Binding",
    "Claim",
    "ClaimState",
    "Committed",
    "CredentialStore",
    "Finding",
    "Hold",
    "RecordState",
    "RevokedMark",
    "Snapshot",
    "Stamp",
    "View",
]

Stamp = tuple[int, ...]
"""Identity of the content of a location. Equal stamps: nothing was installed in between; (): there is no record."""

RecordState = Literal["absent", "present", "corrupt", "unreachable"]
ClaimState = Literal["none", "made", "renewed", "staged", "interrupted", "in_flight"]


class Snapshot(NamedTuple):
    """The content of the location at one moment.

    `present`: `token` and its fingerprint `fp`; a record whose tokens are both empty is `present` too
    (`token.is_empty`). Then `problem` is the reason why the record cannot be replaced, None if it can; with one, its
    refresh token must not be spent. `corrupt`: `problem` is the reason, without a character of the content. `absent`:
    no record exists. `unreachable`: the store cannot be asked now; `stamp`, `token` and `fp` are those that it had when it
    was seen last, and `problem` says why.
    """

    state: RecordState
    stamp: Stamp = ()
    token: Token | None = None
    fp: str = ""
    problem: StorageError | None = None


Committed = Snapshot | Literal["superseded", "gone"]
"""The new record, or why there is none: another pair is the record, or no pair."""


class Claim(NamedTuple):
    """A rotation of the pair `fp` that was, or is about to be, sent.

    `none`: no claim exists. `made`: this call created it. `renewed`: this call took it over. `staged`: it holds the
    complete answer (`staged`), which its owner could not commit. `interrupted`: incomplete, and its owner closed it or
    is certainly dead: the pair may be spent, sending it again is declared recovery. `in_flight`: incomplete, and its
    owner may still be sending; once `wait_s` (seconds) is 0 the owner has been silent for longer than a request takes,
    and a caller that needs a new token may recover.

    `nonce` identifies this claim among all claims on the pair. It and the owner never change; a take-over makes a new
    claim. `owner`: the process that made it, for people.
    """

    state: ClaimState
    fp: str = ""
    staged: Token | None = None
    wait_s: float = 0.0
    owner: str = ""
    nonce: str = ""


class RevokedMark(NamedTuple):
    """The server ended a pair at `at_s` (unix seconds). `message`: its error text, cleaned, at most 200 characters."""

    at_s: float
    message: str = ""


class Backoff(NamedTuple):
    """When any process may retry, shared by all of them. Times are unix seconds; a `retry_at_s` more than 15 min
    ahead is void (the clock was set back).

    `failures` transient ends in a row, the last one described by error `code` and `message`. `unrecognized_*`: error
    answers that are not OAuth, for pair `unrecognized_fp`: `unrecognized_count` of them at least 60 s apart, with the
    times of the first and the last; `unrecognized_retry_at_s` is the `retry_at_s` that the latest one set.
    `rejected_fp`: the pair whose access token the API rejected at `rejected_at_s`; `forced`: rotations for that reason
    in a row, the next one not before `forced_retry_at_s`. `life_s`: the longest life of a token on arrival; 0.0 unknown.
    """

    retry_at_s: float = 0.0
    failures: int = 0
    code: str = ""
    message: str = ""
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


class Binding(NamedTuple):
    """The OAuth host that the credential belongs to, kept beside the record.

    `issuer`: its URL; "" for an unreadable binding, which fits no host. `origins`: the other https origins of the
    issuer's token and revocation endpoints at sign-in; no refresh token goes to any other origin. `device_id`: the device
    that the login was made on, for a store that several hosts share; "" where the home has a file of its own for it.
    """

    issuer: str
    origins: tuple[str, ...] = ()
    device_id: str = ""


class View(NamedTuple):
    """The record at one moment, and what lay beside it: claim and revoked mark are those of its pair. With another
    program's tombstone, `claim` is the newest staged pair, on any pair."""

    snapshot: Snapshot = Snapshot("absent")
    claim: Claim = Claim("none")
    mark: RevokedMark | None = None
    backoff: Backoff = Backoff()
    binding: Binding | None = None


class Finding(NamedTuple):
    """What a store says of itself: the subject, the evidence, and the next step, "" where all is well."""

    name: str
    evidence: str
    step: str = ""


class Hold(Protocol):
    """The held lock of a credential, from `CredentialStore.locked`."""

    def check(self) -> None:
        """Raises LockLost if this process does not certainly hold the lock any more: it was released, or taken away (a
        removed lock file, a fork). Raises StorageError if the lock is known not to exclude others."""


class CredentialStore(Protocol):
    """One credential's location. `location` names it for people ("the file …")."""

    @property
    def location(self) -> str:
        """The location, for people."""

    @property
    def file(self) -> Path | None:
        """The file that holds the record; None for a store without files."""

    def clock(self) -> Clock:
        """The clock that the stored times are of: this host's for files, the database's for a database."""

    def examine(self) -> Iterator[Finding]:
        """Looks at what the store depends on, for `kimi-auth doctor`. Shows no secret; may ask the network."""

    def is_current(self) -> bool:
        """True if `view` shows the stored record as it is now, as files always do; False if `look` may show something newer."""

    def look(self, patience_s: float) -> None:
        """Brings `view` up to date, within `patience_s` seconds; never raises for a store that cannot be asked. Blocks the
        calling thread; nothing to do for files."""

    # --- reading: at any time, without the lock ----------------------------------------------------------------------
    def view(self) -> View:
        """The record with its sidecars: the record did not change while they were read. While other programs keep
        writing, the last of a few tries."""

    def read(self) -> Snapshot:
        """The stored record alone. A corrupt one is a result, not an exception."""

    def stamp(self) -> Stamp:
        """The stamp that `read` would return, without reading the content (a file: one stat)."""

    def still(self, stamp: Stamp) -> bool:
        """True if nothing was installed since `stamp`. As cheap as can be: it is called before each use of a token.

        In files a write to the record is seen at once; a replaced directory or link above it, after a second at the latest.
        In a database a write is seen within a second while it can be asked; meanwhile the answer is True. The transaction
        does not rely on it: it compares stamps.
        """

    def revoked_mark(self, fp: str) -> RevokedMark | None:
        """The revoked mark of pair `fp`; an unreadable one counts as a mark without a message."""

    def peek_claim(self, fp: str) -> Claim:
        """The claim on pair `fp`, without changing it (never `made`)."""

    def backoff(self) -> Backoff:
        """The shared backoff; an unreadable one counts as none."""

    def binding(self) -> Binding | None:
        """The OAuth host of the record; None if no binding was written."""

    def leftovers(self) -> tuple[str, ...]:
        """Other files beside the record that may hold a pair: set aside, or left by a killed writer."""

    def holder(self) -> str:
        """The holder of the lock ("pid 123"), "" if it is free or the holder is unknown."""

    # --- taking the lock ---------------------------------------------------------------------------------------------
    def check_writable(self) -> None:
        """Raises StorageError if a login could not be stored; leaves no trace."""

    def locked(
        self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None
    ) -> AbstractContextManager[Hold | None]:
        """Holds the one lock that every writer takes, across threads and processes.

        Waits up to `patience_s` seconds (0: one try; None: no limit), or until `give_up()` is true; it polls that many
        times a second. Enters with None if the lock is not held; raises StorageError if no lock works at this
        location. On exit it closes the claims that were made under this hold.
        """

    # --- under the lock ----------------------------------------------------------------------------------------------
    def claim(self, fp: str) -> Claim:
        """Makes the claim on pair `fp` (`made`), or returns the one that exists; clears claims on other pairs.

        A claim whose owner neither closed it nor is certainly dead is `in_flight`; each boot notes beside it when it
        first met it, and `wait_s` runs from then. Holding the lock proves nothing about an owner: shared folders grant
        one lock twice. Raises StorageError, with nothing made, if the lock is known not to exclude others, or if the
        answer could not replace the record (a mount of its own, a protected file, another file under its name). On
        another program's tombstone no claim is made: the newest staged pair is returned, whichever pair it is on.
        """

    def renew_claim(self, claim: Claim) -> Claim:
        """Takes over `claim`, durably, before anything is sent again; returns the new claim, this process's (`renewed`).

        Of several processes that take over one claim, with or without a common lock, one succeeds. Raises StorageError
        in the others, and if `claim` is no longer the claim on its pair.
        """

    def withdraw_claim(self, claim: Claim) -> None:
        """Removes `claim` if it still exists. Only for a claim under which certainly nothing was sent."""

    def stage(self, claim: Claim, token: Token) -> None:
        """Writes the answer into `claim`, which this process owns. If the claim has vanished or was taken over, the
        answer replaces it: a received pair is newer than any claim on the old one."""

    def commit(self, claim: Claim, token: Token) -> Committed:
        """Compares the record with the pair that `claim` is on, and renames the staged `token` onto it; stages it first
        if it is no longer staged. Returns the durable record; sidecars of older pairs are removed. May be repeated
        after an error.

        `gone`: the record is absent or a logout's; `superseded`: it is a third pair. Then it is unchanged, and the staged
        pair stays. Another program's tombstone is replaced: its refusal came of the rotation that brought `token`.
        """

    def put(self, token: Token) -> None:
        """`token` becomes the record (a login is newer than any other record); sidecars of older pairs are removed. A
        corrupt record is set aside first."""

    def sign_out(self, now_s: float) -> None:
        """The empty record, marked `signed_out_at`, becomes the record. A corrupt record is set aside first."""

    def tidy(self, now_s: float) -> None:
        """Removes an empty signed-out record older than 60 s, the binding of a record that is signed out or absent, and
        the sidecars of all pairs except the record's."""

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        """Records that the server ended pair `fp`."""

    def set_backoff(self, backoff: Backoff) -> None:
        """Replaces the shared backoff."""

    def bind(self, binding: Binding | None) -> None:
        """Replaces the binding; None removes it."""

    # --- at the end --------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Frees what the store keeps open between calls; the next call opens it again. Releases no lock."""
