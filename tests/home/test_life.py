"""A login's whole life on kimi-code's home, beside a kimi-code that writes as it does: without our lock, without a look."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from house.patience import joined, met, until

from kimi_auth import KimiAuthError, NotSignedIn, Revoked, Session, StorageError, Unreachable
from kimi_auth.clock import SystemClock
from kimi_auth.credential.ports import token_from
from kimi_auth.home import KIMI_CODE
from kimi_auth.home.directory_lock import DirectoryHold, DirectoryLock
from kimi_auth.session import components_of
from kimi_auth.store import Claim
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token
from kimi_auth.wire import Answer, ExchangeOutcome, Grant

TOMBSTONE = {"access_token": "", "refresh_token": "", "expires_at": 0, "scope": "kimi-code", "token_type": "Bearer"}


class Server(SimulatedServer):
    """Its exchanges are processed, then `during` happens, then the answer arrives."""

    during: Callable[[], object] = staticmethod(lambda: None)

    def exchange(self, refresh_token: str, *, connect_timeout_s: float = 5.0) -> Answer[ExchangeOutcome, Grant]:
        answer = super().exchange(refresh_token, connect_timeout_s=connect_timeout_s)
        self.during()
        return answer


class Beside:
    """kimi-code on that home, as far as it writes the record."""

    def __init__(self, home: Path, server: Server) -> None:
        self.path = home / "credentials" / "kimi-code.json"
        self.lock = home / "oauth/kimi-code.lock"
        self.lock.parent.mkdir(mode=0o700)
        self.server = server

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())  # type: ignore[no-any-return]

    def save(self, grant: Grant, left_s: float = 900.0) -> None:
        """Drops every key that it does not know."""
        expires_at = int(self.server.state.now_s() + left_s)
        record = {"access_token": grant.access_token, "refresh_token": grant.refresh_token, "expires_at": expires_at}
        self._write({**record, "scope": "kimi-code", "token_type": "Bearer", "expires_in": 900})

    def login(self, left_s: float = 900.0) -> None:
        self.save(self.server.issue(), left_s)

    def logout(self) -> None:
        self.path.unlink()

    def entomb(self) -> None:
        self._write({**TOMBSTONE, "expires_in": 0})

    def _write(self, record: dict[str, object]) -> None:
        new = self.path.with_name(f"{self.path.name}.tmp.1.abcdef01")
        new.write_text(json.dumps(record, indent=2) + "\n")
        new.chmod(0o600)
        new.replace(self.path)


@pytest.fixture
def server() -> Server:
    return Server(SystemClock())


@pytest.fixture
def beside(code_home: Path, server: Server) -> Beside:
    return Beside(code_home, server)


@pytest.fixture
def session(code_home: Path, server: Server) -> Iterator[Session]:
    opened = Session(home=code_home, server=server, environ={}, one_shot=True)
    yield opened
    components_of(opened).store.close()


def test_login_and_logout(code_home: Path, session: Session, server: Server, beside: Beside) -> None:
    """A login is written into the slot as kimi-code spells it, and config.toml stays as it was; a logout leaves a tombstone
    that no later command removes."""
    (code_home / "config.toml").write_text('# mine\n[providers."managed:kimi-code"]\n')
    before = {path.name: path.read_bytes() for path in code_home.iterdir() if path.is_file()}
    server.state.settings = type(server.state.settings)(approve="auto", approve_after_s=0.0, interval_s=1.0)
    told: list[str] = []

    class View:
        def tell(self, notice: Any) -> None:
            told.append(notice.kind)

        async def left(self) -> None:
            await asyncio.Event().wait()

    report = session.login_sync(View())
    assert report.state in {"signed_in", "models_pending"}
    assert list(beside.record) == ["access_token", "refresh_token", "expires_at", "scope", "token_type", "expires_in"]
    assert "configured" not in told
    assert session.access_token_sync() == beside.record["access_token"]
    assert session.logout_sync().revocation == "revoked"
    with pytest.raises(NotSignedIn):
        session.access_token_sync()
    assert beside.record | {"signed_out_at": 0} == {**TOMBSTONE, "scope": "", "expires_in": 0, "signed_out_at": 0}
    after = {path.name: path.read_bytes() for path in code_home.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before


def test_renewals_in_turns(session: Session, server: Server, beside: Beside) -> None:
    """Either side renews the other one's pair: no key of ours has to survive, and nothing is sent twice."""
    beside.login(left_s=1.0)
    for _ in range(3):
        assert session.access_token_sync(refresh=True) == beside.record["access_token"]
        answer = SimulatedServer.exchange(server, beside.record["refresh_token"])
        assert answer.value is not None
        beside.save(answer.value, left_s=1.0)
    assert session.access_token_sync() == beside.record["access_token"]
    assert (server.state.reused, session.status().issuer_from) == ([], "record")


