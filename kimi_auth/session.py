"""Session: sign in, stay signed in, and hand out tokens that work. The façade over stores, servers and machines.

    session = Session()
    token = await session.access_token()

Sessions are cheap, thread-safe and free of process-wide state; any number of them, in any number of processes, may share
one credential. Nothing is read before it is asked for. A session can be pickled, without its token: the copy opens the same
login in its process.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kimi_auth.clock import Clock
from kimi_auth.components import Components
from kimi_auth.session_arguments import checked_account, directory, given, pickled
from kimi_auth.supply import TokenSupply
from kimi_auth.support.loops import checked_s, run_alone
from kimi_auth.support.once import once

if TYPE_CHECKING:  # a token is handed out without what signs in, tells a status or serves a running client
    from kimi_auth.credential.status import LoginReport, LogoutReport, Status
    from kimi_auth.login.view import LoginView
    from kimi_auth.machine import Observer
    from kimi_auth.platform_models import PlatformModels
    from kimi_auth.platforms import Platform
    from kimi_auth.store import CredentialStore
    from kimi_auth.wire import OAuthServer

__all__ = ["Session", "components_of", "supply_of"]


class Session:
    """One login of one platform, as this process uses it.

    `home`: whose home holds the login, "kimi-cli" (`~/.kimi`), "kimi-code" (`~/.kimi-code`, shared with that program) or a
    directory; `share_dir`: a directory, the older name. Default: `$KIMI_SHARE_DIR`, `$KIMI_CODE_HOME`, else the only one
    of the two that holds a login, else `~/.kimi`; a home that was found so is never signed in to or out of. `platform`: its id;
    default the platform of config.toml's default model, else `kimi-code`. `account`: the label of one of the platform's
    accounts, "default" for the login without a label; default `$KIMI_AUTH_ACCOUNT`, else the one in use. `one_shot`: for commands that
    end soon: nothing is renewed in the background. `recheck_every_s`: how often the file is looked at, in seconds; 0: at each call.
    `stores`: makes the store of a login from its key, `oauth/<platform>`, or `oauth/<platform>@<account>`; `store` is that of this one
    login, beside which there is no other. `store`, `server`, `clock` and `environ` replace the real ones. Raises ConfigError for a platform that is not known or an
    environment variable that holds no URL; ValueError for two directories, or seconds that are negative or not finite.
    """

    def __init__(
        self,
        share_dir: str | Path | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        platform: str | None = None,
        account: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        store: CredentialStore | None = None,
        stores: Callable[[str], CredentialStore] | None = None,
        server: OAuthServer | None = None,
        observe: Observer | None = None,
        one_shot: bool = False,
        recheck_every_s: float = 0.0,
    ) -> None:
        where: dict[str, Any] = {"platform": platform, "environ": environ, "one_shot": one_shot}
        here: dict[str, Any] = {"clock": clock, "store": store, "stores": stores, "server": server, "observe": observe}
        components = Components(directory(share_dir, home), account=checked_account(account), **where, **here)
        self._use(components, recheck_every_s, partial(Session, share_dir, home=home, **where), given(**here))

    def _use(
        self, components: Components, recheck_every_s: float, again: partial[Session], only_here: list[str]
    ) -> None:
        """Sets this session up. `again`: how another process makes it; not with `only_here`, arguments that exist here only."""
        self._components = components
        self._store = components.store
        self._clock = components.clock
        self._supply = TokenSupply(components, recheck_every_s)
        self._recheck_every_s = recheck_every_s
        # The account by its label: the variable or the file may say something else over there. A key has none.
        label = None if components.given else components.account or None
        self._again = partial(again, account=label, recheck_every_s=recheck_every_s)
        self._only_here = only_here

    def __reduce__(self) -> tuple[object, ...]:
        """A session is pickled as the arguments that it was made from: another process opens the login that they name there."""
        return pickled(self._again, self._only_here)

    @classmethod
    def default(
        cls,
        share_dir: str | Path | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        platform: str | None = None,
        account: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        observe: Observer | None = None,
        one_shot: bool = False,
        recheck_every_s: float = 0.0,
    ) -> Self:
        """A session over the first credential of the chain: `api_key`, the user's `KIMI_API_KEY`, the login, a token that
        `kimi-auth run` lent to this process and that ends with its lifetime. `status().sources["credential"]` says which.

        A key goes to one API: to `base_url` (for the variable: `KIMI_BASE_URL`), else to the platform whose keys begin like
        it. A `platform` that is named ignores a variable's key for another one, and an `account` any variable's key. A key's session can be asked for tokens,
        models and status; what only a login can do raises ConfigError, as do a key that cannot be one and a key whose API is
        not known. Raises ValueError for a `base_url` without a key or an `account` with one, and TypeError for either that is no str. The other
        arguments are those of `Session`.
        """
        from kimi_auth.chain import chained

        where: dict[str, Any] = {"platform": platform, "environ": environ, "one_shot": one_shot}
        here: dict[str, Any] = {"api_key": api_key, "clock": clock, "observe": observe}  # a key is in no pickle
        components = chained(share_dir, home, base_url=base_url, account=account, **where, **here)
        again = partial(Session.default, share_dir, home=home, base_url=base_url, **where)
        session = cls.__new__(cls)
        session._use(components, recheck_every_s, again, given(**here))  # noqa: SLF001 - it is ours
        return session

    @property
    def platform(self) -> Platform:
        """The platform, with the addresses that the environment selects."""
        return self._components.platform

    @property
    def api_origin(self) -> str:
        """The platform's API base URL: the only URL to which bearers go."""
        return self._components.platform.api_base

    # --- tokens ------------------------------------------------------------------------------------------------------

    async def access_token(
        self, *, min_ttl_s: float = 0.0, refresh: bool = False, timeout_s: float | None = None
    ) -> str:
        """An access token that works, renewed first if it has to be; never blocks while the one in hand still works.

        `min_ttl_s`: life it must have left, in seconds; where the server gives no such token, the freshest that it gives,
        with a warning. `refresh`: another pair than the one stored now. `timeout_s`: the patience of this caller, 31 s by
        default; 0: the stored token if it works, else Unreachable at once. A renewal goes on in its thread when the caller's
        patience ends. Raises the errors of `kimi_auth.errors`: NotSignedIn, Revoked, Blocked, Unreachable, StorageError,
        ConfigError; ValueError for seconds that are negative or not finite.
        """
        if timeout_s is not None:
            checked_s(timeout_s)
        held = self._supply.held
        if held is not None and not min_ttl_s and not refresh and held.serves(self._clock, self._store):
            return held.access_token
        return (await self._supply.token(min_ttl_s=min_ttl_s, refresh=refresh, timeout_s=timeout_s)).access_token

    def access_token_sync(
        self, *, min_ttl_s: float = 0.0, refresh: bool = False, timeout_s: float | None = None
    ) -> str:
        """`Session.access_token` for code without an event loop."""
        if timeout_s is not None:
            checked_s(timeout_s)
        held = self._supply.held
        if held is not None and not min_ttl_s and not refresh and held.serves(self._clock, self._store):
            return held.access_token
        return self._supply.token_sync(min_ttl_s=min_ttl_s, refresh=refresh, timeout_s=timeout_s).access_token

    async def rejected(self, bearer: str, *, timeout_s: float | None = None) -> str | None:
        """A token to try instead of `bearer`, which the platform answered with 401; None if there is none now.

        However many callers and processes report the same bearer, it is rotated at most once. One that was renewed for this
        reason and is rejected again is not rotated for a while: 30 s, doubling to 15 min. The stored token goes on being
        handed out meanwhile: one URL that refuses it says nothing of the others. `timeout_s`: as in `access_token`.
        """
        return await self._supply.rejected(bearer, timeout_s)

    def rejected_sync(self, bearer: str, *, timeout_s: float | None = None) -> str | None:
        """`Session.rejected` for code without an event loop."""
        return self._supply.rejected_sync(bearer, timeout_s)

    def status(self) -> Status:
        """The stored login of this session and how long it lasts, from disk alone; from a database, what this process saw
        last, where it cannot be asked."""
        from kimi_auth.login_status import status_of_login

        return status_of_login(self._components)

    # --- signing in and out ------------------------------------------------------------------------------------------

    async def login(
        self,
        view: LoginView | None = None,
        *,
        force: bool = False,
        configure: bool = False,
        open_browser: Callable[[str], object] | None = None,
        api_key: str | None = None,
        timeout_s: float | None = None,
    ) -> LoginReport:
        """Signs in with the device grant (RFC 8628), or on a platform that takes API keys with `api_key`, once it has listed
        its models for it. A login that stands is left alone unless `force`.

        `configure`: kimi-code's config.toml is written too, which is left to that program otherwise; in another home it always
        is. `view` shows it, by default on standard error; `open_browser` is given the checked verification URL, without the user
        code, and must not block. `timeout_s`: how long it may take, in seconds; by default as long as its codes live, then
        CodeExpired. Cancellation leaves nothing half-written. Raises AccessDenied, CodeExpired,
        LoginCancelled, InvalidKey, Unreachable or another KimiAuthError if no login is stored afterwards, and ConfigError
        for a platform that takes the other kind of sign-in. The report's `state` is `signed_in`, or `models_pending` with
        the reason in `error`: signed in, and `models.sync` brings the models later.
        """
        from kimi_auth.signing import signed_in

        return await signed_in(
            self._components, view, force=force, configure=configure, open_browser=open_browser, api_key=api_key, timeout_s=timeout_s
        )  # fmt: skip

    def login_sync(
        self,
        view: LoginView | None = None,
        *,
        force: bool = False,
        configure: bool = False,
        open_browser: Callable[[str], object] | None = None,
        api_key: str | None = None,
        timeout_s: float | None = None,
    ) -> LoginReport:
        """`Session.login` for code without an event loop. Raises RuntimeError where one runs in this thread."""
        login = partial(self.login, view, force=force, configure=configure, open_browser=open_browser, api_key=api_key)
        return run_alone(partial(login, timeout_s=timeout_s), "login_sync", "await session.login()")

    async def logout(self, *, timeout_s: float | None = None) -> LogoutReport:
        """Signs the session out: locally and for good, then at the server, then in config.toml.

        `timeout_s`: how long this caller waits, in seconds; by default for the lock (half a minute) and the server (5 s).
        Raises WrongIssuer, StorageError or CredentialLocked if the login still stands, and Unreachable when `timeout_s`
        have passed: the sign-out goes on in its thread.
        """
        from kimi_auth.signing import sign_out

        report = await sign_out(self._components, timeout_s)
        self._supply.forget()
        return report

    def logout_sync(self, *, timeout_s: float | None = None) -> LogoutReport:
        """`Session.logout` for code without an event loop."""
        from kimi_auth.signing import sign_out_sync

        report = sign_out_sync(self._components, timeout_s)
        self._supply.forget()
        return report

    @once
    def models(self) -> PlatformModels:
        """The models of this session: what the platform offers, and config.toml brought up to it."""
        from kimi_auth.platform_models import PlatformModels, sessions_beside

        make = partial(Session, recheck_every_s=self._recheck_every_s)
        return PlatformModels(self._components, sessions_beside(self, self._components, make))

    # --- running clients ---------------------------------------------------------------------------------------------

    def __static_key__(self) -> str:
        """The API key that config.toml has for the platform beside its login, "" for none: the auth classes of
        `kimi_auth.clients` send it where no login does."""
        return self._components.static_key()

    def attach(self, target: object) -> Callable[[], None]:
        """Serves a running client with the session's tokens from now on (see `kimi_auth.clients.as_target`); returns how to stop.

        Tokens go to the platform's API only: an httpx client signs no request to another origin, and a client whose
        `base_url` is elsewhere is refused with a ValueError. An object that copies its key is refused with a TypeError that
        names another way.
        """
        from kimi_auth.kept_fresh import attach

        return attach(self._components, target)

    @asynccontextmanager
    async def kept_fresh(self, *targets: object, timeout_s: float | None = None) -> AsyncGenerator[Session, None]:
        """While the block runs, the session's credential is renewed before it ends, and `targets` hold a token that works.

        Another process's renewal, a new login and a logout reach the targets within about a second; signed out or revoked,
        they have their static key or nothing. The block may begin offline or signed out: a first token is waited for while
        it is being fetched, `timeout_s` seconds at most (31 by default), and a later one comes by itself. A renewal that is in flight when the
        block ends is waited for. In the main thread, signals are deferred as by `kimi_auth.signals_deferred`.
        """
        from kimi_auth.kept_fresh import kept_fresh

        async with kept_fresh(self._components, targets, timeout_s):
            yield self


def components_of(session: Session) -> Components:
    """What a `Session` works with, for the programs of this package."""
    return session._components  # noqa: SLF001


def supply_of(session: Session) -> TokenSupply:
    """Where a session's tokens come from, for the programs of this package."""
    return session._supply  # noqa: SLF001
