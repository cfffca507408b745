"""Signs in and out of one login, with the device grant or an API key; adopts, moves and shares one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kimi_auth.account import name_of_login
from kimi_auth.before_use import leave_keyring, settle, settle_sync
from kimi_auth.components import Components
from kimi_auth.credential.credential import CredentialState, addressed
from kimi_auth.credential.status import LoginReport, LogoutReport
from kimi_auth.errors import CodeExpired, ConfigError, Unreachable, WrongIssuer
from kimi_auth.loading import TO_SIGN_IN, load
from kimi_auth.models.discovery import discover
from kimi_auth.platforms.server import endpoints_of, sign_in_command
from kimi_auth.support.language import tr
from kimi_auth.support.loops import checked_s, in_thread, only_asyncio, within
from kimi_auth.token import fingerprint

if TYPE_CHECKING:
    from kimi_auth.credential.adoption import Adoption
    from kimi_auth.login.view import LoginView

__all__ = ["adopt_login", "move_login", "share_login", "sign_in", "sign_out", "sign_out_sync", "signed_in"]


def _refuse_given(components: Components) -> None:
    if components.given is not None:
        raise components.given.refusal()


async def signed_in(
    components: Components,
    view: LoginView | None,
    *,
    force: bool,
    configure: bool,
    open_browser: Callable[[str], object] | None,
    api_key: str | None,
    timeout_s: float | None,
) -> LoginReport:
    """As `Session.login`: `sign_in` with a view that prints by default, and with what went wrong raised."""
    from kimi_auth.login.outcome import login_error
    from kimi_auth.login.view import PrintingView

    report = await sign_in(
        components,
        PrintingView() if view is None else view,
        force=force,
        configure=configure,
        open_browser=open_browser,
        api_key=api_key,
        timeout_s=timeout_s,
    )
    if report.state != "models_pending" and (error := login_error(report)) is not None:
        raise error
    return report


async def sign_in(
    components: Components,
    view: LoginView,
    *,
    force: bool = False,
    configure: bool = False,
    open_browser: Callable[[str], object] | None = None,
    api_key: str | None = None,
    timeout_s: float | None = None,
) -> LoginReport:
    """`_sign_in` within `timeout_s` seconds (None: no limit). Raises CodeExpired when they are over, unless the login is
    stored by then: that stands, and its models are pending."""
    work = partial(
        _sign_in, components, view, force=force, configure=configure, open_browser=open_browser, api_key=api_key
    )
    if timeout_s is None:
        return await work()
    checked_s(timeout_s)
    await settle(components, timeout_s)
    before = components.store.read().fp
    try:
        return await within(timeout_s, work)
    except TimeoutError:
        found = components.credential.inspect()
        late = tr("the sign-in was not finished within {seconds:g} s", seconds=timeout_s)
        if found.token is None or found.ctx.snapshot.fp == before:
            hint = tr("start again: {command}", command=components.sign_in)
            raise CodeExpired(late, hint=hint) from None
        return LoginReport("models_pending", found.ctx.snapshot.fp, error=Unreachable(late))


async def _sign_in(
    components: Components,
    view: LoginView,
    *,
    force: bool,
    configure: bool,
    open_browser: Callable[[str], object] | None,
    api_key: str | None,
) -> LoginReport:
    """Signs in as `Session.login` does, and reports every end: `state` is the rest state of device_login, or for an API
    key `signed_in` or `failed`. Raises for bugs, and ConfigError for a platform that takes the other kind of sign-in."""
    await load(*TO_SIGN_IN)
    _refuse_given(components)
    components.refuse_found(tr("signing in"))
    if api_key is not None:
        from kimi_auth.login.api_keys import sign_in_with_key

        return await sign_in_with_key(components.platform, api_key, components.config, components.headers, force=force)
    only_asyncio("login")
    from kimi_auth.login.contracts import LoginContext
    from kimi_auth.login.device_login import DeviceLoginHooks
    from kimi_auth.login.ports import LoginPorts
    from kimi_auth.machine import walk_async

    platform = components.platform
    endpoints_of(platform)
    await settle(components)
    ports = LoginPorts(
        config=components.configured_by(request=configure),
        view=view,
        discover=lambda bearer: discover(platform, bearer, components.headers),
        serve=components.targets.inject,
        open_browser=open_browser,
        revokes_replaced=platform.revocation == "token",
    )
    hooks = DeviceLoginHooks(components.ports, ports)
    machine = components.library["device_login"]
    try:
        with components.walks.recording(machine, components.observe) as observe:
            state, ctx = await walk_async(machine, hooks, LoginContext(force=force), observe=observe)
    finally:
        await components.server.aclose()
    fp = fingerprint(ctx.token) if ctx.token else ""
    is_in = state in {"signed_in", "models_pending"}
    account = await name_of_login(components, ctx.token, already=ctx.already) if is_in else ""
    return LoginReport(
        state, fp, models=len(ctx.catalogue), already=ctx.already, error=ctx.error, notes=ctx.notes, account=account
    )


async def sign_out(components: Components, timeout_s: float | None = None) -> LogoutReport:
    """As `Session.logout`; the caller forgets the token that it holds."""
    checked_s(timeout_s)
    _refuse_given(components)
    components.refuse_found(tr("signing out"))
    if components.platform.oauth is None:
        return await in_thread(lambda: sign_out_sync(components))
    await settle(components)
    _refuse_foreign(components)
    try:
        return _signed_out(components, await components.credential.sign_out().wait_async(timeout_s))
    except TimeoutError:
        raise _still_signing_out(timeout_s) from None


def sign_out_sync(components: Components, timeout_s: float | None = None) -> LogoutReport:
    """Signs out of the login, or takes the API key out of config.toml, for code without an event loop."""
    checked_s(timeout_s)
    _refuse_given(components)
    components.refuse_found(tr("signing out"))
    if components.platform.oauth is None:
        from kimi_auth.login.api_keys import sign_out_of_key

        return sign_out_of_key(components.platform, components.config)
    settle_sync(components)
    _refuse_foreign(components)
    try:
        return _signed_out(components, components.credential.sign_out().result(timeout_s))
    except TimeoutError:
        raise _still_signing_out(timeout_s) from None


def adopt_login(components: Components, issuer: str) -> Adoption:
    """Adopts one login: says that it belongs to the OAuth host `issuer`, where record and binding cannot tell; sends nothing.

    Raises ConfigError (no such URL, or a platform without OAuth), NotSignedIn, Revoked, StorageError.
    """
    from kimi_auth.credential.adoption import adopt

    components.refuse_found(tr("adopting a login"))
    endpoints_of(components.platform)
    settle_sync(components)
    return adopt(components.store, issuer)


def _still_signing_out(timeout_s: float | None) -> Unreachable:
    late = tr("not signed out within {seconds:g} s, and the sign-out goes on", seconds=timeout_s)
    return Unreachable(late, hint=tr("see: kimi-auth status"))


def move_login(source: Components, target: Components) -> str:
    """Moves the stored login from one home to another, as `kimi_auth.credential.adoption.move` says; returns its
    fingerprint."""
    from kimi_auth.credential.adoption import move

    issuer = endpoints_of(source.platform).issuer
    _refuse_foreign(source)
    return move(source.store, target.store, issuer, source.clock.wall_s())


def share_login(source: Components, own: Components) -> tuple[str, bool]:
    """Lets the stored login of another program's home be used here, as `kimi_auth.credential.adoption.share` says. What a
    copy in our own home had in config.toml goes with it."""
    from kimi_auth.credential.adoption import share

    _refuse_foreign(source)
    leave_keyring(own)
    fp, was_copied = share(source.store, own.store, source.clock.wall_s())
    if was_copied:
        own.in_config.restore()
    return fp, was_copied


def _refuse_foreign(components: Components) -> None:
    error = components.credential.inspect().ctx.error
    if isinstance(error, WrongIssuer):
        raise addressed(error, sign_in_command(components.platform))


def _signed_out(components: Components, landing: CredentialState) -> LogoutReport:
    if landing.state != "absent":
        raise landing.ctx.error or ConfigError(tr("the login still stands"))
    if components.kept_account is not None:
        components.kept_account.forget()
    ctx = landing.ctx
    error = ctx.error or components.keyring_error
    return LogoutReport(landing.state, ctx.revocation, ctx.config, error, components.store.leftovers())
