"""Faults of a database, of the way to it and of its hosts, and what becomes of the login: the table of docs/many-hosts.md.

The server revokes a login whose spent token comes twice, unless a test says otherwise.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers.fixtures import unavailable
from servers.postgres import Bouncer, Cluster, Way, missing

from fleet.database import OTHER_HOST, DatabaseStage
from fleet.stage import Worker

ANSWERED = "token_refresh.staging"
CLAIMED = "token_refresh.exchanging"


@pytest.fixture
def stage(tmp_path: Path, postgres: Cluster) -> Iterator[DatabaseStage]:
    """A server, a database and no process yet."""
    with DatabaseStage(tmp_path, postgres) as ready:
        yield ready


@pytest.fixture
def own_stage(tmp_path: Path, postgres_factory: Callable[..., Cluster]) -> Iterator[DatabaseStage]:
    """One whose cluster may be stopped."""
    with DatabaseStage(tmp_path, postgres_factory()) as ready:
        yield ready


def ends(worker: Worker) -> str:
    """The access token that the process got."""
    result = worker.result()
    assert worker.end() == 0, worker.story()
    assert result.error == "", worker.story()
    return result.access


def is_kept(stage: DatabaseStage, exchanges: int = 1) -> bool:
    """Whether the login in the database works, after so many exchanges."""
    stage.look()
    return stage.works and stage.exchanges == exchanges


HERDS = [
    pytest.param(8, 0.1, id="8 processes, 0.1 s"),
    pytest.param(20, 0.1, id="20 processes, 0.1 s", marks=pytest.mark.prove),
    pytest.param(20, 12.0, id="20 processes, 12 s", marks=pytest.mark.prove),
    pytest.param(100, 0.1, id="100 processes, 0.1 s", marks=[pytest.mark.prove, pytest.mark.timeout(600)]),
    pytest.param(100, 12.0, id="100 processes, 12 s", marks=[pytest.mark.prove, pytest.mark.timeout(600)]),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("count", "latency_s"), HERDS)
def test_one_exchange(stage: DatabaseStage, count: int, latency_s: float) -> None:
    """However many processes need a token at one moment: one exchange, and all of them hold what it gave."""
    stage.serve(latency_s=latency_s)
    stage.sign_in("expired")
    fleet = stage.start_fleet(count, "obtain", patience_s=120.0)
    stage.go()
    assert {ends(worker) for worker in fleet} == {stage.look().access}
    assert is_kept(stage)


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_a_herd_with_room_for_all(tmp_path: Path, postgres_factory: Callable[..., Cluster]) -> None:
    """100 processes, and a server that has a connection for each and more: no process gives its own back, one exchange, and
    whichever does not renew waits for a notification."""
    with DatabaseStage(tmp_path, postgres_factory(max_connections=400)) as stage:
        stage.serve(latency_s=3.0)
        stage.sign_in("expired")
        fleet = stage.start_fleet(100, "obtain", patience_s=240.0)
        stage.go()
        assert {ends(worker) for worker in fleet} == {stage.look().access}
        assert is_kept(stage)
        renewed = [worker for worker in fleet if worker.walked("token_refresh.committing", "committed")]
        assert len(renewed) == 1


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [20, 100])
def test_too_few_connections_are_waited_for(
    tmp_path: Path, postgres_factory: Callable[..., Cluster], count: int
) -> None:
    """A server with 40 connections serves any number of processes: those without one wait, as for the lock."""
    with DatabaseStage(tmp_path, postgres_factory(max_connections=40)) as stage:
        stage.serve(latency_s=0.1)
        stage.sign_in("expired")
        fleet = stage.start_fleet(count, "obtain", patience_s=240.0)
        stage.go()
        assert {ends(worker) for worker in fleet} == {stage.look().access}
        assert is_kept(stage)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_behind_a_pooler(stage: DatabaseStage, mode: str) -> None:
    """pgbouncer gives each transaction another session: no lock and no setting of a session is needed, one exchange."""
    if lack := missing("pgbouncer"):
        unavailable(f"pgbouncer cannot run: {lack[0]}", lack[1])
    bouncer = Bouncer(stage.cluster, mode)
    try:
        stage.sign_in("expired")
        stage.environ = {"KIMI_AUTH_STORE": stage.url(host=bouncer.folder)}
        fleet = stage.start_fleet(4, "obtain")
        stage.go()
        assert {ends(worker) for worker in fleet} == {stage.look().access}
        assert is_kept(stage)
    finally:
        bouncer.close()


def test_an_owner_that_is_killed_on_this_host(stage: DatabaseStage) -> None:
    """kill -9 before the answer is stored: the kernel knows at once, the next process recovers; a server with a grace
    period keeps the login."""
    stage.serve(reuse="grace:60")
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    owner.kill()
    assert stage.next_run().error == ""
    assert is_kept(stage, exchanges=2)


def test_an_owner_that_is_killed_before_it_sends(stage: DatabaseStage) -> None:
    """kill -9 between claim and request: nothing was spent, the login is kept."""
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[CLAIMED])
    owner.held(CLAIMED)
    owner.kill()
    assert stage.next_run().error == ""
    assert is_kept(stage)


def test_an_owner_on_another_host_that_has_lost_its_power(stage: DatabaseStage) -> None:
    """No other host can know it: it waits for 75 s of the database's time, and recovers then."""
    stage.serve(reuse="grace:600")
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    owner.kill()
    early = stage.start("obtain", one_shot=True, patience_s=1.0, **OTHER_HOST)
    assert early.result().error != ""
    assert stage.exchanges == 1
    stage.time_passes(75.0)
    assert stage.next_run(**OTHER_HOST).error == ""
    assert is_kept(stage, exchanges=2)


