"""The web backend, served by real worker processes: one login for all of them, and no 401 while it stands."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from house.patience import NO_LIMIT_S, PATIENCE_S, OwnTime, ended

from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

FOLDER = Path(__file__).parents[2] / "examples" / "web_backend"
REQUESTS = 200
CLIENTS = 4
SIGNED_IN = {"fresh", "expiring"}


@contextmanager
def uvicorn(environ: dict[str, str], errors: Path, workers: int = 1) -> Iterator[str]:
    """The example as its first lines say; gives its URL, and at the end it has ended by itself without an error."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        str(FOLDER),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-access-log",
    ]
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--workers", str(workers), "web_backend:app"], stderr=stderr, env={**os.environ, **environ}
        )
    try:
        until(lambda: errors.read_text().count("startup complete") == workers)
        yield until(lambda: re.search(r"running on (http://127\.0\.0\.1:\d+)", errors.read_text()))[1]
    finally:
        process.terminate()
        ended(process)
    said = errors.read_text()
    assert [line for line in said.splitlines() if "Traceback" in line or line.startswith("ERROR")] == [], said


def until(condition: Callable[[], Any]) -> Any:
    """The first true answer; a server's own latency is all that passes meanwhile."""
    own = OwnTime()
    while not (found := condition()):
        assert own.read() <= PATIENCE_S, "it never came"
        os.sched_yield()
    return found


@dataclass
class Browser:
    """A browser at one worker's address; every answer is kept."""

    base: str
    answers: list[str]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=NO_LIMIT_S))

    def get(self, path: str) -> httpx.Response:
        return self._kept(self.client.get(self.base + path))

    def press(self, way: str, **headers: str) -> httpx.Response:
        """A button of the page, as a browser sends it."""
        return self._kept(self.client.post(f"{self.base}/{way}", headers={"Origin": self.base, **headers}))

    @property
    def status(self) -> Any:
        return self.get("/status").json()

    def _kept(self, answer: httpx.Response) -> httpx.Response:
        self.answers.append(f"{answer.headers}\n{answer.text}")
        return answer


@dataclass
class Backend:
    """Two workers at addresses of their own, one share dir, one server where a person approves."""

    emulator: Emulator
    share_dir: Path
    one: Browser
    other: Browser
    answers: list[str]
    secrets: set[str] = field(default_factory=set)

    def sign_in(self, at: Browser, seen_by: Browser) -> None:
        """Begins at one worker; the code is read at the other one, approved, and both are signed in."""
        assert at.press("login").status_code == 303
        code = until(lambda: seen_by.status["sign_in"].get("code"))
        self.emulator.state.decide(code, "approved")
        for browser in (seen_by, at):
            until(lambda browser=browser: browser.status["state"] in SIGNED_IN and not browser.status["sign_in"])
        assert self.note_secrets()

    def note_secrets(self) -> bool:
        """Remembers the stored pair; whether it is another one than before."""
        token = FileStore(self.share_dir, clock=SystemClock()).read().token
        assert token is not None
        known = len(self.secrets)
        self.secrets |= {token.access_token, token.refresh_token}
        return len(self.secrets) == known + 2

    def age(self, left_s: float) -> None:
        """The stored token ends in so many seconds; the server's part of it is still as it was."""
        store = FileStore(self.share_dir, clock=SystemClock())
        with store.locked(NO_LIMIT_S) as held:
            token = store.read().token
            assert held
            assert token is not None
            ends_at_s = time.time() + left_s
            store.put(
                Token(token.access_token, token.refresh_token, ends_at_s, token.expires_in_s, issuer=token.issuer)
            )


@pytest.fixture
def backend(home: Path, tmp_path: Path) -> Iterator[Backend]:
    answers: list[str] = []
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(approve="page", interval_s=1))
        bases = [stack.enter_context(uvicorn(emulator.env, tmp_path / f"{number}.stderr")) for number in range(2)]
        one, other = (Browser(base, answers) for base in bases)
        for browser in (one, other):
            stack.enter_context(browser.client)
        yield Backend(emulator, home / ".kimi", one, other, answers)


@dataclass(frozen=True)
class Asked:
    """One request: when it began and ended, and how."""

    began_s: float
    ended_s: float
    status: int
    next_step: str


class Load:
    """Clients that ask both workers by turns, without a pause, until the block ends."""

    def __init__(self, *bases: str) -> None:
        self.asked: list[Asked] = []
        self._bases = bases
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients = [self._pool.submit(self._ask, number) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._pool:
            for client in self._clients:
                client.result()

    @property
    def served(self) -> int:
        return sum(one.status == 200 for one in list(self.asked))

    def go_on(self, requests: int) -> None:
        """Waits until so many more have been served."""
        wanted = self.served + requests
        until(lambda: self.served >= wanted)

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=NO_LIMIT_S) as client:
            while not self._over.is_set():
                number += 1
                began_s = time.monotonic()
                answer = client.get(f"{self._bases[number % len(self._bases)]}/ask")
                step = "" if answer.is_success else str(answer.json().get("next"))
                self.asked.append(Asked(began_s, time.monotonic(), answer.status_code, step))


