"""Changes which account of a platform is in use, and what it is called. The Kimi CLI follows config.toml, which follows.

Both commands may be killed at any step and given again: `use` writes accounts.toml, then config.toml; `rename` renames the
record first, in one step, and each later step is found to be missing from what the earlier ones have left.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth import files
from kimi_auth.components import Components
from kimi_auth.errors import ConfigError, NoSuchAccount
from kimi_auth.models.catalogue_cache import CatalogueCache
from kimi_auth.models.contents import account_of
from kimi_auth.models.platform_config import PlatformConfig
from kimi_auth.selection import UNLABELLED
from kimi_auth.store import CredentialStore, FileStore
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.models import Change

__all__ = ["Renamed", "rename_account", "use_account"]

LOOK_S = 16.0
"""How long a store elsewhere is asked."""


class Renamed(NamedTuple):
    """`fp`: the pair's fingerprint; `in_use`: whether the account is the one in use."""

    fp: str
    in_use: bool


def use_account(components: Components) -> Change:
    """Puts the account of `components` in use from now on, for `accounts use`; says what changed in config.toml. Raises
    NoSuchAccount for one that has no login here, ConfigError, StorageError."""
    _need_accounts(components)
    label, platform = components.account, components.platform
    with components.accounts.locked():
        if label not in {UNLABELLED, *components.labels(platform.id)}:
            raise _unknown(components)
        components.accounts.use(platform.id, label)
        return _config_of(components).use()


def rename_account(old: Components, new: Components) -> Renamed:
    """Renames the login of `old` to `new`, for `accounts rename`. Raises NoSuchAccount, and as `kimi_auth.store.renaming`."""
    _need_accounts(old)
    if old.account == new.account:
        raise NoSuchAccount(tr("that is its name already: {name}", name=old.account), hint=tr("give it another name"))
    source, target = old.store, new.store
    with old.accounts.locked():
        is_used = old.accounts.is_in_use(old.platform.id, old.account)
        # A run that was killed behind the renaming left the old name in use, without a login.
        is_done = (is_used or _is_configured(old)) and _is_empty(source) and not _is_empty(target)
        if not is_done and old.account not in old.labels(old.platform.id):
            raise _unknown(old)
        fp = target.read().fp if is_done else _rename(source, target)
        _rename_kept(old, new)
        if is_used:
            old.accounts.use(old.platform.id, new.account)
        if is_used or _is_configured(old):
            _config_of(new).use()
    return Renamed(fp, is_used)


def _need_accounts(components: Components) -> None:
    if not components.account:
        raise NoSuchAccount(
            tr("{platform} has no accounts here", platform=components.platform.name),
            hint=tr("name a platform with a sign-in: --platform ID"),
        )


def _unknown(components: Components) -> NoSuchAccount:
    words = tr("there is no account {name} of {platform}", name=components.account, platform=components.platform.name)
    return NoSuchAccount(words, hint=tr("sign in to it: kimi-auth login --account {name}", name=components.account))


def _rename(source: CredentialStore, target: CredentialStore) -> str:
    """Gives the stored login its new label in one step, for `rename_account`; returns the fingerprint of its pair."""
    from kimi_auth.store import ManyLogins
    from kimi_auth.store.renaming import rename

    if isinstance(source, ManyLogins):
        return source.rename(target)
    if not isinstance(source, FileStore) or not isinstance(target, FileStore):
        raise ConfigError(tr("{location} has one login, which cannot be renamed", location=source.location))
    return rename(source, target)


def _is_empty(store: CredentialStore) -> bool:
    store.look(LOOK_S)
    found = store.read()
    if found.state == "unreachable" and found.problem is not None:
        raise found.problem
    return found.state == "absent" or (found.token is not None and found.token.is_empty)


def _is_configured(components: Components) -> bool:
    """Whether the provider in config.toml is that of this account."""
    return account_of(components.config.read(), components.platform) == components.platform.account


def _config_of(components: Components) -> PlatformConfig:
    return PlatformConfig(components.config, components.platform)


def _rename_kept(old: Components, new: Components) -> None:
    """Renames the kept name of the account after the login, for `rename_account`, and its walks where they lie apart."""
    if old.kept_account and new.kept_account:
        old.kept_account.moved_to(new.kept_account)
    CatalogueCache(old.share_dir).forget(old.platform)
    walks, there = old.walks.folder, new.walks.folder
    if old.platform.account and new.platform.account and walks and there and not there.exists():
        with suppress(OSError):
            files.rename(walks, there)
