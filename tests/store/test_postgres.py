"""The store in PostgreSQL beyond the contract: whose time counts, secrets, event loops, forks."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from house.patience import NO_LIMIT_S, until
from servers.postgres import Cluster, Way

from kimi_auth.accounts import use_account
from kimi_auth.cli.opening import components_of
from kimi_auth.clock import SystemClock
from kimi_auth.components import Components
from kimi_auth.credential.ports import token_from
from kimi_auth.credential.single_flight import drain
from kimi_auth.errors import ConfigError, KimiAuthError, NoSuchAccount, StorageError
from kimi_auth.session import Session
from kimi_auth.store import Claim
from kimi_auth.store.owners import Owner, this_process
from kimi_auth.store.postgres import Address, PostgresReader, PostgresStore, sql
from kimi_auth.store.postgres.lease import slice_s
from kimi_auth.store.postgres.line import Line
from kimi_auth.store.postgres.row import encode_owner
from kimi_auth.store.postgres.spill import Seen
from kimi_auth.store.postgres.told import explain
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token, fingerprint

ISSUER = "https://auth.kimi.com"
RECORD = Token("access-of-the-record", "refresh-of-the-record", 1_800_000_900.0, 900.0, issuer=ISSUER)
FP = fingerprint(RECORD)
SILENT = Owner("another boot", "another namespace", 7, "5", "box")


class Row:
    """A row of its own, the store on it, and the administrator's hands."""

    def __init__(self, cluster: Cluster, folder: Path | None) -> None:
        self.cluster = cluster
        self.key = cluster.new_key()
        self.store = PostgresStore(cluster.url(), self.key, folder=folder)
        self.store.look(NO_LIMIT_S)

    def another(self, *, host: str = "elsewhere", url: str = "") -> PostgresStore:
        """The same row as another process sees it, over a connection of its own."""
        store = PostgresStore(url or self.cluster.url(application_name=host), self.key)
        store.look(NO_LIMIT_S)
        return store

    def change(self, assignments: str, *values: object) -> None:
        self.cluster.ask(f"UPDATE kimi_auth.credentials SET {assignments} WHERE key = %s", *values, self.key)

    def leave(self, owner: Owner, *, witness: int = 1) -> None:
        """An open claim of another process on the pair FP."""
        with self.store.locked(NO_LIMIT_S):
            self.store.put(RECORD)
            self.store.claim(FP)
        self.change("claim_owner = %s, claim_closed = false, claim_witness = %s", encode_owner(owner), witness)

    def met(self) -> Claim:
        with self.store.locked(NO_LIMIT_S) as hold:
            assert hold
            return self.store.claim(FP)

    def met_at(self, age_s: float) -> Claim:
        """The claim, met at this age and less than a second more: again, where it took longer."""

        def met(_: float) -> list[Claim]:
            self.change("claim_at = clock_timestamp() - interval '1 s' * %s", age_s)
            found = self.met()
            quick = (
                "SELECT clock_timestamp() < claim_at + interval '1 s' * %s FROM kimi_auth.credentials WHERE key = %s"
            )
            return [found] if self.cluster.ask(quick, age_s + 1, self.key) == [(True,)] else []

        return until(met, "a quick look")[0]

    def age(self, seconds: float) -> None:
        self.change(f"claim_at = claim_at - interval '{seconds} s'")


@pytest.fixture
def row(postgres: Cluster, tmp_path: Path) -> Iterator[Row]:
    made = Row(postgres, tmp_path / "spill")
    yield made
    made.store.close()