def test_two_workers(backend: Backend) -> None:
    """200 requests to both across five rotations: none meets a 401, but between a logout and the login after it."""
    state, one, other = backend.emulator.state, backend.one, backend.other
    backend.sign_in(one, seen_by=other)
    events: list[Callable[[], object]] = [
        state.expire_access,  # the server takes it no more: a 401 that no client sees
        lambda: backend.age(-1.0),
        lambda: backend.age(300.0),
        lambda: backend.age(-1.0),
        lambda: backend.age(10.0),
    ]
    away = (0.0, 0.0)
    with Load(one.base, other.base) as load:
        for number, event in enumerate(events, start=1):
            load.go_on(REQUESTS // (len(events) + 1))
            event()
            assert state.wait_for(lambda state, number=number: state.counts["rotations"] == number, NO_LIMIT_S)
            until(backend.note_secrets)
            if number == 3:
                away_from_s = time.monotonic()
                assert other.press("logout").status_code == 303
                said = one.get("/ask")  # the other worker knows it at once
                assert (said.status_code, said.json()["next"]) == (401, "open / and sign in")
                backend.sign_in(other, seen_by=one)
                away = (away_from_s, time.monotonic())
        load.go_on(REQUESTS // (len(events) + 1))
    assert load.served >= REQUESTS
    refused = [asked for asked in load.asked if asked.status != 200]
    assert refused
    assert [asked for asked in refused if asked.ended_s < away[0] or asked.began_s > away[1]] == []
    assert {(asked.status, asked.next_step) for asked in refused} == {(401, "open / and sign in")}
    assert (state.counts["rotations"], state.counts["reuse_seen"]) == (len(events), 0)
    assert len(backend.secrets) == 2 * (len(events) + 2)
    shown = "\n".join(backend.answers)
    assert [secret for secret in backend.secrets if secret in shown or secret[-12:] in shown] == []


def strangers_begin_nothing(one: Browser, other: Browser) -> None:
    """Another site's form, a program that says nothing, another name for this machine."""
    for way in ("login", "logout"):
        for origin in ("https://example.com", "null", one.base.replace("http:", "https:"), other.base):
            assert one.press(way, Origin=origin).status_code == 403
        assert httpx.post(f"{one.base}/{way}", timeout=NO_LIMIT_S).status_code == 403
        assert one.press(way, Host="example.com", Origin="http://example.com").status_code == 400
        assert one.get(f"/{way}").status_code == 405
    page = one.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"


def test_both_press_the_button(backend: Backend) -> None:
    """Other origins begin nothing. Two workers, one moment: one code is asked for, both pages show it; a person who
    refuses is told so on both."""
    browsers = (backend.one, backend.other)
    strangers_begin_nothing(*browsers)
    assert backend.emulator.state.counts["device_codes"] == 0
    with ThreadPoolExecutor(4) as pool:
        assert [answer.status_code for answer in pool.map(lambda it: it.press("login"), browsers * 2)] == [303] * 4
    first, second = (until(lambda browser=browser: browser.status["sign_in"]) for browser in browsers)
    assert first == second
    assert backend.emulator.state.counts["device_codes"] == 1
    for browser in browsers:
        assert f"<b>{first['code']}</b>" in browser.get("/").text
        assert first["url"] in browser.get("/").text
    backend.emulator.state.decide(first["code"], "denied")
    for browser in browsers:
        assert "kimi-auth login" in until(lambda browser=browser: browser.status["sign_in"].get("message"))
        assert 'action="/login"' in browser.get("/").text


def test_a_worker_that_ends_takes_its_login_along(home: Path, tmp_path: Path) -> None:
    """The code that it was waiting for is shown on no page any more, and the next button begins afresh."""
    with Emulator(approve="page", interval_s=1) as emulator, uvicorn(emulator.env, tmp_path / "other.stderr") as base:
        other = Browser(base, [])
        with other.client:
            with uvicorn(emulator.env, tmp_path / "one.stderr") as ending:
                httpx.post(f"{ending}/login", headers={"Origin": ending}, timeout=NO_LIMIT_S)
                code = until(lambda: other.status["sign_in"].get("code"))
            assert other.status["sign_in"] == {}
            other.press("login")
            assert until(lambda: other.status["sign_in"].get("code")) != code


def test_the_page_escapes() -> None:
    """A server's name, link and error are text, whatever they hold."""
    specification = importlib.util.spec_from_file_location("web_backend", FOLDER / "web_backend.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    bad = "\"'><script>alert(1)</script>"
    about = {"worker": 1, "platform": bad, "state": bad, "seconds_left": 1}
    for sign_in in ({"url": bad, "code": bad}, {"message": bad}, {}):
        shown = module.page({**about, "sign_in": sign_in})
        assert "<script" not in shown
        assert shown.count("&lt;script&gt;") >= 3


def test_as_its_first_lines_say(home: Path, tmp_path: Path) -> None:
    """uvicorn --workers 2: one port, two processes, and both serve the login that one of them has made."""
    asked: list[dict[str, Any]] = []
    with (
        Emulator(approve="page", interval_s=1) as emulator,
        uvicorn(emulator.env, tmp_path / "stderr", workers=2) as base,
        httpx.Client(timeout=NO_LIMIT_S) as client,
    ):
        client.post(f"{base}/login", headers={"Origin": base})
        code = until(lambda: httpx.get(f"{base}/status", timeout=NO_LIMIT_S).json()["sign_in"].get("code"))
        emulator.state.decide(code, "approved")
        until(lambda: httpx.get(f"{base}/status", timeout=NO_LIMIT_S).json()["state"] in SIGNED_IN)

        def ask(_: int) -> httpx.Response:
            return httpx.get(f"{base}/ask", timeout=NO_LIMIT_S)

        with ThreadPoolExecutor(8) as pool:
            while len({one["worker"] for one in asked}) < 2:
                answers = list(pool.map(ask, range(16)))
                assert {answer.status_code for answer in answers} == {200}
                asked += [json.loads(answer.text) for answer in answers]
                assert len(asked) < 20 * 16, "one process answers everything"
    assert {tuple(one["models"]) for one in asked} == {tuple(model.id for model in emulator.state.models)}
