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
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kimi_auth.before_use import look, settle
from kimi_auth.chosen_login import share_dir_of
from kimi_auth.clock import Clock
from kimi_auth.components import Components
from kimi_auth.credential.age import Refresher, status_of
from kimi_auth.credential.single_flight import drain, guarded
from kimi_auth.credential.status import LoginReport, LogoutReport, Status
from kimi_auth.errors import ConfigError, KimiAuthError
from kimi_auth.home import checked_label
from kimi_auth.loading import TO_SERVE, load
from kimi_auth.selection import (
    ACCOUNT_VARIABLES,
    API_KEY,
    LENT,
    LOGIN,
    key_before_login,
    lender_of_token,
    select,
)
from kimi_auth.status_sources import with_sources
from kimi_auth.supply import TokenSupply
from kimi_auth.support.loops import checked_s, no_loop_here, only_asyncio
from kimi_auth.support.once import once
from kimi_auth.token import key_fingerprint

if TYPE_CHECKING:  # a stored token is handed out without what signs in, asks a server or serves a running client
    import asyncio

    from kimi_auth.login.view import LoginView
    from kimi_auth.machine import Observer
    from kimi_auth.platform_models import PlatformModels
    from kimi_auth.platforms import Platform
    from kimi_auth.store import CredentialStore
    from kimi_auth.wire import OAuthServer

__all__ = ["Session", "components_of", "supply_of"]

