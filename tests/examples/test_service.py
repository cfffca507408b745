"""The service for many people: two replicas as real processes on one database, browsers with a cookie each, a server behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from house.installed import installed
from house.patience import NO_LIMIT_S, PATIENCE_S, OwnTime, ended
from house.ports import silent_port
from servers.postgres import Cluster

from kimi_auth.testing.emulator import Emulator

FOLDER = Path(__file__).parents[2] / "examples" / "service"
REQUIREMENTS = ("fastapi>=0.165,<1", "uvicorn>=0.54,<1", "psycopg[binary]>=3.2.3,<4")
PEOPLE = 50
ROTATIONS = 2
"""Of each login, in each part of the load."""

pytestmark = pytest.mark.timeout(900)  # the first test of a checkout installs the service


@pytest.fixture(scope="session")
def service_python(pip_environ: dict[str, str]) -> str:
    """A Python that has FastAPI, psycopg and this checkout; where it cannot be made: skipped, failed when CI=true."""
    return installed("service", lambda: sys.executable, pip_environ, *REQUIREMENTS)


class Replica:
    """One process of the service. `restart` takes the same port."""

    def __init__(self, python: str, environ: dict[str, str], folder: Path, port: int) -> None:
        self.log, self.port, self._python = folder.with_suffix(".log"), port, python
        self._environ = environ | {"SERVICE_FOLDER": str(folder)}

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [self._python, "-m", "uvicorn", "--app-dir", str(FOLDER), "--port", str(self.port), "service:app"]
        with self.log.open("ab") as log:
            begun = log.tell()
            self.process = subprocess.Popen(
                command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        own = OwnTime()
        while not (found := re.search(rb"running on http://127\.0\.0\.1:(\d+)", self.log.read_bytes()[begun:])):
            assert self.process.poll() is None, self.log.read_text()
            assert own.read() <= PATIENCE_S, self.log.read_text()
            time.sleep(0.02)
        self.port = int(found[1])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        ended(self.process)

    def restart(self) -> None:
        self.kill()
        self.start()


class World:
    """Two replicas, their database, and the server."""

    def __init__(self, emulator: Emulator, cluster: Cluster, database: str, replicas: list[Replica]) -> None:
        self.emulator, self.cluster, self.database, self.replicas = emulator, cluster, database, replicas
        self.people: list[Person] = []
        self.seen: list[str] = []
        """Every answer that a browser got, with its headers."""

    def play(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Runs a story, and closes its browsers."""

        async def whole() -> None:
            try:
                await story()
            finally:
                for person in self.people:
                    await person.client.aclose()

        asyncio.run(whole())

    def secrets(self) -> list[str]:
        """Every token that the server gave."""
        return [token.value for family in self.emulator.state.families for token in family.tokens]

    def leaked(self) -> list[str]:
        """The tokens of which a part is in an answer, a replica's log, or the table of sessions."""
        with self.cluster.admin(dbname=self.database) as admin:
            rows = str(admin.execute("SELECT * FROM service.sessions").fetchall())
        shown = "\n".join([*self.seen, *(replica.log.read_text() for replica in self.replicas), rows])
        return [secret for secret in self.secrets() if secret[-12:] in shown]


