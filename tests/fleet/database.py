"""The stage with its login in PostgreSQL: a database of its own in a cluster, and processes that have its address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from house.patience import NO_LIMIT_S
from servers.postgres import Cluster

from fleet.stage import Stage, Worker
from kimi_auth.store import Snapshot
from kimi_auth.store.postgres import PostgresStore

__all__ = ["OTHER_HOST", "DatabaseStage"]

OTHER_HOST = {"boot_id": "another-host"}
"""Options of a process on another host: its kernel knows nothing of our processes."""


class DatabaseStage(Stage):
    """`url`: the way that processes take; by default straight to the cluster."""

    store: Any

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self.database = cluster.new_database()
        self.store = PostgresStore(self.url(), "oauth/kimi-code")
        self.environ = {"KIMI_AUTH_STORE": self.url()}

    def url(self, user: str = "renewer", **parameters: object) -> str:
        return self.cluster.url(user, self.database, **parameters)

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.store.close()

    @property
    def snapshot(self) -> Snapshot:
        self.store.look(NO_LIMIT_S)
        return self.store.read()

    def row(self, columns: str) -> tuple[Any, ...]:
        """Columns of the only row, as the administrator sees them."""
        with self.cluster.admin(dbname=self.database) as admin:
            return tuple(admin.execute(f"SELECT {columns} FROM kimi_auth.credentials").fetchone())

    def change(self, assignments: str, *values: object) -> None:
        """Changes the row behind everyone's back."""
        with self.cluster.admin(dbname=self.database) as admin:
            admin.execute(
                "SET default_transaction_read_only = off; SET session_replication_role = replica"
            )  # no trigger
            admin.execute(f"UPDATE kimi_auth.credentials SET {assignments}", values)

    def time_passes(self, seconds: float) -> None:
        """The claim and the lease are so much older."""
        passed = f"interval '{seconds} s'"
        self.change(f"claim_at = claim_at - {passed}, lease_until = lease_until - {passed}")

    def end_sessions(self, worker: Worker | None = None) -> None:
        """The server ends the sessions of our role."""
        self.cluster.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'renewer'",
            self.database,
        )
