"""No token and no device code leaves its allowed locations: the wire's requests and answers, the credential's file, and
`token`'s line.

A life with every kind of error is lived, everything that is written anywhere meanwhile is collected, and every secret
of that life is looked for in it: whole, and in pieces.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import io
import json
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx
import pytest
import rich.console
import rich.traceback
from house.patience import NO_LIMIT_S

from kimi_auth import BearerAuth, Session
from kimi_auth.cli.view_json import JsonView
from kimi_auth.clock import VirtualClock
from kimi_auth.errors import KimiAuthError, StoreUnwritable
from kimi_auth.login.view import Notice
from kimi_auth.machine import Observers
from kimi_auth.machine.engine import Transition
from kimi_auth.signing import sign_in
from kimi_auth.testing.emulator import Emulator, Fault
from life.world import Home, Person

TESTS: Final = str(Path(__file__).parents[1])
MAY_HOLD_SECRETS: Final = ("kimi-code.json", ".next", ".corrupt-")
"""The files of `credentials/` that are the credential, its successor, or what it was."""

NOT_OF_A_LIFE: Final = (
    "kimi_auth.testing.emulator",
    "kimi_auth.machine",
    "kimi_auth.wire.rules",
    "kimi_auth.platforms.registry",
    "kimi_auth.files",
)
"""The server's side, reads of the package's files, and the bytes of a file that is being read."""

PIECE: Final = 12
HYPHEN: Final = "\u00ad"
"""A soft hyphen is not seen, and hides a secret from a plain search when it stands between its characters."""

HYPHENS: Final = re.compile(r"\xc2?\xad|\\u00ad|\\xad")
"""It in text, in UTF-8 read as Latin-1, in JSON, and in a repr."""

HALFWAY: Final = {"exchange", "stage", "install", "poll_token", "store_credential", "sync_models", "revoke"}


class Gleanings(logging.Handler):
    """Everything that was written, shown, raised or could be printed in a debugger, by where it was found.

    A logging handler for all loggers at DEBUG, an observer of walks, and a view of logins.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.found: set[tuple[str, str]] = set()
        self.elders: list[object] = []

    @contextmanager
    def young(self) -> Iterator[None]:
        """Meanwhile only objects made in here are walked through, and earlier ones of ours: a long run of tests
        leaves a million unrelated objects."""
        gc.collect()
        self.elders = _ours(gc.get_objects())
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()

    def add(self, where: str, *things: object) -> None:
        self.found.update((where, thing if isinstance(thing, str) else repr(thing)) for thing in things)

    def emit(self, record: logging.LogRecord) -> None:
        self.add(f"log {record.name}", self.format(record), record.args, record.__dict__)

    def entered(self, machine: str, state: str, activity: str) -> None:
        if activity in HALFWAY:
            self.objects(f"in {activity}")

    def moved(self, transition: Transition) -> None:
        self.add("observer", transition)
        if transition.event in ("granted", "tokens", "renewed"):
            self.objects(f"after {transition.event}")

    def objects(self, moment: str) -> None:
        """The reprs of all objects of ours that are alive."""
        for thing in (*self.elders, *_ours(gc.get_objects())):
            self.add(f"repr of {type(thing).__name__}, {moment}", thing)

    def error(self, error: BaseException) -> None:
        """An exception as programs print it: text, pickle, and tracebacks with the variables of every frame."""
        trace = _from_ours(error.__traceback__)
        kind = type(error).__name__
        self.add(f"error {kind}", error, str(error), error.__dict__)
        if isinstance(error, KimiAuthError):
            self.add(f"error {kind}", error.line, pickle.dumps(error).decode("latin-1"))
        told = traceback.TracebackException(type(error), error, trace, capture_locals=True)
        self.add(f"traceback with locals of {kind}", *told.format())
        page = io.StringIO()
        shown = rich.traceback.Traceback.from_exception(type(error), error, trace, show_locals=True, extra_lines=0)
        rich.console.Console(file=page, width=400, color_system=None).print(shown)
        self.add(f"rich traceback with locals of {kind}", page.getvalue())

    def files(self, share_dir: Path) -> None:
        for path in share_dir.rglob("*"):
            if path.is_file() and not any(part in path.name for part in MAY_HOLD_SECRETS):
                self.add(f"file {path.name}", path.read_bytes().decode("latin-1"))
            self.add("file names", str(path))

    def leaks(self, secrets: list[str]) -> list[str]:
        """Where a secret, or a piece of it, was found; never the secret itself."""
        pieces = {piece for secret in secrets for piece in (secret[-2 * PIECE : -PIECE], secret[-PIECE:])}
        return sorted({where for where, text in self.found if any(piece in HYPHENS.sub("", text) for piece in pieces)})


