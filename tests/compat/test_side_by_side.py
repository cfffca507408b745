"""The Kimi CLI's own authentication and ours on one share dir: each reads what the other writes, and none is signed
out."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, until

from kimi_auth.errors import StorageError, WrongIssuer
from kimi_auth.login.view import SilentView
from kimi_auth.signing import adopt_login
from kimi_auth.store.formats import decode_record
from kimi_auth.testing.emulator import Emulator

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
ROTATIONS = 50
ACCESS_TTL_S = 60.0  # so little that the Kimi CLI renews before every turn
Start = Callable[[list[str], dict[str, str]], Any]


@pytest.fixture
def short_lived(world: Any) -> Any:
    """The world, with tokens that the Kimi CLI renews each time, and answers that take a moment."""
    world.state.settings = replace(world.state.settings, access_ttl_s=ACCESS_TTL_S, latency_s=0.02)
    return world


@pytest.fixture
def both(
    short_lived: Any, start: Start, kimi_cli_python: str, kimi_cli_environ: dict[str, str]
) -> tuple[Any, Any, Any]:
    """A login of ours, a process with the Kimi CLI's own code, and one with ours."""
    asyncio.run(short_lived.another().login(SilentView()))
    theirs = start([kimi_cli_python, str(HERE / "worker_theirs.py")], kimi_cli_environ)
    ours = start([sys.executable, str(HERE / "worker_ours.py")], kimi_cli_environ)
    for worker in (theirs, ours):
        assert worker.ask(do="read")["status"] == 200
    return short_lived, theirs, ours


@contextmanager
def always_whole(credential: Path) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Reads the file without a pause while the block runs; gives the faults found, and what waits until it was read again."""
    found: list[str] = []
    over = threading.Event()
    reads = 0

    def read() -> None:
        nonlocal reads
        while not over.wait(0.001):
            try:
                decode_record(credential.read_bytes(), credential)
            except (OSError, StorageError) as error:
                found.append(f"{type(error).__name__}: {error}")
            reads += 1

    def is_read() -> None:
        before = reads
        until(lambda _: reads > before, "a look at the record")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield found, is_read
    finally:
        over.set()
        reader.join()


def still_signed_in(world: Any, theirs: Any, ours: Any, found: list[str]) -> None:
    """One login, alive, no pair used twice, the same pair for both, and a file that was never anything else."""
    assert found == []
    assert world.state.counts["reuse_seen"] == 0
    assert world.state.snapshot()["families_alive"] == 1
    one, other = theirs.ask(do="read"), ours.ask(do="read")
    assert one["status"] == other["status"] == 200
    assert one["pair"] == other["pair"]
    assert one["models"] == other["models"]
    assert not list((world.share_dir / "credentials").glob("*.corrupt-*"))


def test_alternating(both: tuple[Any, Any, Any]) -> None:
    """50 rotations, by turns: each process uses the other's newest pair for its next rotation."""
    world, theirs, ours = both
    with always_whole(world.share_dir / "credentials" / "kimi-code.json") as (found, is_read):
        for number in range(ROTATIONS):
            worker, other = (theirs, ours) if number % 2 else (ours, theirs)
            done = worker.ask(do="refresh")
            assert done["status"] == 200
            assert world.state.counts["rotations"] == number + 1
            assert other.ask(do="read")["pair"] == done["pair"]
            is_read()
    still_signed_in(world, theirs, ours, found)


def test_at_the_same_moment(both: tuple[Any, Any, Any]) -> None:
    """Both are told to renew at once, until there were 50 rotations: a moment costs one or two, and never the login."""
    world, theirs, ours = both
    moments = 0
    with always_whole(world.share_dir / "credentials" / "kimi-code.json") as (found, is_read):
        while world.state.counts["rotations"] < ROTATIONS:
            before = world.state.counts["rotations"]
            for worker in (theirs, ours):
                worker.send(do="refresh")
            assert [worker.answer()["status"] for worker in (theirs, ours)] == [200, 200]
            assert 1 <= world.state.counts["rotations"] - before <= 2
            moments += 1
            is_read()
    assert moments >= ROTATIONS / 2
    still_signed_in(world, theirs, ours, found)


