"""Connects to a database, and reads the rows of a statement."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import StorageError

from .address import Address

if TYPE_CHECKING:
    import psycopg

__all__ = ["connected", "rows_of"]

FALL_BACK_S = 2.0
"""A refusal that came later than this leaves a caller no time for another try."""


def connected(address: Address) -> psycopg.Connection[dict[str, Any]]:
    """A session that may write where there is one; else any, so that a fresh token can still be read from a replica. Raises
    psycopg's errors, and StorageError for a socket that another user may offer: its directory may have changed."""
    import psycopg
    from psycopg.rows import dict_row

    def to(attributes: dict[str, str]) -> psycopg.Connection[dict[str, Any]]:
        for host in address.sockets:
            _refuse(address, host)
        connection = psycopg.connect(
            **{**address.parameters, **attributes}, autocommit=True, prepare_threshold=None, row_factory=dict_row
        )
        try:
            _refuse(address, connection.info.host)  # libpq's own directory, or a service file's
        except StorageError:
            connection.close()
            raise
        return connection

    began_s = time.monotonic()
    if "target_session_attrs" in address.parameters:
        return to({})
    try:
        return to({"target_session_attrs": "read-write"})
    except psycopg.OperationalError as error:
        if "read-only" not in str(error) or time.monotonic() - began_s > FALL_BACK_S:
            raise
    return to({})


def _refuse(address: Address, host: str) -> None:
    if refused := address.refused_socket(host):
        raise StorageError(refused.message, hint=refused.hint)


def rows_of(cursor: psycopg.Cursor[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of a statement on a connection; none of one that has none."""
    return cursor.fetchall() if cursor.description else []
