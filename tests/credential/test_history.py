"""What happened yesterday is on disk: bounded, private, without a secret, and never at anybody's cost."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from house.patience import ended

from kimi_auth.clock import VirtualClock
from kimi_auth.credential import history as walks
from kimi_auth.credential.history import KEPT, KEPT_OF_A_KIND, WalkFile, WalkHistory
from kimi_auth.credential.token_refresh import token_from
from kimi_auth.errors import AccessDenied, NotSignedIn
from kimi_auth.login.view import SilentView
from kimi_auth.machine import NO_OBSERVER, Edge, EdgeRecorder, Library, Machine, edges, steps
from kimi_auth.session import Session
from kimi_auth.signing import sign_in
from kimi_auth.store import FileStore, MemoryStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.wire import Answer

OWN = Library.load()
LIFE, LOGIN, OUT = OWN["token_lifecycle"], OWN["device_login"], OWN["sign_out"]


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A share dir that has been used."""
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


def walk(kept: WalkHistory, machine: Machine, *events: str) -> None:
    """One walk of `machine` that answers with these events, and is left where they end."""
    with kept.recording(machine, NO_OBSERVER) as observe:
        due = steps(machine, observe=observe)
        next(due)
        for event in events:
            try:
                due.send(event)
            except StopIteration:
                return


DENIED = ("ready", "code", "shown", "elapsed", "access_denied")


def test_a_walk_is_kept(share: Path) -> None:
    """Its file says when, which machine and how it ended, holds every step, and is private."""
    kept = WalkHistory(share, wall_s=lambda: 1_763_900_000.5)
    walk(kept, LOGIN, *DENIED)
    (one,) = kept.kept()
    assert (one.began[:-3], one.machine, one.end) == ("20251123T121320.", "device_login", "denied")
    found = kept.read(one)
    assert found is not None
    assert [traced.event for traced in found.traced] == list(DENIED)
    folder = kept.folder
    assert folder == share / "kimi-auth" / "walks"
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder, folder / one.name)] == [0o700, 0o700, 0o600]


def test_everybody_else_is_told_as_well(share: Path) -> None:
    """The observer that a session was given hears the same walk."""
    recorder = EdgeRecorder()
    with WalkHistory(share).recording(OUT, recorder) as observe:
        next(due := steps(OUT, observe=observe))
        due.send("emptied")
    assert set(edges(OUT)) - set(recorder.unwalked([OUT])) == {
        Edge("sign_out", "emptying", "emptied", "discarding_staged")
    }


