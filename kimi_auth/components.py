"""The composition root: store, server, clock and machines of one login of one platform, each made when first asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth import files
from kimi_auth._version import __version__
from kimi_auth.clock import Clock, SystemClock
from kimi_auth.credential.age import AgeClock
from kimi_auth.credential.contracts import Need
from kimi_auth.credential.credential import Credential, CredentialState
from kimi_auth.credential.history import WalkHistory
from kimi_auth.credential.ports import UNSAVED_ONE_SHOT_S, Ports
from kimi_auth.credential.single_flight import Waiter, has_main_ended, is_ending
from kimi_auth.credential.status import Status
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.errors import ConfigError, KimiAuthError, NotSignedIn
from kimi_auth.language import tr
from kimi_auth.login.keyring_migration import is_waiting, migrate
from kimi_auth.loops import in_thread
from kimi_auth.machine import Library, Observer, recorder_from_environ
from kimi_auth.models import ConfigFile, static_key
from kimi_auth.models.account import PlatformConfig, ServerWhenAsked, configured_platform, server_of, sign_in_command
from kimi_auth.once import once
from kimi_auth.platforms import Platform, Registry, overrides, resolve
from kimi_auth.selection import DEFAULT_PLATFORM, SHARE_DIR_DEFAULT, SHARE_DIR_VARIABLES, refused, select
from kimi_auth.store import CredentialStore, FileStore

if TYPE_CHECKING:  # what asks a server is loaded when one is asked
    from kimi_auth.clients import Targets
    from kimi_auth.wire import OAuthServer

log = logging.getLogger("kimi_auth.session")

__all__ = ["Components", "share_dir_of"]

_WHY_REFUSED = {
    "KIMI_AUTH_STORE": tr("logins are kept in files only"),
    "KIMI_AUTH_ACCOUNT": tr("a platform has one login"),
}
"""For each of `selection.REFUSED`."""


def share_dir_of(environ: Mapping[str, str], given: str | Path | None = None) -> Path:
    """`given`, else `$KIMI_SHARE_DIR`, else `~/.kimi`. Raises ConfigError for the home of an unknown user."""
    return _share_dir(environ, given)[0]


def _share_dir(environ: Mapping[str, str], given: str | Path | None) -> tuple[Path, str]:
    """The share directory and the source of its name."""
    argument = os.fspath(given) if given else None
    named, source = select(environ, argument=argument, variables=SHARE_DIR_VARIABLES, default=SHARE_DIR_DEFAULT)
    try:
        return files.expanded(named), source
    except RuntimeError:
        hint = tr("write it in full: export KIMI_SHARE_DIR=/a/directory")
        raise ConfigError(tr("{named}: there is no such home directory", named=named), hint=hint) from None


class Components:
    """One login of one platform. The arguments are those of `Session`. Raises ConfigError for a platform that is not
    known."""

    def __init__(
        self,
        share_dir: str | Path | None,
        *,
        platform: str | None,
        environ: Mapping[str, str] | None,
        clock: Clock | None,
        store: CredentialStore | None,
        server: OAuthServer | None,
        observe: Observer | None,
        one_shot: bool,
    ) -> None:
        self.environ = os.environ if environ is None else environ
        if store is None and (name := refused(self.environ)):
            raise ConfigError(
                tr("{name} is set, and {why} in this version", name=name, why=_WHY_REFUSED[name]),
                hint=tr("run: unset {name}", name=name),
            )
        self.share_dir, share_dir_source = _share_dir(self.environ, share_dir)
        self.config = ConfigFile(self.share_dir)
        self.registry = Registry(self.share_dir)
        in_config = "" if platform else configured_platform(self.config, self.registry)
        name, platform_source = select(self.environ, argument=platform, file=in_config, default=DEFAULT_PLATFORM)
        known = self.registry.get(name)
        self._sources = {"share_dir": share_dir_source, "platform": platform_source}
        self.platform: Platform = resolve(known, self.environ)
        self._built_in = known.oauth.host if known.oauth else ""
        self.clock = clock or SystemClock()
        self.store: CredentialStore = store or self._place()
        self.observe = observe or recorder_from_environ()
        # The walk history of a credential is stored beside it; another store may be on another host.
        self.walks = WalkHistory(self.share_dir if store is None else None, self.clock.wall_s)
        self.keyring_error: KimiAuthError | None = None
        self._keyring_asked = store is not None or self.platform.oauth is None
        self._given_server = server
        self.one_shot = one_shot

    @once
    def library(self) -> Library:
        """The machines."""
        return Library.load()

    @once
    def headers(self) -> dict[str, str]:
        """What every request says of this device; writes `device_id` if there is none."""
        from kimi_auth.wire import device_headers

        return device_headers(self.share_dir, version=__version__)

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
        )

    @once
    def credential(self) -> Credential:
        """The credential, as this process walks its machines."""
        work = CredentialHooks(self.ports, serve=self.serve, config=self.in_config)
        return Credential(
            work,
            self.library,
            observe=self.observe,
            one_shot=self.one_shot,
            walks=self.walks,
            sign_in=sign_in_command(self.platform),
        )

    @once
    def targets(self) -> Targets:
        """The running clients that are served."""
        from kimi_auth.clients import Targets

        return Targets(self.static_key, origin=self.platform.api_base)

    def serve(self, token: str) -> None:
        """Gives running clients the access token to use from now on, "" for none."""
        self.targets.inject(token)

    def static_key(self) -> str:
        """The API key that config.toml has for the platform, "" for none or where it cannot be read."""
        try:
            return static_key(self.config.read(), self.platform)
        except ConfigError as error:
            log.info("no static key: %s", error.line)
            return ""

    @property
    def in_config(self) -> PlatformConfig:
        """The platform's part of config.toml."""
        return PlatformConfig(self.config, self.platform)

    def told(self, status: Status) -> Status:
        """The status with the sources of its values, and with the state of a login that still waits in a keyring."""
        from kimi_auth.models.variables import overriding

        waits = status.state == "absent" and self.platform.oauth is not None and is_waiting(self.config, self.platform)
        kept = "keyring" if waits else "file" if self.platform.oauth else "config.toml"
        usual = {"oauth_host": "platform"} if self.platform.oauth else {}
        sources = usual | {"api_base": "platform"} | overrides(self.platform, self.environ)
        sources |= {"credential": kept, **self._sources}
        status = status._replace(overridden_by=overriding(self.platform, self.environ))
        if status.fp and self.platform.oauth:
            status = self._owned(status)
        if not waits:
            return status._replace(sources=sources)
        words = tr("not signed in here: config.toml says that the login is in the system keyring")
        error = NotSignedIn(words, hint="kimi-auth models sync")
        return status._replace(sources=sources, location=tr("the system keyring"), error=error)

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

    async def settle(self) -> None:
        """`leave_keyring` for an event loop."""
        if not self._keyring_asked and is_waiting(self.config, self.platform):
            await in_thread(self.leave_keyring)
        self._keyring_asked = True

    def leave_keyring(self) -> None:
        """Once: a login that an old Kimi CLI kept in the system keyring moves into the file. An error is kept for later
        reports."""
        if not self._keyring_asked and is_waiting(self.config, self.platform):
            from kimi_auth.store import SystemKeyring

            self.keyring_error = migrate(self.platform, self.store, self.config, SystemKeyring()).error
        self._keyring_asked = True

    def _pinned(self) -> tuple[str, ...]:
        """The origins beside its issuer's own that the stored login is bound to."""
        binding = self.store.binding()
        return binding.origins if binding and self.platform.oauth and binding.issuer == self.platform.oauth.host else ()

    def _place(self) -> CredentialStore:
        if self.platform.oauth is None:
            from kimi_auth.login.api_keys import KeyStore

            return KeyStore(self.config, self.platform, self.clock)
        return FileStore(self.share_dir, self.platform.credential_key, clock=self.clock)

    def _recovers(self, patience_s: float | None) -> bool:
        """Not where a one-shot command renews for the next one, nor when the program is to end, which would take twice as
        long: a claim stays, and the next program recovers."""
        return not (is_ending() or has_main_ended() or (self.one_shot and patience_s == 0))

    def _keeps_trying(self, tried_s: float) -> bool:
        """A long-lived process tries to save a renewed pair until its program ends; a one-shot command for 30 s."""
        return tried_s < UNSAVED_ONE_SHOT_S or (not self.one_shot and not has_main_ended())
