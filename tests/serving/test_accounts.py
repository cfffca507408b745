"""Several accounts of one home, each served for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kimi_auth.accounts import use_account
from kimi_auth.errors import ConfigError
from kimi_auth.serving.program import Options, serve
from kimi_auth.session import components_of
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import key_fingerprint
from serving.conftest import Serving, run

ACCOUNTS = ("default", "work")


@pytest.fixture
def served(emulator: Emulator, tmp_path: Path, short: Path) -> Iterator[list[Serving]]:
    """One home with two accounts, and the server of each."""
    made = [Serving(emulator, tmp_path / "host", short / account, account) for account in ACCOUNTS]
    yield made
    for one in made:
        one.stop_here()
        if one.process is not None:
            one.end()


def test_a_grant_keeps_to_its_account(served: list[Serving]) -> None:
    """Whichever account is made the one in use, before a server starts or while it runs, a grant brings the tokens of its own, also
    after a renewal; `serve` without a name keeps to the account that was in use when it started."""
    default, work = served
    use_account(components_of(work.session))
    default.start()  # by its name, and not the one in use
    work.account = ""  # the one in use
    work.start()
    work.account = "work"
    boxes = [one.grant("agent") for one in served]
    for used in (default, work, default):
        use_account(components_of(used.session))
        newest = [one.session.access_token_sync(refresh=True) for one in served]
        assert len(set(newest)) == len(ACCOUNTS)
        answers = [one.renew(box) for one, box in zip(served, boxes, strict=True)]
        assert [answer.json()["access_token"] for answer in answers] == newest
        assert [one.get("/v1/token").json()["access_token"] for one in served] == newest


def test_a_handle_is_worth_nothing_at_another_account(served: list[Serving]) -> None:
    """Two grants of one name, in two accounts: handle and secret of the one bring no token of the other."""
    default, work = served
    for one in served:
        one.start_here()
    mine, other = default.grant("agent"), work.grant("agent")
    moved = mine._replace(socket_dir=other.socket_dir)
    assert work.renew(moved).status_code == 400
    assert work.get_token(moved).status_code == 401
    fp = key_fingerprint(other.token.access_token)
    forged = mine.handles.handle(other.grant_id, fp)  # made with the key of the other account
    assert work.renew(other, forged).status_code == 400
    assert work.get_token(other).json()["access_token"] == other.token.access_token


def test_two_accounts_do_not_share_sockets(served: list[Serving]) -> None:
    """A second server on the same `--sockets` would take the owner's socket of the first: it is refused, and the first goes on."""
    default, work = served
    default.start()
    work.places.sockets = default.sockets
    with pytest.raises(ConfigError, match="has these sockets"):
        serve(work.session, work.places, Options(), lambda _: None)
    assert default.get("/readyz").status_code == 200


def test_one_account_signs_out(served: list[Serving]) -> None:
    """The end of one account's login leaves the sandboxes of the other with theirs."""
    default, work = served
    for one in served:
        one.start_here()
    boxes = [one.grant("agent") for one in served]
    run(default.session.logout())
    assert default.get_token(boxes[0]).status_code == 503
    assert work.get_token(boxes[1]).status_code == 200