class TestClaim:
    def test_a_pair_that_is_not_the_record_is_not_claimed(self, row: Row, pair: Callable[..., Token]) -> None:
        """The row has another pair than the walk has read: nothing is sent, and the claim on the record stays."""
        row.leave(SILENT)
        with row.store.locked(NO_LIMIT_S):
            with pytest.raises(StorageError, match="another pair"):
                row.store.claim(fingerprint(pair(1)))
            assert (row.store.peek_claim(FP).state, row.store.peek_claim(FP).owner) == ("in_flight", SILENT.text)

    def test_a_claim_on_a_pair_that_is_not_the_record_is_not_taken_over(
        self, row: Row, pair: Callable[..., Token]
    ) -> None:
        """The record has changed since the claim was found: no process sends its pair again."""
        row.leave(SILENT)
        found = row.met()
        row.change("fp = %s", fingerprint(pair(1)))
        with row.store.locked(NO_LIMIT_S), pytest.raises(StorageError, match="taken over"):
            row.store.renew_claim(found)

    def test_a_claim_whose_answer_is_on_the_disk_is_not_closed(self, row: Row, pair: Callable[..., Token]) -> None:
        """Another host would send its pair again at once: the answer exists, on this one."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(RECORD)
            claim = row.store.claim(FP)
            row.cluster.ask("REVOKE UPDATE ON kimi_auth.credentials FROM kimi_auth_renewer")
            try:
                row.store.stage(claim, pair(2))
            finally:
                row.cluster.ask("GRANT UPDATE ON kimi_auth.credentials TO kimi_auth_renewer")
        asked = "SELECT claim_closed, staged FROM kimi_auth.credentials WHERE key = %s AND lease_until IS NULL"
        assert row.cluster.ask(asked, row.key) == [(False, None)]

    def test_a_row_whose_fingerprint_is_not_its_pair_s_is_none(self, row: Row, pair: Callable[..., Token]) -> None:
        """A pair that another program wrote into the row: the answer to it could not be committed, so it is not sent."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(RECORD)
        row.change("refresh = %s", b"another-refresh-token")
        row.store.look(NO_LIMIT_S)
        assert row.store.read().state == "corrupt"