@pytest.fixture
def make_world(service_python: str, postgres: Cluster, home: Path, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Starts a server with some settings, and two replicas."""
    with ExitStack() as stack:

        def make(**settings: object) -> World:
            emulator = stack.enter_context(Emulator(approve="page", interval_s=1, **settings))  # type: ignore[arg-type]
            database = postgres.new_database((FOLDER / "tables.sql").read_text("utf-8"))
            kept = {name: os.environ[name] for name in ("PATH",)}
            environ = kept | emulator.env | {"HOME": str(home), "KIMI_AUTH_STORE": postgres.url(database=database)}
            environ.pop("KIMI_SHARE_DIR", None)
            replicas = []
            for name in ("one", "other"):
                port = stack.enter_context(silent_port()) if sys.platform == "linux" else 0  # others share no held port
                replicas.append(Replica(service_python, environ, tmp_path / name, port))
            for replica in replicas:
                replica.start()
                stack.callback(replica.kill)
            return World(emulator, postgres, database, replicas)

        yield make


class Person:
    """A browser with its cookie; it may ask either replica."""

    def __init__(self, world: World) -> None:
        self.world, self.login, self.errors = world, 0, list[str]()
        self.client = httpx.AsyncClient(timeout=NO_LIMIT_S)
        world.people.append(self)

    async def get(self, path: str, at: int = 0) -> httpx.Response:
        return self._kept(await self.client.get(self.world.replicas[at].base + path))

    async def press(self, path: str, at: int = 0, **changes: str) -> httpx.Response:
        """A button of the page, as a browser sends it; `changes` of the header Origin and of the form's token."""
        base, page = self.world.replicas[at].base, (await self.get("/", at)).text
        token = re.search(r'name="form" value="([0-9a-f]+)"', page)
        assert token
        headers = {"Origin": changes.get("origin", base)}
        return self._kept(
            await self.client.post(base + path, headers=headers, data={"form": changes.get("form", token[1])})
        )

    async def shows(self, words: str, at: int = 0) -> str:
        """The page, once it has this text; it asks again as a browser does."""
        own = OwnTime()
        while words not in (text := (await self.get("/", at)).text):
            assert own.read() <= PATIENCE_S, text
            await asyncio.sleep(0.2)
        return text

    async def sign_in(self, at: int = 0) -> None:
        """Begins at one replica, reads the code at the other one, approves it; signed in at both."""
        assert (await self.press("/login", at)).status_code == 303
        code = re.search(r"Code: <b>([A-Z-]+)</b>", await self.shows("Code: <b>", 1 - at))
        assert code
        self.world.emulator.state.decide(code[1], "approved")
        for each in (at, 1 - at):
            assert "Emulated user" in await self.shows("Signed in as", each)
        self.login = (await self.get("/api/me", at)).json()["login"]

    async def use(self, is_over: Callable[[], bool]) -> None:
        """Asks both replicas by turns; a replica that is away is no error of the login."""
        at = self.login
        while not is_over():
            at += 1
            try:
                answer = await self.get("/api/me", at % 2)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code != 200 or answer.json()["login"] != self.login:
                self.errors.append(f"{answer.status_code} {answer.text}")
            await asyncio.sleep(0.2)

    def _kept(self, answer: httpx.Response) -> httpx.Response:
        self.world.seen.append(f"{answer.headers}\n{answer.text}")
        return answer


async def check_forms(person: Person) -> None:
    """Another origin, another form's token, another name for this machine; the cookie's attributes."""
    page = await person.get("/")
    cookie = page.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/"))
    assert "secure" not in cookie  # on this machine there is no TLS
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for change in ({"origin": "https://example.com"}, {"origin": "null"}, {"form": "0" * 64}):
        assert (await person.press("/login", **change)).status_code == 403
    base = person.world.replicas[0].base
    assert (await person.client.get(base, headers={"Host": "example.com"})).status_code == 400
    assert (await person.client.get(f"{base}/login")).status_code == 405
    assert (await person.get("/api/me")).status_code == 401
    assert person.world.emulator.state.counts["device_codes"] == 0


def test_one_person(make_world: Callable[..., World]) -> None:
    """Signs in at one replica, is signed in at both; the cookie of before leads nowhere; signs out at the other one."""
    world = make_world()

    async def story() -> None:
        person, other = Person(world), Person(world)
        await check_forms(person)
        planted = person.client.cookies["session"]
        await person.sign_in()
        assert person.client.cookies["session"] != planted
        assert (await other.get("/api/me")).status_code == 401
        assert (await person.press("/logout", 1)).status_code == 303
        assert (await person.get("/api/me")).status_code == 401
        assert "You are not signed in" in (await person.get("/")).text

    world.play(story)
    assert [family.revoked_because for family in world.emulator.state.families] == ["signed out"]
    assert world.secrets()
    assert world.leaked() == []


def test_a_replica_that_ends_takes_its_sign_in_along(make_world: Callable[..., World]) -> None:
    """The other replica says that it was interrupted, and begins anew. A login that was approved, and whose row the replica
    did not write any more, is shown as signed in."""
    world = make_world()

    async def story() -> None:
        person = Person(world)
        await person.press("/login")
        await person.shows("Code: <b>", 1)
        world.replicas[0].kill()
        with world.cluster.admin(dbname=world.database) as admin:
            admin.execute("UPDATE service.sessions SET seen_at = seen_at - interval '15 s'")
        await person.shows("interrupted", 1)
        world.replicas[0].start()
        await person.sign_in(1)
        with world.cluster.admin(dbname=world.database) as admin:
            admin.execute(
                "UPDATE service.sessions SET state = 'waiting', said = NULL, seen_at = now() - interval '1 h'"
            )
        await person.shows("Signed in as <b>Emulated user</b>")

    world.play(story)


@pytest.mark.prove
@pytest.mark.soak
def test_fifty_people(make_world: Callable[..., World]) -> None:
    """50 people sign in and use it across rotations of 4-s tokens while each replica is killed in turn and restarted: every
    login stands, each rotation was one exchange, and no answer was got with another person's token."""
    world = make_world(access_ttl_s=4.0, reuse="grace:60")
    state = world.emulator.state
    judge = state.judge
    # The API takes a token for longer than the server says: on a busy machine one may be late by more than its 4 s.
    state.judge = lambda bearer: "ok" if judge(bearer) == "expired" else judge(bearer)  # type: ignore[method-assign]

    async def story() -> None:
        people = [Person(world) for _ in range(PEOPLE)]
        gate = asyncio.Semaphore(10)

        async def come_in(person: Person, number: int) -> None:
            async with gate:
                await person.sign_in(number % 2)

        await asyncio.gather(*(come_in(person, number) for number, person in enumerate(people)))
        assert sorted(person.login for person in people) == list(range(1, PEOPLE + 1))
        is_over = asyncio.Event()
        load = [asyncio.create_task(person.use(is_over.is_set)) for person in people]
        await rotated(load)
        assert state.counts["reuse_seen"] == 0  # nothing was killed yet
        for replica in world.replicas:
            await asyncio.to_thread(replica.restart)
            await rotated(load)
        reused = state.counts["reuse_seen"]
        await rotated(load)
        assert state.counts["reuse_seen"] == reused
        is_over.set()
        await asyncio.gather(*load)
        assert [person.errors for person in people if person.errors] == []

    async def rotated(load: list[asyncio.Task[None]]) -> None:
        """Waits until each login has been renewed so often again."""
        wanted = [family.generation + ROTATIONS for family in state.families]
        while any(family.generation < least for family, least in zip(state.families, wanted, strict=True)):
            for task in load:
                if task.done():
                    task.result()
            await asyncio.sleep(0.1)

    world.play(story)
    assert [family.number for family in state.families if family.revoked_because is not None] == []
    assert state.counts["rotations"] == sum(family.generation - 1 for family in state.families)
    families = {token.value: family.number for family in state.families for token in family.tokens}
    again = [families[token] for token in state.reused]
    assert max(map(again.count, again), default=0) <= len(world.replicas)  # only renewals that a kill met under way
    assert world.leaked() == []
