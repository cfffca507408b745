"""Before the stored login is used: a store elsewhere is asked, a move that was killed is finished, a keyring is left."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from kimi_auth.components import Components
from kimi_auth.credential.contracts import Need
from kimi_auth.credential.credential import CredentialState
from kimi_auth.credential.single_flight import Waiter
from kimi_auth.errors import KimiAuthError, NotSignedIn
from kimi_auth.loading import load
from kimi_auth.login.keyring_migration import is_waiting, migrate
from kimi_auth.support.language import tr
from kimi_auth.support.loops import in_thread, is_in_loop, within

if TYPE_CHECKING:  # most logins are not being moved
    from kimi_auth.login.moving import Note, Stores

__all__ = ["finish_move", "leave_keyring", "look", "obtain", "settle", "settle_sync"]

LOOK_S, LOOK_TO_SHOW_S, LOOK_IN_LOOP_S = 1.0, 5.0, 0.03

log: logging.Logger = logging.getLogger("kimi_auth.session")


def obtain(
    components: Components, need: Need, timeout_s: float | None = None
) -> CredentialState | Waiter[CredentialState]:
    """`Credential.obtain` after `leave_keyring`: when not signed in, the error says what keeps the keyring's login from
    being used."""
    try:
        return components.credential.obtain(need, components.age_clock.now_s(), timeout_s)
    except NotSignedIn as absent:
        if (error := components.keyring_error) is None:
            raise
        raise NotSignedIn(
            tr("{absent}: {error}", absent=absent.message, error=error.message), hint=error.hint
        ) from None


async def settle(components: Components, timeout_s: float | None = None) -> None:
    """`settle_sync` for an event loop, before the stored login is used; and `load` of what every walk needs."""
    await load()
    if _must_look(components):
        with suppress(TimeoutError):
            patience_s = LOOK_S if timeout_s is None else min(LOOK_S, timeout_s)
            await within(patience_s, lambda: in_thread(lambda: components.store.look(patience_s)))
    if not components.move_asked and components.notebook.is_there():
        await in_thread(partial(finish_move, components))
    components.move_asked = True
    if not components.keyring_asked and is_waiting(components.config, components.platform):
        await in_thread(partial(leave_keyring, components))
    components.keyring_asked = True


def settle_sync(components: Components, timeout_s: float | None = None) -> None:
    """Before the stored login is used: looks at a store that must be asked, for a second at most (a walk goes on asking),
    and `leave_keyring`."""
    if _must_look(components):
        components.store.look(LOOK_S if timeout_s is None else min(LOOK_S, timeout_s))
    finish_move(components)
    leave_keyring(components)


def look(components: Components) -> None:
    """Before the stored login is shown. In an event loop it takes 30 ms at most."""
    if not components.store.is_current():
        components.store.look(LOOK_IN_LOOP_S if is_in_loop() else LOOK_TO_SHOW_S)


def leave_keyring(components: Components) -> None:
    """Once: a login that an old Kimi CLI kept in the system keyring moves into the file. An error is kept for later
    reports."""
    if not components.keyring_asked and is_waiting(components.config, components.platform):
        from kimi_auth.store import SystemKeyring

        components.keyring_error = migrate(
            components.platform, components.store, components.config, SystemKeyring()
        ).error
    components.keyring_asked = True


def finish_move(components: Components) -> None:
    """Once: a move of this login between file and database that was killed is finished. Where it cannot be, the login stays
    where it is for now, and the log says why."""
    if components.move_asked:
        return
    components.move_asked = True
    if not components.notebook.is_there() or (note := components.notebook.read()) is None:
        return
    try:
        if (stores := _stores_of(components, note)) is not None:
            from kimi_auth.login.moving import finish

            finish(stores, components.notebook, device_id=components.home_device_id)
    except KimiAuthError as error:
        log.warning("the login is being moved to another store, and that cannot be finished now: %s", error.line)


def _stores_of(components: Components, note: Note) -> Stores | None:
    """Both stores of the login that `finish_move` moves by its `note`; None where this process uses another database."""
    from kimi_auth.login.moving import Stores
    from kimi_auth.store.postgres import PostgresStore, same_database

    if components.is_in_home:
        return Stores(components.store, components.elsewhere(note.database)[0], note.database)
    if not isinstance(components.store, PostgresStore) or not same_database(components.store.address, note.database):
        return None
    return Stores(components.in_file(), components.store, note.database)


def _must_look(components: Components) -> bool:
    """Not while a token in memory works, although its store cannot be asked: every call would wait for that."""
    return not components.store.is_current() and components.credential.inspect().token is None
