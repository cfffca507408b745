"""A session in another process: it is pickled as what it was made from, or says what keeps it here."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kimi_auth import BearerAuth, Session, Token
from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
from kimi_auth.testing import MemoryStore, SimulatedServer


def token_of(session: Session) -> tuple[str, str, str]:
    """What a worker process finds with the session that it was given."""
    return session.access_token_sync(), session.platform.id, session.api_origin


def signed_in(share_dir: Path, **named: Any) -> Session:
    store = FileStore(share_dir, clock=SystemClock())
    with store.locked(None):
        store.put(Token("access-of-the-test", "refresh-of-the-test", time.time() + 900, 900))
    return Session(share_dir, **named)


@pytest.mark.parametrize("environ", [None, {"KIMI_CODE_BASE_URL": "https://api.example"}], ids=["os", "given"])
def test_a_session_in_a_pool_of_spawned_processes(tmp_path: Path, environ: dict[str, str] | None) -> None:
    """ProcessPoolExecutor with `spawn`: the worker's session has the same login, platform and environment."""
    session = signed_in(tmp_path, environ=environ)
    session.access_token_sync()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(token_of, session).result() == token_of(session)


def test_no_token_is_in_the_pickle(tmp_path: Path) -> None:
    """A pickle names the login and holds nothing of it, though the session holds a token."""
    session = signed_in(tmp_path)
    assert session.access_token_sync() == "access-of-the-test"
    assert b"of-the-test" not in pickle.dumps(session)


def test_everything_that_it_was_made_with_comes_along(tmp_path: Path) -> None:
    """Share directory, platform, environment, one_shot and recheck_every_s."""
    session = Session(tmp_path, platform="kimi-code", environ={"A": "b"}, one_shot=True, recheck_every_s=2.0)
    copy = pickle.loads(pickle.dumps(session))
    assert copy.platform == session.platform
    assert copy._components.share_dir == tmp_path
    assert (copy._components.environ, copy._components.one_shot) == ({"A": "b"}, True)
    assert copy._recheck_every_s == 2.0


@pytest.mark.parametrize("name", ["store", "server", "clock", "observe"])
def test_what_cannot_leave_the_process_is_named(tmp_path: Path, name: str) -> None:
    """TypeError, which names the argument: a store in memory or a server of a test exists in one process only."""
    clock = SystemClock()
    given: dict[str, Any] = {
        "store": MemoryStore(clock),
        "server": SimulatedServer(clock),
        "clock": clock,
        "observe": lambda *_: None,
    }
    with pytest.raises(TypeError, match=f"a Session with {name}= cannot be pickled"):
        pickle.dumps(Session(tmp_path, environ={}, **{name: given[name]}))


@pytest.mark.parametrize("make", [Session, Session.default], ids=["Session", "default"])
def test_no_key_of_an_environment_is_in_a_pickle(tmp_path: Path, make: Any) -> None:
    """TypeError for an environ= with a key, which the pickle would hold; the process's own environment stays out of it."""
    session = make(tmp_path, environ={"KIMI_API_KEY": "sk-kimi-of-the-test"})
    with pytest.raises(TypeError, match=r"KIMI_API_KEY.* environment of the other process") as refused:
        pickle.dumps(session)
    assert "of-the-test" not in str(refused.value)


def test_the_auth_of_a_client_goes_with_its_session(tmp_path: Path) -> None:
    """BearerAuth is pickled with its session and origin."""
    auth = pickle.loads(pickle.dumps(BearerAuth(signed_in(tmp_path))))
    assert repr(auth) == repr(BearerAuth(Session(tmp_path)))