NO_HOME = f"{os.devnull}/kimi-auth"
"""A share directory that cannot be made: nothing is found and nothing is written there."""


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
        if store is not None and stores is not None:
            raise ValueError("store is one credential's, and stores makes it: give one of them")
        self._use(
            Components(
                _directory(share_dir, home),
                platform=platform,
                account=_checked_account(account),
                environ=environ,
                clock=clock,
                store=store,
                stores=stores,
                server=server,
                observe=observe,
                one_shot=one_shot,
            ),
            recheck_every_s,
        )
        self._is_alone = store is not None
        self._again: partial[Session] = partial(
            Session,
            share_dir,
            home=home,
            platform=platform,
            account=self._components.account or None,  # the variable or the file may say something else over there
            environ=environ,
            one_shot=one_shot,
            recheck_every_s=recheck_every_s,
        )
        self._only_here = _given(clock=clock, store=store, stores=stores, server=server, observe=observe)

    def _use(self, components: Components, recheck_every_s: float) -> None:
        self._components = components
        self._store = components.store
        self._clock = components.clock
        self._supply = TokenSupply(components, recheck_every_s)
        self._recheck_every_s = recheck_every_s
        self._is_alone = False

    def __reduce__(self) -> tuple[object, ...]:
        """A session is pickled as the arguments that it was made from: another process opens the same login by itself. Raises
        TypeError where one of them exists in this process only, and for an `environ` with a key, which the pickle would hold."""
        if self._only_here:
            raise TypeError(
                f"a Session with {'=, '.join(self._only_here)}= cannot be pickled: make one in the other process"
            )
        made = self._again
        environ = made.keywords["environ"]
        kept = None if environ is None or environ is os.environ else dict(environ)
        if kept and kept.get(API_KEY):
            raise TypeError(
                f"a Session with {API_KEY} in environ= cannot be pickled: put the key into the environment of the other process"
            )
        return partial(made.func, *made.args, **{**made.keywords, "environ": kept}), ()

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
        from kimi_auth.chain import given_after_login, given_before_login

        surroundings = os.environ if environ is None else environ
        place = _directory(share_dir, home)
        _checked_text(api_key=api_key, base_url=base_url)
        if api_key and _checked_account(account):
            raise ValueError("api_key= and account= name two credentials: give one of them")
        if not account and key_before_login(surroundings, key_fingerprint, argument=api_key)[1] != LOGIN:
            try:
                share_dir_of(surroundings, place)
            except ConfigError:  # a user without a home directory: a key needs none
                place = NO_HOME
        lender, _, lent_account = (
            "" if api_key or platform else lender_of_token(surroundings, key_fingerprint)
        ).partition("@")
        named_account, _ = select(surroundings, argument=account, variables=ACCOUNT_VARIABLES)

        components = Components(
            place,
            platform=platform or lender or None,
            account=account or (None if named_account else lent_account) or None,
            environ=environ,
            clock=clock,
            store=None,
            server=None,
            observe=observe,
            one_shot=one_shot,
            platform_from=LENT if lender else "",
        )
        given = None
        if not account:
            given = given_before_login(components, api_key=api_key, base_url=base_url, is_named=platform is not None)
        if base_url and given is None:
            raise ValueError(f"base_url= is the API of a key, and there is none: give api_key=, or set {API_KEY}")
        if given := given or given_after_login(components):
            components.use(given, is_named=bool(platform))
        session = cls.__new__(cls)
        session._use(components, recheck_every_s)  # noqa: SLF001 - it is ours
        session._again = partial(  # noqa: SLF001
            Session.default,
            share_dir,
            home=home,
            base_url=base_url,
            platform=platform,
            account=None if given else session._components.account or None,  # noqa: SLF001
            environ=environ,
            one_shot=one_shot,
            recheck_every_s=recheck_every_s,
        )
        session._only_here = _given(api_key=api_key, clock=clock, observe=observe)  # noqa: SLF001 - a key is no login
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
        """`access_token` for code without an event loop."""
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
        """`rejected` for code without an event loop."""
        return self._supply.rejected_sync(bearer, timeout_s)

    def static_key(self) -> str:
        """The API key that config.toml has for the platform beside its login, "" for none: it serves where no login does."""
        return self._components.static_key()

    def status(self) -> Status:
        """The stored login and how long it lasts, from disk alone; from a database, what this process saw last, where it
        cannot be asked."""
        look(self._components)
        landing = self._components.credential.inspect()
        now_s = self._components.age_clock.now_s()
        status = with_sources(self._components, status_of(landing, self.platform, self._store, now_s))
        # An API key has no times: those that its store gives serve only to classify it.
        return status if self.platform.oauth else status._replace(expires_at_s=0.0, left_s=0.0, renews_in_s=0.0)

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
        from kimi_auth.login.outcome import login_error
        from kimi_auth.login.view import PrintingView
        from kimi_auth.signing import sign_in

        view = PrintingView() if view is None else view
        report = await sign_in(
            self._components,
            view,
            force=force,
            configure=configure,
            open_browser=open_browser,
            api_key=api_key,
            timeout_s=timeout_s,
        )
        if report.state != "models_pending" and (error := login_error(report)) is not None:
            raise error
        return report

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
        """`login` for code without an event loop. Raises RuntimeError where one runs in this thread."""
        import asyncio

        no_loop_here("login_sync", "await session.login()")
        return asyncio.run(
            self.login(
                view,
                force=force,
                configure=configure,
                open_browser=open_browser,
                api_key=api_key,
                timeout_s=timeout_s,
            )
        )

    async def logout(self, *, timeout_s: float | None = None) -> LogoutReport:
        """Signs out: locally and for good, then at the server, then in config.toml.

        `timeout_s`: how long this caller waits, in seconds; by default for the lock (half a minute) and the server (5 s).
        Raises WrongIssuer, StorageError or CredentialLocked if the login still stands, and Unreachable when `timeout_s`
        have passed: the sign-out goes on in its thread.
        """
        from kimi_auth.signing import sign_out

        report = await sign_out(self._components, timeout_s)
        self._forget_token()
        return report

    def logout_sync(self, *, timeout_s: float | None = None) -> LogoutReport:
        """`logout` for code without an event loop."""
        from kimi_auth.signing import sign_out_sync

        report = sign_out_sync(self._components, timeout_s)
        self._forget_token()
        return report

    # --- models ------------------------------------------------------------------------------------------------------

    @once
    def models(self) -> PlatformModels:
        """What the platform offers, and config.toml brought up to it."""
        from kimi_auth.platform_models import PlatformModels

        return PlatformModels(self._components, self._sibling)

    # --- running clients ---------------------------------------------------------------------------------------------

    def bearer_provider(self) -> Callable[[], str]:
        """A callable that returns a token that works, or the static key where there is none; in the shape of azure-identity's
        `get_bearer_token_provider`, for clients that ask before each request: `OpenAI(api_key=session.bearer_provider())`.

        It blocks the calling thread as `access_token_sync` does, and raises its errors. A client in an event loop takes
        `session.access_token` itself. It knows nothing of a 401: `BearerAuth` and the classes of `kimi_auth.clients` do.
        """
        from kimi_auth.clients.bearers import Bearers

        return Bearers(self, None).token_sync

    def attach(self, target: object) -> Callable[[], None]:
        """Serves a running client with every token from now on (see `kimi_auth.clients.as_target`); returns how to stop.

        Tokens go to the platform's API only: an httpx client signs no request to another origin, and a client whose
        `base_url` is elsewhere is refused with a ValueError. An object that copies its key is refused with a TypeError that
        names another way.
        """
        detach = self._components.targets.attach(target)
        look(self._components)
        token = self._components.credential.inspect().token
        if token is not None:
            self._components.targets.inject(token.access_token)
        return detach

    @asynccontextmanager
    async def kept_fresh(self, *targets: object, timeout_s: float | None = None) -> AsyncGenerator[Session, None]:
        """While the block runs, the credential is renewed before it ends, and `targets` hold a token that works.

        Another process's renewal, a new login and a logout reach the targets within about a second; signed out or revoked,
        they have their static key or nothing. The block may begin offline or signed out: a first token is waited for while
        it is being fetched, `timeout_s` seconds at most (31 by default), and a later one comes by itself. A renewal that is in flight when the
        block ends is waited for. In the main thread, signals are deferred as by `kimi_auth.signals_deferred`.
        """
        only_asyncio("kept_fresh")
        checked_s(timeout_s)
        await load(*TO_SERVE)
        import asyncio

        from kimi_auth.clients import keep

        detach = [self._components.targets.attach(target) for target in targets]
        keeper: asyncio.Task[None] | None = None
        with guarded():
            try:
                await settle(self._components)
                freshness = Refresher(
                    self._components.credential, self._components.age_clock, self._components.targets.inject
                )
                with suppress(
                    KimiAuthError
                ):  # a transient error, or not signed in yet: the keeper says so and tries again
                    await freshness.look(timeout_s)
                keeper = asyncio.create_task(keep(freshness.look, self._clock, notice=freshness.has_changed))
                yield self
            finally:
                if keeper is not None:
                    keeper.cancel()
                    await asyncio.gather(keeper, return_exceptions=True)
                for stop in detach:
                    stop()
                if self._components.credential.flights.in_flight():
                    await asyncio.to_thread(drain)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _forget_token(self) -> None:
        self._supply.held = None
        self._components.serve("")

    def _sibling(self, platform: str) -> Session:
        """A session for another platform in the same share directory and environment; this one for its own platform."""
        if platform == self.platform.id:
            return self
        from kimi_auth.store import MemoryStore

        return Session(
            home=self._components.home,
            store=MemoryStore(self._clock) if self._is_alone else None,
            stores=self._components.stores,
            platform=platform,
            account=self._components.account_beside(platform),
            environ=self._components.environ,
            clock=self._clock,
            observe=self._components.observe,
            one_shot=self._components.one_shot,
            recheck_every_s=self._recheck_every_s,
        )


def _directory(
    share_dir: str | os.PathLike[str] | None, home: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    """The one that is given, None for neither. Raises ValueError for both."""
    if share_dir is not None and home is not None:
        raise ValueError("share_dir and home are two names of one directory: give one of them")
    return share_dir if home is None else home


def _checked_text(**arguments: object) -> None:
    """Raises TypeError, without the value, for an argument that is given and is no str."""
    for name, value in arguments.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def _checked_account(account: str | None) -> str | None:
    """`account`. Raises TypeError for one that is no str, NoSuchAccount for one that can be no label."""
    _checked_text(account=account)
    return checked_label(account) if account else None


def _given(**arguments: object) -> list[str]:
    """The names of the arguments that were given."""
    return [name for name, value in arguments.items() if value is not None]


def components_of(session: Session) -> Components:
    """What a session works with, for the programs of this package."""
    return session._components  # noqa: SLF001


def supply_of(session: Session) -> TokenSupply:
    """Where a session's tokens come from, for the programs of this package."""
    return session._supply  # noqa: SLF001
