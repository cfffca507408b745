"""Old logins leave the system keyring: every order of things, every interruption, every keyring that does not work."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, Meeting, joined, met

from kimi_auth.clock import SystemClock
from kimi_auth.errors import (
    CorruptCredential,
    CredentialLocked,
    NotSignedIn,
    StorageError,
    StoreUnwritable,
    WrongIssuer,
)
from kimi_auth.login import keyring_migration as flow
from kimi_auth.models import ConfigFile
from kimi_auth.platforms import Platform, Registry
from kimi_auth.session import Session
from kimi_auth.store import Binding, FileStore, SystemKeyring
from kimi_auth.token import Token

KEY = "oauth/kimi-code"
OLD = Token("access-of-the-keyring", "refresh-of-the-keyring", 4e9, 900.0)
NEWER = Token("access-of-the-file", "refresh-of-the-file", 4e9, 900.0)
CONFIG = (
    'default_model = "kimi-code/k"\n'
    '[providers."managed:kimi-code"]\ntype = "kimi"\nbase_url = "https://api.kimi.com/coding/v1"\napi_key = ""\n'
    'oauth = { storage = "keyring", key = "oauth/kimi-code" } # where it is\n'
    '[models."kimi-code/k"]\nprovider = "managed:kimi-code"\nmodel = "k"\nmax_context_size = 1000\n'
)


@dataclass
class Keyring:
    """The package `keyring` of a test: what it holds, and what goes wrong by the name of the function."""

    held: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    error: dict[str, BaseException] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def get_password(self, service_name: str, username: str) -> str | None:
        self._ask("get")
        return self.held.get((service_name, username))

    def delete_password(self, service_name: str, username: str) -> None:
        self._ask("delete")
        del self.held[service_name, username]

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.error:
            raise self.error[what]


@dataclass
class Home:
    """A share directory whose config says that the login is in the keyring, where it is."""

    share: Path
    keyring: Keyring
    platform: Platform
    store: FileStore
    config: ConfigFile

    def migrate(self) -> flow.Migration:
        return flow.migrate(self.platform, self.store, self.config, self.system)

    @property
    def system(self) -> SystemKeyring:
        return SystemKeyring(patience_s=NO_LIMIT_S, backend=lambda: self.keyring)

    def put(self, token: Token) -> None:
        with self.store.locked(0):
            self.store.put(token)

    @property
    def stored(self) -> Token | None:
        return self.store.read().token

    @property
    def refers_to_file(self) -> bool:
        return self.config.path.read_text() == CONFIG.replace('"keyring"', '"file"')

    @property
    def refers_to_keyring(self) -> bool:
        return self.config.path.read_text() == CONFIG


@pytest.fixture
def home(share: Path) -> Home:
    """An old Kimi CLI's set-up."""
    (share / "config.toml").write_text(CONFIG)
    keyring = Keyring({("kimi-code", KEY): json.dumps(OLD.record())})
    store = FileStore(share, clock=SystemClock())
    return Home(share, keyring, Registry().get("kimi-code"), store, ConfigFile(share, lock_wait_s=NO_LIMIT_S))


def test_a_login_that_moves_belongs_to_the_built_in_host(home: Home) -> None:
    """Old Kimi CLIs noted no host, and the binding of another login in this share dir says nothing of this one."""
    with home.store.locked(0):
        home.store.bind(Binding("https://elsewhere.example"))
    assert home.migrate() == flow.Migration("moved")
    assert home.store.binding() is None
    assert Session(home.share, environ={}).status().state != "absent"
    elsewhere = Session(home.share, environ={"KIMI_CODE_OAUTH_HOST": "https://elsewhere.example"}).status()
    assert (elsewhere.state, type(elsewhere.error), elsewhere.issuer) == (
        "absent",
        WrongIssuer,
        "https://auth.kimi.com",
    )


