"""What a caller needs of a credential, and what a walk of its machines carries along."""

from __future__ import annotations

from typing import NamedTuple

from kimi_auth.errors import KimiAuthError
from kimi_auth.store import Claim, Hold, Snapshot, View
from kimi_auth.token import Token, left_s, phase

__all__ = ["SERVES", "CredentialContext", "Need"]


class Need(NamedTuple):
    """The token that a caller needs; with nothing set, a fresh one.

    `min_ttl_s`: life left, in seconds. `not_bearer`: this access token got a 401 from the platform. `not_fp`: any pair
    but this one (identity, never time). `insist`: a person asked, so a blocked login is retried at once.
    """

    min_ttl_s: float = 0.0
    not_bearer: str = ""
    not_fp: str = ""
    insist: bool = False

    def __repr__(self) -> str:
        """Every field but the access token."""
        return f"Need(min_ttl_s={self.min_ttl_s}, not_fp={self.not_fp!r}, insist={self.insist})"

    def met_by(self, snapshot: Snapshot, now_s: float) -> bool:
        """True if the stored pair is what the caller needs: fresh at `now_s`, and with every other condition met."""
        token = snapshot.token
        return (
            token is not None
            and phase(token, now_s) == "fresh"
            and left_s(token, now_s) >= self.min_ttl_s
            and token.access_token != self.not_bearer
            and snapshot.fp != self.not_fp
        )

    def waits(self, state: str, snapshot: Snapshot, now_s: float) -> bool:
        """True if what the caller needs can wait: the pair is in a rest `state` that serves, and meets every condition of the
        need except freshness."""
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


NOTHING_VIEWED = View()
NO_CLAIM = Claim("none")


class CredentialContext(NamedTuple):
    """The state that a walk of token_lifecycle, token_refresh or sign_out carries.

    `patience_s`: how long its caller waits, in seconds (0: *advisory*, one try for the lock; None: no limit).
    `deadline_s`: when that patience ends, monotonic seconds; it bounds the waits for locks and backoffs together.
    `view`: the credential as last viewed. `claim`: this walk's own, or the one that it found. `pair`: the new pair from
    the server; at logout, the pair to revoke. `error`: why the token is not fresh. `retry_after_s`: the delay that
    the server requested.

    `retry_at_s`: when another try makes sense, unix seconds by the store's clock, 0.0 if waiting would change nothing;
    the hook that postpones a renewal sets it, `back_off` consumes it. `backoff_until_s`: the backoff that this walk set
    or waits out; its next try ignores that one. `sent_at_s`: when this walk sent its request, monotonic seconds, 0.0
    before. `in_doubt`: the last answer was lost; `recoveries`: tries of this process to recover from that beyond its
    patience. `hold`: the lock while it is held. `revocation`, `config`: how that part of a logout went, "" before it.
    """

    need: Need = Need()
    patience_s: float | None = 0.0
    deadline_s: float = 0.0
    view: View = NOTHING_VIEWED
    claim: Claim = NO_CLAIM
    pair: Token | None = None
    error: KimiAuthError | None = None
    retry_after_s: float | None = None
    retry_at_s: float = 0.0
    backoff_until_s: float = 0.0
    sent_at_s: float = 0.0
    in_doubt: bool = False
    recoveries: int = 0
    hold: Hold | None = None
    revocation: str = ""
    config: str = ""

    @property
    def snapshot(self) -> Snapshot:
        """The record of the last look."""
        return self.view.snapshot

    @property
    def stored(self) -> Token:
        """The pair of the last look, in a walk that has found one."""
        assert self.view.snapshot.token is not None
        return self.view.snapshot.token

    def retrying_at(self, until_s: float) -> CredentialContext:
        """The context of a walk that waits for the backoff that ends at `until_s`, unless its error is not transient: then
        waiting cannot help."""
        is_transient = self.error is not None and self.error.is_transient
        return self._replace(retry_at_s=until_s if is_transient else 0.0, backoff_until_s=until_s)
