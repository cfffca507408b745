"""A login moves between file and database while processes of both stores go on renewing it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S, PATIENCE_S, OwnTime
from servers.postgres import Cluster

from fleet.database import DatabaseStage
from fleet.mover import stores_of
from fleet.stage import Worker
from kimi_auth.login.moving import Place, finish
from kimi_auth.store import CredentialStore

STEPS = 12
"""Writes of a move; `test_moving.py` names them."""

EACH = 2
"""Processes that renew, for each store."""

MOVER = Path(__file__).with_name("mover.py")


class Scene:
    """A home with its login in a file, a database, and the processes that renew in each."""

    def __init__(self, stage: DatabaseStage) -> None:
        self.stage = stage
        self.stores, self.notebook = stores_of(stage.share_dir, stage.url())
        with self.stores.file.locked(NO_LIMIT_S):
            self.stores.file.put(stage.issue("fresh"))
        self.workers: dict[Place, list[Worker]] = {
            "file": [stage.start("renew", environ={"KIMI_AUTH_STORE": ""}) for _ in range(EACH)],
            "database": [stage.start("renew") for _ in range(EACH)],
        }

    def move(self, to: Place, at: int | None) -> int:
        """The status of a process that moves the login, and is killed before its write number `at`."""
        said = {"share_dir": str(self.stage.share_dir), "url": self.stage.url(), "to": to, "at": at}
        environ = os.environ | self.stage.emulator.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
        while True:
            done = subprocess.run(
                [sys.executable, str(MOVER), json.dumps(said)], env=environ, capture_output=True, text=True, check=False
            )
            if done.returncode in {0, -signal.SIGKILL} or "is not finished" not in done.stderr:
                assert done.returncode in {0, -signal.SIGKILL}, done.stderr
                return done.returncode  # else a worker was ended by its own order in the middle: it recovers

    def live(self) -> list[CredentialStore]:
        """The stores whose pair may be sent, seen under both locks, so between two renewals."""
        with self.stores.locked():
            views = [(store, store.view()) for store in (self.stores.file, self.stores.database)]
        having = [(store, view) for store, view in views if view.snapshot.token and not view.snapshot.token.is_empty]
        assert having, "no store has a pair"
        return [store for store, view in having if view.mark is None]

    def goes_on(self, place: Place) -> None:
        """Waits until each process of that store has renewed once more."""
        own = OwnTime()
        for worker in self.workers[place]:
            before = worker.walked("token_refresh.committing", "committed")
            while worker.walked("token_refresh.committing", "committed") == before:
                assert own.read() <= PATIENCE_S, worker.story()
                os.sched_yield()

    def is_sound(self) -> None:
        """The server has seen no spent token, and has not ended the login."""
        assert self.stage.state.counts["reuse_seen"] == 0
        (family,) = self.stage.state.families
        assert family.revoked_because is None


@pytest.mark.prove
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_there_and_back_under_load(tmp_path: Path, postgres: Cluster) -> None:
    """Four processes renew as fast as they can; a move is killed before each of its writes, and finished. Never two stores
    have a pair that may be sent, never none has a pair, no token is spent twice, and the processes of the store that has
    the login go on renewing it."""
    with DatabaseStage(tmp_path, postgres) as stage:
        scene = Scene(stage)
        places: tuple[Place, Place] = ("file", "database")
        at: Place = "file"
        scene.goes_on(at)
        for step in range(STEPS + 1):
            to = places[at == "file"]
            was_killed = scene.move(to, step) != 0
            assert was_killed == (step < STEPS), step
            live = scene.live()
            assert len(live) <= 1, step
            if was_killed:
                finish(scene.stores, scene.notebook, device_id="0" * 32)
            (store,) = scene.live()
            at = "file" if store is scene.stores.file else "database"
            assert not scene.notebook.is_there(), step
            scene.is_sound()
            scene.goes_on(at)
        for worker in stage.workers:
            worker.order("again")
            assert worker.result().error == "", worker.story()
        scene.is_sound()
        assert scene.stage.state.counts["rotations"] >= (STEPS + 1) * EACH
