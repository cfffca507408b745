"""A login moves from one store into another: out of the home's file into a database, or back.

    <home>/kimi-auth/store/<login>.moving   {"v": 1, "fp": …, "to": "database" or "file", "database": its address without a
                                            password, "has_arrived": false, "mark": the pair's own revoked mark, or null}

One of the two stores is in this home, so a process here finds the note and can finish. The steps, under both locks, the
file's first:

    note     which pair moves, and to which store
    fence    the pair's revoked mark in the old store: from here on no process sends it from there
    install  in the new store its binding, backoff and revoked mark, then the pair
    arrived  in the note
    empty    the old store has a logout's record; nothing is revoked at the server
    forget   the note goes

Killed before `fence` nothing has begun. Killed later, the pair cannot be sent from the old store, and the next command of
either store in this home goes on: at `install` if the new store has no login and the note does not say that it had one,
else at `empty`. So at most one store ever has a pair that may be sent, and the pair itself is always in one of them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, NamedTuple

from kimi_auth import files
from kimi_auth.errors import ConfigError, NotSignedIn, StorageError
from kimi_auth.store import Backoff, Binding, CredentialStore, RevokedMark, View, formats, medium
from kimi_auth.store.all_locked import all_locked
from kimi_auth.support.language import tr
from kimi_auth.token import Token

__all__ = ["Note", "Notebook", "Place", "Stores", "begin", "finish", "moved_token"]

log: logging.Logger = logging.getLogger("kimi_auth.store")

VERSION = 1
BYTES_MAX = 1 << 14
PATIENCE_S = 31.0

Place = Literal["file", "database"]


class Note(NamedTuple):
    """A move of the pair `fp` that was begun; `database`: the address, without a password."""

    fp: str
    to: Place
    database: str
    has_arrived: bool = False
    mark: RevokedMark | None = None


class Notebook:
    """The note of one login of a home."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_there(self) -> bool:
        """Looks once whether a move is noted there. Where we may not look there is none for us: the store names the fault."""
        return os.path.lexists(self.path)

    def read(self) -> Note | None:
        """The note of a move that began; None for none, or one that cannot be read."""
        try:
            found = files.read_bounded(self.path, BYTES_MAX)
            value = json.loads(found.data) if found else None
        except (OSError, ValueError, RecursionError, StorageError):
            return None
        return _decoded(value) if isinstance(value, dict) else None

    def write(self, note: Note) -> None:
        """Durably. Raises StorageError."""
        medium.make_directories(self.path.parent)
        mark = None if note.mark is None else [note.mark.at_s, note.mark.message]
        medium.write_durably(self.path, json.dumps({"v": VERSION, **note._asdict(), "mark": mark}).encode())

    def forget(self) -> None:
        """Raises StorageError."""
        with medium.doing(tr("cannot remove {path}"), self.path):
            files.remove(self.path)


class Stores(NamedTuple):
    """One login in the files of the home, and in the database at `address` (without a password)."""

    file: CredentialStore
    database: CredentialStore
    address: str

    def old(self, to: Place) -> CredentialStore:
        return self.database if to == "file" else self.file

    def new(self, to: Place) -> CredentialStore:
        return self.file if to == "file" else self.database

    def locked(self) -> AbstractContextManager[object]:
        """Both locks of a move, the file's first, then the database's. Raises CredentialLocked, StorageError."""
        return all_locked((self.file, self.database), PATIENCE_S)


def begin(stores: Stores, to: Place, notebook: Notebook, *, device_id: str, is_trial: bool = False) -> str:
    """Moves the login, and returns the fingerprint of its pair; with `is_trial` it only looks whether it could.

    `device_id`: of this home, which the login keeps in a database. Raises NotSignedIn, ConfigError where the new store has
    another login, CredentialLocked, and StorageError, also where a renewal was begun and not finished: its answer belongs
    beside the pair that it was asked for. Blocks; not for an event loop.
    """
    old, new = stores.old(to), stores.new(to)
    new.check_writable()
    with stores.locked():
        view, before = old.view(), notebook.read()
        if before is not None and _is_fenced(view, before):
            if before.database != stores.address or before.to != to:
                raise StorageError(
                    tr("{location}: the login is being moved to another store", location=old.location),
                    hint=tr("finish that first: kimi-auth status, with the same KIMI_AUTH_STORE"),
                )
            _go_on(stores, notebook, device_id)
            return before.fp
        _refuse(old, view, new.view())
        fp = view.snapshot.fp
        if is_trial:
            return fp
        notebook.write(Note(fp, to, stores.address, mark=view.mark))
        words = tr("it is being moved to {location}", location=new.location)
        old.mark_revoked(fp, RevokedMark(old.clock().wall_s(), str(words)))
        _go_on(stores, notebook, device_id)
    return fp


def finish(stores: Stores, notebook: Notebook, *, device_id: str) -> None:
    """Finishes a move that was begun and not finished; may be repeated. Raises CredentialLocked, StorageError. Blocks."""
    with stores.locked():
        _go_on(stores, notebook, device_id)


def _refuse(old: CredentialStore, view: View, there: View) -> None:
    """Raises for a login that cannot move into another store as it is."""
    for problem in (view.snapshot.problem, there.snapshot.problem):
        if problem is not None:
            raise problem
    token, other = view.snapshot.token, there.snapshot.token
    if view.claim.state != "none":
        raise StorageError(
            tr("{location}: a renewal was begun and is not finished", location=old.location),
            hint=tr("finish it with kimi-auth token, then try again"),
        )
    if token is None or token.is_empty:
        raise NotSignedIn(tr("there is no login in {location}", location=old.location))
    if other is not None and not other.is_empty:
        raise ConfigError(
            tr("the store that it would move to has another login"),
            hint=tr("sign out of that one first, or keep it"),
        )


def _go_on(stores: Stores, notebook: Notebook, device_id: str) -> None:
    """Moves on from the note, under both locks. Every step is found to be done or missing from what the earlier ones have left."""
    note = notebook.read()
    if note is None:
        return
    old, new = stores.old(note.to), stores.new(note.to)
    view, there = old.view(), new.view()
    for problem in (view.snapshot.problem, there.snapshot.problem):
        if problem is not None:
            raise problem
    token = view.snapshot.token
    if _is_fenced(view, note) and token is not None:
        if not note.has_arrived and (there.snapshot.token is None or there.snapshot.token.is_empty):
            _install(new, token, view, note, device_id, ahead_s=new.clock().wall_s() - old.clock().wall_s())
        if not note.has_arrived:
            notebook.write(note._replace(has_arrived=True))
        old.sign_out(old.clock().wall_s())
        log.info("moved: pair %s, to the %s", note.fp, note.to)
    if formats.is_over(old.read()):
        old.tidy(old.clock().wall_s())  # the fence too: the same pair may come back
    notebook.forget()


def _is_fenced(view: View, note: Note) -> bool:
    return view.snapshot.fp == note.fp and view.mark is not None and view.mark != note.mark


def _install(new: CredentialStore, token: Token, view: View, note: Note, device_id: str, *, ahead_s: float) -> None:
    """Puts the pair into the new store with all that belongs to it, last the pair itself: then the login is there."""
    binding = view.binding or (Binding(token.issuer) if token.issuer else None)
    if binding is not None and note.to == "database" and not binding.device_id:
        binding = binding._replace(device_id=device_id)
    new.tidy(new.clock().wall_s())  # an earlier move's fence, killed before it was cleared
    new.bind(binding)
    new.set_backoff(_shifted(view.backoff, ahead_s))
    if note.mark is not None:
        new.mark_revoked(note.fp, note.mark)
    new.put(moved_token(token, ahead_s))


def moved_token(token: Token, ahead_s: float) -> Token:
    """The pair as it moves, under a clock that is `ahead_s` ahead of the one that it was stored under: its life stays the same."""
    values = {name: getattr(token, name) for name in Token.__slots__}
    later: Callable[[str], float] = lambda name: values[name] + ahead_s if values[name] else 0.0  # noqa: E731
    times = ("expires_at_s", "refresh_expires_at_s", "refresh_granted_at_s")
    return Token(**values | {name: later(name) for name in times})


def _shifted(backoff: Backoff, ahead_s: float) -> Backoff:
    """The backoff under that clock."""
    times = {name: value for name, value in backoff._asdict().items() if name.endswith("_at_s") and value}
    return backoff._replace(**{name: value + ahead_s for name, value in times.items()})


def _decoded(value: dict[str, object]) -> Note | None:
    fp, to, database, mark = (value.get(name) for name in ("fp", "to", "database", "mark"))
    if not isinstance(fp, str) or to not in {"file", "database"} or not isinstance(database, str):
        return None
    found = None
    if isinstance(mark, list) and len(mark) == 2 and isinstance(mark[0], (int, float)) and isinstance(mark[1], str):
        found = RevokedMark(float(mark[0]), mark[1])
    place: Place = "file" if to == "file" else "database"
    return Note(fp, place, database, value.get("has_arrived") is True, found)
