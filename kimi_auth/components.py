"""The composition root: store, server, clock and machines of one login of one platform, each made when first asked for."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth._version import __version__
from kimi_auth.clock import Clock, SystemClock
from kimi_auth.credential.age import AgeClock
from kimi_auth.credential.contracts import Need
from kimi_auth.credential.credential import PATIENCE_S, Credential, CredentialState
from kimi_auth.credential.history import WalkHistory
from kimi_auth.credential.ports import UNSAVED_ONE_SHOT_S, Ports
from kimi_auth.credential.single_flight import Waiter, has_main_ended, is_ending
from kimi_auth.credential.status import Status
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.errors import ConfigError, KimiAuthError, NoSuchAccount, NotSignedIn
from kimi_auth.home import FOUND, KIMI_CLI, Accounts, Addresses, Home, checked_label, choose, login_of, other_login
from kimi_auth.login.keyring_migration import is_waiting, migrate
from kimi_auth.login.moving import Note, Notebook, Stores, finish
from kimi_auth.machine import Observer, recorder_from_environ
from kimi_auth.models import ConfigFile, static_key
from kimi_auth.models.platform_config import ConfigLeftAlone, PlatformConfig, configured_platform
from kimi_auth.platforms import Platform, Registry, overrides, registry, resolve
from kimi_auth.platforms.server import ServerWhenAsked, server_of, sign_in_command
from kimi_auth.selection import (
    ACCOUNT_VARIABLES,
    API_BASE_VARIABLES,
    API_KEY,
    ARGUMENT,
    CONFIG,
    DEFAULT,
    DEFAULT_PLATFORM,
    OAUTH_HOST_VARIABLES,
    STORE,
    UNLABELLED,
    USUAL_REGION,
    account_meant,
    scheme_of,
    select,
)
from kimi_auth.store import CredentialStore, FileStore, ManyLogins, lock
from kimi_auth.support.language import said_by, tr
from kimi_auth.support.loops import in_thread, is_in_loop, within
from kimi_auth.support.once import once

if TYPE_CHECKING:  # what asks a server is loaded when one is asked
    from kimi_auth.clients import Targets
    from kimi_auth.login.device_login import LoginConfig
    from kimi_auth.login.elsewhere import Opened
    from kimi_auth.login.given import Given
    from kimi_auth.machine import Library
    from kimi_auth.models.kept_account import KeptAccount, SignIn
    from kimi_auth.wire import OAuthServer

log: logging.Logger = logging.getLogger("kimi_auth.session")

__all__ = ["TO_ASK", "TO_SERVE", "TO_SIGN_IN", "Components", "load", "share_dir_of"]

DEVICE_ID = "X-Msh-Device-Id"
LOOK_S, LOOK_TO_SHOW_S, LOOK_IN_LOOP_S = 1.0, 5.0, 0.03

MACHINES = "kimi_auth.machine.library"
TO_SERVE = ("kimi_auth.clients.bearer", "kimi_auth.clients.keeper", "kimi_auth.clients.targets")
TO_ASK = ("kimi_auth.wire.models_api", "kimi_auth.models.sync")
TO_SIGN_IN = (*TO_ASK, "kimi_auth.login.device_login", "kimi_auth.wire.oauth", "kimi_auth.wire.located", *TO_SERVE)
"""The modules that running clients, a request for the models and a sign-in need."""


async def load(*modules: str) -> None:
    """Loads modules, and the machines, in a thread: an event loop would stand still meanwhile, for 145 ms of httpx alone.

    Where they are loaded already it returns at once, without a turn of the loop.
    """
    missing = [name for name in (MACHINES, *lock.BEFORE_LOCKS, *modules) if name not in sys.modules]
    if missing or not import_module(MACHINES).Library.is_loaded():
        await in_thread(lambda: _load(missing))


def _load(modules: list[str]) -> None:
    for name in modules:
        import_module(name)
    import_module(MACHINES).Library.load()


def share_dir_of(
    environ: Mapping[str, str], given: str | os.PathLike[str] | None = None, *, reads: bool = False
) -> Path:
    """The directory of the home that is meant, as `kimi_auth.home.choose` says. Raises ConfigError for the home of an
    unknown user."""
    return choose(environ, given, reads=reads).path


def _named_by(variable: str, error: ConfigError) -> ConfigError:
    """The error for a lent token's platform, with the variable that names it."""
    return error.reworded(
        tr("{source}: {error}", source=variable, error=said_by(error)),
        hint=tr("use the login: unset {variable}", variable=API_KEY),
    )