MIDDLES = {
    # it happens while our answer is on its way: the record then, and is our new pair alive
    "they sign out": ("logout", "absent", False),
    "they sign in": ("login", "theirs", True),
    "they are refused": ("entomb", "ours", True),
}


@pytest.mark.parametrize(("what", "record", "is_alive"), MIDDLES.values(), ids=MIDDLES)
def test_in_the_middle_of_ours(
    session: Session, server: Server, beside: Beside, what: str, record: str, is_alive: bool
) -> None:
    """Their login or logout is newer than our answer, which is then given back or dropped; a refusal that our rotation has
    caused is not: the answer is the login."""
    beside.login(left_s=1.0)
    theirs: list[str] = []

    def middle() -> None:
        getattr(beside, what)()
        theirs.append(beside.path.read_text() if beside.path.exists() else "")

    server.during = middle
    if record == "absent":
        with pytest.raises(NotSignedIn):
            session.access_token_sync()
        assert not beside.path.exists()
    else:
        assert session.access_token_sync() == beside.record["access_token"]
        assert (beside.path.read_text() == theirs[0]) == (record == "theirs")
        assert server.is_live(beside.record["access_token"])
    assert (server.state.families[0].revoked_because is None) == is_alive


@pytest.mark.parametrize("what", ["login", "logout"])
def test_ours_in_the_middle_of_theirs(
    session: Session, server: Server, beside: Beside, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Ours waits until they have let go of their lock, so it is the last word."""
    beside.login()
    beside.lock.mkdir()
    parts = components_of(session)
    waits = threading.Event()
    result: list[object] = []
    take = DirectoryLock.take

    def taken(lock: DirectoryLock) -> DirectoryHold | None:
        if (hold := take(lock)) is None:
            waits.set()
        return hold

    monkeypatch.setattr(DirectoryLock, "take", taken)

    def ours() -> None:
        if what == "logout":
            result.append(session.logout_sync().revocation)
            return
        with parts.store.locked(None) as hold:
            assert hold is not None
            grant = server.issue()
            parts.store.put(token_from(grant, sent_at_s=0.0, issuer=parts.ports.issuer))
            result.append(grant.access_token)

    thread = threading.Thread(target=ours)
    thread.start()
    met(waits)
    answer = SimulatedServer.exchange(server, beside.record["refresh_token"])
    assert answer.value is not None
    beside.save(answer.value)
    beside.lock.rmdir()
    joined(thread)
    if what == "login":
        assert beside.record["access_token"] == result[0]
    else:
        assert (beside.record["access_token"], result) == ("", ["revoked"])
        assert not server.is_live(answer.value.access_token)


def test_an_answer_that_was_not_installed(session: Session, server: Server, beside: Beside) -> None:
    """Killed between the answer and its installation, and then refused at kimi-code: the staged pair is the login."""
    beside.login(left_s=1.0)
    store = components_of(session).store
    answer = SimulatedServer.exchange(server, beside.record["refresh_token"]).value
    assert answer is not None
    with store.locked(0.0) as held:
        assert held is not None
        claim = store.claim(store.read().fp)
        end = server.state.now_s() + 900.0
        store.stage(claim, Token(answer.access_token, answer.refresh_token or "", end, 900.0))
    beside.entomb()
    counts = dict(server.counts)
    assert session.status().state == "expired"
    assert session.access_token_sync() == answer.access_token == beside.record["access_token"]
    assert dict(server.counts) == counts
    with store.locked(0.0):
        store.put(store.read().token or Token("", "", 0.0, 0.0))
    beside.entomb()
    with pytest.raises(Revoked):
        session.access_token_sync()


def test_a_busy_peer(session: Session, server: Server, beside: Beside) -> None:
    """While kimi-code holds its lock nothing is sent: a token that works is handed out, and one that is needed is waited
    for, until the patience ends or kimi-code has brought it."""
    beside.lock.mkdir()
    beside.login(left_s=300.0)
    assert session.access_token_sync() == beside.record["access_token"]
    beside.login(left_s=1.0)
    # A slow start leaves no time for the first of the two messages.
    with pytest.raises(Unreachable, match=r"holds the lock|no token within"):
        session.access_token_sync(timeout_s=1.5)
    assert server.counts["exchange"] == 0
    beside.login()
    assert session.access_token_sync() == beside.record["access_token"]
    beside.lock.rmdir()
    assert components_of(session).credential.patience_s >= 100
    assert KIMI_CODE.patience_s >= 100


def test_a_lost_lock(session: Session, server: Server, beside: Beside) -> None:
    """A lock that is lost before the exchange stops it; nothing is sent, and the login stands."""
    beside.login(left_s=1.0)
    store = components_of(session).store
    with store.locked(0.0) as held:
        assert held is not None
        beside.lock.rmdir()
        for write in (lambda: store.claim(store.read().fp), lambda: store.sign_out(5.0)):
            with pytest.raises(StorageError, match="took the lock"):
                write()
    assert server.counts["exchange"] == 0
    assert beside.record["access_token"] == "access-1"


def test_a_lock_that_is_lost_after_the_claim(
    session: Session, server: Server, beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped between its claim and the request sends nothing either: kimi-code, which took the lock over,
    sends the same token. The claim is taken back."""
    beside.login(left_s=1.0)
    store = components_of(session).store
    claim = store.claim
    made: list[Claim] = []

    def stopped(fp: str) -> Claim:
        made.append(claim(fp))
        beside.lock.rmdir()
        beside.lock.mkdir()
        return made[-1]

    monkeypatch.setattr(store, "claim", stopped)
    with pytest.raises(KimiAuthError):
        session.access_token_sync(timeout_s=1.5)
    # A caller whose time is over does not wait for its walk.
    until(lambda _: made and not list(beside.path.parent.glob("*.next")), "the claim, taken back")
    assert (len(made), server.counts["exchange"]) == (1, 0)


def test_the_old_variable(code_home: Path, beside: Beside) -> None:
    """`KIMI_SHARE_DIR` on such a home no longer races: with kimi-code's lock held, nothing is sent to any server."""
    beside.login(left_s=1.0)
    beside.lock.mkdir()
    environ = {"HOME": str(code_home.parent), "PATH": os.defpath, "KIMI_SHARE_DIR": str(code_home)}
    script = "from kimi_auth import Session; Session(one_shot=True).access_token_sync(timeout_s=1.5)"
    command = [sys.executable, "-c", script]
    ran = subprocess.run(
        command, env=environ | {"https_proxy": "http://127.0.0.1:9"}, capture_output=True, text=True, check=False
    )
    # A slow start leaves no time for the first of the two messages.
    assert "holds the lock" in ran.stderr or "no token within" in ran.stderr
    assert "cannot be reached" not in ran.stderr
    assert not list(beside.path.parent.glob("*.next"))
    beside.lock.rmdir()
