"""A login's whole life at servers that we did not write, and at the emulator: only environment variables say where.

The person approves on the server's own pages while `Session.login` polls; client and server share a time that passes
when a task waits, so nothing sleeps. Each property of a life holds at every server.
"""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from house.patience import NO_LIMIT_S
from servers.bare_client import Client, brief
from servers.fixtures import Pool
from servers.real_server import RealServer

from kimi_auth import BearerAuth, CodeExpired, NotSignedIn, Revoked, drain
from kimi_auth.credential.status import LoginReport
from kimi_auth.session import Session
from kimi_auth.signing import sign_in
from life.world import Home, Person, SharedTime

EVERYWHERE: Final = {
    "oidc-provider": ("oidc-provider", {}),
    "oidc-provider, JWT": ("oidc-provider", {"jwt": True}),
    "authlib": ("authlib", {}),
    "emulator": ("emulator", {}),
}
TOGETHER: Final = 20
AT_EVERY_SERVER: Final = [
    pytest.param(name, id=name, marks=[pytest.mark.real_server] * (name != "emulator")) for name in EVERYWHERE
]
MY_CONFIG: Final = b"""# mine
default_model = "mine/gpt"   # until I sign in
default_thinking = false
[providers.mine]
type = "openai_legacy"
base_url = "https://llm.example/v1"
api_key = "my own"
[models."mine/gpt"]
provider = "mine"
model = "gpt"
max_context_size = 8_192
"""


@dataclass(kw_only=True)
class Account(Home):
    """A share dir whose environment names one server, and a time that both share."""

    server: RealServer
    clock: SharedTime

    def sign_in(self, session: Session | None = None, *, force: bool = False) -> LoginReport:
        """The person approves after the first poll."""
        person = Person(("waiting", self.server.approve))
        report = asyncio.run(sign_in((session or self.session())._components, person, force=force))
        assert report.state == "signed_in", report
        return report

    def pass_s(self, seconds: float) -> None:
        """Time passes for every party."""
        self.clock.sleep(seconds)

    def works(self, bearer: str) -> bool:
        """Whether the API takes this bearer."""
        with Client(self.server) as client:
            return client.models(f"Bearer {bearer}").status_code == 200

    @property
    def models(self) -> int:
        """How many models this server has."""
        return 3 if self.server.name == "emulator" else 2

    @property
    def exchanges(self) -> int:
        """Refresh tokens that sessions of this process have sent."""
        return self.watcher.activities["exchange"]


@pytest.fixture
def account_at(life: Home, monkeypatch: pytest.MonkeyPatch, server_pool: Pool) -> Callable[..., Account]:
    """`account_at(name, code_ttl_s=60)`: the environment names that server, with those settings, and nothing else does."""

    def account(name: str, **settings: Any) -> Account:
        kind, usual = EVERYWHERE[name]
        server = server_pool.get(kind, **{**usual, **settings})
        for variable, value in server.env.items():
            monkeypatch.setenv(variable, value)
        return Account(share_dir=life.share_dir, server=server, clock=SharedTime(server.advance))

    return account


@pytest.fixture(params=AT_EVERY_SERVER)
def account(request: pytest.FixtureRequest, account_at: Callable[..., Account]) -> Account:
    """An account at each server in turn."""
    return account_at(request.param)


# --- signing in -------------------------------------------------------------------------------------------------------


