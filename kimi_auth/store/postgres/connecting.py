"""Connects to a database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .address import Address

if TYPE_CHECKING:
    import psycopg

__all__ = ["connected", "rows_of"]

FALL_BACK_S = 2.0
"""A refusal that came later than this leaves a caller no time for another try."""


def connected(address: Address) -> psycopg.Connection[dict[str, Any]]:
    """A session that may write where there is one; else any, so that a fresh token can still be read from a replica."""
    import psycopg
    from psycopg.rows import dict_row

    def to(attributes: dict[str, str]) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(
            **{**address.parameters, **attributes}, autocommit=True, prepare_threshold=None, row_factory=dict_row
        )

    began_s = time.monotonic()
    if "target_session_attrs" in address.parameters:
        return to({})
    try:
        return to({"target_session_attrs": "read-write"})
    except psycopg.OperationalError as error:
        if "read-only" not in str(error) or time.monotonic() - began_s > FALL_BACK_S:
            raise
    return to({})


def rows_of(cursor: psycopg.Cursor[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows; none of a statement that has none."""
    return cursor.fetchall() if cursor.description else []
