"""kosong's real Kimi provider while another process rotates the login: no 401 reaches the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator.records import fingerprint

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

WORKER = Path(__file__).parent / "worker_kosong.py"
REQUESTS = 100
ROTATIONS = 10
GOOD = {"said": "hello there"}
Start = Callable[[list[str], dict[str, str]], Any]


def chats(world: Any, status: int) -> list[Mapping[str, Any]]:
    return [
        entry for entry in world.state.snapshot()["log"] if (entry["endpoint"], entry["status"]) == ("chat", status)
    ]


def bearers(world: Any) -> list[str]:
    """Which token each question was answered with."""
    return [entry["tokens"]["access_token"] for entry in chats(world, 200)]


def test_bearer_auth(world: Any, start: Start, kimi_cli_python: str, kimi_cli_environ: dict[str, str]) -> None:
    """The old access token dies with each rotation: a request that carried it is sent again within the same request."""
    world.sign_in()
    asker = start([kimi_cli_python, str(WORKER), "bearer"], kimi_cli_environ)
    rotating = world.another()
    answers: list[Any] = []
    for _ in range(ROTATIONS):
        answers += [asker.answer() for _ in range(REQUESTS // ROTATIONS)]
        old = rotating.access_token_sync()
        newer = fingerprint(rotating.access_token_sync(refresh=True))
        world.state.revoke(old)
        assert world.state.wait_for(lambda _, newer=newer: newer in bearers(world)[-3:], NO_LIMIT_S)
    assert len(answers) == REQUESTS
    assert [answer for answer in [*answers, asker.answer()] if answer != GOOD] == []
    assert world.state.counts["rotations"] == ROTATIONS


def test_bearer_auth_when_nobody_told(
    world: Any, start: Start, kimi_cli_python: str, kimi_cli_environ: dict[str, str]
) -> None:
    """A token that dies without a rotation costs one 401 on the wire, one rotation, and nothing at the caller."""
    world.sign_in()
    asker = start([kimi_cli_python, str(WORKER), "bearer"], kimi_cli_environ)
    assert asker.answer() == GOOD
    world.state.expire_access()
    assert [asker.answer() for _ in range(20)] == [GOOD] * 20
    assert world.state.counts["rotations"] == 1
    assert len(chats(world, 401)) == 1


def test_injection(world: Any, start: Start, kimi_cli_python: str, kimi_cli_environ: dict[str, str]) -> None:
    """Each rotation reaches the running client while the old token still works, as it does for minutes at a real server;
    the old one is revoked as soon as the new one has been used."""
    world.sign_in()
    asker = start([kimi_cli_python, str(WORKER), "injected"], kimi_cli_environ)
    rotating = world.another()
    answers = [asker.answer()]
    for _ in range(ROTATIONS):
        old = rotating.access_token_sync()
        newer = fingerprint(rotating.access_token_sync(refresh=True))
        answers += [asker.answer() for _ in range(REQUESTS // ROTATIONS)]
        asked = 0
        while newer not in bearers(world)[-3:]:
            answers.append(asker.answer())
            asked += 1
            assert asked < 2_000, "the rotation did not reach the running client"
        world.state.revoke(old)
    assert len(answers) > REQUESTS
    assert [answer for answer in answers if answer != GOOD] == []
    assert chats(world, 401) == []
    assert world.state.counts["rotations"] == ROTATIONS