def test_a_login_moves(home: Home) -> None:
    """The file has it, private; the keyring has not; config.toml refers to the file and keeps its comments; once."""
    assert flow.is_waiting(home.config, home.platform)
    assert home.migrate() == flow.Migration("moved")
    assert home.stored == OLD
    assert home.store.path.stat().st_mode & 0o777 == 0o600
    assert home.keyring.held == {}
    assert home.refers_to_file
    home.keyring.asked.clear()
    assert home.migrate() == flow.Migration("unneeded")
    assert home.keyring.asked == []


def test_other_entries_are_left_alone(home: Home) -> None:
    """Another program's entries, and another user's of this service, stay."""
    others = {("other", KEY): "x", ("kimi-code", "oauth/other"): "y"}
    home.keyring.held |= others
    home.migrate()
    assert home.keyring.held == others


@pytest.mark.parametrize("signed_out", [False, True])
def test_the_file_is_newer(home: Home, signed_out: bool) -> None:
    """A login or a logout in the file is never undone by the keyring; its entry goes all the same."""
    home.put(NEWER)
    if signed_out:
        with home.store.locked(0):
            home.store.sign_out(SystemClock().wall_s())
    before = home.stored
    assert home.migrate().state == "moved"
    assert home.stored == before
    assert home.keyring.held == {}
    assert home.refers_to_file


def test_nothing_there(home: Home) -> None:
    """An empty keyring may be another one than that with the login: the reference stays, so that it is looked for again."""
    home.keyring.held.clear()
    assert home.migrate() == flow.Migration("empty")
    assert home.refers_to_keyring
    home.put(NEWER)
    assert home.migrate().state == "moved"
    assert home.refers_to_file


def test_a_config_that_cannot_be_read(home: Home) -> None:
    """Then nothing is known of a keyring, and none is asked."""
    home.config.path.write_text("[broken")
    assert home.migrate().state == "unneeded"
    assert home.keyring.asked == []


# --- what goes wrong -------------------------------------------------------------------------------------------------


class KeyringLocked(Exception):
    """As the package calls it."""


class NoKeyringError(Exception):
    """As the package calls it."""


class OddError(Exception):
    """Something of a back end's own."""


FAILURES: dict[str, tuple[str, BaseException, str]] = {
    "absent": ("get", NoKeyringError("x"), "no system keyring"),
    "no package": ("get", ModuleNotFoundError("keyring"), "needs a package"),
    "locked": ("get", KeyringLocked("x"), "is locked"),
    "odd": ("get", OddError("refresh-of-the-keyring"), r"does not work \(OddError\)"),
    "exits": ("get", SystemExit(3), r"does not work \(SystemExit\)"),
    "locked at the end": ("delete", KeyringLocked("x"), "is locked"),
}


@pytest.mark.parametrize(("what", "error", "words"), FAILURES.values(), ids=FAILURES)
def test_a_keyring_that_does_not_work(home: Home, what: str, error: BaseException, words: str) -> None:
    """It is said in one sentence with a next step; nothing is lost, and the next run goes on."""
    home.keyring.error[what] = error
    found = home.migrate()
    assert found.state == "waiting"
    assert isinstance(found.error, StorageError)
    assert re.search(words, found.error.message)
    assert found.error.hint
    assert "refresh-of" not in found.error.line + repr(found.error.__context__)
    assert home.keyring.held
    assert home.stored == (OLD if what == "delete" else None)
    assert home.refers_to_keyring
    home.keyring.error.clear()
    assert home.migrate().state == "moved"
    assert (home.stored, home.keyring.held) == (OLD, {})


def test_a_keyring_that_is_slow(home: Home) -> None:
    """Its time has an end, which the caller sees; an answer that comes later changes nothing."""
    gate = threading.Event()
    home.keyring._ask = lambda _: met(gate)  # type: ignore[method-assign,assignment]
    slow = SystemKeyring(patience_s=0.01, backend=lambda: home.keyring)
    found = flow.migrate(home.platform, home.store, home.config, slow)
    late = [thread for thread in threading.enumerate() if thread.name == "kimi-auth-keyring"]
    assert late
    gate.set()
    for thread in late:
        joined(thread)
    assert found.state == "waiting"
    assert "within 0.01 s" in str(found.error)
    assert (home.stored, home.refers_to_keyring, bool(home.keyring.held)) == (None, True, True)


