"""Forked children: nothing in flight is torn by a fork, a child starts afresh, and a preforking server is a fleet."""

from __future__ import annotations

import os

import pytest
from fleet.invariants import violations
from fleet.stage import Stage, pipe
from house.patience import NO_LIMIT_S

from kimi_auth.token import Token

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    "step",
    [
        "token_refresh.exchanging",
        *(pytest.param(f"token_refresh.{step}", marks=pytest.mark.prove) for step in ("claiming", "staging")),
    ],
)
def test_fork_during_a_renewal(stage: Stage, step: str) -> None:
    """`multiprocessing` forks while a renewal is in the air: the fork waits for it, and the child has what it brought."""
    stage.sign_in("expiring")
    worker = stage.start("fork", gates=[step])
    worker.held(step)
    worker.wait_for("forking")
    worker.order("on")
    assert worker.wait_for("children")["children"] == 0, worker.story()
    assert worker.end() == 0
    now = stage.look()
    assert [result.access for result in worker.results] == [stage.seen[0].access, now.access]
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert stage.next_run().access == now.access
    assert violations(stage) == []


def test_a_preforking_server(stage: Stage) -> None:
    """A session made before the fork serves every child; when the token has run out they cause one exchange together."""
    token = stage.sign_in("fresh")
    with pipe() as (start, begin):
        worker = stage.start("prefork", count=4, start=start)
        worker.wait_for("forked")
        ran_out = Token(token.access_token, token.refresh_token, 1.0, 900.0, issuer=token.issuer)
        with stage.store.locked(NO_LIMIT_S) as held:
            assert held
            stage.store.put(ran_out)
        os.close(begin)
        assert worker.wait_for("children")["children"] == 0, worker.story()
    assert worker.end() == 0
    now = stage.look()
    assert [result.access for result in worker.results] == [stage.seen[0].access, *[now.access] * 4]
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []
