"""Adopts a stored credential: binds it to an OAuth host by hand, or takes another program's. Sends nothing, renews nothing.

`adopt` is for a record and binding that disagree or cannot be read. Under the credential's lock it writes the binding
first, then, if the record names another host, the same pair with the right one. After a kill in between the two disagree,
so the pair is sent nowhere, and the same command finishes the work.

`share` and `move` leave one pair alive in one home, whatever they find: two programs that renew copies of one pair end the
login of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kimi_auth.credential.credential import PATIENCE_S
from kimi_auth.errors import ConfigError, NotSignedIn, Revoked
from kimi_auth.store import Binding, CredentialStore, Snapshot
from kimi_auth.store.all_locked import all_locked
from kimi_auth.support.language import tr
from kimi_auth.support.urls import normal_url
from kimi_auth.token import Token, fingerprint, parse_record

__all__ = ["Adoption", "adopt", "move", "share"]

LOCK_PATIENCE_S = PATIENCE_S
PATIENCE_MAX_S = 110.0
"""For a home whose other program may hold its lock for 93 s."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """The pair `fp` now belongs to `issuer`. `record_said`, `binding_said`: the hosts before, "" for none; "unreadable"
    for a binding that could not be read."""

    issuer: str
    fp: str
    record_said: str = ""
    binding_said: str = ""


def share(source: CredentialStore, own: CredentialStore, now_s: float) -> tuple[str, bool]:
    """Adopts by sharing, which makes the login of `source` the only one: a copy of its pair in `own` becomes an empty
    record, unrevoked. Returns the pair's fingerprint, and whether there was a copy.

    Raises NotSignedIn, StorageError, CredentialLocked, and ConfigError for another login in `own` or a renewal that was
    interrupted.
    """
    with _both(source, own):
        _, fp = _whole(source)
        is_copied = _holds(own, fp)
        if is_copied:
            own.sign_out(now_s)
            own.tidy(now_s)
    return fp, is_copied


def move(source: CredentialStore, target: CredentialStore, issuer: str, now_s: float) -> str:
    """Adopts by moving the login of `source`, which belongs to `issuer`, to `target`, and leaves an empty record.
    Returns the fingerprint of its pair.

    The copy is durable before the original goes: killed in between, the same command finishes the work. Raises as `share`.
    """
    with _both(source, target):
        token, fp = _whole(source)
        _holds(target, fp)
        target.put(parse_record({**token.record(), "issuer": issuer}))
        before = source.binding()
        target.bind(Binding(issuer, device_id=before.device_id if before else ""))
        source.sign_out(now_s)
        source.tidy(now_s)
    return fp


@contextmanager
def _both(source: CredentialStore, own: CredentialStore) -> Iterator[None]:
    """Holds both locks, where there is something to adopt: taking a lock makes directories."""
    _whole(source)
    with all_locked((source,), PATIENCE_MAX_S), all_locked((own,), LOCK_PATIENCE_S):
        yield


def _whole(store: CredentialStore) -> tuple[Token, str]:
    """The login of `store` that is to be adopted, and its fingerprint."""
    found = _finished(store, "kimi-code")
    if found.token is None or found.token.is_empty:
        raise NotSignedIn(
            tr("there is no login in {location}", location=store.location),
            hint=tr("sign in there: kimi-auth login --home kimi-code"),
        )
    return found.token, found.fp


def _holds(store: CredentialStore, fp: str) -> bool:
    """True if the `store` that adopts holds the pair `fp`. Raises ConfigError for another login there."""
    there = _finished(store, "kimi-cli")
    if there.token is None or there.token.is_empty:
        return False
    if there.fp != fp:
        raise ConfigError(
            tr("{location} holds another login", location=store.location),
            hint=tr("sign out of that one: kimi-auth logout --home kimi-cli"),
        )
    return True


def _finished(store: CredentialStore, home: str) -> Snapshot:
    """The record of `store`, to adopt. Raises ConfigError after an interrupted renewal: that may have spent the pair or
    staged its successor, which only the home in which it happened can tell."""
    found = store.view()
    if problem := found.snapshot.problem:
        raise problem
    if found.claim.state != "none":
        raise ConfigError(
            tr("a renewal of the login in {location} is not finished", location=store.location),
            hint=tr("finish it: kimi-auth token --home {home}", home=home),
        )
    return found.snapshot


def adopt(store: CredentialStore, issuer: str) -> Adoption:
    """Binds the stored credential to `issuer`. Raises ConfigError for an invalid URL, NotSignedIn, Revoked,
    StorageError."""
    try:
        issuer = normal_url(issuer)
    except ValueError as problem:
        raise ConfigError(
            tr("{issuer} {problem}", issuer=ascii(issuer)[:80], problem=problem), hint=tr("give the OAuth host's URL")
        ) from None
    with all_locked((store,), LOCK_PATIENCE_S):
        found, before = store.read(), store.binding()
        if found.problem is not None:
            raise found.problem
        token = found.token
        if token is None or token.signed_out_at_s:
            raise NotSignedIn(tr("nothing is stored that could belong to a host"))
        if token.is_empty:
            raise Revoked(tr("the server ended this login: another program recorded it"))
        # The recorded origins are evidence for their own issuer only: another host's endpoints get no token.
        origins = before.origins if before and before.issuer == issuer else ()
        store.bind(Binding(issuer, origins, before.device_id if before else ""))
        if token.issuer and token.issuer.rstrip("/") != issuer:
            store.put(parse_record({**token.record(), "issuer": issuer}))
    said = (before.issuer or "unreadable") if before else ""
    return Adoption(issuer, fingerprint(token), token.issuer, said)