def test_login_leaves_what_the_kimi_cli_reads(account: Account) -> None:
    """The credential has the Kimi CLI's keys, types and modes; config.toml has its provider, models and services."""
    before_s = account.clock.wall_s()
    person = Person(("waiting", account.server.approve))
    report = asyncio.run(sign_in(account.session()._components, person))
    assert (report.state, report.models, report.already, report.error) == ("signed_in", account.models, False, None)
    assert person.kinds == ["code", "waiting", "approved", "stored", "models", "configured", "live"]

    record = account.record
    assert {name: type(value) for name, value in record.items()} == {
        "access_token": str,
        "refresh_token": str,
        "expires_at": float,
        "scope": str,
        "token_type": str,
        "expires_in": float,
        "issuer": str,
    }
    assert (record["expires_in"], record["token_type"], record["issuer"]) == (
        900.0,
        "Bearer",
        account.server.oauth_host,
    )
    assert before_s + 900 <= record["expires_at"] <= account.clock.wall_s() + 900
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (account.credential, account.credential.parent)}
    assert modes == {account.credential: 0o600, account.credential.parent: 0o700}
    assert account.files == [
        "config.lock",
        "config.toml",
        "credentials/kimi-code.backoff",
        "credentials/kimi-code.issuer",
        "credentials/kimi-code.json",
        "credentials/kimi-code.lock",
        "device_id",
        "kimi-auth/accounts/kimi-code.json",
        "kimi-auth/undo.json",
    ]

    base = account.server.api_base
    config = tomllib.loads(account.config.read_text())
    oauth = {"storage": "file", "key": "oauth/kimi-code"}
    assert config["providers"] == {
        "managed:kimi-code": {"type": "kimi", "base_url": base, "api_key": "", "oauth": oauth}
    }
    assert config["services"] == {
        "moonshot_search": {"base_url": f"{base}/search", "api_key": "", "oauth": oauth},
        "moonshot_fetch": {"base_url": f"{base}/fetch", "api_key": "", "oauth": oauth},
    }
    assert config["default_model"] in config["models"]
    assert len(config["models"]) == account.models
    assert {model["provider"] for model in config["models"].values()} == {"managed:kimi-code"}
    assert account.works(record["access_token"])


def test_a_second_login(account: Account) -> None:
    """Signed in already, nothing is asked; with `force` a new pair replaces the old one and works and renews."""
    first = account.sign_in()
    again = Person()
    report = asyncio.run(sign_in(account.session()._components, again))
    assert (report.state, report.already, again.notices) == ("signed_in", True, [])

    second = account.sign_in(force=True)
    assert second.fp not in ("", first.fp)
    session = account.session()
    assert account.works(session.access_token_sync())
    assert account.works(session.access_token_sync(refresh=True))


@pytest.mark.parametrize("name", AT_EVERY_SERVER)
def test_denied(name: str, account_at: Callable[..., Account]) -> None:
    """A refusal on the page ends the login, and nothing is stored."""
    account = account_at(name)
    report = asyncio.run(sign_in(account.session()._components, Person(("waiting", account.server.deny))))
    assert report.state == "denied"
    assert report.error is not None
    assert report.error.exit_status == 6
    assert not account.credential.exists()
    assert not account.config.exists()


@pytest.mark.parametrize("name", AT_EVERY_SERVER)
def test_a_code_that_runs_out_is_renewed(name: str, account_at: Callable[..., Account]) -> None:
    """The person comes too late for the first code and approves the second one."""
    account = account_at(name, code_ttl_s=60)
    person = Person(("code_expired", lambda _: None), ("waiting", account.server.approve))
    report = asyncio.run(sign_in(account.session()._components, person))
    assert report.state == "signed_in"
    assert (len(set(person.user_codes)), person.kinds.count("code_expired")) == (2, 1)


@pytest.mark.parametrize("name", AT_EVERY_SERVER)
def test_nobody_approves(name: str, account_at: Callable[..., Account]) -> None:
    """After four codes the login gives up, and says so."""
    account = account_at(name, code_ttl_s=20)
    report = asyncio.run(sign_in(account.session()._components, person := Person()))
    assert report.state == "expired"
    assert isinstance(report.error, CodeExpired)
    assert len(set(person.user_codes)) == 4
    assert not account.credential.exists()


