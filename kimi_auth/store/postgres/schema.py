"""Makes the tables and the roles. May be repeated: existing ones stay as they are."""

from __future__ import annotations

from kimi_auth.errors import StorageError

from . import sql
from .address import Address
from .told import explain

__all__ = ["make_tables"]


def make_tables(address: Address) -> StorageError | None:
    """Makes schema and tables, in one transaction, then the roles `kimi_auth_renewer` and `kimi_auth_reader`. Returns why the
    roles could not be made, which needs the right to make roles; raises StorageError for the rest."""
    import psycopg

    problem: StorageError | None = None
    try:
        with psycopg.connect(**address.parameters, autocommit=True, prepare_threshold=None) as connection:
            with connection.transaction():
                connection.execute(sql.SCHEMA)
            try:
                with connection.transaction():
                    connection.execute(sql.ROLES)
            except psycopg.Error as error:
                problem = explain(error, address)
    except psycopg.Error as error:
        failure = explain(error, address)
    else:
        return problem
    raise failure
