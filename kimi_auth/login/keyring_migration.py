"""An old login leaves the system keyring for the credential file. Interrupted anywhere, nothing is lost and it goes on.

Read the keyring; write the file, unless it has a login or a logout already (the file is newer than any keyring entry);
read it back; delete the keyring's entry; make config.toml refer to the file. Until the last step config.toml says
`storage = "keyring"`, so a migration that was cut short is taken up by the next run. The keyring is asked with no lock held.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, NamedTuple

from kimi_auth.errors import ConfigError, KimiAuthError, StorageError
from kimi_auth.models import ConfigFile, waits_in_keyring
from kimi_auth.platforms import Platform
from kimi_auth.support.language import tr
from kimi_auth.token import Token

if TYPE_CHECKING:  # that one waits is asked of config.toml alone
    from kimi_auth.store import CredentialStore, LegacyKeyring

__all__ = ["Migration", "is_waiting", "migrate"]

log: logging.Logger = logging.getLogger("kimi_auth.login")

LOCK_PATIENCE_S = 5.0


class Migration(NamedTuple):
    """How a migration went. `unneeded`: config.toml refers to no keyring. `moved`: the login is in the file, and nothing
    refers to the keyring any more. `empty`: config.toml refers to a keyring that holds no login. `waiting`: it could not
    be finished now."""

    state: Literal["unneeded", "moved", "empty", "waiting"]
    error: KimiAuthError | None = None


def is_waiting(config: ConfigFile, platform: Platform) -> bool:
    """Whether config.toml says that the platform's login is in the keyring; False also where it cannot be read."""
    try:
        return waits_in_keyring(config.read(), platform)
    except ConfigError:
        return False


def migrate(platform: Platform, store: CredentialStore, config: ConfigFile, keyring: LegacyKeyring) -> Migration:
    """Moves the platform's login from the keyring into the store. Raises nothing for what keyrings and files do."""
    if not is_waiting(config, platform):
        return Migration("unneeded")
    try:
        token = _asked(keyring, platform, store)
        if not _keep(token, store):
            return Migration("empty")
        if token is not None:
            keyring.delete(platform.credential_key)
        from kimi_auth.models import refer_to_file

        config.apply(lambda data: refer_to_file(data, platform))
    except KimiAuthError as error:
        # Where the keyring holds the only login, the command that wants it says the same.
        level = logging.WARNING if store.read().state == "present" else logging.INFO
        log.log(level, "the login in the system keyring is not moved yet: %s", error.line)
        return Migration("waiting", error)
    log.info("the login was moved from the system keyring to %s", store.location)
    return Migration("moved")


def _asked(keyring: LegacyKeyring, platform: Platform, store: CredentialStore) -> Token | None:
    """The login in the keyring; None also where there is no keyring and the file, which is newer, has a record."""
    from kimi_auth.store import NoKeyring

    try:
        return keyring.read(platform.credential_key)
    except NoKeyring:
        if store.read().state != "present":
            raise
        return None


def _keep(token: Token | None, store: CredentialStore) -> bool:
    """The store has a login, or a logout, when this returns True: the keyring's, unless it had one of its own."""
    from kimi_auth.store.all_locked import all_locked  # that one waits is asked without

    with all_locked((store,), LOCK_PATIENCE_S):
        found = store.read()
        if found.problem is not None:
            raise found.problem
        if found.state == "present" or token is None:
            return found.state == "present"
        store.bind(None)  # what another login here was bound to says nothing of this one
        store.put(token)
        if store.read().token != token:
            raise StorageError(
                tr("the record read back from {location} is not the one that was written", location=store.location)
            )
    return True