def _ours(things: list[Any]) -> list[object]:
    modules = ((thing, getattr(type(thing), "__module__", None)) for thing in things)
    return [
        thing
        for thing, module in modules
        if isinstance(module, str) and module.startswith("kimi_auth.") and not module.startswith(NOT_OF_A_LIFE)
    ]


def _from_ours(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the tests' own frames at its top: what they hold is theirs."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(TESTS):
        trace = trace.tb_next
    return trace


@dataclasses.dataclass
class Witness:
    """A share dir, a server that is known inside out, and the collected output."""

    home: Home
    emulator: Emulator
    clock: VirtualClock
    gleanings: Gleanings

    def session(self, **settings: Any) -> Session:
        observe = Observers(self.gleanings, self.home.watcher.seen)
        return self.home.session(observe=observe, **settings)

    @property
    def secrets(self) -> list[str]:
        """Every access token, refresh token and device code that the server has ever given out."""
        return [*self.emulator.state._tokens, *self.emulator.state._codes]

    def fault(self, endpoint: Any = "token", **script: Any) -> None:
        """The next request gets an answer that quotes what it sent: servers do."""
        sent = self.home.record["refresh_token"] if self.home.credential.exists() else self.secrets[-1]
        if "error" in script:
            said = f"not {HYPHEN.join(sent)}!"
            script |= {"status": 400, "body": {"error": script.pop("error"), "error_description": said}}
        elif "status" in script:
            script = {"body": f"<p>device_code={sent}, or {HYPHEN.join(sent)}</p>", **script}
        self.emulator.state.inject(Fault(endpoint, **script))

    @contextmanager
    def expect(self, kind: type[BaseException] = KimiAuthError) -> Iterator[None]:
        with pytest.raises(kind) as raised:
            yield
        self.gleanings.error(raised.value)

    def look_at(self, session: Session) -> None:
        status = session.status()
        self.gleanings.add("status", status, status._asdict())
        if status.error is not None:
            self.gleanings.add("status", status.error.line)

    def glean(self, moment: str) -> None:
        self.gleanings.objects(moment)
        self.gleanings.files(self.home.share_dir)

    def login(self, person: Person | None = None, **settings: Any) -> str:
        """A login that the person approves at the second "waiting", with every observer attached."""
        view = Told(self.gleanings, person or Person(("waiting", self.emulator_approves)))
        report = asyncio.run(sign_in(self.session()._components, view, **settings))
        self.gleanings.add("report", report, report.error)
        if report.error is not None:
            self.gleanings.error(report.error)
        self.glean(f"after a login that is {report.state}")
        return report.state

    def emulator_approves(self, user_code: str) -> None:
        self.emulator.state.decide(user_code, "approved")


class Told:
    """A view that hands each notice to a person and to the event stream, and keeps what both are told."""

    def __init__(self, gleanings: Gleanings, person: Person) -> None:
        self._gleanings = gleanings
        self._person = person
        self._json = JsonView(self._emit, "Kimi Code")

    def _emit(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        self._gleanings.add("events", json.dumps({"type": kind, "message": message, "data": data}))

    def tell(self, notice: Notice) -> None:
        self._gleanings.add("notice", notice, notice.message)
        self._gleanings.objects(f"at notice {notice.kind}")
        self._json.tell(notice)
        self._person.tell(notice)

    async def left(self) -> None:
        await self._person.left()


@pytest.fixture
def witness(life: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    clock = VirtualClock()
    life.clock = clock
    gleanings = Gleanings()
    everybody = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    levels = {logger: logger.level for logger in everybody}
    with gleanings.young(), Emulator(approve="page", now_s=clock.wall_s) as emulator:
        for name, value in emulator.env.items():
            monkeypatch.setenv(name, value)
        for logger in everybody:
            logger.setLevel(logging.DEBUG)
        logging.getLogger().addHandler(gleanings)
        try:
            yield Witness(life, emulator, clock, gleanings)
        finally:
            logging.getLogger().removeHandler(gleanings)
            for logger, level in levels.items():
                logger.setLevel(level)


def rough_login(witness: Witness) -> None:
    """Codes, pending, slow_down, a 503, HTML and a lost connection, each quoting the device code; then the approval."""
    person = Person()

    def error(_: str) -> None:
        for script in (
            {"error": "slow_down"},
            {"status": 503},
            {"status": 403},
            {"drop": "before"},
            {"error": "server_error"},
        ):
            witness.fault(**script)

    person.plan.extend([("code", error), ("waiting", lambda _: None), ("waiting", witness.emulator_approves)])
    assert witness.login(person) == "signed_in"
    assert person.kinds.count("unreachable") == 4


def many_refreshes(witness: Witness) -> None:
    """Renewals that work, that fail in every way, and clients that are served meanwhile."""
    session = witness.session()
    for script in (
        {},
        {"status": 503},
        {"status": 200},
        {"error": "moon_phase"},
        {"drop": "before"},
        {"status": 429},
        {"error": "invalid_client"},
    ):
        witness.clock.advance(2000)
        if script:
            witness.fault(times=None, **script)
            with witness.expect():
                session.access_token_sync()
            witness.emulator.state.clear_faults()
            witness.clock.advance(2000)
        session.access_token_sync()
        witness.look_at(session)
        witness.glean("after a renewal")


def clients(witness: Witness) -> None:
    """The API through BearerAuth, across a 401, and a client that is kept fresh."""
    session = witness.session()

    class Target:
        api_key = ""

    async def use() -> None:
        async with (
            session.kept_fresh(target := Target()),
            httpx.AsyncClient(auth=BearerAuth(session), timeout=NO_LIMIT_S) as client,
        ):
            assert (await client.get(f"{session.api_origin}/models")).status_code == 200
            witness.emulator.state.expire_access()
            assert (await client.get(f"{session.api_origin}/models")).status_code == 200
            assert target.api_key
            witness.glean("while a client is served")
            for status in (500, 402):
                witness.fault("models", status=status)
                with witness.expect():
                    await session.models.sync()

    asyncio.run(use())


def ended(witness: Witness) -> None:
    """The server ends the login; the file is broken; the broken file is set aside; sign out."""
    session = witness.session()
    witness.emulator.state.revoke_family()
    witness.clock.advance(2000)
    for _ in range(2):
        with witness.expect():
            session.access_token_sync()
    witness.look_at(session)
    witness.glean("after the end")
    text = witness.home.credential.read_text()
    token = witness.secrets[-1]
    for broken in (
        text[:-9],
        json.dumps({"access_token": [token]}),
        f'"{token}"',
        json.dumps({"access_token": f"{token} x"}),
    ):
        witness.home.credential.write_text(broken)
        with witness.expect():
            session.access_token_sync()
        witness.look_at(session)
        assert session.status().state == "corrupt"
    witness.glean("while the file is broken")
    assert witness.login() == "signed_in"
    witness.fault("revoke", status=503)
    report = session.logout_sync()
    witness.gleanings.add("report", report)
    witness.gleanings.error(report.error or AssertionError("the server was to refuse"))
    witness.glean("after signing out")
    with witness.expect():
        session.access_token_sync()


def cut_short(witness: Witness) -> None:
    """Bugs of the host program, a full disk, and Ctrl-C at the worst moment."""

    class Broken(Person):
        def tell(self, notice: Notice) -> None:
            super().tell(notice)
            if notice.kind == "stored":
                raise ZeroDivisionError("the program's own")

    with witness.expect(ZeroDivisionError):
        witness.login(Broken(("waiting", witness.emulator_approves)), force=True)

    session = witness.session()

    def full(*_: object) -> None:
        raise StoreUnwritable("no space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session._components.store, "put", full)
        view = Told(witness.gleanings, Person(("waiting", witness.emulator_approves)))
        report = asyncio.run(sign_in(session._components, view, force=True))
    assert report.state == "failed"
    witness.gleanings.error(report.error or AssertionError("the disk was to be full"))

    async def interrupted() -> None:
        login: asyncio.Task[Any]

        def interrupt(_: str) -> None:
            witness.emulator.state.inject(Fault("token", latency_s=0.2))
            asyncio.get_running_loop().call_later(0.05, login.cancel)

        view = Told(witness.gleanings, Person(("waiting", interrupt)))
        login = asyncio.ensure_future(sign_in(witness.session()._components, view, force=True))
        try:
            await login
        except asyncio.CancelledError as error:
            witness.gleanings.error(error)

    asyncio.run(interrupted())
    witness.glean("after an interruption")


PARTS: Final[tuple[Callable[[Witness], None], ...]] = (rough_login, many_refreshes, clients, cut_short, ended)


@pytest.mark.timeout(60)  # five seconds, unless the machine is busy
def test_no_secret_is_anywhere(witness: Witness, capfd: pytest.CaptureFixture[str]) -> None:
    """A whole life, and not one secret of it in logs, notices, events, errors, tracebacks, reprs, reports or other files."""
    for part in PARTS:
        part(witness)
    said = capfd.readouterr()
    witness.gleanings.add("stdout", said.out)
    witness.gleanings.add("stderr", said.err)
    assert len(witness.secrets) > 24
    places = {where.partition(" ")[0] for where, _ in witness.gleanings.found}
    assert {"log", "observer", "repr", "error", "traceback", "rich", "file", "notice", "events", "status"} <= places
    loggers = {where for where, _ in witness.gleanings.found if where.startswith("log ")}
    assert {"log kimi_auth.credential", "log httpx", "log httpcore.http11"} <= loggers
    assert witness.gleanings.leaks(witness.secrets) == []


def test_files_that_hold_secrets_are_private(witness: Witness) -> None:
    """Every file that may hold a secret is readable by its owner only."""
    rough_login(witness)
    witness.clock.advance(2000)
    witness.fault(drop="after", times=2)
    with suppress(KimiAuthError):
        witness.session().access_token_sync()
    holders = [
        path for path in witness.home.share_dir.rglob("*") if any(part in path.name for part in MAY_HOLD_SECRETS)
    ]
    assert len(holders) == 3  # the record, a staged answer, and by its name the account
    assert {oct(path.stat().st_mode & 0o777) for path in holders} == {"0o600"}


@pytest.mark.parametrize("place", ["log", "local variable", "file", "error", "piece", "hidden"])
def test_the_search_finds_what_is_there(place: str, tmp_path: Path) -> None:
    """Planted in each kind of location, a secret is found."""
    secret = "emulated-access-0123456789abcdefghijklmnopqrstuv"
    gleanings = Gleanings()
    match place:
        case "log":
            gleanings.emit(logging.LogRecord("x", logging.DEBUG, "", 0, "%s", ({"t": secret},), None))
        case "local variable":
            namespace: dict[str, Any] = {"KimiAuthError": KimiAuthError}
            exec("def careless(secret):\n raise KimiAuthError('oh')", namespace)
            with pytest.raises(KimiAuthError) as raised:
                namespace["careless"](secret)
            gleanings.error(raised.value)
        case "file":
            (tmp_path / "config.toml").write_text(secret)
            gleanings.files(tmp_path)
        case "error":
            gleanings.error(KimiAuthError(f"bad token {secret}"))
        case "piece":
            gleanings.add("stdout", f"…{secret[-PIECE:]}")
        case "hidden":
            gleanings.add("stdout", (HYPHEN.join(secret),))
    assert gleanings.leaks([secret])
