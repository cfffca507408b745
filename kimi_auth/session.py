"""Session: sign in, stay signed in, and hand out tokens that work. The façade over stores, servers and machines.

    session = Session()
    token = await session.access_token()

Sessions are cheap, thread-safe and free of process-wide state; any number of them, in any number of processes, may share
one credential. Nothing is read before it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth.clock import Clock
from kimi_auth.components import Components
from kimi_auth.credential.age import CachedToken, Refresher, status_of
from kimi_auth.credential.contracts import Need
from kimi_auth.credential.credential import Ask, CredentialState, addressed
from kimi_auth.credential.single_flight import drain, guarded
from kimi_auth.credential.status import LoginReport, LogoutReport, Status, Verdict
from kimi_auth.errors import ConfigError, KimiAuthError, Unreachable, WrongIssuer
from kimi_auth.loops import in_thread, only_asyncio
from kimi_auth.models import static_key
from kimi_auth.models.account import discover, endpoints_of, sign_in_command
from kimi_auth.once import once
from kimi_auth.token import Token, at_leisure, fingerprint, left_s, lifetime_s

if TYPE_CHECKING:  # a stored token is handed out without what signs in, asks a server or serves a running client
    import asyncio
    from concurrent.futures import Future
    from subprocess import Popen

    from kimi_auth.clients import Targets
    from kimi_auth.credential.adoption import Adoption
    from kimi_auth.login.view import LoginView
    from kimi_auth.machine import Observer
    from kimi_auth.models import Catalogue, Change, ConfigFile, ModelEntry
    from kimi_auth.models.sync import Synced
    from kimi_auth.platforms import Platform, Registry
    from kimi_auth.store import CredentialStore
    from kimi_auth.wire import OAuthServer

__all__ = ["Session"]

NO_NEED = Need()

_SAID: set[str] = set()
"""Locations of credentials whose short-lived tokens a warning has named."""

WATCH_S = 0.02

log = logging.getLogger("kimi_auth.session")


class Session:
    """One login of one platform, as this process uses it.

    `share_dir`: where credentials and config.toml are; default `$KIMI_SHARE_DIR`, else `~/.kimi`. `platform`: its id;
    default the platform of config.toml's default model, else `kimi-code`. `one_shot`: for commands that end soon: nothing
    is renewed in the background. `store`, `server`, `clock` and `environ` replace the real ones. Raises ConfigError for a
    platform that is not known or an environment variable that holds no URL.
    """

    def __init__(
        self,
        share_dir: str | Path | None = None,
        *,
        platform: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        store: CredentialStore | None = None,
        server: OAuthServer | None = None,
        observe: Observer | None = None,
        one_shot: bool = False,
        recheck_every_s: float = 0.0,
    ) -> None:
        self._components = Components(
            share_dir,
            self._serve,
            platform=platform,
            environ=environ,
            clock=clock,
            store=store,
            server=server,
            observe=observe,
            one_shot=one_shot,
        )
        self.share_dir: Path = self._components.share_dir
        self.config: ConfigFile = self._components.config
        self.registry: Registry = self._components.registry
        self.platform: Platform = self._components.platform
        self.store: CredentialStore = self._components.store
        self._clock = self._components.clock
        self._recheck_every_s = recheck_every_s
        self._held: CachedToken | None = None

    @once
    def _targets(self) -> Targets:
        """The running clients that are served."""
        from kimi_auth.clients import Targets

        return Targets(self.static_key, origin=self.platform.api_base)

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
        held = self._held
        if held is not None and not min_ttl_s and not refresh and held.serves(self._clock, self.store):
            return held.access_token
        await self._components.settle()
        need, ask = self._asking(min_ttl_s, timeout_s, refresh=refresh)
        return self._hold(await self._components.credential.wait(ask, timeout_s), need).access_token

    def access_token_sync(
        self, *, min_ttl_s: float = 0.0, refresh: bool = False, timeout_s: float | None = None
    ) -> str:
        """`access_token` for code without an event loop."""
        held = self._held
        if held is not None and not min_ttl_s and not refresh and held.serves(self._clock, self.store):
            return held.access_token
        return self.token_sync(min_ttl_s=min_ttl_s, refresh=refresh, timeout_s=timeout_s).access_token

    def token_sync(self, *, min_ttl_s: float = 0.0, refresh: bool = False, timeout_s: float | None = None) -> Token:
        """The whole pair, under the same promises as `access_token_sync`."""
        self._components.leave_keyring()
        need, ask = self._asking(min_ttl_s, timeout_s, refresh=refresh)
        return self._hold(self._components.credential.wait_sync(ask, timeout_s), need)

    async def rejected(self, bearer: str, *, timeout_s: float | None = None) -> str | None:
        """A token to try instead of `bearer`, which the platform answered with 401; None if there is none now.

        However many callers and processes report the same bearer, it is rotated at most once. One that was renewed for this
        reason and is rejected again is not rotated for a while: 30 s, doubling to 15 min. The stored token goes on being
        handed out meanwhile: one URL that refuses it says nothing of the others. `timeout_s`: as in `access_token`.
        """
        ask = self._asking_for(Need(not_bearer=bearer), timeout_s)
        try:
            token = self._hold(await self._components.credential.wait(ask, timeout_s)).access_token
        except KimiAuthError as error:
            self._no_other(error)
            return None
        return token if token != bearer else None

    def rejected_sync(self, bearer: str, *, timeout_s: float | None = None) -> str | None:
        """`rejected` for code without an event loop."""
        ask = self._asking_for(Need(not_bearer=bearer), timeout_s)
        try:
            token = self._hold(self._components.credential.wait_sync(ask, timeout_s)).access_token
        except KimiAuthError as error:
            self._no_other(error)
            return None
        return token if token != bearer else None

    def is_renewal_due(self) -> bool:
        """For commands that end soon: whether the second half of the window has begun, no renewal is under way and no backoff
        forbids one. Nothing is sent."""
        landing = self._components.credential.inspect()
        token = landing.token
        return (
            landing.state == "expiring"
            and token is not None
            and not at_leisure(token, self.now_s())
            and not self.is_being_renewed()
        )

    def is_being_renewed(self) -> bool:
        """Whether a process holds the credential's lock."""
        return bool(self.store.holder())

    def renew_at_leisure(self) -> None:
        """Renews in this thread if `is_renewal_due`; signals wait meanwhile. Never raises for what a server or a disk does."""
        if self.is_renewal_due():
            self._components.credential.renew_now(self._components.credential.inspect())

    def renew_detached(self) -> Popen[bytes] | None:
        """Has a process of its own renew (`kimi_auth.credential.detached`), for a credential in files; None where none can."""
        from kimi_auth.credential.detached import renew_detached

        return renew_detached(self.share_dir, self.platform, self._components.environ)

    def successor_of(self, pair: Token, patience_s: float, *, is_coming: Callable[[], bool]) -> Token:
        """The usable pair that replaces `pair`, waited for while `is_coming`, at most `patience_s` seconds; else `pair`."""
        until_s = self._clock.monotonic_s() + patience_s
        while True:
            comes = (
                is_coming() and self._clock.monotonic_s() < until_s
            )  # looked at first: what it wrote is read after it
            token = self._components.credential.inspect().token
            if token is not None and fingerprint(token) != fingerprint(pair):
                return token
            if not comes:
                return pair
            self._clock.sleep(WATCH_S)

    def now_s(self) -> float:
        """The time for computing ages, unix seconds: a wall clock that is set back does not make a token younger."""
        return self._components.age_clock.now_s()

    def status(self) -> Status:
        """The stored login and how long it lasts, from disk alone."""
        landing = self._components.credential.inspect()
        status = self._components.told(
            status_of(landing, self.platform, self.store, self._components.age_clock.now_s())
        )
        # An API key has no times: its report is the name of the store and nothing else.
        return status if self.platform.oauth else replace(status, expires_at_s=0.0, left_s=0.0, renews_in_s=0.0)

    async def verify(self) -> Verdict:
        """Whether the platform accepts the stored access token as it is; nothing is renewed. A proxy's page, or an account
        without membership, says nothing of the token: that is `unknown`, with the reason."""
        from kimi_auth.wire import fetch_models

        if self.platform.models is not None:
            message = f"{self.platform.name} has no list of models to ask for"
            return Verdict("unknown", ConfigError(message, hint="use the token at its API"))
        ctx = self._components.credential.inspect().ctx
        token = ctx.snapshot.token
        if isinstance(ctx.error, WrongIssuer):
            return Verdict("unknown", ctx.error)  # it is another host's: this one must not see it
        if token is None or not token.access_token:
            return Verdict("invalid", ctx.error)
        answer = await fetch_models(self.platform.api_base, token.access_token, self._components.headers)
        if answer.outcome == "models":
            return Verdict("valid")
        return Verdict("invalid" if answer.outcome == "rejected" else "unknown", answer.error)

    # --- signing in and out ------------------------------------------------------------------------------------------

    async def login(
        self, view: LoginView, *, force: bool = False, open_browser: Callable[[str], object] | None = None
    ) -> LoginReport:
        """Signs in with the device grant (RFC 8628); leaves a login that stands alone unless `force`.

        `view` shows it; `open_browser` is given the checked verification URL, without the user code, and must not block.
        Cancellation leaves nothing half-written. The report's `state` is the rest state of device_login; it raises for bugs, and ConfigError
        for a platform that takes an API key.
        """
        from kimi_auth.login.contracts import LoginContext
        from kimi_auth.login.device_login import DeviceLoginHooks, LoginPorts
        from kimi_auth.machine import walk_async

        only_asyncio("login")
        endpoints_of(self.platform)
        await self._components.settle()
        around = LoginPorts(
            config=self._components.in_config,
            view=view,
            discover=self._discover,
            serve=self._targets.inject,
            open_browser=open_browser,
            revokes_replaced=self.platform.revocation == "token",
        )
        work = DeviceLoginHooks(self._components.ports, around)
        machine = self._components.library["device_login"]
        try:
            with self._components.walks.recording(machine, self._components.observe) as observe:
                state, ctx = await walk_async(machine, work, LoginContext(force=force), observe=observe)
        finally:
            await self._components.server.aclose()
        fp = fingerprint(ctx.token) if ctx.token else ""
        return LoginReport(state, fp, models=len(ctx.catalogue), already=ctx.already, error=ctx.error, notes=ctx.notes)

    async def login_with_key(self, key: str, *, force: bool = False) -> LoginReport:
        """Signs in to a platform that takes an API key, once it has listed its models for it; a key that stands is left
        alone unless `force`. The report's `state` is `signed_in` or `failed`."""
        from kimi_auth.login.api_keys import sign_in_with_key

        return await sign_in_with_key(self.platform, key, self.config, self._components.headers, force=force)

    async def logout(self) -> LogoutReport:
        """Signs out: locally and for good, then at the server, then in config.toml.

        Raises WrongIssuer, StorageError or CredentialLocked if the login still stands.
        """
        if self.platform.oauth is None:
            return await in_thread(self.logout_sync)
        await self._components.settle()
        self._refuse_foreign()
        return self._signed_out(await self._components.credential.sign_out().wait_async())

    def logout_sync(self) -> LogoutReport:
        """`logout` for code without an event loop."""
        if self.platform.oauth is None:
            from kimi_auth.login.api_keys import sign_out_of_key

            report = sign_out_of_key(self.platform, self.config)
            self._forget_token()
            return report
        self._components.leave_keyring()
        self._refuse_foreign()
        return self._signed_out(self._components.credential.sign_out().result())

    def adopt(self, issuer: str) -> Adoption:
        """Says that the stored login belongs to the OAuth host `issuer`, where record and binding cannot tell; sends nothing.

        Raises ConfigError (no such URL, or a platform without OAuth), NotSignedIn, Revoked, StorageError.
        """
        from kimi_auth.credential.adoption import adopt

        endpoints_of(self.platform)
        self._components.leave_keyring()
        adopted = adopt(self.store, issuer)
        self._held = None
        return adopted

    # --- models ------------------------------------------------------------------------------------------------------

    async def fetch_models(self) -> tuple[ModelEntry, ...]:
        """The platform's models; a rejected token is renewed once, then config.toml's static key is tried. Raises
        Unreachable, ConfigError, and as `access_token`."""
        found = await self.fetch_catalogue()
        if found.error is not None:
            raise found.error
        return found.models

    async def fetch_catalogue(self) -> Catalogue:
        """`fetch_models` with notes on the parts of the platform's answer that were left out; an error of the platform is in the
        result. Raises ConfigError."""
        from kimi_auth.models.sync import catalogue_of

        return await catalogue_of(self, static_key(self.config.read(), self.platform), self._components.headers)

    async def sync_models(self, *, dry_run: bool = False) -> Change:
        """Brings config.toml up to the platform's catalogue and says what changed; where config.toml does not know the
        platform (the models of its login were still to come), it is put there. Raises as `fetch_models`."""
        synced = await self.sync_one(dry_run=dry_run)
        if synced.error is not None:
            raise synced.error
        assert synced.change is not None
        return synced.change

    async def sync_one(self, *, dry_run: bool = False) -> Synced:
        """`sync_models` with notes on the parts of the platform's answer that were left out; errors are in the result. Raises
        ConfigError if config.toml cannot be read."""
        (synced,) = await self._sync([self], dry_run=dry_run, finishes=True)
        return synced

    async def sync_all(self, *, dry_run: bool = False, finishes: bool = False) -> tuple[Synced, ...]:
        """`sync_models` of every platform in config.toml, and with `finishes` of every login that it does not know yet: all
        asked at the same time and each for itself, in the registry's order. Raises ConfigError where config.toml cannot be
        read; what else goes wrong is in the results."""
        from kimi_auth.models.sync import managed

        everybody = self.registry.all()
        known = {platform.id for platform in managed(self.config.read(), everybody)}
        wanted = [self.sibling(one.id) for one in everybody if one.id in known or (finishes and one.oauth)]
        sources = [one for one in wanted if one.platform.id in known or one.status().state != "absent"]
        return await self._sync(sources, dry_run=dry_run, finishes=finishes)

    def sync_in_background(self) -> Future[tuple[Synced, ...]]:
        """`sync_all` for the start of a program, in a thread of its own: never raises, logs what goes wrong, and keeps no
        program from ending. With or without an event loop; the future holds the result."""
        from kimi_auth.models.background import in_background

        return in_background(self.sync_all, ())

    def sibling(self, platform: str) -> Session:
        """A session for another platform in the same share dir and environment; this one, if it is its own platform."""
        if platform == self.platform.id:
            return self
        return Session(
            self.share_dir,
            platform=platform,
            environ=self._components.environ,
            clock=self._clock,
            observe=self._components.observe,
            one_shot=self._components.one_shot,
            recheck_every_s=self._recheck_every_s,
        )

    # --- running clients ---------------------------------------------------------------------------------------------

    def attach(self, target: object) -> Callable[[], None]:
        """Serves a running client with every token from now on (see `kimi_auth.clients.as_target`); returns how to stop.

        Tokens go to the platform's API only: an httpx client signs no request to another origin, and a client whose
        `base_url` is elsewhere is refused with a ValueError.
        """
        detach = self._targets.attach(target)
        token = self._components.credential.inspect().token
        if token is not None:
            self._targets.inject(token.access_token)
        return detach

    @asynccontextmanager
    async def kept_fresh(self, *targets: object) -> AsyncGenerator[Session, None]:
        """While the block runs, the credential is renewed before it ends, and `targets` hold a token that works.

        Another process's renewal, a new login and a logout reach the targets within about a second; signed out or revoked,
        they have their static key or nothing. The block may begin offline or signed out: a first token is waited for while
        it is being fetched, half a minute at most, and a later one comes by itself. A renewal that is in flight when the
        block ends is waited for. In the main thread, signals are deferred as by `kimi_auth.signals_deferred`.
        """
        import asyncio

        from kimi_auth.clients import keep

        only_asyncio("kept_fresh")

        detach = [self._targets.attach(target) for target in targets]
        keeper: asyncio.Task[None] | None = None
        with guarded():
            try:
                await self._components.settle()
                freshness = Refresher(self._components.credential, self._components.age_clock, self._targets.inject)
                with suppress(
                    KimiAuthError
                ):  # a transient error, or not signed in yet: the keeper says so and tries again
                    await freshness.look()
                keeper = asyncio.create_task(keep(freshness.look, self._clock, notice=freshness.has_changed))
                yield self
            finally:
                if keeper is not None:
                    keeper.cancel()
                    await asyncio.gather(keeper, return_exceptions=True)
                for stop in detach:
                    stop()
                if self._components.credential.flights.in_flight():
                    await asyncio.to_thread(self.drain)

    def drain(self) -> None:
        """Waits until no renewal of this process is in flight, at most the request deadline."""
        drain()

    def static_key(self) -> str:
        """The API key that config.toml has for the platform beside its login, "" for none: it serves where no login does."""
        try:
            return static_key(self.config.read(), self.platform)
        except ConfigError as error:
            log.info("no static key: %s", error.line)
            return ""

    @property
    def api_origin(self) -> str:
        """The platform's API base URL: the only host to which bearers go."""
        return self.platform.api_base

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _sync(self, sources: list[Session], *, dry_run: bool, finishes: bool = False) -> tuple[Synced, ...]:
        from kimi_auth.models import CatalogueCache
        from kimi_auth.models.sync import sync

        headers, memory = self._components.headers, CatalogueCache(self.share_dir)
        return await sync(sources, self.config, headers, memory=memory, dry_run=dry_run, finishes=finishes)

    def _serve(self, token: str) -> None:
        self._targets.inject(token)

    def _forget_token(self) -> None:
        self._held = None
        self._targets.inject("")

    def _asking(self, min_ttl_s: float, timeout_s: float | None, *, refresh: bool) -> tuple[Need, Ask]:
        need = self._need(min_ttl_s, refresh=refresh)
        return need, self._asking_for(need, timeout_s)

    def _asking_for(self, need: Need, timeout_s: float | None) -> Ask:
        if timeout_s is not None and not 0 <= timeout_s < float("inf"):
            raise ValueError(f"timeout_s is {timeout_s}: it must be a number of seconds, not negative and finite")
        return lambda: self._components.obtain(need, timeout_s)

    def _need(self, min_ttl_s: float, *, refresh: bool) -> Need:
        if not 0 <= min_ttl_s < float("inf"):
            raise ValueError(f"min_ttl_s is {min_ttl_s}: it must be a number of seconds, not negative and finite")
        if not refresh:
            return Need(min_ttl_s=min_ttl_s) if min_ttl_s else NO_NEED
        if self.platform.oauth is None:
            again = sign_in_command(self.platform)
            raise ConfigError("an API key is not renewed", hint=f"give another one: {again} --force")
        return Need(min_ttl_s=min_ttl_s, not_fp=self.store.read().fp, insist=True)

    def _hold(self, landing: CredentialState, need: Need = NO_NEED) -> Token:
        token = landing.token
        if token is None:
            raise landing.error
        if need.not_fp == landing.ctx.snapshot.fp:
            if landing.ctx.error is not None:
                raise landing.error
            raise Unreachable("the pair could not be renewed; the stored token still works")
        fresh = landing.state == "fresh"
        stamp, now_s = landing.ctx.snapshot.stamp, self.now_s()
        if fresh and left_s(token, now_s) < need.min_ttl_s:
            self._warn_of_short_life(token, need)
        self._held = CachedToken.of(token, stamp, self._clock, now_s, self._recheck_every_s) if fresh else None
        return token

    def _warn_of_short_life(self, token: Token, need: Need) -> None:
        """Once in a process: the server's tokens do not live as long as a caller wants them to."""
        if self.store.location not in _SAID:
            _SAID.add(self.store.location)
            words = (
                "the server's tokens live %.0f s, less than the %.0f s that were asked for: the freshest one is used"
            )
            log.warning(words, lifetime_s(token), need.min_ttl_s)

    def _no_other(self, error: KimiAuthError) -> None:
        self._held = None  # the record on disk decides from now on, and it knows of the rejection
        log.info("no other token instead of the rejected one: %s", error.line)

    async def _discover(self, bearer: str) -> Catalogue:
        return await discover(self.platform, bearer, self._components.headers)

    def _refuse_foreign(self) -> None:
        error = self._components.credential.inspect().ctx.error
        if isinstance(error, WrongIssuer):
            raise addressed(error, sign_in_command(self.platform))

    def _signed_out(self, landing: CredentialState) -> LogoutReport:
        if landing.state != "absent":
            raise landing.ctx.error or ConfigError("the login still stands")
        self._forget_token()
        ctx = landing.ctx
        error = ctx.error or self._components.keyring_error
        return LogoutReport(landing.state, ctx.revocation, ctx.config, error, self.store.leftovers())
