"""Errors that are made when they are needed: a traceback stays with its error, so no two raises may share one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.cli.errors import status_error
from kimi_auth.credential.classify import NO_TOKEN, error_of
from kimi_auth.credential.contracts import CredentialContext
from kimi_auth.credential.credential import CredentialState
from kimi_auth.credential.status import LoginReport, Status
from kimi_auth.errors import KimiAuthError
from kimi_auth.login.outcome import login_error
from kimi_auth.store import MemoryStore

ENDED = [*NO_TOKEN, "expired", "in_doubt", "fresh"]
LOGIN_ENDS = ["denied", "expired", "cancelled", "models_pending", "failed"]


def depth(error: BaseException) -> int:
    """How many frames the traceback of an error has."""
    count, step = 0, error.__traceback__
    while step is not None:
        count, step = count + 1, step.tb_next
    return count


def is_new_each_time(make: Callable[[], KimiAuthError | None]) -> None:
    raised = []
    for _ in range(2):
        error = make()
        assert error is not None
        with pytest.raises(type(error)) as caught:
            raise error
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert depth(raised[0]) == depth(raised[1])
    assert str(raised[0]) == str(raised[1])


@pytest.mark.parametrize("state", ENDED)
def test_a_state_without_a_token(state: str) -> None:
    """Each asker for a token gets an error of its own."""
    is_new_each_time(lambda: error_of(state))
    is_new_each_time(lambda: CredentialState(state, CredentialContext()).error)


@pytest.mark.parametrize("state", NO_TOKEN)
def test_a_status_without_a_token(state: str) -> None:
    """So does each reader of a status."""
    is_new_each_time(lambda: status_error(Status("kimi-code", "Kimi Code", state, "here")))


@pytest.mark.parametrize("state", LOGIN_ENDS)
def test_a_login_that_failed(state: str) -> None:
    """So does each login."""
    is_new_each_time(lambda: login_error(LoginReport(state)))


def test_a_corrupt_record_in_memory(life: Any) -> None:
    """So does each reader of a record that is corrupt."""
    store: MemoryStore = life.store
    store.spoil()
    is_new_each_time(lambda: store.read().problem)
