"""One session of a database: connected, checked, and listened on where that is possible."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import StorageError
from kimi_auth.support.language import tr

from . import sql
from .address import Address
from .way import Peer, peer_of

if TYPE_CHECKING:
    import psycopg

__all__ = ["DatabaseSession", "connected"]

FALL_BACK_S = 2.0
"""A refusal that came later than this leaves a caller no time for another try."""


class DatabaseSession:
    """A connection of this process. `is_pooled`: a pooler gives each transaction another session, so there is nothing to listen on and
    no witness. `is_crowded`: the server has few connections left, so this one is not kept to listen. `changed` gets the
    key of each row that another session changes. Raises as `connected`, and StorageError for tables of another version."""

    def __init__(self, address: Address, witness: int, changed: Callable[[str], None]) -> None:
        self.connection: psycopg.Connection[dict[str, Any]] = connected(address)
        self._changed = changed
        try:
            (found,) = _rows_of(self.connection.execute(sql.CONNECTED))
            if found["version"] != sql.SCHEMA_VERSION:
                raise StorageError(
                    tr("{location} has tables of another version of kimi-auth", location=address),
                    hint=tr("make them: kimi-auth store init"),
                )
            self.is_pooled: bool = found["pid"] != self.connection.info.backend_pid
            self.is_crowded: bool = found["is_crowded"]
            self.listens: bool = not self.is_pooled and not self.is_crowded
            if not self.is_pooled:
                self.connection.execute(sql.SETTINGS, {"witness": witness})
                self.connection.add_notify_handler(lambda told: self._tell(told.pid, told.payload))
            if self.listens:
                self.connection.execute(sql.LISTEN)
        except BaseException:
            self.connection.close()
            raise
        self.peer: Peer = peer_of(self.connection)

    def rows(self, statement: str, params: Mapping[str, object]) -> list[dict[str, Any]]:
        """The rows of one statement, carried out durably in the session. Raises psycopg's errors."""
        if not self.is_pooled or statement.lstrip().startswith("SELECT"):
            return _rows_of(self.connection.execute(statement, params))
        with self.connection.transaction():
            self.connection.execute(sql.DURABLE)
            return _rows_of(self.connection.execute(statement, params))

    def hear(self) -> bool:
        """Takes the notifications that came while the session was idle; False where it has ended."""
        from psycopg import Error

        try:
            self.connection.pgconn.consume_input()
            while (told := self.connection.pgconn.notifies()) is not None:
                self._tell(told.be_pid, told.extra.decode("utf-8", "replace"))
        except Error:
            return False
        return True

    def _tell(self, pid: int, words: str) -> None:
        if pid != self.connection.info.backend_pid:
            self._changed(words.partition(" ")[0])

    def break_off(self) -> None:
        """Ends the session from another thread, while a statement is under way."""
        with suppress(Exception), socket.socket(fileno=os.dup(self.connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the session; raises nothing."""
        with suppress(Exception):
            self.connection.close()


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


def _rows_of(cursor: psycopg.Cursor[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of a statement on a connection; none of one that has none."""
    return cursor.fetchall() if cursor.description else []
