"""Binds a stored credential to an OAuth host by hand, for a record and binding that disagree or cannot be read.

It sends nothing and renews nothing. Under the credential's lock it writes the binding first, then, if the record names
another host, the same pair with the right one. After a kill in between the two disagree, so the pair is sent nowhere,
and the same command finishes the work.
"""

from __future__ import annotations

from dataclasses import dataclass

from kimi_auth.credential.credential import PATIENCE_S
from kimi_auth.errors import ConfigError, CredentialLocked, NotSignedIn, Revoked
from kimi_auth.store import Binding, CredentialStore
from kimi_auth.support.language import tr
from kimi_auth.support.urls import normal_url
from kimi_auth.token import fingerprint, parse_record

__all__ = ["Adoption", "adopt", "move"]

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


def move(source: CredentialStore, target: CredentialStore, issuer: str, now_s: float) -> str:
    """Moves the login of `source`, which belongs to `issuer`, to `target`, and leaves an empty record. Returns the
    fingerprint of its pair.

    The copy is durable before the original goes: killed in between, the same command finishes the work. Raises
    NotSignedIn, Revoked, StorageError, and ConfigError for a target with another login.
    """
    with source.locked(PATIENCE_MAX_S) as held, target.locked(LOCK_PATIENCE_S) as ours:
        if not held or not ours:
            busy = source if not held else target
            raise _locked(busy)
        found, there = source.view().snapshot, target.read()
        if problem := found.problem or there.problem:
            raise problem
        token = found.token
        if token is None or token.is_empty:
            raise NotSignedIn(tr("there is no login in {location}", location=source.location))
        if there.token is not None and not there.token.is_empty and there.fp != found.fp:
            raise ConfigError(
                tr("{location} holds another login", location=target.location),
                hint=tr("sign out of that one: kimi-auth logout"),
            )
        target.put(parse_record({**token.record(), "issuer": issuer}))
        target.bind(Binding(issuer))
        source.sign_out(now_s)
        source.tidy(now_s)
    return found.fp


def adopt(store: CredentialStore, issuer: str) -> Adoption:
    """Binds the stored credential to `issuer`. Raises ConfigError for an invalid URL, NotSignedIn, Revoked,
    StorageError."""
    try:
        issuer = normal_url(issuer)
    except ValueError as problem:
        raise ConfigError(
            tr("{issuer} {problem}", issuer=ascii(issuer)[:80], problem=problem), hint=tr("give the OAuth host's URL")
        ) from None
    with store.locked(LOCK_PATIENCE_S) as held:
        if not held:
            raise _locked(store)
        found, before = store.read(), store.binding()
        if found.problem is not None:
            raise found.problem
        token = found.token
        if token is None or token.signed_out_at_s:
            raise NotSignedIn(tr("nothing is stored that could belong to a host"))
        if token.is_empty:
            raise Revoked(tr("the server ended this login: another program recorded it"))
        # The recorded origins are evidence for their own issuer only: another host's endpoints get no token.
        store.bind(Binding(issuer, before.origins if before and before.issuer == issuer else ()))
        if token.issuer and token.issuer.rstrip("/") != issuer:
            store.put(parse_record({**token.record(), "issuer": issuer}))
    said = (before.issuer or "unreadable") if before else ""
    return Adoption(issuer, fingerprint(token), token.issuer, said)


def _locked(store: CredentialStore) -> CredentialLocked:
    holder = store.holder() or tr("another process")
    return CredentialLocked(tr("{holder} holds the lock of {location}", holder=holder, location=store.location))