@pytest.mark.parametrize("raised", [RuntimeError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_walk_that_raises(share: Path, raised: type[BaseException]) -> None:
    """The steps before an exception are recorded, and the exception goes on as it came."""
    kept = WalkHistory(share)

    def interrupted() -> None:
        with kept.recording(LOGIN, NO_OBSERVER) as observe:
            next(due := steps(LOGIN, observe=observe))
            due.send("ready")
            raise raised

    with pytest.raises(raised):
        interrupted()
    assert [(one.machine, one.end) for one in kept.kept()] == [("device_login", "unfinished")]


def test_a_childs_end_is_not_the_walks(share: Path) -> None:
    """A walk that is torn when its child has come to rest has not come to rest itself."""
    kept = WalkHistory(share)
    child = OWN["token_refresh"]
    with kept.recording(LIFE, NO_OBSERVER) as observe:
        next(due := steps(child, observe=observe))
        with suppress(StopIteration):
            due.send("satisfied")
    assert [(one.machine, one.end) for one in kept.kept()] == [("token_lifecycle", "unfinished")]


@pytest.mark.parametrize(
    ("claims", "got", "end", "count"),
    [
        (False, "changed", "fresh", 0),
        (False, "adopted", "fresh", 0),
        (False, "changed", "revoked", 1),
        (True, "changed", "fresh", 1),
    ],
    ids=["while it waited", "under the lock", "nothing gained", "after an exchange of its own"],
)
def test_a_waiter_that_another_process_served(share: Path, claims: bool, got: str, end: str, count: int) -> None:
    """A herd's waiters do not evict the walk of the one that renewed; one that got nothing, or that sent a token, is kept."""
    kept = WalkHistory(share)
    with kept.recording(LIFE, NO_OBSERVER) as observe:
        due = steps(LIFE, "expired", "renew", observe=observe)
        next(due)
        if claims:
            next(child := steps(OWN["token_refresh"], observe=observe))
            child.send("renewable")
            child.send("claimed")
        with suppress(StopIteration):
            for event in (got, "injected", end):
                due.send(event)
    assert len(kept.kept()) == count


def test_nothing_happened(share: Path, tmp_path: Path) -> None:
    """A walk without a step, a share dir without a login, and no share dir at all: nothing is written."""
    walk(WalkHistory(share), LOGIN)
    walk(WalkHistory(tmp_path / "nobody"), LOGIN, *DENIED)
    walk(WalkHistory(None), LOGIN, *DENIED)
    assert list(tmp_path.rglob("*")) == [share]
    assert (WalkHistory(None).kept(), WalkHistory(None).folder) == ([], None)
    assert WalkHistory(None).read(WalkFile("a", "b", "c", "d")) is None


def test_the_rare_is_not_pushed_out(share: Path) -> None:
    """Of each machine and end the last ones stay, however often another one happens."""
    kept = WalkHistory(share)
    walk(kept, LOGIN, *DENIED)
    for _ in range(3 * KEPT_OF_A_KIND):
        walk(kept, LOGIN, "already_signed_in")
    assert Counter(one.end for one in kept.kept()) == {"denied": 1, "signed_in": KEPT_OF_A_KIND}
    assert kept.kept()[0].end == "denied"


def test_there_is_an_end_to_kinds(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds there are, the oldest go when there are too many files, and other people's files stay."""
    now_s = 1_763_900_000.0
    kept = WalkHistory(share, wall_s=lambda: now_s)
    walk(kept, LOGIN, *DENIED)
    assert kept.folder is not None
    for number in range(KEPT + 30):
        (kept.folder / WalkFile(f"2030{number:04}", f"machine_{number}", "done", "x").name).touch()
    (kept.folder / "mine.txt").touch()
    now_s = 3_000_000_000.0
    walk(kept, LOGIN, *DENIED)
    names = [one.began for one in kept.kept()]
    assert (len(names), names[0]) == (KEPT, "20300031")
    assert (kept.folder / "mine.txt").exists()


def test_a_long_walk(share: Path) -> None:
    """Of an hour of polling its beginning and its end are kept."""
    kept = WalkHistory(share)
    walk(kept, LOGIN, *DENIED[:3], *(["elapsed", "authorization_pending"] * 700), *DENIED[3:])
    (one,) = kept.kept()
    found = kept.read(one)
    assert found is not None
    assert len(found.traced) == walks.LINES_MAX
    assert [found.traced[at].event for at in (0, 1, -2, -1)] == ["ready", "code", "elapsed", "access_denied"]
    assert kept.folder is not None
    assert (kept.folder / one.name).stat().st_size < walks.BYTES_MAX


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["kimi_auth.files.make_directories", "kimi_auth.files.create", "os.pwrite"])
def test_a_full_disk(
    share: Path, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It loses the record, says so at DEBUG, and leaves no half of it."""
    kept = WalkHistory(share)
    with caplog.at_level(logging.DEBUG, "kimi_auth.credential"), monkeypatch.context() as patched:
        patched.setattr(place, full)
        walk(kept, LOGIN, *DENIED)
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("DEBUG", "a walk could not be recorded: No space left on device")
    ]
    assert kept.kept() == []


@pytest.mark.parametrize("now_s", [float("nan"), 1e300, -1e300])
def test_a_clock_that_shows_no_year(share: Path, now_s: float) -> None:
    """A walk ends well under a clock that is out of its mind."""
    kept = WalkHistory(share, wall_s=lambda: now_s)
    walk(kept, LOGIN, *DENIED)
    assert kept.kept() == []


@pytest.mark.parametrize("text", ["", "no json\n", '{"walk": 1}\n', "\x00" * 10, "x" * (walks.BYTES_MAX + 1)], ids=len)
def test_a_file_of_others(share: Path, text: str) -> None:
    """An unreadable walk counts as none."""
    kept = WalkHistory(share)
    walk(kept, LOGIN, *DENIED)
    (one,) = kept.kept()
    assert kept.folder is not None
    (kept.folder / one.name).write_text(text)
    assert kept.read(one) is None
    assert kept.read(one._replace(walk="gone")) is None


def test_a_pipe_is_not_waited_for(share: Path) -> None:
    """Reading never hangs."""
    kept = WalkHistory(share)
    walk(kept, LOGIN, *DENIED)
    (one,) = kept.kept()
    assert kept.folder is not None
    (kept.folder / one.name).unlink()
    os.mkfifo(kept.folder / one.name)
    assert kept.read(one) is None


def test_names_that_are_not_ours() -> None:
    """Only what we would have written counts."""
    name = WalkFile("20251123T121320.250", "device_login", "denied", "0123").name
    assert WalkFile.parse(name) == WalkFile("20251123T121320.250", "device_login", "denied", "0123")
    for strange in ("", "a.ndjson", name.removesuffix(".ndjson"), f"{name}.tmp", f"x-{name}"):
        assert WalkFile.parse(strange) is None


MANY = """
import sys
from pathlib import Path
from kimi_auth.credential.history import WalkHistory
from kimi_auth.machine import NO_OBSERVER, Library, steps

machine = Library.load()["device_login"]
for _ in range(30):
    with WalkHistory(Path(sys.argv[1])).recording(machine, NO_OBSERVER) as observe:
        next(due := steps(machine, observe=observe))
        for event in sys.argv[2:-1]:
            due.send(event)
        try:
            due.send(sys.argv[-1])
        except StopIteration:
            pass
"""


def test_many_processes(share: Path) -> None:
    """All keep and make room at the same time: the files left are whole, and within the limit."""
    processes = [subprocess.Popen([sys.executable, "-c", MANY, str(share), *DENIED]) for _ in range(3)]
    assert [ended(process) for process in processes] == [0, 0, 0]
    kept = WalkHistory(share)
    assert len(kept.kept()) == KEPT_OF_A_KIND
    for one in kept.kept():
        found = kept.read(one)
        assert found is not None
        assert [traced.event for traced in found.traced] == list(DENIED)


# --- a session ---------------------------------------------------------------------------------------------------------


class World:
    """A session with files, its server and its clock."""

    def __init__(self, share: Path, **options: Any) -> None:
        self.clock = VirtualClock()
        self.server = SimulatedServer(self.clock)
        self.share = share
        self.session = Session(share, environ={}, clock=self.clock, server=self.server, **options)

    def sign_in(self, *, age_s: float) -> None:
        store = FileStore(self.share, clock=self.clock)
        with store.locked(0):
            store.put(token_from(self.server.issue(), sent_at_s=self.clock.wall_s(), issuer="https://auth.kimi.com"))
        self.clock.advance(age_s)

    def kept(self) -> list[tuple[str, str]]:
        return [(one.machine, one.end) for one in WalkHistory(self.share).kept()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "share")


def test_a_look_leaves_nothing(world: World) -> None:
    """Signed out: status and a request for a token, and the share dir is not even made."""
    world.session.status()
    with pytest.raises(NotSignedIn):
        world.session.access_token_sync()
    assert not world.share.exists()


def test_the_hot_path_leaves_nothing(world: World) -> None:
    """A fresh token is handed out without a word on disk, by a new session as well as by one that has it in hand."""
    world.sign_in(age_s=1)
    before = {path: path.stat().st_mtime_ns for path in world.share.rglob("*")}
    for _ in range(3):
        world.session.access_token_sync()
        world.session.status()
    assert {path: path.stat().st_mtime_ns for path in world.share.rglob("*")} == before


def test_a_renewal_and_a_logout(world: World) -> None:
    """Both are kept, and no token is in the files."""
    world.sign_in(age_s=890)
    token = world.session.access_token_sync()
    world.clock.advance(5)
    world.session.logout_sync()
    assert world.kept() == [("token_lifecycle", "fresh"), ("token_lifecycle", "absent")]
    kept = WalkHistory(world.share)
    found = kept.read(kept.kept()[0])
    assert found is not None
    assert {traced.machine for traced in found.traced} == {"token_lifecycle", "token_refresh"}
    assert kept.folder is not None
    text = "".join(path.read_text() for path in kept.folder.iterdir())
    assert token not in text
    assert world.clock.wall_s() - found.began_at_s < 60, "by the session's own clock"


def test_a_login_that_was_denied(world: World) -> None:
    """The first thing that ever happened in this share dir, and one that went wrong: that is what one asks about."""
    world.share.mkdir()
    world.server.fault("poll", Answer("access_denied", error=AccessDenied("the person said no")))
    assert asyncio.run(sign_in(world.session._components, SilentView())).state == "denied"
    assert world.kept() == [("device_login", "denied")]


def test_a_store_of_somebody_else(tmp_path: Path) -> None:
    """A credential that is not in the share dir has no history there."""
    world = World(tmp_path, store=MemoryStore(VirtualClock()))
    world.session.logout_sync()
    assert world.kept() == []


def test_a_full_disk_fails_no_renewal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is lost, the token is not."""
    world.sign_in(age_s=890)
    monkeypatch.setattr(WalkHistory, "_write", full)
    assert world.session.access_token_sync()
    assert world.kept() == []
