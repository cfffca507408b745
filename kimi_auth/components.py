"""The composition root: store, server, clock, machines, config and running clients of one login, each made when first asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kimi_auth._version import __version__
from kimi_auth.chosen_login import ChosenLogin
from kimi_auth.clock import Clock, SystemClock
from kimi_auth.credential.age import AgeClock
from kimi_auth.credential.credential import PATIENCE_S, Credential
from kimi_auth.credential.history import WalkHistory
from kimi_auth.credential.ports import UNSAVED_ONE_SHOT_S, Ports
from kimi_auth.credential.single_flight import has_main_ended, is_ending
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.errors import ConfigError, KimiAuthError
from kimi_auth.given_tokens import GivenTokens
from kimi_auth.machine import Observer, recorder_from_environ
from kimi_auth.models import static_key
from kimi_auth.models.platform_config import ConfigLeftAlone, PlatformConfig
from kimi_auth.platforms.server import ServerWhenAsked, server_of
from kimi_auth.selection import (
    STORE,
    UNLABELLED,
)
from kimi_auth.store import CredentialStore, FileStore
from kimi_auth.support.language import tr
from kimi_auth.support.once import once

if TYPE_CHECKING:  # what asks a server is loaded when one is asked
    from kimi_auth.clients import Targets
    from kimi_auth.login.elsewhere import Opened
    from kimi_auth.login.given import Given
    from kimi_auth.login.moving import Notebook
    from kimi_auth.login.ports import LoginConfig
    from kimi_auth.machine import Library
    from kimi_auth.models.kept_account import KeptAccount
    from kimi_auth.wire import OAuthServer

log: logging.Logger = logging.getLogger("kimi_auth.session")

__all__ = ["Components"]

DEVICE_ID = "X-Msh-Device-Id"


class Components(ChosenLogin):
    """What works on the chosen login. The arguments are those of `Session` and of `ChosenLogin`."""

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
        if store is not None and stores is not None:
            raise ValueError("store is one credential's, and stores makes it: give one of them")
        has_given_store = store is not None or stores is not None
        super().__init__(
            home,
            platform=platform,
            account=account,
            environ=environ,
            platform_from=platform_from,
            has_given_store=has_given_store,
        )
        self.given: Given | None = None
        self.clock: Clock = clock or SystemClock()
        self.host_clock: Clock = self.clock
        self.stores: Callable[[str], CredentialStore] | None = stores
        self.is_alone: bool = store is not None
        self._given_tokens = GivenTokens()
        if not has_given_store and self.platform.oauth and (url := self.environ.get(STORE, "").strip()):
            store, renewing = self.elsewhere(url)
            server = server or renewing
            self.sources["store"] = STORE
        self.is_in_home: bool = store is None and stores is None
        self.store: CredentialStore = store or self._place()
        self.clock = self.store.clock()
        self.observe: Observer = observe or recorder_from_environ()
        # The walk history of a credential is stored beside it; another store may be on another host.
        self.walks: WalkHistory = WalkHistory(
            None if has_given_store else self.share_dir,
            self.clock.wall_s,
            self.platform.account and self.platform.login_name,
        )
        self.keyring_error: KimiAuthError | None = None
        self.keyring_asked: bool = not self.is_in_home or self.platform.oauth is None
        self.move_asked: bool = has_given_store or self.platform.oauth is None
        self._given_server = server
        self.one_shot = one_shot

    def use(self, given: Given, *, is_named: bool) -> None:
        """Puts a given credential into these components instead of the login, before anything was asked; `is_named`:
        the platform was chosen."""
        self.given = given
        self.platform = given.platform
        self.store = given.store
        if not is_named:
            self.sources["platform"] = given.source
        if not self.platform.oauth:
            self.built_in = ""
        self.clock = self.store.clock()
        self.is_in_home = False
        self.sources.pop("store", None)
        self._given_server = None
        self.walks = WalkHistory(None, self.clock.wall_s)
        self.keyring_asked = self.move_asked = True

    @once
    def library(self) -> Library:
        """The machines."""
        from kimi_auth.machine import Library

        return Library.load()

    @once
    def headers(self) -> dict[str, str]:
        """What every request of these components says of this device; writes `device_id` if there is none."""
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
        """What a renewal may touch: the store, server and clock of these components."""
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
            built_in=self.built_in,
            device_id=lambda: "" if self.is_in_home else self.headers[DEVICE_ID],
        )

    @once
    def credential(self) -> Credential:
        """The credential made of these components, as this process walks its machines."""
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
        """The component that knows with which account the login was made; None where none is kept: for another store, or a key."""
        from kimi_auth.models.kept_account import KeptAccount

        return KeptAccount(self.share_dir, self.platform) if self.store.file else None

    @once
    def targets(self) -> Targets:
        """The component that serves running clients, made when first asked for."""
        from kimi_auth.clients import Targets

        return Targets(self.static_key, origin=self.platform.api_base, given=self._given_tokens)

    def serve(self, token: str) -> None:
        """Gives the running clients of this login the access token to use from now on, "" for none. The component that
        serves them is not made for it: loading it took half of the time in which a waiter gets another process's token."""
        self._given_tokens.add(token)
        if "targets" in vars(self):
            self.targets.inject(token)

    def static_key(self) -> str:
        """The API key that config.toml has for the platform of these components, "" for none or where it cannot be read.
        A given credential has no substitute, and neither has an account not in use: the key is not known to be its."""
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
        """What these components change of config.toml: the platform's part."""
        if not self.home.kind.owns_config:
            return ConfigLeftAlone()
        return PlatformConfig(self.config, self.platform, self.is_in_use)

    def configured_by(self, *, request: bool) -> LoginConfig:
        """The component that writes a login to config.toml; in the home of another program it writes only on `request`."""
        if self.home.kind.owns_config or not request:
            return self.in_config
        from kimi_auth.models.for_kimi_code import KimiCodeConfig

        return KimiCodeConfig(self.config, self.platform, self.key)

    def labels(self, platform_id: str) -> list[str]:
        """The accounts of a platform in the store of these components: those with a record, signed in or not, `default`
        first. Asks a store elsewhere; raises StorageError."""
        from kimi_auth.store import ManyLogins  # a token is handed out without

        if not isinstance(self.store, ManyLogins):
            return self.accounts.labels(platform_id)
        names = [key.removeprefix("oauth/").partition("@") for key in self.store.logins()]
        found = {label or UNLABELLED for name, _, label in names if name == platform_id}
        return sorted(found, key=lambda label: (label != UNLABELLED, label))

    def rejected(self, error: KimiAuthError | None) -> KimiAuthError | None:
        """The API's refusal as these components report it, with a next step that can help: a key is replaced, not renewed."""
        if self.given is not None:
            return self.given.rejected()
        if error is None or self.platform.oauth is not None:
            return error
        return error.reworded(hint=tr("give another one: {again} --force", again=self.sign_in))

    @property
    def notebook(self) -> Notebook:
        """The component that notes a move of this login into another store while it lasts."""
        from kimi_auth.login.moving import Notebook  # a status does without

        return Notebook(self.share_dir / "kimi-auth" / "store" / f"{self.platform.login_name}.moving")

    def in_file(self) -> FileStore:
        """These components with the login in the files of this home, whichever store it is kept in."""
        layout = self.home.kind.layout(self.share_dir, self.key, self.host_clock)
        return FileStore(self.share_dir, self.key, clock=self.host_clock, layout=layout)

    @property
    def home_device_id(self) -> str:
        """The device id that this home's requests carry; written if there is none."""
        return self._home_headers[DEVICE_ID]

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

    def elsewhere(self, url: str) -> Opened:
        """These components with the login in the store that a URL names, and the server that renews it there."""
        from kimi_auth.login.elsewhere import Asked, opened

        return opened(url, Asked(self.platform, self.key, self.share_dir / "kimi-auth" / "store", self.clock))

    def _recovers(self, patience_s: float | None) -> bool:
        """Not where a one-shot command renews for the next one, nor when the program is to end, which would take twice as
        long: a claim stays, and the next program recovers."""
        return not (is_ending() or has_main_ended() or (self.one_shot and patience_s == 0))

    def _keeps_trying(self, tried_s: float) -> bool:
        """A long-lived process tries to save a renewed pair until its program ends; a one-shot command for 30 s."""
        return tried_s < UNSAVED_ONE_SHOT_S or (not self.one_shot and not has_main_ended())