def test_its_limit_is_three_seconds() -> None:
    """By default no caller waits longer for a keyring."""
    assert SystemKeyring()._patience_s == 3.0


def test_an_entry_that_is_no_credential(home: Home) -> None:
    """It is not stored, not deleted, and not shown."""
    home.keyring.held["kimi-code", KEY] = '{"access_token": "access-of-the-keyring"'
    found = home.migrate()
    assert isinstance(found.error, CorruptCredential)
    assert "access-of" not in found.error.line
    assert home.keyring.held
    assert home.store.read().state == "absent"


def test_a_file_that_cannot_be_understood(home: Home) -> None:
    """A corrupt credential is still a login: only a new login sets it aside."""
    home.put(NEWER)
    home.store.path.write_text("{")
    assert isinstance(home.migrate().error, CorruptCredential)
    assert home.store.path.read_text() == "{"
    assert home.keyring.held


def test_a_credential_that_is_locked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer of the credential comes first."""
    monkeypatch.setattr(flow, "LOCK_PATIENCE_S", 0.0)
    with FileStore(home.share, clock=SystemClock()).locked(0):
        found = home.migrate()
    assert isinstance(found.error, CredentialLocked)
    assert home.keyring.held


def test_what_cannot_be_read_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyring's entry goes only when the file is known to have the same."""
    monkeypatch.setattr(FileStore, "put", lambda self, token: None)
    assert "is not the one that was written" in str(home.migrate().error)
    assert home.keyring.held
    assert home.refers_to_keyring


class Crash(BaseException):
    """The process ends here."""


def ending_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[int]:
    """Every fsync, rename and deletion has a moment before and one after it; at the one with that number the error comes.
    Returns the moments that were reached."""
    reached: list[int] = []

    def moment() -> None:
        reached.append(len(reached))
        if reached[-1] == number:
            raise error

    for owner, name in ((os, "fsync"), (os, "replace"), (Keyring, "delete_password")):
        real = getattr(owner, name)

        def step(*arguments: Any, real: Any = real, **options: Any) -> Any:
            moment()
            result = real(*arguments, **options)
            moment()
            return result

        monkeypatch.setattr(owner, name, step)
    return reached


