"""Transitions as log lines: one for each, at DEBUG only, with the walk's own names and nothing of the context."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.credential.contracts import CredentialContext
from kimi_auth.credential.log_observer import LogObserver
from kimi_auth.machine import NO_OBSERVER, EdgeRecorder, Observers, Transition, walk_sync
from kimi_auth.token import fingerprint

LOGGER = "kimi_auth.machine"


def test_a_walk_is_told(life: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each transition of a renewal, the child's included, is one line in the order of the walk, without a token."""
    token = life.sign_in(age_s=2000.0)
    recorder = EdgeRecorder(test=lambda: "here")
    watched = Observers(recorder, LogObserver())
    at = life.credential.inspect()
    ctx = CredentialContext(patience_s=30.0, view=at.ctx.view)
    with caplog.at_level(logging.DEBUG, LOGGER):
        end, _ = walk_sync(life.library["token_lifecycle"], life.work, ctx, at=at.state, event="renew", observe=watched)
    told = [record for record in caplog.records if record.name == LOGGER]
    assert end == "fresh"
    assert {record.levelno for record in told} == {logging.DEBUG}
    assert told[0].getMessage() == "token_lifecycle: expired --renew--> refreshing (step 1, 0.0 ms)"
    assert {"token_lifecycle", "token_refresh"} == {vars(record)["machine"] for record in told}
    edges = {(edge.machine, edge.source, edge.event, edge.target) for edge, _ in recorder._counts}
    assert {tuple(vars(record)[name] for name in ("machine", "source", "event", "target")) for record in told} == edges
    for secret in (token.access_token, token.refresh_token, life.stored.access_token, life.stored.refresh_token):
        assert secret not in repr([vars(record) for record in told])


@pytest.mark.parametrize(("level", "lines"), [(logging.DEBUG, 1), (logging.INFO, 0), (logging.WARNING, 0)])
def test_only_where_somebody_listens(caplog: pytest.LogCaptureFixture, level: int, lines: int) -> None:
    """A transition is a line at DEBUG and nothing above it; entering a state is no line at all."""
    observer = LogObserver()
    with caplog.at_level(level, LOGGER):
        observer.entered("m", "a", "work")
        observer.moved(Transition("m", "a", "done", "b", 0.0125, 3))
    assert [record.getMessage() for record in caplog.records] == ["m: a --done--> b (step 3, 12.5 ms)"] * lines


def test_a_record_has_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    """Handlers that write data find every field of the transition on the record."""
    moved = Transition("m", "a", "done", "b", 0.5, 2)
    with caplog.at_level(logging.DEBUG, LOGGER):
        LogObserver().moved(moved)
    (record,) = caplog.records
    assert Transition(*(vars(record)[name] for name in Transition._fields)) == moved


def test_a_bystander_changes_nothing(life: Any) -> None:
    """A walk ends in the same state with the log and without."""
    life.sign_in()
    ends: list[str] = []
    watchers: list[Callable[[], Any]] = [lambda: NO_OBSERVER, LogObserver]
    for watch in watchers:
        machine = life.library["token_lifecycle"]
        end, _ = walk_sync(machine, life.work, CredentialContext(), observe=watch())
        ends.append(end)
    assert ends == ["fresh", "fresh"]


def test_a_renewal_is_one_line(life: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO each renewal has one line: the new pair's fingerprint, its life in seconds, how long it took."""
    token = life.sign_in(age_s=2000.0)
    exchange = life.server.exchange

    def slow(*args: Any, **more: Any) -> Any:
        life.clock.advance(1.25)
        return exchange(*args, **more)

    life.server.exchange = slow
    with caplog.at_level(logging.INFO, "kimi_auth"):
        assert life.walk("renew").state == "fresh"
        assert life.walk("touched").state == "fresh"
    (record,) = [record for record in caplog.records if record.levelno == logging.INFO]
    assert record.name == "kimi_auth.credential"
    assert record.getMessage() == f"renewed: pair {fingerprint(life.stored)}, 899 s of life, 1250 ms"
    assert life.stored.access_token != token.access_token
