"""The errors of a database, without any value of a row.

A server quotes what it was sent: `DETAIL: Failing row contains (…)`, `invalid input syntax for type integer: "…"`. So only
the primary message is passed on, and only of classes that are about the server, never about data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.errors import StorageError, StoreUnwritable
from kimi_auth.support.language import tr
from kimi_auth.support.text import clean

if TYPE_CHECKING:
    import psycopg

    from .address import Address

__all__ = ["explain", "no_answer", "not_asked", "not_writable"]

LOOK_CLOSER = tr("look closer: kimi-auth store check")

_QUOTED = ("08", "25", "28", "3D", "53", "55", "57")
"""Classes of SQLSTATE whose primary message names the server's state: connection, transaction state, authorization,
database name, resources, object state, operator intervention."""

_NO_SCHEMA = {"3F000", "42P01", "42883", "42703"}
_MAY_NOT = {"42501", "25006"}
"""Insufficient privilege; a read-only transaction, which a replica's are."""


def explain(error: psycopg.Error, address: Address) -> StorageError:
    """What the database's `error` means, without the statement and without a value."""
    state = error.sqlstate or ""
    words = clean(str(error.diag.message_primary or ("" if state else _first_line(error))))
    if state in _MAY_NOT:
        why = words if state != "42501" else tr("the role may not do that")
        return not_writable(tr("{location} takes no writes: {reason}", location=address, reason=why))
    if state in _NO_SCHEMA:
        return StorageError(
            tr("{location} has no tables of kimi-auth, or older ones", location=address),
            hint=tr("make them: kimi-auth store init"),
        )
    if not state or state.startswith(_QUOTED):
        return StorageError(
            tr("{location} cannot be reached: {reason}", location=address, reason=words or type(error).__name__),
            hint=LOOK_CLOSER,
            is_transient=True,
        )
    return StorageError(
        tr("{location} refused a statement (SQLSTATE {state})", location=address, state=state), hint=LOOK_CLOSER
    )


def no_answer(address: Address) -> StorageError:
    """The error for a database that is silent."""
    words = tr("{location} cannot be reached: no answer", location=address)
    return StorageError(words, hint=LOOK_CLOSER, is_transient=True)


def not_asked(location: str) -> StorageError:
    """The error for a database that has not answered yet."""
    words = tr("{location} has not answered yet", location=location)
    return StorageError(words, hint=LOOK_CLOSER, is_transient=True)


def not_writable(words: str) -> StoreUnwritable:
    """The error of a database whose session may only read."""
    return StoreUnwritable(words, hint=tr("see what the role may do: kimi-auth store check"))


def _first_line(error: psycopg.Error) -> str:
    return next(iter(str(error).splitlines()), "")
