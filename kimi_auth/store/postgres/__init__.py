"""Credentials in PostgreSQL: one row each, for any number of processes on any number of hosts.

Needs the extra `postgres` (psycopg 3), which is loaded when a store is made.
"""

from __future__ import annotations

from kimi_auth.support.lazily import lazily

TYPE_CHECKING = False

if TYPE_CHECKING:
    from .address import Address, same_database
    from .opening import opened
    from .reader import PostgresReader
    from .schema import make_tables
    from .store import PostgresStore

__all__ = ["Address", "PostgresReader", "PostgresStore", "make_tables", "opened", "same_database"]

__getattr__ = lazily(
    __name__,
    {
        "address": ("Address", "same_database"),
        "opening": ("opened",),
        "reader": ("PostgresReader",),
        "schema": ("make_tables",),
        "store": ("PostgresStore",),
    },
)
