"""Classifies a stored credential, and says why it cannot be used: pure functions of what a store shows and of the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from kimi_auth.credential.backoff import answered, blocked, is_blocked, retry_at_s, transient_error
from kimi_auth.credential.contracts import InspectOutcome
from kimi_auth.errors import (
    Blocked,
    CorruptCredential,
    KimiAuthError,
    NotSignedIn,
    Revoked,
    StorageError,
    Unreachable,
    WrongIssuer,
)
from kimi_auth.store import Binding, RevokedMark, Snapshot, View
from kimi_auth.support.language import tr
from kimi_auth.token import END_MAX_S, Token, left_s, phase

__all__ = ["NO_TOKEN", "Now", "classify", "error_of", "implausible_end", "not_ours", "still_works"]

NO_TOKEN: Mapping[str, Callable[[], KimiAuthError]] = {
    "absent": partial(NotSignedIn, tr("not signed in")),
    "revoked": partial(Revoked, tr("the server ended this login")),
    "corrupt": partial(CorruptCredential, tr("the credential cannot be read")),
    "blocked": partial(Blocked, tr("the server keeps refusing to renew this login")),
}
"""Rest states without a usable token, and what makes the default error of each: a new one each time, because a traceback
stays with its error. Only `blocked` may still be renewed."""

_NOT_RENEWED: Mapping[str, Callable[[], KimiAuthError]] = {
    "expired": partial(Unreachable, tr("the token has expired and could not be renewed")),
    "in_doubt": partial(Unreachable, tr("a renewal was sent and its answer is not known")),
}


def error_of(state: str) -> KimiAuthError:
    """A new error for a classified credential: its rest state has no usable token, and no walk recorded a better one."""
    make = NO_TOKEN.get(state) or _NOT_RENEWED.get(state)
    return make() if make else Unreachable(tr("the credential is {state}", state=state))


class Now(NamedTuple):
    """This moment, unix seconds. `age_s`: for the age of a token, which a wall clock that is set back must not reduce
    (`AgeClock`). `wall_s`: the clock that backoffs are written with."""

    age_s: float
    wall_s: float


def classify(view: View, now: Now) -> tuple[InspectOutcome, KimiAuthError | None]:
    """The credential's rest state in token_lifecycle, and why it is not fresh."""
    snapshot, mark, backoff = view.snapshot, view.mark, view.backoff
    token = snapshot.token
    if snapshot.state in {"corrupt", "unreachable"}:
        return _unread(snapshot, now)
    if token is None or (token.is_empty and token.signed_out_at_s):
        return "absent", None
    if token.is_empty and view.claim.state == "staged":
        # The refusal that another program recorded came of our rotation: its answer is the login.
        return "expired", None
    if token.is_empty:
        return "revoked", Revoked(tr("the server ended this login: another program recorded it"))
    age = phase(token, now.age_s)  # by time only: a bearer that one URL rejects may work at all others
    # A revoked mark ends the refresh token. The access token stays usable until it expires, unless the API rejected it.
    if mark is not None or (age != "fresh" and not token.refresh_token):
        ended = age == "expired" or (mark is not None and snapshot.fp == backoff.rejected_fp)
        return ("revoked" if ended else "usable"), _revoked(mark)
    if age == "fresh":
        return "fresh", None
    # A file that cannot be replaced (`snapshot.problem`) counts as "cannot renew": the answer could not be stored.
    is_held = retry_at_s(backoff, now.wall_s) > 0
    error = snapshot.problem or (transient_error(backoff) if is_held else None)
    # While the token works, a backoff changes nothing for callers; it only keeps them from starting a renewal.
    if age == "expiring":
        return ("usable", error) if error else ("expiring", None)
    # Before the claim: a pair that the server refuses is not in doubt, whatever the last try left behind.
    if is_blocked(backoff, snapshot.fp):
        return "blocked", blocked(backoff)
    if view.claim.state in {"interrupted", "in_flight"}:
        return "in_doubt", Unreachable(tr("a renewal was sent and its answer is not known"))
    return "expired", error or implausible_end(token)


def _unread(snapshot: Snapshot, now: Now) -> tuple[InspectOutcome, KimiAuthError]:
    """A store that cannot be asked signs out no caller: the token that was seen last serves while it lives."""
    if snapshot.state == "corrupt":
        return "corrupt", snapshot.problem or CorruptCredential(tr("the credential cannot be read"))
    problem = snapshot.problem or StorageError(tr("the store cannot be reached"), is_transient=True)
    return ("usable" if still_works(snapshot, now.age_s) else "expired"), problem


def implausible_end(token: Token) -> StorageError | None:
    """The error of a stored credential whose `expires_at` is no time in seconds; None for any other."""
    if token.expires_at_s <= END_MAX_S:
        return None
    return StorageError(
        tr(
            "the stored expires_at, {expires_at:.0f}, is not a time in seconds, so the token counts as expired",
            expires_at=token.expires_at_s,
        ),
        hint=tr("renew it: kimi-auth token"),
    )


def still_works(snapshot: Snapshot, now_s: float) -> bool:
    """True while the access token that a store shows can be used at all: it has life left."""
    token = snapshot.token
    return bool(token and token.access_token and left_s(token, now_s) > 0)


def not_ours(token: Token, binding: Binding | None, issuer: str, built_in: str) -> WrongIssuer | None:
    """Why this stored pair must not be sent to `issuer`; None if it belongs there.

    The record's own key and the binding beside it name the owner, and must agree if both exist. With neither, the owner
    is the platform's `built_in` host: an environment variable must not redirect a refresh token to another host.
    """
    if binding is not None and not binding.issuer:
        return WrongIssuer(tr("the binding of the stored credential to its OAuth host cannot be read"))
    named = [host.rstrip("/") for host in (token.issuer, binding.issuer if binding else "") if host]
    if len(set(named)) > 1:
        words = tr(
            "the stored credential says that it belongs to {host}, its binding says {bound}",
            host=named[0],
            bound=named[1],
        )
        return WrongIssuer(words)
    # A Kimi CLI and kimi-code write no issuer, and drop the key of ours when they rewrite the record.
    owner = named[0] if named else built_in.rstrip("/")
    if owner == issuer.rstrip("/"):
        return None
    why = "" if named else tr(", because nothing beside it names another host")
    words = tr("the stored credential belongs to {owner}{why}, not to {issuer}", owner=owner, why=why, issuer=issuer)
    return WrongIssuer(words, hint=tr("select that host; or {hint}", hint=WrongIssuer.default_hint))


def _revoked(mark: RevokedMark | None) -> Revoked:
    if mark is None:
        return Revoked(tr("the server gave no refresh token, so this login cannot be renewed"))
    return Revoked(answered(mark.message) or tr("the server ended this login"))