@pytest.mark.parametrize("name", AT_EVERY_SERVER)
def test_an_expired_code_is_the_servers_word_too(name: str, account_at: Callable[..., Account]) -> None:
    """Where the server's clock is ahead, its `expired_token` renews the code before ours would."""
    account = account_at(name)
    person = Person(("waiting", lambda _: account.server.advance(1800)), ("code_expired", lambda _: None))
    person.plan.append(("waiting", account.server.approve))
    report = asyncio.run(sign_in(account.session()._components, person))
    assert report.state == "signed_in"
    assert len(person.user_codes) == 2


@pytest.mark.parametrize("name", AT_EVERY_SERVER)
def test_slow_down(name: str, account_at: Callable[..., Account]) -> None:
    """A server whose clock runs slower asks for a longer interval; it gets it for good, and the login goes on."""
    account = account_at(name)
    account.server.stand()
    waits = 0

    def slowly(seconds: float) -> None:
        nonlocal waits
        waits += 1
        account.server.advance(seconds if waits > 2 else seconds / 10)

    account.clock.tell[:] = [slowly]
    person = Person(("slowed_down", lambda _: None), ("waiting", account.server.approve))
    report = asyncio.run(sign_in(account.session()._components, person))
    assert report.state == "signed_in"
    paces = [(notice.kind, notice.wait_s) for notice in person.notices if notice.wait_s]
    assert paces == [("waiting", 6.0), ("slowed_down", 12.0), ("waiting", 12.0)]


# --- staying signed in ------------------------------------------------------------------------------------------------


def test_tokens_through_a_day(account: Account) -> None:
    """Fresh is handed out as it is, expiring is renewed behind it, expired first; each token works while it is ours."""
    account.sign_in()
    session = account.session()
    first = session.access_token_sync()
    assert session.access_token_sync() == first
    assert account.exchanges == 0

    account.pass_s(400)
    assert session.status().state == "expiring"
    assert session.access_token_sync() == first
    drain()
    second = session.access_token_sync()
    assert (second != first, account.exchanges) == (True, 1)
    assert account.works(second)

    account.pass_s(1000)
    assert not account.works(second)
    third = session.access_token_sync()
    assert (third != second, account.exchanges) == (True, 2)
    assert account.works(third)

    forced = [session.access_token_sync(refresh=True) for _ in range(2)]
    assert (len({first, second, third, *forced}), account.exchanges) == (5, 4)
    assert account.works(forced[-1])
    assert account.record["access_token"] == forced[-1]
    assert not [name for name in account.files if name.endswith((".next", ".refused", ".tmp"))]


def test_a_rejected_bearer_is_replaced(account: Account) -> None:
    """The server ends the access token early: a client with BearerAuth gets its answer all the same."""
    account.sign_in()
    session = account.session()
    bearer = session.access_token_sync()
    account.server.advance(900)  # its clock, not ours: for us the token is fresh

    async def models() -> httpx.Response:
        async with httpx.AsyncClient(auth=BearerAuth(session), timeout=NO_LIMIT_S) as client:
            return await client.get(f"{account.server.api_base}/models")

    response = asyncio.run(models())
    assert (response.status_code, account.exchanges) == (200, 1)
    assert session.rejected_sync(bearer) == session.access_token_sync() != bearer
    assert account.exchanges == 1


@pytest.mark.parametrize("need", ["expired", "rejected"])
def test_twenty_threads_with_sessions_of_their_own(account: Account, need: str) -> None:
    """Twenty sessions on one share dir need a new token in the same moment: one exchange, one token, a living login."""
    account.sign_in()
    bearer = account.session().access_token_sync()
    account.pass_s(1000) if need == "expired" else account.server.advance(900)
    sessions = [account.session() for _ in range(TOGETHER)]
    start = threading.Barrier(TOGETHER)

    def token(session: Session) -> str | None:
        start.wait()
        return session.access_token_sync() if need == "expired" else session.rejected_sync(bearer)

    with ThreadPoolExecutor(TOGETHER) as threads:
        tokens = set(threads.map(token, sessions))
    assert (len(tokens), account.exchanges) == (1, 1)
    assert tokens == {account.record["access_token"]}
    assert account.works(*tokens)  # type: ignore[arg-type]
    assert account.works(account.session().access_token_sync(refresh=True))


