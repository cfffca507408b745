"""The detectors are not blind: each thing that must not happen is done on purpose, and is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from house.patience import NO_LIMIT_S

from fleet.invariants import violations
from fleet.stage import Edge, Result, Stage, Worker
from kimi_auth.store import RevokedMark
from kimi_auth.testing.emulator.oauth import CLIENT_ID
from kimi_auth.token import Token


class Ghost(Worker):
    """A process that never ran: what it is said to have done."""

    def __init__(self, pid: int, errors: Path, *edges: Edge, result: Result | None = None) -> None:
        self.edges, self.results, self.errors = list(edges), [result] if result else [], errors
        self.was_killed = False
        self._pid = pid
        errors.touch()

    @property
    def pid(self) -> int:
        return self._pid


def ghost(stage: Stage, *steps: str, pid: int = 1, at_s: float = 0.0, result: Result | None = None) -> None:
    """One more process, with steps `machine.source:event`, each a second long."""
    edges = []
    for number, step in enumerate(steps):
        machine, _, rest = step.partition(".")
        source, _, event = rest.partition(":")
        edges.append(Edge(machine, source, event, "", at_s + number, 1.0, pid))
    stage.workers.append(Ghost(pid, stage.folder / f"ghost-{len(stage.workers)}", *edges, result=result))


def refresh(stage: Stage, token: Token) -> httpx.Response:
    """A client that knows no rules."""
    form = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": token.refresh_token}
    with httpx.Client(trust_env=False, verify=False, timeout=NO_LIMIT_S) as http:
        return http.post(f"{stage.emulator.base_url}/api/oauth/token", data=form)


def sent_twice(stage: Stage) -> None:
    token = stage.sign_in("expired")
    refresh(stage, token)
    refresh(stage, token)


def never_stored(stage: Stage) -> None:
    refresh(stage, stage.sign_in("expired"))


def dropped_by_a_living_process(stage: Stage) -> None:
    stage.sign_in("expired")
    ghost(stage, "token_refresh.exchanging:tokens")


def refused_by_mistake(stage: Stage) -> None:
    stage.sign_in("expired")
    with stage.store.locked(NO_LIMIT_S):
        stage.store.mark_revoked(stage.snapshot.fp, RevokedMark(1.0, "invalid_grant"))


def vanished(stage: Stage) -> None:
    stage.sign_in("expired")
    stage.store.path.unlink()


def overwritten(stage: Stage) -> None:
    old = stage.sign_in("expired")
    stage.sign_in("expired")
    with stage.store.locked(NO_LIMIT_S):
        stage.store.put(old)


def back_after_logout(stage: Stage) -> None:
    stage.sign_in("fresh")
    ghost(stage, "sign_out.emptying:emptied")


def made_up(stage: Stage) -> None:
    stage.sign_in("fresh")
    ghost(stage, result=Result("0123456789abcdef", ""))


def untrue(stage: Stage) -> None:
    stage.sign_in("fresh")
    ghost(stage, result=Result("", "not_signed_in"))
    ghost(stage, result=Result("", "revoked"))


def together(stage: Stage) -> None:
    stage.sign_in("fresh")
    ghost(stage, "token_refresh.rereading:renewable", "token_refresh.claiming:claimed", pid=1, at_s=1.0)
    ghost(stage, "token_refresh.rereading:renewable", pid=2, at_s=1.5)


def readable_by_all(stage: Stage) -> None:
    stage.sign_in("fresh")
    stage.store.path.chmod(0o644)


def talkative(stage: Stage) -> None:
    token = stage.sign_in("fresh")
    ghost(stage)
    stage.workers[0].errors.write_text(token.access_token, "utf-8")


DEEDS: dict[Callable[[Stage], None], set[str]] = {
    sent_twice: {"I1", "I7"},
    never_stored: {"I1", "I2"},
    dropped_by_a_living_process: {"I2"},
    refused_by_mistake: {"I4"},
    vanished: {"I4"},
    overwritten: {"I5"},
    back_after_logout: {"I6"},
    made_up: {"I8"},
    untrue: {"I8"},
    together: {"I9"},
    readable_by_all: {"private"},
    talkative: {"quiet"},
}


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_seen(stage: Stage, deed: Callable[[Stage], None]) -> None:
    """The deed is found under its name, and under no name that it has not earned."""
    deed(stage)
    found = {line.partition(":")[0] for line in violations(stage)}
    stage.workers.clear()
    assert found == DEEDS[deed]


def test_nothing_to_see(stage: Stage) -> None:
    """An undisturbed login has no violations."""
    stage.sign_in("fresh")
    assert violations(stage) == []
