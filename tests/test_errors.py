"""What an error tells a program: whether another try may help, and after how long."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

from kimi_auth import LoginReport, Session, Token, Unreachable, errors
from kimi_auth.credential.backoff import rejected_again
from kimi_auth.errors import CredentialLocked, KimiAuthError, ModelsPending
from kimi_auth.login.outcome import login_error
from kimi_auth.models.discovery import BearerRejected
from kimi_auth.testing import MemoryStore, SimulatedServer, SystemClock
from kimi_auth.wire import Answer
from kimi_auth.wire.interpret import exchange_answer, models_answer
from kimi_auth.wire.response import RawResponse

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, KimiAuthError)]

TRANSIENT = {"Unreachable", "CredentialLocked", "LockLost"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_says_whether_another_try_may_help(kind: type[KimiAuthError]) -> None:
    """A network, a held lock and a lost one pass by themselves; everything else waits for a person."""
    error = kind("no")
    assert (error.is_transient, error.retry_after_s) == (kind.__name__ in TRANSIENT, None)


def test_a_refused_bearer_is_no_passing_matter() -> None:
    """A 401 of the models API after a renewal is Unreachable by kind, and does not pass by itself."""
    assert not BearerRejected("401").is_transient


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_copies_keep_what_the_error_knows(kind: type[KimiAuthError]) -> None:
    """Pickled or reworded, an error keeps its kind, its pause and whether it passes."""
    error = kind("no", hint="try", retry_after_s=7.5, is_transient=True)
    for copy in (pickle.loads(pickle.dumps(error)), error.reworded("never"), error.reworded(hint="try")):
        assert (type(copy), copy.hint, copy.retry_after_s, copy.is_transient) == (kind, "try", 7.5, True)
    assert error.reworded("never").message == "never"
    assert error.reworded(retry_after_s=1.0).retry_after_s == 1.0


@pytest.mark.parametrize("answer_of", [exchange_answer, models_answer])
@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_a_server_asks_for_is_in_the_error(answer_of: Any, status: int) -> None:
    """Retry-After (RFC 9110 §10.2.3) reaches the caller."""
    error = answer_of(RawResponse("host.example", status, retry_after_s=20.0)).error
    assert (error.is_transient, error.retry_after_s) == (True, 20.0)


def expired(server: SimulatedServer, clock: SystemClock) -> MemoryStore:
    store = MemoryStore(clock)
    given = server.issue()
    with store.locked(0):
        store.put(Token(given.access_token, given.refresh_token, clock.wall_s() - 1, 900))
    return store


def test_a_backoff_says_how_long_it_lasts(tmp_path: Any) -> None:
    """A renewal that the server postponed by 600 s says so, and so does the next call, which sends nothing."""
    clock = SystemClock()
    server = SimulatedServer(clock)
    busy: Answer[Any, Any] = Answer("not_processed", error=Unreachable("429", retry_after_s=600.0), retry_after_s=600.0)
    server.fault("exchange", busy)
    session = Session(tmp_path, environ={}, store=expired(server, clock), server=server)
    for _ in range(2):
        with pytest.raises(Unreachable) as raised:
            session.access_token_sync()
        assert raised.value.is_transient
        assert 590 < (raised.value.retry_after_s or 0) <= 600
    assert server.counts["exchange"] == 1


def test_a_rejected_bearer_says_when_it_may_be_rotated_again() -> None:
    """The error of a forced rotation that came too soon names the pause."""
    error = rejected_again(12.0)
    assert (error.is_transient, error.retry_after_s) == (True, 12.0)


def test_a_login_that_only_lacks_its_models_passes_as_its_cause_does() -> None:
    """`models_pending` after a failed connection is transient; after an unwritable config it is not."""
    for cause in (Unreachable("off", retry_after_s=3.0), errors.ConfigError("read-only"), CredentialLocked("busy")):
        error = login_error(LoginReport("models_pending", error=cause))
        assert isinstance(error, ModelsPending)
        assert (error.is_transient, error.retry_after_s) == (cause.is_transient, cause.retry_after_s)