class TestTime:
    def test_a_silent_owner_is_waited_for_by_the_database_s_clock(self, row: Row) -> None:
        """75 s from when the claim was made, whichever process asks; then a need that cannot wait may recover."""
        row.leave(SILENT)
        assert 70.0 < row.met().wait_s <= 75.0
        row.age(60.0)
        assert 10.0 < row.met().wait_s <= 15.0
        row.age(60.0)
        assert (row.met().state, row.met().wait_s) == ("in_flight", 0.0)
        row.change("claim_closed = true")
        assert row.met().state == "interrupted"

    def test_an_owner_that_has_certainly_ended(self, row: Row) -> None:
        """The kernel of this host knows it: no wait."""
        me = this_process(SystemClock().boot_id())
        row.leave(me._replace(pid=os.getpid(), started="1"))
        assert row.met().state == "interrupted"

    def test_another_incarnation_begins_the_wait_anew(self, row: Row) -> None:
        """A claim of before a restart: its age proves nothing, so it is dated again, once."""
        row.leave(SILENT)
        row.age(500.0)
        row.change("claim_under = 'another incarnation'")
        assert row.store.peek_claim(FP).wait_s <= 75.0
        assert 70.0 < row.met().wait_s <= 75.0
        row.age(80.0)
        assert row.met().wait_s == 0.0

    @pytest.mark.parametrize(("age_s", "is_free"), [(80.0, False), (599.0, False), (601.0, True)])
    def test_a_session_that_stands_speaks_for_its_owner(self, row: Row, age_s: float, is_free: bool) -> None:
        """While the server holds the owner's lock the claim is not recovered, for ten minutes at most."""
        row.leave(SILENT, witness=4711)
        with row.cluster.admin() as owner:
            owner.execute("SELECT pg_advisory_lock(4711)")
            assert (row.met_at(age_s).wait_s == 0.0) is is_free
            owner.execute("SELECT pg_advisory_unlock(4711)")  # a server lets go some time after its client has left
        assert row.met().wait_s == 0.0

    def test_a_lease_that_is_over_is_lost(self, row: Row, pair: Callable[..., Token]) -> None:
        """Another process takes a lease that has ended; what the first holder writes then changes nothing."""
        other = row.another()
        with row.store.locked(NO_LIMIT_S) as hold:
            assert hold is not None
            row.store.put(pair(1))
            row.change("lease_until = clock_timestamp()")
            with other.locked(NO_LIMIT_S) as taken:
                assert taken
                other.put(pair(2))
                for write in (lambda: row.store.put(pair(3)), lambda: row.store.claim(fingerprint(pair(2)))):
                    with pytest.raises(StorageError) as raised:
                        write()
                    assert raised.value.code == "lock_lost"
        row.store.look(NO_LIMIT_S)
        assert row.store.read().token == pair(2)

    def test_the_answer_to_the_record_is_never_refused(self, row: Row, pair: Callable[..., Token]) -> None:
        """A holder whose lease was taken meanwhile still commits the answer to the pair that is the record."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
            claim = row.store.claim(fingerprint(pair(1)))
            row.change("fence = fence + 1, holder = '{}', lease_until = clock_timestamp() + interval '1 h'")
            row.store.stage(claim, pair(2))
            assert row.store.commit(claim, pair(2)) == row.store.read()
        row.change("lease_until = NULL")
        row.store.look(NO_LIMIT_S)
        assert row.store.read().token == pair(2)


class TestWaiting:
    def test_a_try_at_a_held_lease_writes_nothing(self, row: Row) -> None:
        """A herd's processes do not queue for the row's lock, each with a write to the disk, before the holder."""
        with row.store.locked(NO_LIMIT_S) as hold:
            assert hold is not None
            with row.another().locked(0.0) as held:
                assert held is None
            ((locker,),) = row.cluster.ask(
                "SELECT xmax::text FROM kimi_auth.credentials WHERE key = %s AND fence = %s", row.key, hold.fence
            )
        assert locker == "0"

    @pytest.mark.parametrize(("waited_s", "rests_s"), [(0.0, 0.05), (4.0, 0.2), (3600.0, 0.5)])
    def test_a_waiter_asks_less_often_the_longer_it_waits(self, waited_s: float, rests_s: float) -> None:
        """At first twenty times a second, in the end twice: a hundred waiters leave the processors to the one that renews."""
        assert slice_s(waited_s) == pytest.approx(rests_s)


class TestSecrets:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("postgresql://u:hunter2@db.example/x", None),
            ("postgresql://u:hunter2@db.example/x?sslmode=verify-full", None),
            ("postgresql://u:hunter2@db.example/x?sslmode=require", "sslmode=require"),
            ("postgresql://u:hunter2@localhost,db.example/x?sslmode=prefer", "sslmode=prefer"),
            ("postgresql://u:hunter2@localhost/x?hostaddr=192.0.2.1&sslmode=disable", "sslmode=disable"),
            ("postgresql:///x?service=hunter2&sslmode=allow", "sslmode=allow"),
            ("postgresql://u:hunter2@127.0.0.1/x", None),
            ("postgresql://u:hunter2@[::1]/x?sslmode=disable", None),
            ("postgresql:///x?host=/run/postgresql&password=hunter2", None),
            ("postgresql://u:hunter2@db.example/x?nonsense=1", "form"),
            ("mysql://u:hunter2@db.example/x", "form"),
            ("host=db.example password=hunter2", "form"),
        ],
    )
    def test_addresses(self, url: str, words: str | None) -> None:
        """Off this host only TLS with a checked name will do, and no message shows a password."""
        if words is None:
            address = Address(url)
            assert "hunter2" not in f"{address}{address!r}{PostgresStore(url, 'oauth/x')!r}"
            is_local = any(name in url for name in ("127.0.0.1", "::1", "/run"))
            assert is_local or address.parameters["sslmode"] == "verify-full"
            return
        with pytest.raises(ConfigError, match=words) as raised:
            Address(url)
        assert "hunter2" not in raised.value.line.replace("service hunter2", "")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://u:p@hunter2@localhost/x",
            "postgresql://u:1/hunter2@localhost/x",
            "postgresql:///x@hunter2",
            "postgresql:///?dbname=host%3Dlocalhost%20password%3Dhunter2",
            "postgresql://localhost/x?dbname=postgresql://u:hunter2@localhost/x",
            "postgresql://u:hunter2@localhost/x\udcff",
        ],
    )
    def test_what_may_be_a_part_of_a_password_is_not_shown(self, url: str) -> None:
        """An @ or / of a password that is not escaped moves the rest of it into the host's or the database's name."""
        with pytest.raises(ConfigError) as raised:
            Address(url)
        assert "hunter2" not in f"{raised.value.line}{raised.value.__cause__!r}{raised.value.__context__!r}"

    def test_names_are_shown_without_control_characters(self) -> None:
        """A terminal obeys no host's name."""
        assert str(Address("postgresql://u@h\x1b[31m\n/d?sslmode=verify-full")).isprintable()

    @pytest.mark.parametrize("setting", ["client_encoding=sql_ascii", "options=-c%20client_encoding%3Dlatin1"])
    def test_text_is_text_whatever_the_address_asks_for(
        self, row: Row, pair: Callable[..., Token], setting: str
    ) -> None:
        """Columns come as text of Unicode: with another encoding psycopg would give bytes, and no claim would be ours."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
        name, _, value = setting.partition("=")
        other = row.another(url=row.cluster.url(application_name="words", **{name: value}))
        with other.locked(NO_LIMIT_S):
            assert other.read().token == pair(1)
            assert other.claim(other.read().fp).state == "made"
        other.close()

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT 'hunter2'::int",
            "INSERT INTO kimi_auth.aside SELECT 'hunter2', 1 / 0",
            "SELECT 'hunter2'::jsonb",
            "DO $$ BEGIN RAISE EXCEPTION 'hunter2'; END $$",
        ],
    )
    def test_errors_carry_no_value(self, postgres: Cluster, statement: str) -> None:
        """What a server quotes of a statement is in no message, whatever went wrong."""
        with postgres.admin() as admin, pytest.raises(psycopg.Error) as raised:
            admin.execute(statement)
        told = explain(raised.value, Address(postgres.url()))
        assert "hunter2" not in told.line
        assert "SQLSTATE" in told.message

    def test_a_failing_row_is_not_shown(self, row: Row, pair: Callable[..., Token]) -> None:
        """A constraint of an administrator's is violated: the server's detail has the row, the error and its chain do not."""
        fp = fingerprint(pair(9))
        row.cluster.ask(f"ALTER TABLE kimi_auth.credentials ADD CONSTRAINT strict CHECK (fp <> '{fp}')")
        try:
            with row.store.locked(NO_LIMIT_S), pytest.raises(StorageError) as raised:
                row.store.put(pair(9))
        finally:
            row.cluster.ask("ALTER TABLE kimi_auth.credentials DROP CONSTRAINT strict")
        error: BaseException | None = raised.value
        while error is not None:
            assert "access-9" not in str(error)
            error = error.__cause__ or error.__context__

    def test_a_reader_sees_access_tokens_only(self, row: Row, pair: Callable[..., Token]) -> None:
        """The role may read no refresh token, staged pair, fingerprint or lease."""
        with psycopg.connect(row.cluster.url("reader"), autocommit=True) as reader:
            for column in ("refresh", "staged", "fp", "holder", "access"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute(f"SELECT {column} FROM kimi_auth.credentials")
            shown = {one.name for one in reader.execute("SELECT * FROM kimi_auth.access_tokens").description or ()}
        assert not shown & {"refresh", "staged", "fp", "holder", "fence", "claim_nonce"}


class World:
    """A session whose login lies in a database behind a way that can stall."""

    def __init__(self, row: Row, way: Way, folder: Path) -> None:
        url = row.cluster.url(host=way.folder)
        self.store = PostgresStore(url, row.key)
        self.server = SimulatedServer(self.store.clock())
        self.row = row
        self.session = Session(folder, environ={}, store=self.store, server=self.server)

    def sign_in(self) -> Token:
        clock = self.store.clock()
        token = token_from(self.server.issue(), sent_at_s=clock.wall_s(), issuer=ISSUER)
        with self.row.store.locked(NO_LIMIT_S):
            self.row.store.put(token)
        return token


class TestLoop:
    def test_no_loop_waits(self, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a database that has stalled, a held token is handed out without asking, and nothing in the loop's thread asks
        for longer than 30 ms."""
        asked: list[tuple[threading.Thread, float]] = []
        original = Line.ask

        def ask(line: Line, statement: str, params: Any, patience_s: float = 16.0) -> Any:
            asked.append((threading.current_thread(), patience_s))
            return original(line, statement, params, patience_s)

        with Way(row.cluster) as way:
            world = World(row, way, tmp_path)
            token = world.sign_in()

            async def life() -> None:
                assert await world.session.access_token() == token.access_token
                monkeypatch.setattr(Line, "ask", ask)
                way.stall()
                assert await world.session.access_token() == token.access_token
                assert asked == []
                assert world.session.status().fp == fingerprint(token)
                world.session.attach(lambda _: None)()
                for call in (
                    lambda: world.session.access_token(min_ttl_s=1e6, timeout_s=0.2),
                    lambda: world.session.access_token(refresh=True, timeout_s=0.2),
                    lambda: world.session.rejected(token.access_token, timeout_s=0.2),
                    lambda: world.session.logout(timeout_s=0.2),
                ):
                    with suppress(KimiAuthError):
                        await call()
                way.flow()

            asyncio.run(life())
            assert (
                drain()
            )  # calls go on after their callers: without the database they would last, and the next fork waits for them
            assert all(patience_s <= 0.03 for thread, patience_s in asked if thread is threading.main_thread())
            world.store.close()

    def test_a_change_elsewhere_is_noticed(self, row: Row, pair: Callable[..., Token]) -> None:
        """Another process installs a pair: a notification, and this one knows it without having asked."""
        other = row.another()
        assert row.store.is_current()
        stamp = row.store.stamp()
        with other.locked(NO_LIMIT_S):
            other.put(pair(1))
        with row.store._place.changed:
            assert row.store._place.changed.wait_for(lambda: row.store.stamp() != stamp, NO_LIMIT_S)
        assert row.store.read().token == pair(1)

    def test_a_renewal_takes_eight_statements(self, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Seven, and one more for the first, which binds the login to its host."""
        count = 0
        original = Line._send

        def send(line: Line, job: Any) -> None:
            nonlocal count
            count += line is world.store._line
            original(line, job)

        with Way(row.cluster) as way:
            world = World(row, way, tmp_path)
            world.sign_in()
            counts = []
            monkeypatch.setattr(Line, "_send", send)
            for _ in range(3):
                world.session.access_token_sync()
                count = 0
                world.session.access_token_sync(refresh=True)
                counts.append(count)
            world.store.close()
        assert counts[0] <= 9
        assert max(counts[1:]) <= 8


class TestProcess:
    def test_a_forked_child_has_a_connection_of_its_own(self, row: Row, pair: Callable[..., Token]) -> None:
        """It neither uses nor ends its parent's, and sees what changes after the fork."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
        before = row.store._line.number
        ready, go = multiprocessing.Pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            with suppress(BaseException):
                row.store.look(NO_LIMIT_S)
                go.send(row.store.read().token == pair(1))
                stamp = row.store.stamp()
                assert go.recv()
                with row.store._place.changed:
                    row.store._place.changed.wait_for(lambda: row.store.stamp() != stamp, NO_LIMIT_S)
                status = 0 if row.store.read().token == pair(2) else 2
            os._exit(status)
        assert ready.poll(NO_LIMIT_S)
        assert ready.recv()
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(2))
        ready.send(True)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        row.store.look(NO_LIMIT_S)
        assert row.store._line.number == before, "the parent's connection goes on"

    def test_stores_of_a_process_share_one_connection(self, row: Row) -> None:
        """Whatever the number of logins, a process at rest has one."""
        name = f"shared-{row.key.rpartition('-')[2]}"
        stores = [PostgresStore(row.cluster.url(application_name=name), row.cluster.new_key()) for _ in range(5)]
        for store in stores:
            store.look(NO_LIMIT_S)
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        assert row.cluster.ask(count, name) == [(1,)]
        stores[0].close()
        # The server's process of a connection ends after the connection does.
        until(lambda tick_s: row.cluster.ask(count, name) == [(0,)] or time.sleep(tick_s), "the end of the connection")