@pytest.mark.parametrize("error", [Crash(), OSError(28, "No space left on device")], ids=["crash", "full"])
def test_interrupted_at_every_step(home: Home, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Wherever it ends, the login is in the file or in the keyring, and the next run finishes it."""
    for number in range(100):
        home.config.path.write_text(CONFIG)
        home.store.path.unlink(missing_ok=True)
        home.keyring.held["kimi-code", KEY] = json.dumps(OLD.record())
        with monkeypatch.context() as patch, suppress(Crash):
            reached = ending_at(patch, number, error)
            home.migrate()
        assert home.stored == OLD or home.keyring.held
        assert home.migrate().state in {"moved", "unneeded"}
        assert (home.stored, home.keyring.held, home.refers_to_file) == (OLD, {}, True)
        if number >= len(reached):
            break
    else:
        pytest.fail("the migration has no end")
    assert number > 10


def test_two_at_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that find the same entry: one of them writes it, both end well."""
    monkeypatch.setattr(flow, "LOCK_PATIENCE_S", NO_LIMIT_S)
    start = Meeting(2)
    real, states = home.keyring.get_password, []

    def together(service_name: str, username: str) -> str | None:
        found = real(service_name, username)
        if len(home.keyring.asked) <= 2:
            start.wait()
        return found

    home.keyring.get_password = together  # type: ignore[method-assign]
    home.keyring.delete_password = lambda service, name: home.keyring.held.pop((service, name), None)  # type: ignore[method-assign]
    threads = [threading.Thread(target=lambda: states.append(home.migrate().state)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["moved", "moved"]
    assert (home.stored, home.keyring.held, home.refers_to_file) == (OLD, {}, True)


# --- in a session ----------------------------------------------------------------------------------------------------


@pytest.fixture
def session(home: Home, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session of that home; the system's keyring is the test's."""
    monkeypatch.setattr("kimi_auth.store.SystemKeyring", lambda: home.system)
    return Session(home.share, environ={})


def test_a_login_in_the_file_needs_no_keyring(home: Home) -> None:
    """The file is newer than any entry: where no keyring is at all, config.toml refers to the file from now on."""
    home.put(NEWER)
    home.keyring.error["get"] = NoKeyringError()
    assert home.migrate() == flow.Migration("moved")
    assert home.stored == NEWER
    assert home.refers_to_file


def test_a_login_in_the_file_waits_for_a_locked_keyring(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A keyring that is there may have the old entry, which is to go: it is said, and how to be rid of it."""
    home.put(NEWER)
    home.keyring.error["get"] = KeyringLocked()
    assert home.migrate().state == "waiting"
    assert home.refers_to_keyring
    assert "kimi-auth login --force" in caplog.text


def test_status_of_a_login_in_the_keyring(home: Home, session: Session) -> None:
    """It says where the login waits and what moves it, and asks no keyring."""
    status = session.status()
    assert (status.state, status.location, status.sources["credential"]) == ("absent", "the system keyring", "keyring")
    assert isinstance(status.error, NotSignedIn)
    assert status.error.hint == "kimi-auth models sync"
    assert home.keyring.asked == []
    home.put(NEWER)
    assert (session.status().sources["credential"], session.status().error) == ("file", None)


def test_an_error_of_the_only_login_is_said_once(
    home: Home, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """The error says it; no warning beside it says the same."""
    home.keyring.error["get"] = NoKeyringError()
    with pytest.raises(NotSignedIn):
        session.access_token_sync()
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


WAYS: dict[str, Callable[[Session], object]] = {
    "access_token_sync": lambda session: session.access_token_sync(),
    "token_sync": lambda session: session._supply.token_sync(),
    "access_token": lambda session: asyncio.run(session.access_token()),
}


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_whoever_asks_for_a_token_first_moves_it(home: Home, session: Session, ask: Any, recent: None) -> None:
    """The login is served as if it had always been in the file, and the keyring is asked once."""
    assert session.status().state == "absent"
    assert home.keyring.asked == []
    for _ in range(2):
        answer = ask(session)
        assert getattr(answer, "access_token", answer) == OLD.access_token
    assert home.keyring.asked == ["get", "get", "delete"]
    assert home.refers_to_file


@pytest.fixture
def recent(home: Home) -> None:
    """The login in the keyring is fresh."""
    token = Token(OLD.access_token, OLD.refresh_token, SystemClock().wall_s() + 900, 900.0)
    home.keyring.held["kimi-code", KEY] = json.dumps(token.record())


def test_a_keyring_that_does_not_work_costs_one_try(home: Home, session: Session) -> None:
    """Without it the login counts as signed out, with a message; the session does not ask again and again."""
    home.keyring.error["get"] = NoKeyringError()
    for _ in range(2):
        with pytest.raises(NotSignedIn, match="not signed in: this session has no system keyring"):
            session.access_token_sync()
    assert home.keyring.asked == ["get"]
    report = session.logout_sync()
    assert (report.state, report.config, str(report.error)) == (
        "absent",
        "restored",
        "this session has no system keyring",
    )


def test_logout_of_a_login_in_the_keyring(home: Home, session: Session) -> None:
    """It moves first, so that nothing is left behind: no entry, no credential, no provider."""
    session._components.platform = session.platform._replace(revocation="none")
    assert session.logout_sync().state == "absent"
    assert home.keyring.held == {}
    assert home.stored is not None
    assert home.stored.is_empty
    assert session._components.config.read() == {}


def test_a_disk_that_takes_nothing(home: Home, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login stays where it is until there is room."""

    def full(*_: object, **__: object) -> None:
        raise StoreUnwritable("the disk is full")

    monkeypatch.setattr(FileStore, "put", full)
    with pytest.raises(NotSignedIn, match="not signed in: the disk is full"):
        session.access_token_sync()
    assert home.keyring.held
    assert home.refers_to_keyring