class Components:
    """One login of one platform. The arguments are those of `Session`; `account`: the label of one of the platform's;
    `platform_from`: what chose the platform, where that was no argument. Raises ConfigError for a platform that is not known."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None,
        *,
        platform: str | None,
        account: str | None = None,
        environ: Mapping[str, str] | None,
        clock: Clock | None,
        store: CredentialStore | None,
        server: OAuthServer | None,
        observe: Observer | None,
        one_shot: bool,
        stores: Callable[[str], CredentialStore] | None = None,
        platform_from: str = "",
    ) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self._enter(home if isinstance(home, Home) else choose(self.environ, home))
        if self.home.source == FOUND and not self._can_hold(platform, account):
            self._enter(choose(self.environ, KIMI_CLI.name))  # the home that was found holds other logins only
        self._sources = {"share_dir": self.home.source}
        self._built_in: str = ""
        if platform and platform_from and self.registry.find(platform) is None:
            raise _named_by(platform_from, self.registry.unknown(platform))
        self.platform: Platform = self._only_login(platform) if self.home.kind.binds_by_slot else self._chosen(platform)
        if platform_from:
            self._sources["platform"] = platform_from
        self._has_given_store = store is not None or stores is not None
        self.account: str = self._account_of_login(account)
        if self.account not in {"", UNLABELLED}:
            self.platform = self.platform._replace(account=self.account)
        self.given: Given | None = None
        self.clock: Clock = clock or SystemClock()
        self.host_clock: Clock = self.clock
        self.stores = stores
        if not self._has_given_store and self.platform.oauth and (url := self.environ.get(STORE, "").strip()):
            store, renewing = self._elsewhere(url)
            server = server or renewing
            self._sources["store"] = STORE
        self.is_in_home: bool = store is None and stores is None
        self.store: CredentialStore = store or self._place()
        self.clock = self.store.clock()
        self.observe: Observer = observe or recorder_from_environ()
        # The walk history of a credential is stored beside it; another store may be on another host.
        self.walks: WalkHistory = WalkHistory(
            None if self._has_given_store else self.share_dir,
            self.clock.wall_s,
            self.platform.account and self.platform.login_name,
        )
        self.keyring_error: KimiAuthError | None = None
        self.keyring_asked: bool = not self.is_in_home or self.platform.oauth is None
        self._move_asked: bool = self._has_given_store or self.platform.oauth is None
        self._given_server = server
        self.one_shot = one_shot

    def use(self, given: Given, *, is_named: bool) -> None:
        """Uses a credential instead of the stored one, before anything was asked; `is_named`: the platform was chosen."""
        self.given = given
        self.platform, self.store = given.platform, given.store
        if not is_named:
            self._sources["platform"] = given.source
        self._built_in = self._built_in if self.platform.oauth else ""
        self.clock = self.store.clock()
        self.is_in_home = False
        self._sources.pop("store", None)
        self._given_server = None
        self.walks = WalkHistory(None, self.clock.wall_s)
        self.keyring_asked = self._move_asked = True

    @once
    def library(self) -> Library:
        """The machines."""
        from kimi_auth.machine import Library

        return Library.load()

    @once
    def headers(self) -> dict[str, str]:
        """What every request says of this device; writes `device_id` if there is none."""
        headers, binding = self._home_headers, self.store.binding()
        return headers | {DEVICE_ID: binding.device_id} if binding and binding.device_id else headers

    @once
    def _home_headers(self) -> dict[str, str]:
        from kimi_auth.wire import device_headers

        return device_headers(self.share_dir, version=__version__, dashed=self.home.kind.dashed_id)

    @once
    def server(self) -> OAuthServer:
        """The platform's OAuth server."""
        made: Any = ServerWhenAsked(lambda: server_of(self.platform, self.headers, self._pinned))
        return self._given_server or made

    @once
    def age_clock(self) -> AgeClock:
        """The clock for token ages."""
        return AgeClock(self.clock, self.store)

    @once
    def ports(self) -> Ports:
        """What a renewal may touch: store, server, clock."""
        issuer = self.platform.oauth.host if self.platform.oauth else ""
        return Ports(
            self.store,
            self.server,
            self.clock,
            issuer,
            keeps_trying=self._keeps_trying,
            recovers=self._recovers,
            is_ending=is_ending,
            now_s=self.age_clock.now_s,
            advisory_connect_s=1.5 if self.one_shot else 5.0,
            built_in=self._built_in,
            device_id=lambda: "" if self.is_in_home else self.headers[DEVICE_ID],
        )

    @once
    def credential(self) -> Credential:
        """The credential, as this process walks its machines."""
        work = CredentialHooks(self.ports, serve=self.serve, config=self.in_config)
        return Credential(
            work,
            observe=self.observe,
            one_shot=self.one_shot,
            walks=self.walks,
            sign_in=self.sign_in,
            patience_s=max(PATIENCE_S, self.home.kind.patience_s),
        )

    @once
    def kept_account(self) -> KeptAccount | None:
        """The account that the stored login was made with; None where none is kept: for another store, or a key."""
        from kimi_auth.models.kept_account import KeptAccount

        return KeptAccount(self.share_dir, self.platform) if self.store.file else None

    @once
    def targets(self) -> Targets:
        """The running clients that are served."""
        from kimi_auth.clients import Targets

        return Targets(self.static_key, origin=self.platform.api_base)

    def serve(self, token: str) -> None:
        """Gives running clients the access token to use from now on, "" for none."""
        self.targets.inject(token)

    def static_key(self) -> str:
        """The API key that config.toml has for the platform, "" for none or where it cannot be read. A given credential has
        no substitute, and neither has an account that is not in use: the key is not known to be its."""
        if self.given is not None:
            return ""
        try:
            if not self.is_in_use():
                return ""
            return static_key(self.config.read(), self.platform)
        except ConfigError as error:
            log.info("no static key: %s", error.line)
            return ""

    @property
    def in_config(self) -> PlatformConfig | ConfigLeftAlone:
        """The platform's part of config.toml."""
        if not self.home.kind.owns_config:
            return ConfigLeftAlone()
        return PlatformConfig(self.config, self.platform, self.is_in_use)

    def configured_by(self, *, request: bool) -> LoginConfig:
        """What a login writes to config.toml; in the home of another program only on `request`."""
        if self.home.kind.owns_config or not request:
            return self.in_config
        from kimi_auth.models.for_kimi_code import KimiCodeConfig

        return KimiCodeConfig(self.config, self.platform, self.key)

    def is_in_use(self) -> bool:
        """Whether this is the account in use of its platform, which owns the provider in config.toml. Raises ConfigError."""
        return not self.account or self.accounts.is_in_use(self.platform.id, self.account)

    def labels(self, platform_id: str) -> list[str]:
        """The accounts of a platform that have a record where this login is kept, signed in or not, `default` first. Asks a
        store elsewhere; raises StorageError."""
        if not isinstance(self.store, ManyLogins):
            return self.accounts.labels(platform_id)
        names = [key.removeprefix("oauth/").partition("@") for key in self.store.logins()]
        found = {label or UNLABELLED for name, _, label in names if name == platform_id}
        return sorted(found, key=lambda label: (label != UNLABELLED, label))

    def account_beside(self, platform_id: str) -> str | None:
        """The account in use of another platform of this home, None where it has none. Raises ConfigError."""
        platform = self.registry.find(platform_id)
        if self.home.kind.binds_by_slot or platform is None or platform.oauth is None:
            return None
        return self.accounts.in_use(platform_id) or UNLABELLED

    @property
    def sign_in(self) -> str:
        """The command that signs in to this login: with the home and the account, where no variable names them."""
        return sign_in_command(self.platform) + self._account_option + self._home_option

    @property
    def sign_out(self) -> str:
        """The command that signs out of this login, as `sign_in`."""
        named = "" if self.platform.id == DEFAULT_PLATFORM else f" --platform {self.platform.id}"
        return f"kimi-auth logout{named}{self._account_option}{self._home_option}"

    @property
    def source_of_account(self) -> str:
        """What chose the account, as in `kimi_auth.selection`."""
        return self._sources["account"]

    @property
    def _account_option(self) -> str:
        return f" --account {self.account}" if self.source_of_account == ARGUMENT else ""

    @property
    def _home_option(self) -> str:
        if self.home.kind.variable == self.home.source or self.home.kind is KIMI_CLI:
            return ""
        usual = choose(self.environ, self.home.kind.name).path
        word = self.home.kind.name if self.share_dir == usual else shlex.quote(str(self.share_dir))
        return f" --home {word}"

    def refuse_found(self, doing: str) -> None:
        """Raises ConfigError for a home that was chosen because it alone holds a login: that is good for using it only."""
        if self.home.source == FOUND:
            name = self.home.kind.name
            raise ConfigError(
                tr(
                    "{doing} needs a home that was named: the login that was found is {writer}'s, in {directory}",
                    doing=doing,
                    writer=self.home.kind.writer,
                    directory=self.share_dir,
                ),
                hint=tr('--home {name}, or in a program: Session(home="{name}")', name=name),
            )

    def _enter(self, home: Home) -> None:
        self.home: Home = home
        self.share_dir: Path = home.path
        self.config: ConfigFile = ConfigFile(self.share_dir)
        self.registry: Registry = Registry(self.share_dir)
        self.accounts: Accounts = Accounts(self.share_dir)

    def _can_hold(self, platform: str | None, account: str | None) -> bool:
        """Whether a home that was found can hold the login that is named."""
        named, _ = select(self.environ, argument=account, variables=ACCOUNT_VARIABLES)
        return not named and (not platform or platform in {one.id for one in self.platforms()})

    def platforms(self) -> tuple[Platform, ...]:
        """The platforms whose logins this home can hold."""
        if not self.home.kind.binds_by_slot:
            return self.registry.all()
        return tuple(one for one in registry.all() if one.oauth is not None)

    def _chosen(self, platform: str | None) -> Platform:
        in_config = "" if platform else configured_platform(self.config, self.registry)
        name, self._sources["platform"] = select(
            self.environ, argument=platform, file=in_config, default=DEFAULT_PLATFORM
        )
        known = self.registry.get(name)
        self._built_in = known.oauth.host if known.oauth else ""
        return resolve(known, self.environ)

    @property
    def _is_one_login(self) -> bool:
        """Whether the variable for a store leads to one that has no accounts."""
        url = self.environ.get(STORE, "").strip()
        if not url or self._has_given_store:
            return False
        from kimi_auth.login.elsewhere import ONE_LOGIN

        return scheme_of(url) in ONE_LOGIN

    def _account_of_login(self, given: str | None) -> str:
        """The label of the account that is meant, "" where there are no accounts. Raises NoSuchAccount, ConfigError."""
        self._sources["account"] = DEFAULT
        if self.platform.oauth is None:
            if given:
                raise NoSuchAccount(
                    tr("{platform} takes an API key, and has no accounts", platform=self.platform.name),
                    hint=tr("leave out --account"),
                )
            return ""
        named, source = select(self.environ, argument=given, variables=ACCOUNT_VARIABLES)
        if self._is_one_login:
            if named:
                words = tr("{store} names one login, and {source} another one", store=STORE, source=source)
                raise NoSuchAccount(words, hint=tr("run: unset {name}", name=STORE))
            return ""
        if self.home.kind.binds_by_slot:
            if named:
                words = tr(
                    "{directory} is {writer}'s home, which holds one account: two accounts are two homes",
                    directory=self.share_dir,
                    writer=self.home.kind.writer,
                )
                unset = tr("run: unset {name}", name=source)
                way = tr("leave out --account, or name our own: --home kimi-cli")
                raise NoSuchAccount(words, hint=way if source == ARGUMENT else unset)
            return ""
        label, self._sources["account"] = account_meant(
            self.environ, lambda: self.accounts.in_use(self.platform.id), argument=given
        )
        return checked_label(label)

    def _only_login(self, platform: str | None) -> Platform:
        """On a home that has one provider in two regions, whose login says by its name whose it is."""
        usual, by_region = (
            self.registry.get(DEFAULT_PLATFORM),
            {one.region or USUAL_REGION: one for one in self.platforms()},
        )
        if platform is not None and platform not in {one.id for one in by_region.values()}:
            raise ConfigError(
                tr(
                    "{writer}'s home has no logins of {platform}",
                    writer=self.home.kind.writer,
                    platform=ascii(platform)[:80],
                ),
                hint=tr("leave out --home, or name another one: --home kimi-cli"),
            )
        addresses = {
            name: Addresses(one.oauth.host, one.api_base) for name, one in by_region.items() if one.oauth is not None
        }
        try:
            config = self.config.read()
        except ConfigError:
            config = {}
        found = login_of(self.share_dir, config, self.environ, addresses)
        known = by_region.get(found.region, usual) if platform is None else self.registry.get(platform)
        self._sources["platform"] = DEFAULT if platform is None else ARGUMENT
        environ = self.environ
        if found.addresses is not None and known is usual:
            environ = {
                OAUTH_HOST_VARIABLES[0]: found.addresses.oauth_host,
                API_BASE_VARIABLES[0]: found.addresses.api_base,
            }
            self._sources |= {"oauth_host": CONFIG, "api_base": CONFIG}
        resolved = resolve(known, environ)._replace(config_id=DEFAULT_PLATFORM)
        self._built_in = resolved.oauth.host if resolved.oauth else ""
        return resolved

    def told(self, status: Status) -> Status:
        """The status with the sources of its values, and with the state of a login that still waits in a keyring."""
        from kimi_auth.models.variables import overriding

        if self.given is not None:
            return self._told_of_given(self.given, status)
        waits = status.state == "absent" and self.platform.oauth is not None and self.is_in_home
        waits = waits and is_waiting(self.config, self.platform)
        kept = "keyring" if waits else self._kept
        usual = {"oauth_host": "platform"} if self.platform.oauth else {}
        sources = usual | {"api_base": "platform"} | overrides(self.platform, self.environ)
        sources |= {"credential": kept, **self._sources}
        made = self._sign_in_of(status)
        status = status._replace(
            overridden_by=overriding(self.platform, self.environ),
            account=made.name,
            label=self.account,
            signed_in_at_s=made.at_s,
            home=self.home.kind.name,
            home_why=self.home.why,
            other_home=str(other_login(self.home, self.environ) or ""),
        )
        if status.fp and self.platform.oauth:
            status = self._owned(status)
        if not waits:
            return status._replace(sources=sources)
        words = tr("not signed in here: config.toml says that the login is in the system keyring")
        error = NotSignedIn(words, hint="kimi-auth models sync")
        return status._replace(sources=sources, location=tr("the system keyring"), error=error)

    @property
    def _kept(self) -> str:
        if self.platform.oauth is None:
            return "config.toml"
        return "file" if self.is_in_home else self._sources.get("store", ARGUMENT)

    def rejected(self, error: KimiAuthError | None) -> KimiAuthError | None:
        """The API's refusal of the credential, with a next step that can help: a key is replaced, not renewed."""
        if self.given is not None:
            return self.given.rejected()
        if error is None or self.platform.oauth is not None:
            return error
        return error.reworded(hint=tr("give another one: {again} --force", again=self.sign_in))

    def _sign_in_of(self, status: Status) -> SignIn:
        from kimi_auth.models.kept_account import SignIn

        token = self.store.read().token if status.fp and self.kept_account else None
        return self.kept_account.recall(token) if token and self.kept_account else SignIn()

    def _told_of_given(self, given: Given, status: Status) -> Status:
        usual = {"oauth_host": "platform"} if self.platform.oauth else {}
        sources = usual | {"api_base": "platform"} | overrides(self.platform, self.environ)
        sources |= {"api_base": given.base_source or sources["api_base"], "credential": given.source, **self._sources}
        return status._replace(location=given.location, sources=sources)

    def _owned(self, status: Status) -> Status:
        """The status with the OAuth host that the credential belongs to, and who says so."""
        if status.issuer:
            return status._replace(issuer_from="record")
        if status.binding and status.binding.issuer:
            return status._replace(issuer=status.binding.issuer, issuer_from="binding")
        return status._replace(issuer=self._built_in, issuer_from="platform")

    def obtain(self, need: Need, timeout_s: float | None = None) -> CredentialState | Waiter[CredentialState]:
        """`Credential.obtain` now; when not signed in, the error says what keeps the keyring's login from being
        used."""
        try:
            return self.credential.obtain(need, self.age_clock.now_s(), timeout_s)
        except NotSignedIn as absent:
            if (error := self.keyring_error) is None:
                raise
            raise NotSignedIn(
                tr("{absent}: {error}", absent=absent.message, error=error.message), hint=error.hint
            ) from None

    async def settle(self, timeout_s: float | None = None) -> None:
        """`settle_sync` for an event loop, and `load` of what every walk needs."""
        await load()
        if self._must_look():
            with suppress(TimeoutError):
                patience_s = LOOK_S if timeout_s is None else min(LOOK_S, timeout_s)
                await within(patience_s, lambda: in_thread(lambda: self.store.look(patience_s)))
        if not self._move_asked and self.notebook.is_there():
            await in_thread(self.finish_move)
        self._move_asked = True
        if not self.keyring_asked and is_waiting(self.config, self.platform):
            await in_thread(self.leave_keyring)
        self.keyring_asked = True

    def settle_sync(self, timeout_s: float | None = None) -> None:
        """Before the stored login is used: looks at a store that must be asked, for a second at most (a walk goes on asking),
        and `leave_keyring`."""
        if self._must_look():
            self.store.look(LOOK_S if timeout_s is None else min(LOOK_S, timeout_s))
        self.finish_move()
        self.leave_keyring()

    def look(self) -> None:
        """Before the stored login is shown. In an event loop it takes 30 ms at most."""
        if not self.store.is_current():
            self.store.look(LOOK_IN_LOOP_S if is_in_loop() else LOOK_TO_SHOW_S)

    def _must_look(self) -> bool:
        """Not while a token in memory works, although its store cannot be asked: every call would wait for that."""
        return not self.store.is_current() and self.credential.inspect().token is None

    @property
    def notebook(self) -> Notebook:
        """Where a move of this login into another store is noted while it lasts."""
        return Notebook(self.share_dir / "kimi-auth" / "store" / f"{self.platform.login_name}.moving")

    def finish_move(self) -> None:
        """Once: a move of this login between file and database that was killed is finished. Where it cannot be, the login stays
        where it is for now, and the log says why."""
        if self._move_asked:
            return
        self._move_asked = True
        if not self.notebook.is_there() or (note := self.notebook.read()) is None:
            return
        try:
            if (stores := self._stores_of(note)) is not None:
                finish(stores, self.notebook, device_id=self.home_device_id)
        except KimiAuthError as error:
            log.warning("the login is being moved to another store, and that cannot be finished now: %s", error.line)

    def _stores_of(self, note: Note) -> Stores | None:
        """Both stores of the login that `note` is about; None where this process uses another database."""
        from kimi_auth.store.postgres import PostgresStore, same_database

        if self.is_in_home:
            return Stores(self.store, self._elsewhere(note.database)[0], note.database)
        if not isinstance(self.store, PostgresStore) or not same_database(self.store.address, note.database):
            return None
        return Stores(self.in_file(), self.store, note.database)

    def in_file(self) -> FileStore:
        """The login in the files of this home, whichever store it is kept in."""
        layout = self.home.kind.layout(self.share_dir, self.key, self.host_clock)
        return FileStore(self.share_dir, self.key, clock=self.host_clock, layout=layout)

    @property
    def home_device_id(self) -> str:
        """The device id that this home's requests carry; written if there is none."""
        return self._home_headers[DEVICE_ID]

    def leave_keyring(self) -> None:
        """Once: a login that an old Kimi CLI kept in the system keyring moves into the file. An error is kept for later
        reports."""
        if not self.keyring_asked and is_waiting(self.config, self.platform):
            from kimi_auth.store import SystemKeyring

            self.keyring_error = migrate(self.platform, self.store, self.config, SystemKeyring()).error
        self.keyring_asked = True

    def _pinned(self) -> tuple[str, ...]:
        """The origins beside its issuer's own that the stored login is bound to."""
        binding = self.store.binding()
        return binding.origins if binding and self.platform.oauth and binding.issuer == self.platform.oauth.host else ()

    def _place(self) -> CredentialStore:
        if self.platform.oauth is None:
            from kimi_auth.login.api_keys import KeyStore

            return KeyStore(self.config, self.platform, self.clock)
        if self.stores is not None:
            return self.stores(self.key)
        return self.in_file()

    def _elsewhere(self, url: str) -> Opened:
        from kimi_auth.login.elsewhere import Asked, opened

        return opened(url, Asked(self.platform, self.key, self.share_dir / "kimi-auth" / "store", self.clock))

    @property
    def key(self) -> str:
        """The key of the credential in this home."""
        host = self.platform.oauth.host if self.platform.oauth else ""
        return self.home.kind.slot(self.platform.credential_key, host, self.platform.api_base)

    def _recovers(self, patience_s: float | None) -> bool:
        """Not where a one-shot command renews for the next one, nor when the program is to end, which would take twice as
        long: a claim stays, and the next program recovers."""
        return not (is_ending() or has_main_ended() or (self.one_shot and patience_s == 0))

    def _keeps_trying(self, tried_s: float) -> bool:
        """A long-lived process tries to save a renewed pair until its program ends; a one-shot command for 30 s."""
        return tried_s < UNSAVED_ONE_SHOT_S or (not self.one_shot and not has_main_ended())