def test_sessions_that_end_in_the_middle(stage: DatabaseStage) -> None:
    """The administrator ends every session while a request is under way: the claim is the lock, no rival sends."""
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    stage.end_sessions()
    rival = stage.start("obtain", one_shot=True, patience_s=1.0)
    assert rival.result().error != ""
    assert stage.exchanges == 1
    owner.order("on")
    assert ends(owner) == stage.look().access
    assert is_kept(stage)


def test_sessions_that_are_ended_when_idle(stage: DatabaseStage) -> None:
    """idle_session_timeout, idle_in_transaction_session_timeout and statement_timeout of the server change nothing."""
    settings = {"idle_session_timeout": "1s", "idle_in_transaction_session_timeout": "1s", "statement_timeout": "9s"}
    for name, value in settings.items():
        stage.cluster.ask(f"ALTER DATABASE {stage.database} SET {name} = '{value}'")
    stage.serve(latency_s=3.0)
    stage.sign_in("expired")
    fleet = stage.start_fleet(3, "obtain")
    stage.go()
    assert {ends(worker) for worker in fleet} == {stage.look().access}
    assert is_kept(stage)


def test_a_crash_of_the_server_over_the_end(own_stage: DatabaseStage) -> None:
    """The server crashes during the exchange and comes back: the answer is stored then."""
    stage = own_stage
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    stage.cluster.stop("immediate")
    owner.order("on")
    assert owner.soon("result") is None
    stage.cluster.start()
    assert ends(owner) == stage.look().access
    assert is_kept(stage)


def test_an_outage_that_outlasts_the_process(own_stage: DatabaseStage) -> None:
    """A one-shot command gives up before the database is back: its answer waits on the host's disk, and the next command
    commits it. One exchange."""
    stage = own_stage
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED], one_shot=True, unsaved_s=0.5)
    owner.held(ANSWERED)
    stage.cluster.stop("immediate")
    owner.order("on")
    assert owner.result().error != ""
    owner.end()
    (kept,) = (stage.share_dir / "kimi-auth" / "store").glob("*.answer")
    assert kept.stat().st_mode & 0o777 == 0o600
    stage.cluster.start()
    assert stage.next_run().error == ""
    assert is_kept(stage)
    assert not kept.exists()


def test_a_way_that_stalls_over_the_end(stage: DatabaseStage) -> None:
    """Packets are dropped while the answer is to be stored: no error, no end of the connection. It is stored later."""
    with Way(stage.cluster) as way:
        stage.environ = {"KIMI_AUTH_STORE": stage.url(host=way.folder)}
        stage.sign_in("expired")
        owner = stage.start("obtain", gates=[ANSWERED])
        owner.held(ANSWERED)
        way.stall()
        owner.order("on")
        assert owner.soon("result") is None
        way.flow()
        assert ends(owner) == stage.look().access
        assert is_kept(stage)


