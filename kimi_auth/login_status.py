"""Puts a login's status together: how it stands, where each value comes from, whose login it is, what waits elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.before_use import look
from kimi_auth.components import Components
from kimi_auth.credential.backoff import forced_until_s
from kimi_auth.credential.credential import CredentialState
from kimi_auth.credential.refresh_life import ends_soon, refresh_ends_at_s
from kimi_auth.credential.status import Status
from kimi_auth.errors import NotSignedIn
from kimi_auth.home import other_login
from kimi_auth.login.keyring_migration import is_waiting
from kimi_auth.platforms import Platform, overrides
from kimi_auth.selection import ARGUMENT
from kimi_auth.store import CredentialStore
from kimi_auth.support.language import tr
from kimi_auth.token import left_s, lifetime_s, window_s

if TYPE_CHECKING:
    from kimi_auth.login.given import Given
    from kimi_auth.models.kept_account import SignIn

__all__ = ["status_of_login"]


def status_of_login(components: Components) -> Status:
    """As `Session.status`."""
    look(components)
    now_s = components.age_clock.now_s()
    found = _stored(components.credential.inspect(), components.platform, components.store, now_s)
    status = _with_sources(components, found)
    # An API key has no times: those that its store gives serve only to classify it.
    return status if components.platform.oauth else status._replace(expires_at_s=0.0, left_s=0.0, renews_in_s=0.0)


def _stored(landing: CredentialState, platform: Platform, store: CredentialStore, now_s: float) -> Status:
    """The `Status` that `session.status()` gives of a login whose credential was just inspected."""
    view, snapshot = landing.ctx.view, landing.ctx.snapshot
    token, backoff, claim = snapshot.token, view.backoff, view.claim.state
    common = {
        "platform": platform.id,
        "platform_name": platform.name,
        "state": landing.state,
        "location": store.location,
        "error": landing.ctx.error,
        "store_error": landing.ctx.error if snapshot.state == "unreachable" else snapshot.problem,
    }
    if token is None or token.is_empty:
        return Status(**common)  # type: ignore[arg-type]
    left = left_s(token, now_s)
    return Status(
        **common,  # type: ignore[arg-type]
        fp=snapshot.fp,
        issuer=token.issuer,
        binding=view.binding,
        expires_at_s=token.expires_at_s,
        left_s=left,
        lifetime_s=lifetime_s(token),
        renewable=bool(token.refresh_token),
        renews_in_s=max(0.0, left - window_s(token)),
        refresh_ends_at_s=refresh_ends_at_s(token),
        ends_soon=ends_soon(token, now_s),
        renewed_at_s=backoff.renewed_at_s,
        retry_at_s=backoff.retry_at_s if backoff.retry_at_s > now_s else 0.0,
        rejected_at_s=backoff.rejected_at_s if backoff.rejected_fp == snapshot.fp else 0.0,
        forced_retry_at_s=forced_until_s(backoff, now_s),
        claim="" if claim == "none" else claim,
        holder=store.holder(),
    )


def _with_sources(components: Components, status: Status) -> Status:
    """The status with the sources of its values, and with the state of a login that still waits in a keyring."""
    from kimi_auth.models.variables import overriding

    if components.given is not None:
        return _told_of_given(components, components.given, status)
    waits = status.state == "absent" and components.platform.oauth is not None and components.is_in_home
    waits = waits and is_waiting(components.config, components.platform)
    kept = "keyring" if waits else _kept(components)
    usual = {"oauth_host": "platform"} if components.platform.oauth else {}
    sources = usual | {"api_base": "platform"} | overrides(components.platform, components.environ)
    sources |= {"credential": kept, **components.sources}
    made = _sign_in_of(components, status)
    status = status._replace(
        overridden_by=overriding(components.platform, components.environ),
        account=made.name,
        label=components.account,
        signed_in_at_s=made.at_s,
        home=components.home.kind.name,
        home_why=components.home.why,
        other_home=str(other_login(components.home, components.environ) or ""),
    )
    if status.fp and components.platform.oauth:
        status = _owned(components, status)
    if not waits:
        return status._replace(sources=sources)
    words = tr("not signed in here: config.toml says that the login is in the system keyring")
    error = NotSignedIn(words, hint="kimi-auth models sync")
    return status._replace(sources=sources, location=tr("the system keyring"), error=error)


def _told_of_given(components: Components, given: Given, status: Status) -> Status:
    usual = {"oauth_host": "platform"} if components.platform.oauth else {}
    sources = usual | {"api_base": "platform"} | overrides(components.platform, components.environ)
    sources |= {"api_base": given.base_source or sources["api_base"], "credential": given.source, **components.sources}
    return status._replace(location=given.location, sources=sources)


def _kept(components: Components) -> str:
    if components.platform.oauth is None:
        return "config.toml"
    return "file" if components.is_in_home else components.sources.get("store", ARGUMENT)


def _sign_in_of(components: Components, status: Status) -> SignIn:
    from kimi_auth.models.kept_account import SignIn

    token = components.store.read().token if status.fp and components.kept_account else None
    return components.kept_account.recall(token) if token and components.kept_account else SignIn()


def _owned(components: Components, status: Status) -> Status:
    """The status with the OAuth host that the credential belongs to, and who says so."""
    if status.issuer:
        return status._replace(issuer_from="record")
    if status.binding and status.binding.issuer:
        return status._replace(issuer=status.binding.issuer, issuer_from="binding")
    return status._replace(issuer=components.built_in, issuer_from="platform")
