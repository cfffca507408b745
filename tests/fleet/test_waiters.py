"""One transient fault while N processes need a new token: all of them wait it out and are served, with one exchange."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from house.environments import unmeasured

from fleet.invariants import violations
from fleet.stage import Stage
from kimi_auth.testing.emulator import Fault

PAGE = "<html><title>Sign in to the hotel's network</title></html>"


class Row(NamedTuple):
    """What goes wrong once, what the server makes of a token that comes twice, pairs that it gives, requests."""

    fault: Fault
    rotations: int = 1
    sends: int = 2
    reuse: str = "strict"


def refusing(status: int, body: str = "", **headers: str) -> Fault:
    return Fault("token", "refresh_token", status=status, body=body, headers=headers)


FAULTS = {
    "503": Row(refusing(503)),
    "dropped before processing": Row(Fault("token", "refresh_token", drop="before")),
    "dropped after processing": Row(Fault("token", "refresh_token", drop="after"), rotations=2, reuse="grace:60"),
    "429": Row(refusing(429)),
    "429 with Retry-After": Row(refusing(429, **{"Retry-After": "3"})),
    "a page with 200": Row(refusing(200, PAGE)),
    "a page with 403": Row(refusing(403, PAGE)),
    "slow": Row(Fault("token", "refresh_token", latency_s=3.0), sends=1),
}
SIZES = (1, 8, 16)
QUICK = {("503", 8), ("a page with 403", 8), ("429", 1)}
ROWS = [
    pytest.param(name, count, id=f"{name}, {count}", marks=() if (name, count) in QUICK else pytest.mark.prove)
    for count in SIZES for name in FAULTS
]  # fmt: skip
COMMANDS = [pytest.param(*row.values, id=row.id, marks=pytest.mark.prove) for row in ROWS]


def arrange(stage: Stage, name: str) -> Row:
    row = FAULTS[name]
    stage.serve(latency_s=0.1, reuse=row.reuse)
    stage.sign_in("expired")
    stage.state.inject(row.fault)
    return row


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "count"), ROWS)
def test_every_waiter_is_served(stage: Stage, measured: Callable[[str], None], name: str, count: int) -> None:
    """The first request fails; every process that needs a token ends with the same new one, without asking twice."""
    row = arrange(stage, name)
    fleet = stage.start_fleet(count, "obtain", one_shot=True)
    stage.go()
    results = [worker.result() for worker in fleet]
    assert [worker.end() for worker in fleet] == [0] * count
    now = stage.look()
    assert {(result.access, result.error) for result in results} == {(now.access, "")}
    assert (stage.exchanges, len(stage.sends), stage.works) == (row.rotations, row.sends, True)
    assert violations(stage) == []
    measured(f"{count} waiters, {name}: longest wait {max(result.waited_s for result in results):.2f} s")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "count"), COMMANDS)
def test_every_command_is_served(stage: Stage, measured: Callable[[str], None], name: str, count: int) -> None:
    """The same with `kimi-auth token`, as a shell starts it: exit status 0, and one token on all their outputs."""
    row = arrange(stage, name)
    environ = unmeasured()
    environ |= {**stage.emulator.env, "KIMI_SHARE_DIR": str(stage.share_dir)}
    began_s = time.monotonic()
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "kimi_auth", "token"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
        )
        for _ in range(count)
    ]
    said = [command.communicate() for command in commands]
    took_s = time.monotonic() - began_s
    token = stage.snapshot.token
    assert token is not None
    assert [command.returncode for command in commands] == [0] * count, said
    assert {out for out, _ in said} == {f"{token.access_token}\n".encode()}
    assert (stage.exchanges, len(stage.sends), stage.works) == (row.rotations, row.sends, True)
    measured(f"{count} commands, {name}: all of them ended after {took_s:.2f} s")