def test_an_owner_that_is_stopped_for_longer_than_the_wait(stage: DatabaseStage) -> None:
    """A machine is suspended for 100 s in the middle. Its session still stands, and that keeps another host from sending."""
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    owner.send(signal.SIGSTOP)
    stage.time_passes(100.0)
    rival = stage.start("obtain", one_shot=True, patience_s=1.0, **OTHER_HOST)
    assert rival.result().error != ""
    assert stage.exchanges == 1
    owner.send(signal.SIGCONT)
    owner.order("on")
    assert ends(owner) == stage.look().access
    assert is_kept(stage)


def test_a_silent_owner_whose_session_has_ended(stage: DatabaseStage) -> None:
    """The counterpart, which shows that the witness decides: without a session the claim is recovered after the wait."""
    stage.serve(reuse="grace:600")
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    owner.send(signal.SIGSTOP)
    stage.end_sessions()
    stage.time_passes(100.0)
    assert stage.next_run(**OTHER_HOST).error == ""
    assert is_kept(stage, exchanges=2)


def test_a_restart_makes_the_wait_begin_anew(own_stage: DatabaseStage) -> None:
    """An outage longer than the wait proves nothing of an owner that could not write meanwhile: it gets its turn."""
    stage = own_stage
    stage.sign_in("expired")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    stage.time_passes(100.0)
    stage.cluster.stop("immediate")
    stage.cluster.start()
    rival = stage.start("obtain", one_shot=True, patience_s=1.0, **OTHER_HOST)
    assert rival.result().error != ""
    assert stage.exchanges == 1
    owner.order("on")
    assert ends(owner) == stage.look().access
    assert is_kept(stage)


def test_commits_that_do_not_wait_for_the_disk(own_stage: DatabaseStage) -> None:
    """The database says synchronous_commit=off and crashes right after a renewal: our sessions say `on`, so it is there."""
    stage = own_stage
    stage.cluster.ask(f"ALTER DATABASE {stage.database} SET synchronous_commit = off")
    stage.sign_in("expired")
    access = ends(stage.start("obtain"))
    stage.cluster.stop("immediate")
    stage.cluster.start()
    assert stage.look().access == access
    assert is_kept(stage)


def test_a_session_that_may_only_read(stage: DatabaseStage) -> None:
    """A replica: a fresh token is handed out, a renewal says why it cannot be, and nothing is sent."""
    stage.sign_in("fresh")
    fresh = stage.look().access
    stage.cluster.ask(f"ALTER DATABASE {stage.database} SET default_transaction_read_only = on")
    stage.end_sessions()
    assert ends(stage.start("obtain", one_shot=True)) == fresh
    stage.change("expires_at = 1")
    result = stage.start("obtain", one_shot=True).result()
    assert (result.error, stage.exchanges) == ("unwritable", 0)
    assert "writes" in result.message


def test_a_failover_that_has_lost_the_last_commit(stage: DatabaseStage) -> None:
    """The database shows a pair that was spent: a host that has seen the newer one sends nothing and says why."""
    stage.sign_in("expired")
    columns = "access, refresh, about, expires_at, fp, generation"
    before = stage.row(columns)
    ends(stage.start("obtain"))
    stage.change(", ".join(f"{name} = %s" for name in columns.split(", ")), *before)
    result = stage.start("obtain", one_shot=True, patience_s=2.0).result()
    assert result.error == "storage"
    assert "gone back" in result.message
    assert stage.exchanges == 1


def test_a_failover_during_an_exchange(stage: DatabaseStage) -> None:
    """The database goes back while the answer is under way: the answer is newer than what it shows, and is stored."""
    stage.sign_in("expired")
    columns = "access, refresh, about, expires_at, fp, generation"
    before = stage.row(columns)
    ends(stage.start("obtain"))
    stage.change("expires_at = 1")
    owner = stage.start("obtain", gates=[ANSWERED])
    owner.held(ANSWERED)
    stage.change(", ".join(f"{name} = %s" for name in columns.split(", ")), *before)
    owner.order("on")
    assert ends(owner) == stage.look().access
    assert is_kept(stage, exchanges=2)


def test_clocks_of_hosts_count_for_nothing(stage: DatabaseStage) -> None:
    """Hosts whose clocks are five minutes apart agree on the end of a token: no renewal but the one that is due."""
    stage.sign_in("expired")
    first = ends(stage.start("obtain", wall_offset_s=300.0))
    assert ends(stage.start("obtain", wall_offset_s=-300.0, **OTHER_HOST)) == first
    assert ends(stage.start("obtain", wall_offset_s=300.0)) == first
    assert is_kept(stage)