class TestSpill:
    def test_an_answer_waits_on_the_disk(self, row: Row, pair: Callable[..., Token], tmp_path: Path) -> None:
        """The database takes no writes when the answer comes: it is staged on this host, and the next hold commits it."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
            old = fingerprint(pair(1))
            claim = row.store.claim(old)
            row.cluster.ask("REVOKE UPDATE ON kimi_auth.credentials FROM kimi_auth_renewer")
            try:
                row.store.stage(claim, pair(2))
                with pytest.raises(StorageError):
                    row.store.commit(claim, pair(2))
            finally:
                row.cluster.ask("GRANT UPDATE ON kimi_auth.credentials TO kimi_auth_renewer")
        (kept,) = (tmp_path / "spill").glob("*.answer")
        assert row.store.leftovers() == (str(kept),)
        assert next(finding for finding in row.store.examine() if finding.name == "answers").step
        with row.store.locked(NO_LIMIT_S):
            found = row.store.claim(old)
            assert (found.state, found.staged) == ("staged", pair(2))
            row.store.commit(found, found.staged)
            assert row.store.read().token == pair(2)
        assert not kept.exists()

    def test_a_login_drops_the_answers_to_other_pairs(self, row: Row, pair: Callable[..., Token]) -> None:
        """The answer to an older pair goes with the login that replaces it; those to the new pair and to the claim that a
        logout takes along stay."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
            for number in (1, 2, 3):
                row.store._spill.keep(fingerprint(pair(number)), pair(number + 1))
            row.store.put(pair(2))
            assert [row.store._spill.answer(fingerprint(pair(number))) for number in (1, 2, 3)] == [None, pair(3), None]
            row.change(
                "claim_fp = %s, claim_nonce = '0011223344556677', claim_owner = '{}', claim_at = clock_timestamp()",
                fingerprint(pair(2)),
            )
            row.store.sign_out(5.0)
            assert row.store._spill.answer(fingerprint(pair(2))) == pair(3)

    def test_a_torn_one_is_none(self, row: Row, pair: Callable[..., Token], tmp_path: Path) -> None:
        """Half a file is no answer."""
        row.store._spill.keep(FP, pair(2))
        (kept,) = (tmp_path / "spill").glob("*.answer")
        kept.write_bytes(kept.read_bytes()[:-20])
        assert row.store._spill.answer(FP) is None

    def test_what_has_gone_back_is_not_spent(self, row: Row, pair: Callable[..., Token]) -> None:
        """This host has seen a newer generation, in another process: the record says why it must not be sent."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
        row.store._spill.see(Seen(row.store.stamp()[0] + 1, FP))
        with row.store.locked(NO_LIMIT_S):
            problem = row.store.read().problem
            assert problem is not None
            assert "gone back" in problem.message
            row.store.put(pair(2))
            row.store._spill.see(Seen(row.store.stamp()[0], fingerprint(pair(2))))
            assert row.store.read().problem is None

    def test_what_was_lost_and_comes_again_is_not_spent(self, row: Row, pair: Callable[..., Token]) -> None:
        """A database forgets a pair that this host has seen, and a second owner of that answer installs it again: another
        process may have sent it, and the claim that said so is lost."""
        with row.store.locked(NO_LIMIT_S):
            row.store.put(pair(1))
            claim = row.store.claim(fingerprint(pair(1)))
            row.store.stage(claim, pair(2))
        before = (
            "access, refresh, about, fp, generation, claim_fp, claim_nonce, claim_owner, claim_at, claim_under, staged"
        )
        (kept,) = row.cluster.ask(f"SELECT {before} FROM kimi_auth.credentials WHERE key = %s", row.store.key)
        with row.store.locked(NO_LIMIT_S):
            assert row.store.commit(row.store.claim(fingerprint(pair(1))), pair(2)) not in {"gone", "superseded"}
            assert row.store.read().problem is None
        row.cluster.ask("ALTER TABLE kimi_auth.credentials DISABLE TRIGGER numbered")
        row.cluster.ask(
            f"UPDATE kimi_auth.credentials SET ({before}) = ({', '.join(['%s'] * len(kept))}) WHERE key = %s",
            *kept,
            row.store.key,
        )
        row.cluster.ask("ALTER TABLE kimi_auth.credentials ENABLE TRIGGER numbered")
        with row.store.locked(NO_LIMIT_S):
            row.store.commit(row.store.claim(fingerprint(pair(1))), pair(2))
            found = row.store.read()
            assert (found.token, found.problem is not None) == (pair(2), True)
            assert "gone back" in found.problem.message


class TestReader:
    def test_it_asks_and_gets(self, row: Row, tmp_path: Path) -> None:
        """An expired token: it asks for a renewal, waits, and has the new token when a renewer has installed it."""
        clock = row.store.clock()
        server = SimulatedServer(clock)
        old = token_from(server.issue(), sent_at_s=clock.wall_s() - 1000.0, issuer=ISSUER)
        with row.store.locked(NO_LIMIT_S):
            row.store.put(old)
        reader = PostgresReader(row.cluster.url("reader"), row.key)
        session = Session(tmp_path, environ={}, store=reader, server=server)
        with psycopg.connect(row.cluster.url(), autocommit=True) as renewer:
            renewer.execute(f"LISTEN {sql.WANTED}")
            got: list[str] = []
            waiter = threading.Thread(target=lambda: got.append(session.access_token_sync(timeout_s=NO_LIMIT_S)))
            waiter.start()
            assert [told.payload for told in renewer.notifies(timeout=NO_LIMIT_S, stop_after=1)] == [row.key]
        new = token_from(server.issue(), sent_at_s=clock.wall_s(), issuer=ISSUER)
        with row.store.locked(NO_LIMIT_S):
            row.store.put(new)
        waiter.join()
        assert got == [new.access_token]
        assert server.counts["exchange"] == 0
        with pytest.raises(StorageError, match="only read"):
            reader.check_writable()
        reader.close()

    def test_a_database_that_is_away_is_not_a_lock(self, tmp_path: Path) -> None:
        """A reader that cannot ask says so, and not that another process renews."""
        reader = PostgresReader(f"postgresql:///x?host={tmp_path}", "oauth/x")
        with pytest.raises(StorageError, match="cannot be reached"), reader.locked(0.0):
            pass
        reader.close()

    def test_an_ended_login_is_told(self, row: Row, tmp_path: Path) -> None:
        """A login that the server has ended is revoked for a reader too, and it asks for nothing."""
        from kimi_auth.store import RevokedMark

        with row.store.locked(NO_LIMIT_S):
            row.store.put(Token("a", "r", row.store.clock().wall_s() - 5.0, 900.0, issuer=ISSUER))
            row.store.mark_revoked(row.store.read().fp, RevokedMark(1.0, "gone"))
        reader = PostgresReader(row.cluster.url("reader"), row.key)
        status = Session(tmp_path, environ={}, store=reader, server=SimulatedServer(reader.clock())).status()
        assert status.state == "revoked"
        reader.close()


def test_the_address_of_a_store_is_a_variable(row: Row, tmp_path: Path, pair: Callable[..., Token]) -> None:
    """KIMI_AUTH_STORE selects it, the status says so, and an address that is none is an error that names the variable."""
    environ = {"KIMI_AUTH_STORE": row.cluster.url(), "KIMI_SHARE_DIR": str(tmp_path)}
    session = Session(environ=environ)
    assert session.status().sources["credential"] == "KIMI_AUTH_STORE"
    assert session._store.location.startswith("the database")
    with pytest.raises(ConfigError, match=r"^KIMI_AUTH_STORE"):
        Session(environ={**environ, "KIMI_AUTH_STORE": "file:///x"})
    reader = Session(environ={**environ, "KIMI_AUTH_STORE": row.cluster.url("reader").replace(":", "+reader:", 1)})
    assert isinstance(reader._store, PostgresReader)


def test_an_account_of_a_database_can_be_in_use(postgres: Cluster, tmp_path: Path) -> None:
    """`accounts use` takes a login that lies in the row of its account, and no file; one that is nowhere stays unknown, and
    so does one of which a database that is away says nothing."""
    key = "oauth/kimi-code@in-a-row"
    store = PostgresStore(postgres.url(), key)
    with store.locked(NO_LIMIT_S):
        store.put(RECORD)

    def parts(account: str, url: str = "") -> Components:
        environ = {"KIMI_AUTH_STORE": url or postgres.url(), "KIMI_SHARE_DIR": str(tmp_path)}
        return components_of(Session(environ=environ, account=account))

    use_account(parts("in-a-row"))
    assert parts("in-a-row").accounts.in_use("kimi-code") == "in-a-row"
    with pytest.raises(NoSuchAccount):
        use_account(parts("nowhere"))
    with pytest.raises(StorageError, match="cannot be reached"):
        use_account(parts("elsewhere", f"postgresql:///x?host={tmp_path}"))
    assert parts("in-a-row").accounts.in_use("kimi-code") == "in-a-row"
    store.close()


class BrokenOff(Line):
    """A line that one who waits for the statement before breaks off, late: at the moment when the next one begins."""

    @property
    def is_busy(self) -> bool:
        return self._busy

    @is_busy.setter
    def is_busy(self, busy: bool) -> None:
        self._busy = busy
        self._is_broken = self._is_broken or busy


def test_a_statement_is_sent_or_fails(postgres: Cluster) -> None:
    """A line that is broken off when a statement begins sends it all the same: without an error it has an answer."""
    line = BrokenOff(Address(postgres.url()))
    try:
        assert line.ask("SELECT 1 AS one", {}) == [{"one": 1}]
    finally:
        line.close()
