"""Which login is meant: home, platform and account, from arguments, variables and files, and what named each."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from kimi_auth.errors import ConfigError, NoSuchAccount
from kimi_auth.home import FOUND, KIMI_CLI, Accounts, Addresses, Home, checked_label, choose, login_of
from kimi_auth.models import ConfigFile
from kimi_auth.models.platform_config import configured_platform
from kimi_auth.platforms import Platform, Registry, registry, resolve
from kimi_auth.platforms.server import sign_in_command
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
from kimi_auth.support.language import said_by, tr

__all__ = ["ChosenLogin", "share_dir_of"]


def share_dir_of(
    environ: Mapping[str, str], given: str | os.PathLike[str] | None = None, *, reads: bool = False
) -> Path:
    """The directory of the home that is meant, as `kimi_auth.home.choose` says. Raises ConfigError for the home of an
    unknown user."""
    return choose(environ, given, reads=reads).path


class ChosenLogin:
    """One login of one platform in one home. `platform_from`: what chose the platform, where that was no argument;
    `has_given_store`: the program brings the store, so no variable names another. Raises ConfigError for a platform that
    is not known, NoSuchAccount for an account that cannot be.

    `sources`: what chose each value, as in `kimi_auth.selection`; `built_in`: the platform's own OAuth host, "" for none."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None,
        *,
        platform: str | None,
        account: str | None,
        environ: Mapping[str, str] | None,
        platform_from: str,
        has_given_store: bool,
    ) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self._has_given_store = has_given_store
        self._enter(home if isinstance(home, Home) else choose(self.environ, home))
        if self.home.source == FOUND and not self._can_hold(platform, account):
            self._enter(choose(self.environ, KIMI_CLI.name))  # the home that was found holds other logins only
        self.sources: dict[str, str] = {"share_dir": self.home.source}
        self.built_in: str = ""
        if platform and platform_from and self.registry.find(platform) is None:
            raise _named_by(platform_from, self.registry.unknown(platform))
        self.platform: Platform = self._only_login(platform) if self.home.kind.binds_by_slot else self._chosen(platform)
        if platform_from:
            self.sources["platform"] = platform_from
        self.account: str = self._account_of_login(account)
        if self.account not in {"", UNLABELLED}:
            self.platform = self.platform._replace(account=self.account)

    def is_in_use(self) -> bool:
        """Whether the login that is meant is of the account in use, which owns the provider in config.toml. Raises ConfigError."""
        return not self.account or self.accounts.is_in_use(self.platform.id, self.account)

    def account_beside(self, platform_id: str) -> str | None:
        """The account that is meant on another platform of this home: that in use, None for none. Raises ConfigError."""
        platform = self.registry.find(platform_id)
        if self.home.kind.binds_by_slot or platform is None or platform.oauth is None:
            return None
        return self.accounts.in_use(platform_id) or UNLABELLED

    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of which one is meant: those whose logins this home can hold."""
        if not self.home.kind.binds_by_slot:
            return self.registry.all()
        return tuple(one for one in registry.all() if one.oauth is not None)

    @property
    def key(self) -> str:
        """The key of the credential of the login that is meant, in its home."""
        host = self.platform.oauth.host if self.platform.oauth else ""
        return self.home.kind.slot(self.platform.credential_key, host, self.platform.api_base)

    @property
    def sign_in(self) -> str:
        """The command that signs in to this login: with the home and the account, where no variable names them."""
        return sign_in_command(self.platform) + self._account_option + self._home_option

    @property
    def sign_out(self) -> str:
        """The command that signs out of the login that is meant, as `sign_in`."""
        named = "" if self.platform.id == DEFAULT_PLATFORM else f" --platform {self.platform.id}"
        return f"kimi-auth logout{named}{self._account_option}{self._home_option}"

    @property
    def source_of_account(self) -> str:
        """What chose the account, as in `kimi_auth.selection`."""
        return self.sources["account"]

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
        """Raises ConfigError if the login was chosen because no other home holds one: such a login may only be used."""
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

    def _chosen(self, platform: str | None) -> Platform:
        in_config = "" if platform else configured_platform(self.config, self.registry)
        name, self.sources["platform"] = select(
            self.environ, argument=platform, file=in_config, default=DEFAULT_PLATFORM
        )
        known = self.registry.get(name)
        self.built_in = known.oauth.host if known.oauth else ""
        return resolve(known, self.environ)

    @property
    def _is_one_login(self) -> bool:
        """Whether KIMI_AUTH_STORE alone says which login is meant, so that no account can be."""
        url = self.environ.get(STORE, "").strip()
        if not url or self._has_given_store:
            return False
        from kimi_auth.login.elsewhere import ONE_LOGIN

        return scheme_of(url) in ONE_LOGIN

    def _account_of_login(self, given: str | None) -> str:
        """The label of the account that is meant, "" where there are no accounts. Raises NoSuchAccount, ConfigError."""
        self.sources["account"] = DEFAULT
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
        label, self.sources["account"] = account_meant(
            self.environ, lambda: self.accounts.in_use(self.platform.id), argument=given
        )
        return checked_label(label)

    def _only_login(self, platform: str | None) -> Platform:
        """The platform of the login that is meant, on a home with one provider in two regions: the one named, else its
        login's."""
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
        self.sources["platform"] = DEFAULT if platform is None else ARGUMENT
        environ = self.environ
        if found.addresses is not None and known is usual:
            environ = {
                OAUTH_HOST_VARIABLES[0]: found.addresses.oauth_host,
                API_BASE_VARIABLES[0]: found.addresses.api_base,
            }
            self.sources |= {"oauth_host": CONFIG, "api_base": CONFIG}
        resolved = resolve(known, environ)._replace(config_id=DEFAULT_PLATFORM)
        self.built_in = resolved.oauth.host if resolved.oauth else ""
        return resolved


def _named_by(variable: str, error: ConfigError) -> ConfigError:
    """The error for a lent token's platform, with the variable that names it."""
    return error.reworded(
        tr("{source}: {error}", source=variable, error=said_by(error)),
        hint=tr("use the login: unset {variable}", variable=API_KEY),
    )
