"""The ports of a credential's hooks: store, server, clock and the program's policies, and what several hooks ask of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth.clock import Clock
from kimi_auth.credential.classify import Now, classify, not_ours
from kimi_auth.credential.contracts import InspectOutcome
from kimi_auth.credential.refresh_life import end_of, granted_at_s
from kimi_auth.errors import KimiAuthError, StorageError, WrongIssuer
from kimi_auth.store import Binding, CredentialStore, View
from kimi_auth.support.logs import logger
from kimi_auth.token import DEFAULT_LIFETIME_S, Token

if TYPE_CHECKING:
    from kimi_auth.wire import Grant, OAuthServer

__all__ = ["CONNECT_S", "UNSAVED_ONE_SHOT_S", "Ports", "token_from"]

log: logging.Logger = logger("credential")

CONNECT_S = 5.0
UNSAVED_ONE_SHOT_S = 30.0


def _luck() -> float:
    import random  # only what waits needs it

    return random.random()  # noqa: S311 - jitter is no secret


class Ports(NamedTuple):
    """The ports of the hooks: store, server, clock and policies. `issuer`: the OAuth host that requests go to.
    `built_in`: the platform's own host, which owns a record that names no issuer ("": the same as `issuer`).

    `keeps_trying(seconds)`: whether to retry a failing write of a new pair after so many seconds, with the lock held.
    `recovers(patience_s)`: whether a walk may wait and try once more in this process. `now_s`: unix time for computing
    ages, None for the wall clock. `luck`: a number in 0..1 for jitter. `advisory_connect_s`: the connect timeout of an
    advisory renewal. `is_ending`: the program is ending, so no walk waits for the lock any longer. `device_id`: the one that is kept
    with the login as its device, "" where the home has a file of its own for it.
    """

    store: CredentialStore
    server: OAuthServer
    clock: Clock
    issuer: str
    keeps_trying: Callable[[float], bool] = lambda tried_s: tried_s < UNSAVED_ONE_SHOT_S
    recovers: Callable[[float | None], bool] = lambda patience_s: True
    now_s: Callable[[], float] | None = None
    luck: Callable[[], float] = _luck
    advisory_connect_s: float = CONNECT_S
    built_in: str = ""
    is_ending: Callable[[], bool] = lambda: False
    device_id: Callable[[], str] = lambda: ""

    def look(self) -> tuple[View, InspectOutcome, KimiAuthError | None]:
        """A hook's look at the credential: views it and classifies it by the clock; another issuer's counts as absent. Sends
        nothing, writes nothing."""
        view = self.store.view()
        return view, *self.classify(view)

    def classify(self, view: View) -> tuple[InspectOutcome, KimiAuthError | None]:
        """The rest state that a hook gives to the credential in `view`, and why it is not fresh."""
        foreign = self.not_ours(view)
        return ("absent", foreign) if foreign else classify(view, self.now())

    def not_ours(self, view: View) -> WrongIssuer | None:
        """Why a credential's hook must not send the stored pair to the `issuer` of these ports; None if it may, or if
        there is no pair."""
        token = view.snapshot.token
        if token is None or token.is_empty:
            return None
        return not_ours(token, view.binding, self.issuer, self.built_in or self.issuer)

    def bound(self, binding: Binding | None) -> Binding | None:
        """The binding for hooks under the lock, put into the store if there is none: the first successful renewal
        proves the issuer. It is kept beside the record, because other clients drop the record's own key."""
        if binding is not None:
            return binding
        try:
            self.store.bind(bound := Binding(self.issuer, device_id=self.device_id()))
        except StorageError as error:
            log.warning("the credential could not be bound to its OAuth host: %s", error.line)
            return None
        return bound

    def now(self) -> Now:
        """This moment."""
        wall_s = self.clock.wall_s()
        return Now(self.now_s() if self.now_s else wall_s, wall_s)


def token_from(grant: Grant, *, sent_at_s: float, issuer: str, before: Token | None = None) -> Token:
    """The pair that a hook makes of a token answer (RFC 6749 §5.1, §6). It lives from `sent_at_s`, before the request was sent.

    A refresh answer may omit the refresh token and the scope (RFC 6749 §5.1, §6): then those of `before` stay valid. An
    unsendable new refresh token arrives here as "", and the old one does not replace it, because it is spent.
    """
    lifetime_s = grant.expires_in_s or DEFAULT_LIFETIME_S
    refresh_token = grant.refresh_token if grant.refresh_token is not None else before.refresh_token if before else ""
    said_s = _refresh_ends_at_s(grant, sent_at_s, before)
    return Token(
        grant.access_token,
        refresh_token,
        sent_at_s + lifetime_s,
        lifetime_s,
        grant.scope or (before.scope if before else ""),
        grant.token_type,
        issuer,
        refresh_expires_at_s=said_s,
        refresh_granted_at_s=granted_at_s(end_of(refresh_token, said_s), sent_at_s, before),
    )


def _refresh_ends_at_s(grant: Grant, sent_at_s: float, before: Token | None) -> float:
    if grant.refresh_expires_in_s:
        return sent_at_s + grant.refresh_expires_in_s
    is_kept = before is not None and grant.refresh_token in {None, before.refresh_token}
    return before.refresh_expires_at_s if before and is_kept else 0.0
