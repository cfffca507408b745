"""Signs in and out of one login, with the device grant or an API key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kimi_auth.components import Components
from kimi_auth.credential.credential import CredentialState, addressed
from kimi_auth.credential.status import LoginReport, LogoutReport
from kimi_auth.errors import ConfigError, WrongIssuer
from kimi_auth.language import tr
from kimi_auth.loops import in_thread, only_asyncio
from kimi_auth.models.account import discover, endpoints_of, sign_in_command
from kimi_auth.token import fingerprint

if TYPE_CHECKING:
    from kimi_auth.credential.adoption import Adoption
    from kimi_auth.login.view import LoginView

__all__ = ["adopt_login", "sign_in", "sign_out", "sign_out_sync"]


async def sign_in(
    components: Components,
    view: LoginView,
    *,
    force: bool = False,
    open_browser: Callable[[str], object] | None = None,
    api_key: str | None = None,
) -> LoginReport:
    """Signs in as `Session.login` does, and reports every end: `state` is the rest state of device_login, or for an API
    key `signed_in` or `failed`. Raises for bugs, and ConfigError for a platform that takes the other kind of sign-in."""
    if api_key is not None:
        from kimi_auth.login.api_keys import sign_in_with_key

        return await sign_in_with_key(components.platform, api_key, components.config, components.headers, force=force)
    only_asyncio("login")
    from kimi_auth.login.contracts import LoginContext
    from kimi_auth.login.device_login import DeviceLoginHooks, LoginPorts
    from kimi_auth.machine import walk_async

    platform = components.platform
    endpoints_of(platform)
    await components.settle()
    ports = LoginPorts(
        config=components.in_config,
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
    return LoginReport(state, fp, models=len(ctx.catalogue), already=ctx.already, error=ctx.error, notes=ctx.notes)


async def sign_out(components: Components) -> LogoutReport:
    """As `Session.logout`; the caller forgets the token that it holds."""
    if components.platform.oauth is None:
        return await in_thread(lambda: sign_out_sync(components))
    await components.settle()
    _refuse_foreign(components)
    return _signed_out(components, await components.credential.sign_out().wait_async())


def sign_out_sync(components: Components) -> LogoutReport:
    """`sign_out` for code without an event loop."""
    if components.platform.oauth is None:
        from kimi_auth.login.api_keys import sign_out_of_key

        return sign_out_of_key(components.platform, components.config)
    components.leave_keyring()
    _refuse_foreign(components)
    return _signed_out(components, components.credential.sign_out().result())


def adopt_login(components: Components, issuer: str) -> Adoption:
    """Says that the stored login belongs to the OAuth host `issuer`, where record and binding cannot tell; sends nothing.

    Raises ConfigError (no such URL, or a platform without OAuth), NotSignedIn, Revoked, StorageError.
    """
    from kimi_auth.credential.adoption import adopt

    endpoints_of(components.platform)
    components.leave_keyring()
    return adopt(components.store, issuer)


def _refuse_foreign(components: Components) -> None:
    error = components.credential.inspect().ctx.error
    if isinstance(error, WrongIssuer):
        raise addressed(error, sign_in_command(components.platform))


def _signed_out(components: Components, landing: CredentialState) -> LogoutReport:
    if landing.state != "absent":
        raise landing.ctx.error or ConfigError(tr("the login still stands"))
    ctx = landing.ctx
    error = ctx.error or components.keyring_error
    return LogoutReport(landing.state, ctx.revocation, ctx.config, error, components.store.leftovers())