PROCESS: Final = """
import json, sys
sys.path.insert(0, sys.argv[2])
from kimi_auth.session import Session
from life.world import SharedTime, Watcher
watcher = Watcher()
session = Session(clock=SharedTime(ahead_s=float(sys.argv[1])), observe=watcher.seen)
print("ready", flush=True)
sys.stdin.readline()
token = session.access_token_sync()
print(json.dumps([session.status().fp, watcher.activities["exchange"]]))
"""


def twenty_processes(account: Account) -> None:
    account.sign_in()
    account.pass_s(1000)
    command = [sys.executable, "-c", PROCESS, str(account.clock.ahead_s), str(Path(__file__).parents[1])]
    with ExitStack() as running:
        processes = [
            running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(TOGETHER)
        ]
        talks = [(process.stdin, process.stdout) for process in processes]
        for _, out in talks:
            assert out is not None
            assert out.readline() == "ready\n"
        for to, _ in talks:
            assert to is not None
            to.write("\n")
            to.flush()
        found = [json.loads(out.readline()) for _, out in talks if out is not None]
    assert [process.returncode for process in processes] == [0] * TOGETHER
    assert {fp for fp, _ in found} == {account.session().status().fp}
    assert sum(exchanges for _, exchanges in found) == 1
    bearer = account.session().access_token_sync()
    assert account.works(bearer)
    assert account.works(account.session().access_token_sync(refresh=True))


@pytest.mark.real_server
@pytest.mark.timeout(60)  # five seconds, unless the machine is busy
def test_twenty_processes(account_at: Callable[..., Account]) -> None:
    """Twenty processes need a new token in the same moment: one of them exchanges, all have it, the login lives."""
    twenty_processes(account_at("oidc-provider"))


@pytest.mark.prove
@pytest.mark.parametrize("name", AT_EVERY_SERVER)
@pytest.mark.parametrize("time", range(3))
def test_twenty_processes_everywhere(name: str, time: int, account_at: Callable[..., Account]) -> None:
    """The same at every server, again and again."""
    twenty_processes(account_at(name))


# --- the end ----------------------------------------------------------------------------------------------------------


def test_logout(account: Account) -> None:
    """Final here and there: an empty record, config.toml as it was, and a server that refuses the refresh token."""
    account.share_dir.mkdir(parents=True)
    account.config.write_bytes(MY_CONFIG)
    account.sign_in()
    refresh_token = account.record["refresh_token"]
    assert account.config.read_bytes() != MY_CONFIG
    report = account.session().logout_sync()
    assert (report.state, report.revocation, report.config, report.error) == ("absent", "revoked", "restored", None)
    assert account.config.read_bytes() == MY_CONFIG
    assert account.record["access_token"] == account.record["refresh_token"] == ""
    with Client(account.server) as client:
        assert brief(client.refresh(refresh_token)) == (400, "invalid_grant")
    session = account.session()
    assert session.status().state == "absent"
    with pytest.raises(NotSignedIn):
        session.access_token_sync()
    account.sign_in(session)
    assert account.works(session.access_token_sync())


def test_ended_elsewhere(account: Account) -> None:
    """The server ended the login: it is said once by the server, remembered on disk, and never asked again."""
    account.sign_in()
    with Client(account.server) as client:
        client.revoke(account.record["refresh_token"])
    account.pass_s(1000)
    session = account.session()
    for _ in range(2):
        with pytest.raises(Revoked, match=r"ended (the|this) login"):
            session.access_token_sync()
    with pytest.raises(Revoked):
        account.session().access_token_sync(refresh=True)
    assert (account.exchanges, session.status().state) == (1, "revoked")
    account.sign_in(session)  # without force: there is nothing left to keep
    assert account.works(session.access_token_sync())