def test_a_slow_server(both: tuple[Any, Any, Any], hold: Callable[..., None]) -> None:
    """While our renewal waits for its answer they wait for the lock, and then use what it brought.

    From about 5 s on they would not: they try the lock five times, 1 to 2 s apart, and then renew without it. A server
    that is strict about reuse ends the login then, as it does between two Kimi CLIs.
    """
    world, theirs, ours = both
    refused = threading.Event()
    hold("token", refused.is_set)
    ours.send(do="refresh")
    assert world.state.wait_for(lambda state: state.counts["rotations"] == 1, NO_LIMIT_S)
    assert theirs.ask(do="refresh", tells=True) == {"refused": True}
    refused.set()
    assert theirs.answer()["status"] == 200
    assert ours.answer()["status"] == 200
    assert world.state.counts["refreshes"] == 1
    still_signed_in(world, theirs, ours, [])


def test_what_we_write_they_read(both: tuple[Any, Any, Any]) -> None:
    """Our login's credential and config.toml load there, and say the same."""
    world, theirs, _ = both
    there = theirs.ask(do="read")
    assert there["pair"] == world.another().status().fp
    assert there["default"] == "kimi-code/kimi-for-coding"
    assert there["models"] == sorted(world.another()._components.config.read()["models"])


def test_what_they_write_we_read_and_keep(
    world: Any, start: Start, kimi_cli_python: str, kimi_cli_environ: dict[str, str]
) -> None:
    """Their login is a login here; a sync changes nothing of what they wrote, and a logout takes out no more than it."""
    theirs = start([kimi_cli_python, str(HERE / "worker_theirs.py")], kimi_cli_environ)
    assert theirs.ask(do="login")["events"][-1] == "success"
    session = world.another()
    assert isinstance(session.status().error, WrongIssuer), "their record does not say that it is from another host"
    adopt_login(session._components, world.emulator.oauth_host)
    status = session.status()
    assert (status.state, status.platform) == ("fresh", "kimi-code")
    assert theirs.ask(do="read")["pair"] == status.fp
    text = world.config_file.read_bytes()
    assert not asyncio.run(session.models.sync())
    assert world.config_file.read_bytes() == text

    before = session._components.config.read()
    asyncio.run(session.logout())
    after = session._components.config.read()
    assert [section for section in ("models", "providers", "services") if after.get(section)] == []
    mine = {"models", "providers", "services", "default_model", "default_thinking"}
    assert {key: value for key, value in before.items() if key not in mine} == {
        key: value for key, value in after.items() if key not in mine
    }
    assert theirs.ask(do="read")["status"] == 401
    assert theirs.ask(do="login")["events"][-1] == "success"
    adopt_login(world.another()._components, world.emulator.oauth_host)
    assert world.another().status().state == "fresh"


def test_what_is_ours_in_the_record_does_no_harm(both: tuple[Any, Any, Any]) -> None:
    """They rewrite the record without our keys; that is still a login here, and gets its server's name back."""
    world, theirs, ours = both
    record = world.share_dir / "credentials" / "kimi-code.json"
    assert json.loads(record.read_text())["issuer"] == world.emulator.oauth_host
    theirs.ask(do="refresh")
    assert "issuer" not in json.loads(record.read_text())
    assert world.another().status().state in {"fresh", "expiring"}
    ours.ask(do="refresh")
    assert json.loads(record.read_text())["issuer"] == world.emulator.oauth_host


def test_the_emulator_is_strict() -> None:
    """These proofs mean something: a pair that is used twice would end the login."""
    with Emulator() as emulator:
        assert emulator.state.settings.reuse.revokes_family
