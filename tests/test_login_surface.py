"""`Session.login` as a program calls it: a view that prints, and an exception for a login that did not succeed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kimi_auth import (
    AccessDenied,
    CodeExpired,
    ConfigError,
    InvalidKey,
    KimiAuthError,
    LoginCancelled,
    LoginReport,
    ModelsPending,
    Session,
    SilentView,
)
from kimi_auth.login.outcome import login_error
from kimi_auth.login.view import Notice, PrintingView
from kimi_auth.testing import Emulator, Fault, MemoryStore, SimulatedServer, SystemClock
from kimi_auth.wire import DeviceCode


def test_it_prints_the_code_where_nothing_else_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a view the code and its page are on standard error; standard output stays the program's own."""
    monkeypatch.setattr("kimi_auth.login.device_login.INTERVAL_FACTOR", 0.01)
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as emulator:
        session = Session(tmp_path, environ=emulator.env)
        report = session.login_sync()
        (code,) = emulator.state.snapshot()["codes"]
        shown = capsys.readouterr()
        assert (report.state, report.error, shown.out) == ("signed_in", None, "")
        assert f"code: {code['user_code']}\n" in shown.err
        assert f"page: {emulator.oauth_host}" in shown.err
        assert session.status().state == "fresh"


@pytest.mark.parametrize(("verdict", "error"), [("denied", AccessDenied), ("expired", CodeExpired)])
def test_it_raises_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str, error: type[KimiAuthError]
) -> None:
    """A program cannot take a sign-in that was denied, or that came too late, for one that succeeded."""
    monkeypatch.setattr("kimi_auth.login.device_login.INTERVAL_FACTOR", 0.01)
    with Emulator(approve="page", interval_s=0) as emulator:
        emulator.state.inject(
            Fault("token", "device_code", status=400, body={"error": f"{'access' if verdict == 'denied' else 'expired'}_"
                  f"{'denied' if verdict == 'denied' else 'token'}"}, times=None)
        )  # fmt: skip
        session = Session(tmp_path, environ=emulator.env)
        with pytest.raises(error):
            session.login_sync(SilentView())
        assert session.status().state == "absent"


def test_models_that_come_later_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed in without models: the report says so, and nothing is raised, for the login is there."""
    monkeypatch.setattr("kimi_auth.login.device_login.INTERVAL_FACTOR", 0.01)
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as emulator:
        emulator.state.inject(Fault("models", status=503, times=None))
        report = Session(tmp_path, environ=emulator.env).login_sync(SilentView())
    assert report.state == "models_pending"
    assert report.error is not None


def test_a_key_that_is_none_is_raised(tmp_path: Path) -> None:
    """The same for an API key, and for a platform that takes none."""
    for platform, key in (("moonshot-cn", "two words"), ("kimi-code", "sk-1")):
        session = Session(tmp_path, platform=platform, environ={})
        with pytest.raises(ConfigError):
            session.login_sync(api_key=key)
    assert issubclass(InvalidKey, KimiAuthError)


ENDS = {
    "signed_in": None,
    "denied": AccessDenied,
    "expired": CodeExpired,
    "cancelled": LoginCancelled,
    "models_pending": ModelsPending,
    "failed": KimiAuthError,
}


@pytest.mark.parametrize("state", ENDS)
def test_every_end_has_its_error(state: str) -> None:
    """By the rest state; each call makes an error of its own, so that no traceback grows from login to login."""
    kind = ENDS[state]
    first, second = login_error(LoginReport(state)), login_error(LoginReport(state))
    if kind is None:
        assert first is None
    else:
        assert type(first) is kind
        assert first is not second
    told = login_error(LoginReport(state, error=ConfigError("the reason")))
    assert kind is None or (told is not None and "the reason" in told.message)


def test_what_a_server_chose_is_harmless_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in a notice or a code move no cursor."""
    code = DeviceCode("d", "AB\x1b[2J", "https://a.example/\r", "", 900.0, 5.0)
    view = PrintingView()
    view.tell(Notice("code", "open\x1b]0;x\x07 it", code, asker="kimi-auth on a\x1b[2Jhost\r"))
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\r" not in said
    assert len(said.splitlines()) == 5
    assert "asks: kimi-auth on a" in said
    assert "If another person sent you this code, do not approve" in said


def test_nothing_to_print_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without standard error a login goes on unseen."""
    monkeypatch.setattr("sys.stderr", None)
    PrintingView().tell(Notice("waiting", "waiting"))


def test_a_session_of_the_testing_names() -> None:
    """`kimi_auth.testing` has all that a test of a program needs."""
    clock = SystemClock()
    store, server = MemoryStore(clock), SimulatedServer(clock)
    session = Session(environ={"KIMI_SHARE_DIR": "/nowhere"}, store=store, server=server, clock=clock)
    assert asyncio.run(asyncio.to_thread(session.status)).state == "absent"
