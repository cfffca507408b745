"""The device-grant login with the real hooks, in virtual time: every outcome, every backoff, every way to be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from kimi_auth.credential.ports import token_from
from kimi_auth.errors import (
    AccessDenied,
    ClientRefused,
    CodeExpired,
    ConfigError,
    CorruptCredential,
    KimiAuthError,
    LoginCancelled,
    SignInEnded,
    StoreUnwritable,
    Unreachable,
    WrongIssuer,
)
from kimi_auth.login.contracts import LoginContext
from kimi_auth.login.device_login import DeviceLoginHooks
from kimi_auth.login.ports import LoginPorts
from kimi_auth.login.view import Notice, SilentView
from kimi_auth.machine import recorder_from_environ, walk_async
from kimi_auth.models import Catalogue, ModelEntry
from kimi_auth.store import Backoff, Binding
from kimi_auth.token import Token, fingerprint
from kimi_auth.wire import Answer, RawResponse, poll_answer

Life = Any
ISSUER = "https://simulated.example"
MODELS = (ModelEntry(id="kimi-for-coding", context_length=262144),)

OFFLINE: Answer[Any, Any] = Answer("unreachable", error=Unreachable("no connection"))
BUSY: Answer[Any, Any] = Answer("unreachable", error=Unreachable("429"), retry_after_s=40.0)


@dataclass
class Login:
    """One login, its environment, and what they saw."""

    life: Life
    notices: list[Notice] = field(default_factory=list)
    polls_at_s: list[float] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    approve_at_s: float | None = 10.0
    leave_at_s: float | None = None
    config_blocks: bool = False
    config_fails: bool = False
    catalogue: tuple[tuple[ModelEntry, ...], KimiAuthError | None] = (MODELS, None)
    written: list[tuple[ModelEntry, ...]] = field(default_factory=list)
    begun_at_s: float = 0.0
    revokes_replaced: bool = False
    config_lacks: bool = False

    # the view
    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    async def left(self) -> None:
        if self.leave_at_s is None:
            await asyncio.Event().wait()
        await self.life.clock.sleep_async(max(0.0, self.begun_at_s + (self.leave_at_s or 0) - self.now_s))

    # the configuration
    def lacks(self) -> bool:
        return self.config_lacks

    def check(self) -> None:
        if self.config_blocks:
            raise ConfigError("config.toml: line 3")

    def install(self, models: tuple[ModelEntry, ...]) -> None:
        if self.config_fails:
            raise ConfigError("config.toml: line 4")
        self.written.append(models)

    async def discover(self, bearer: str) -> Catalogue:
        assert self.life.server.is_live(bearer)
        models, error = self.catalogue
        return Catalogue(models, error=error)

    @property
    def now_s(self) -> float:
        return float(self.life.clock.monotonic_s())

    @property
    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]

    async def walk(self, *, force: bool = False) -> tuple[str, LoginContext]:
        self.begun_at_s = self.now_s
        server, poll = self.life.server, self.life.server.poll

        async def watched(device_code: str) -> Any:
            self.polls_at_s.append(self.now_s - self.begun_at_s)
            if self.approve_at_s is not None and self.polls_at_s[-1] >= self.approve_at_s:
                server.approve()
            return await poll(device_code)

        server.poll = watched
        around = LoginPorts(
            self, self, self.discover, self.life.served.append, self.opened.append, self.revokes_replaced
        )
        work = DeviceLoginHooks(self.life.effects, around)
        machine = self.life.library["device_login"]
        return await walk_async(machine, work, LoginContext(force=force), observe=recorder_from_environ())


@pytest.fixture
def login(life: Life) -> Login:
    life.clock._quiet_s = 0.01  # worker threads write the store
    return Login(life)


def faults(request: str, *answers: Answer[Any, Any]) -> Callable[[Login], None]:
    def prepare(login: Login) -> None:
        for answer in answers:
            login.life.server.fault(request, answer)

    return prepare


def denied(login: Login) -> None:
    login.approve_at_s = None
    faults("poll", Answer("access_denied", error=AccessDenied("the person said no")))(login)


def never_approved(login: Login) -> None:
    login.approve_at_s = None
    login.life.server.state.settings.code_ttl_s = 60.0


def short_codes(login: Login) -> None:
    login.life.server.state.settings.code_ttl_s = 20.0
    login.approve_at_s = 50.0


def leaving(at_s: float) -> Callable[[Login], None]:
    def prepare(login: Login) -> None:
        login.approve_at_s, login.leave_at_s = None, at_s

    return prepare


def left_while_a_new_code_waits(login: Login) -> None:
    """Slowed down beyond the code's life: the next code has to wait for the interval, and the person does not."""
    login.life.server.state.settings.code_ttl_s, login.life.server.state.settings.interval_s = 4.0, 2.0
    leaving(5.0)(login)
    faults("poll", Answer("slow_down"))(login)


def left_while_no_code_comes(login: Login) -> None:
    leaving(0.5)(login)
    faults("request_code", OFFLINE)(login)


def disk_full(login: Login) -> None:
    login.life.store.fail_writes = True


def disk_full_after_approval(login: Login) -> None:
    login.life.store.before["put"] = lambda: setattr(login.life.store, "fail_writes", True)


def no_models(login: Login) -> None:
    login.catalogue = ((), Unreachable("503"))


def config_blocks(login: Login) -> None:
    login.config_blocks = True


def config_spoilt_meanwhile(login: Login) -> None:
    login.config_fails = True


def signed_in_already(login: Login) -> None:
    login.life.sign_in()


def cut_short(login: Login) -> None:
    login.life.sign_in()
    login.config_lacks = True


def expired_login(login: Login) -> None:
    login.life.sign_in(age_s=2000)


def refused_and_expired(login: Login) -> None:
    """Once, and long enough ago for another try: the backoff is over, the answer still on record."""
    token = login.life.sign_in(age_s=2000)
    fp, then_s = fingerprint(token), login.life.clock.wall_s() - 1000
    login.life.store.theirs.set_backoff(
        Backoff(unrecognized_fp=fp, unrecognized_count=1, unrecognized_first_at_s=then_s, unrecognized_last_at_s=then_s)
    )


def failed_and_expired(login: Login) -> None:
    login.life.sign_in(age_s=2000)
    login.life.store.theirs.set_backoff(Backoff(retry_at_s=login.life.clock.wall_s() + 30, failures=1, message="503"))


def foreign_login(login: Login) -> None:
    login.life.store.theirs.put(
        Token("a", "r", login.life.clock.wall_s() + 900, 900, issuer="https://elsewhere.example")
    )


def corrupt_login(login: Login) -> None:
    login.life.store.spoil()


def nothing(login: Login) -> None:
    """A server in good health and a person who approves after ten seconds."""


ROWS: dict[str, tuple[Callable[[Login], None], str, type[Exception] | None]] = {
    "approved": (nothing, "signed_in", None),
    "signed in already": (signed_in_already, "signed_in", None),
    "signed in, but nothing is configured": (cut_short, "signed_in", None),
    "an expired login still stands": (expired_login, "signed_in", None),
    "an expired login that was refused is replaced": (refused_and_expired, "signed_in", None),
    "an expired login that cannot be renewed now is replaced": (failed_and_expired, "signed_in", None),
    "a corrupt record is replaced": (corrupt_login, "signed_in", None),
    "another issuer's login stands": (foreign_login, "failed", WrongIssuer),
    "full disk": (disk_full, "failed", StoreUnwritable),
    "config cannot be written": (config_blocks, "failed", ConfigError),
    "no code at first": (faults("request_code", OFFLINE, BUSY, OFFLINE), "signed_in", None),
    "no code at all": (faults("request_code", *[OFFLINE] * 5), "failed", Unreachable),
    "this program is refused": (
        faults("request_code", Answer("refused", error=ClientRefused("invalid_client"))),
        "failed",
        ClientRefused,
    ),
    "denied": (denied, "denied", AccessDenied),
    "nobody approves": (never_approved, "expired", CodeExpired),
    "approved on the third code": (short_codes, "signed_in", None),
    "slowed down": (faults("poll", Answer("slow_down"), Answer("slow_down")), "signed_in", None),
    "network fails for a while": (faults("poll", OFFLINE, OFFLINE, BUSY), "signed_in", None),
    "the approval's answer was lost": (
        faults("poll", Answer("refused", error=KimiAuthError("its answer was lost; start again"))),
        "failed",
        KimiAuthError,
    ),
    "the server says that the code is over": (
        faults("poll", Answer("expired_token", error=CodeExpired("over"))),
        "signed_in",
        None,
    ),
    "left while waiting": (leaving(9.0), "cancelled", LoginCancelled),
    "left while a new code waits": (left_while_a_new_code_waits, "cancelled", LoginCancelled),
    "left while no code comes": (left_while_no_code_comes, "cancelled", LoginCancelled),
    "full disk after the approval": (disk_full_after_approval, "failed", StoreUnwritable),
    "no models": (no_models, "models_pending", Unreachable),
    "config spoilt meanwhile": (config_spoilt_meanwhile, "models_pending", ConfigError),
}


ALREADY = {"signed in already", "an expired login still stands"}
"""Rows in which nothing is asked of the person."""


@pytest.mark.parametrize("name", ROWS)
def test_a_login_ends_where_it_must(login: Login, name: str) -> None:
    """Every outcome of RFC 8628 and of the network: the end, the reason, and the files left on disk."""
    prepare, end, error = ROWS[name]
    prepare(login)
    before = login.life.store.read()
    state, ctx = asyncio.run(login.walk())
    assert (state, type(ctx.error) if ctx.error else None) == (end, error), ctx.error
    stored = login.life.store.read()
    assert ctx.already is (name in ALREADY)
    if state == "signed_in" and not ctx.already:
        assert login.life.server.is_live(stored.token.access_token)
        assert login.written == [MODELS]
        assert login.life.served == [stored.token.access_token]
    elif state == "models_pending":
        assert login.life.server.is_live(stored.token.access_token)
        assert login.written == login.life.served == []
    else:
        assert stored == before
        assert login.written == login.life.served == []
        assert not any(login.life.server.is_live(f"access-{n}") for n in (1, 2)) or before.token is not None
    assert login.life.server.counts["poll"] == len(login.polls_at_s)
    assert not (login.polls_at_s and login.config_lacks)


def test_force_replaces_a_login_that_stands(login: Login) -> None:
    """`force` signs in anew, whatever server issued the old pair; the replaced credential is not revoked."""
    old = login.life.sign_in()
    state, _ = asyncio.run(login.walk(force=True))
    assert state == "signed_in"
    assert login.life.stored != old
    assert login.life.server.is_live(old.access_token)


ORIGINS = ("https://tokens.example",)


def with_origins(login: Login) -> None:
    """The server's metadata puts the token endpoint at another origin."""
    request_code = login.life.server.request_code

    async def request() -> Any:
        answer = await request_code()
        return answer._replace(value=answer.value._replace(origins=ORIGINS))

    login.life.server.request_code = request


@pytest.mark.parametrize("before", [None, Binding("https://elsewhere.example", ("https://old.example",)), Binding("")])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_login_binds_its_host(login: Login, before: Binding | None, elsewhere: bool) -> None:
    """Whatever was bound before: from now on it is this host, with the other origins that the person was told of, once."""
    login.life.store.theirs.bind(before)
    if elsewhere:
        with_origins(login)
    login.life.server.state.settings.code_ttl_s = 12.0
    login.approve_at_s = 30.0
    state, _ = asyncio.run(login.walk())
    assert state == "signed_in"
    assert login.life.store.binding() == Binding(ISSUER, ORIGINS if elsewhere else ())
    warnings = [notice.message for notice in login.notices if notice.kind == "warning"]
    assert len(warnings) == elsewhere
    assert all(ORIGINS[0] in words and ISSUER in words for words in warnings)
    assert login.life.state == "fresh"


def test_a_login_that_cannot_be_bound_stands(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    """The record names its host itself, so the binding can wait for the next renewal."""

    def full() -> None:
        raise StoreUnwritable("full")

    login.life.store.before["bind"] = full
    assert asyncio.run(login.walk())[0] == "signed_in"
    assert login.life.store.binding() is None
    assert "not bound" in caplog.text
    login.life.clock.advance(901)
    assert login.life.walk("renew").state == "fresh"
    assert login.life.store.binding() == Binding(ISSUER)


@pytest.mark.parametrize(
    ("record", "bound", "revoked"),
    [
        ("", ISSUER, True),
        ("", "https://elsewhere.example", False),
        (ISSUER, "https://elsewhere.example", False),
        (ISSUER, "", False),
    ],
)
def test_what_is_bound_elsewhere_is_not_revoked_here(login: Login, record: str, bound: str, revoked: bool) -> None:
    """A replaced credential is classified by its binding from before the new login, never from after it."""
    pair = login.life.server.issue()
    old = Token(pair.access_token, pair.refresh_token, login.life.clock.wall_s() + 900, 900, issuer=record)
    login.life.store.theirs.put(old)
    login.life.store.theirs.bind(Binding(bound))
    login.revokes_replaced = True
    assert asyncio.run(login.walk(force=True))[0] == "signed_in"
    assert login.life.server.counts["revoke"] == revoked


@pytest.mark.parametrize(
    ("safe", "issuer", "revoked"),
    [
        (False, ISSUER, False),
        (True, ISSUER, True),
        (True, ISSUER + "/", True),
        (True, "https://elsewhere.example", False),
    ],
)
def test_the_replaced_credential_is_revoked_only_where_that_is_safe(
    login: Login, safe: bool, issuer: str, revoked: bool
) -> None:
    """On some servers a revocation ends every login of the client: the platform must say that it does not. And no token is
    ever sent to another host than the one that issued it."""
    pair = login.life.server.issue()
    old = Token(pair.access_token, pair.refresh_token, login.life.clock.wall_s() + 900, 900, issuer=issuer)
    login.life.store.theirs.put(old)
    login.revokes_replaced = safe
    state, _ = asyncio.run(login.walk(force=True))
    assert state == "signed_in"
    assert login.life.server.counts["revoke"] == revoked
    assert login.life.server.is_live(old.access_token) != revoked
    assert login.life.server.is_live(login.life.stored.access_token)


def test_the_pair_that_is_revoked_is_the_one_that_was_replaced(login: Login) -> None:
    """While a login waits for the lock, another process may renew the old one: the renewed pair is replaced and revoked."""
    life = login.life
    life.sign_in(age_s=901)
    login.revokes_replaced = True
    renewed: list[Token] = []

    def renew() -> None:
        old = life.store.read().token
        assert old is not None
        answer = life.server.exchange(old.refresh_token)
        assert answer.value is not None
        renewed.append(token_from(answer.value, sent_at_s=life.clock.wall_s(), issuer=ISSUER))
        life.store.theirs.put(renewed[0])

    revoke, sent = life.server.revoke, list[str]()
    life.server.revoke = lambda token, kind: (sent.append(token), revoke(token, kind))[1]
    life.store.before["locked"] = renew
    assert asyncio.run(login.walk(force=True))[0] == "signed_in"
    assert sent == [renewed[0].refresh_token]
    assert life.server.is_live(life.stored.access_token)


def test_a_new_login_forgets_the_old_one_s_pace(login: Login) -> None:
    """Back-off and rejections of the old login do not slow the new one down."""
    login.life.sign_in(age_s=901)
    login.life.server.fault("exchange", Answer("not_processed", error=Unreachable("no connection")))
    login.life.walk("renew", patience_s=0.0)
    assert login.life.store.backoff().failures == 1
    asyncio.run(login.walk(force=True))
    assert login.life.store.backoff().failures == 0


def test_ten_minutes_of_waiting_take_a_hundred_polls(login: Login) -> None:
    """At interval 5: between 90 and 101 requests in 600 s, and none closer than the interval."""
    login.approve_at_s = 600.0
    asyncio.run(login.walk())
    gaps = [b - a for a, b in zip([0.0, *login.polls_at_s], login.polls_at_s, strict=False)]
    assert 90 <= len(login.polls_at_s) <= 101
    assert min(gaps) >= 5.0


def test_slow_down_is_for_good(login: Login) -> None:
    """Each slow_down adds 5 s to the interval, and it stays (RFC 8628 §3.5)."""
    faults("poll", Answer("slow_down"), Answer("slow_down"))(login)
    login.approve_at_s = 100.0
    asyncio.run(login.walk())
    gaps = [round(b - a, 3) for a, b in zip([0.0, *login.polls_at_s], login.polls_at_s, strict=False)]
    assert gaps[:5] == [6.0, 12.0, 18.0, 18.0, 18.0]


@pytest.mark.parametrize("outcome", ["authorization_pending", "slow_down", "unreachable"])
def test_retry_after_is_honoured_whatever_it_comes_with(login: Login, outcome: Any) -> None:
    """The next poll waits as long as the server asked for, a minute at most."""
    faults("poll", Answer(outcome, retry_after_s=14.5), Answer(outcome, retry_after_s=900.0))(login)
    login.approve_at_s = 80.0
    asyncio.run(login.walk())
    gaps = [round(b - a, 3) for a, b in pairwise(login.polls_at_s)]
    assert gaps[:2] == [14.5, 60.0]


def test_errors_back_off_and_are_forgotten(login: Login) -> None:
    """Exponential back-off on an unreachable server, at most 60 s, Retry-After honoured; then the old interval."""
    faults("poll", OFFLINE, OFFLINE, OFFLINE, OFFLINE, OFFLINE, BUSY)(login)
    login.approve_at_s = 420.0
    asyncio.run(login.walk())
    gaps = [round(b - a, 3) for a, b in zip([0.0, *login.polls_at_s], login.polls_at_s, strict=False)]
    assert gaps[:9] == [6.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 6.0, 6.0]


def rejected(status: int) -> Answer[Any, Any]:
    """A poll's answer with a client error that is not OAuth, as the wire reports it."""
    return poll_answer(RawResponse("auth.example", status, "text/plain", b"Unsupported Media Type"))


@pytest.mark.parametrize("status", [404, 415])
def test_a_client_error_that_repeats_ends_the_login(login: Login, status: int) -> None:
    """The fourth in a row ends it with its reason, a minute after the first."""
    faults("poll", *[rejected(status)] * 9)(login)
    login.approve_at_s = None
    state, ctx = asyncio.run(login.walk())
    assert (state, len(login.polls_at_s)) == ("failed", 4)
    assert isinstance(ctx.error, SignInEnded)
    assert str(ctx.error) == (f"auth.example rejects the request (HTTP {status}, text/plain): Unsupported Media Type")
    assert login.polls_at_s[-1] - login.polls_at_s[0] == 70.0


@pytest.mark.parametrize(
    "answers",
    [
        [rejected(415)] * 3 + [Answer("authorization_pending")] + [rejected(415)] * 3,
        [rejected(403)] * 9,
        [rejected(503)] * 9,
        [OFFLINE, rejected(404)] * 4,
    ],
    ids=["in between an answer", "a proxy", "the server", "in between no answer"],
)
def test_errors_that_may_pass_do_not_end_the_login(login: Login, answers: list[Answer[Any, Any]]) -> None:
    """A proxy's refusals, the server's own errors and a few client errors go on until the person approves."""
    faults("poll", *answers)(login)
    login.approve_at_s = 600.0
    assert asyncio.run(login.walk())[0] == "signed_in"


def test_no_poll_after_the_code_has_run_out_and_never_two_codes_within_the_interval(login: Login) -> None:
    """Our own deadline ends the polling of a code; codes are at least the interval apart, four in all."""
    never_approved(login)
    login.life.server.state.settings.code_ttl_s = 20.0
    requested_at_s: list[float] = []
    request = login.life.server.request_code

    async def watched() -> Any:
        requested_at_s.append(login.now_s - login.begun_at_s)
        return await request()

    login.life.server.request_code = watched
    state, _ = asyncio.run(login.walk())
    assert state == "expired"
    assert len(requested_at_s) == 4
    assert all(b - a >= 5.0 for a, b in pairwise(requested_at_s))
    assert len(login.polls_at_s) == 4 * 3
    assert max(login.polls_at_s) <= 80.0


def test_a_huge_interval_is_obeyed_up_to_half_the_life_of_the_code(login: Login) -> None:
    """A server that asks for 300 s on a code of 100 s is polled at least once."""
    login.life.server.state.settings.interval_s, login.life.server.state.settings.code_ttl_s = 300.0, 100.0
    asyncio.run(login.walk())
    assert login.polls_at_s[0] == pytest.approx(60.0)


def codes(login: Login, *lives_and_intervals: tuple[float, float]) -> list[float]:
    """Each code in turn has such a life and interval, the last one for good; gives when they were asked for."""
    rest = list(lives_and_intervals)
    asked_at_s: list[float] = []
    request = login.life.server.request_code

    async def watched() -> Any:
        asked_at_s.append(login.now_s - login.begun_at_s)
        login.life.server.state.settings.code_ttl_s, login.life.server.state.settings.interval_s = (
            rest.pop(0) if len(rest) > 1 else rest[0]
        )
        return await request()

    login.life.server.request_code = watched
    return asked_at_s


PACES: dict[str, tuple[list[tuple[float, float]], list[Answer[Any, Any]], list[float], list[float]]] = {
    "a slow first code, a short second one": (
        [(1800.0, 300.0), (90.0, 5.0)],
        [],
        [0.0, 1800.0],
        [360, 720, 1080, 1440, 1800 + 54],
    ),
    "slowed down beyond the life of a code": ([(4.0, 2.0)], [Answer("slow_down")], [0, 7], [2.4, 9.4]),
}


@pytest.mark.parametrize(("lives", "answers", "codes_at_s", "polls_at_s"), PACES.values(), ids=PACES)
def test_every_code_is_polled(
    login: Login, lives: Any, answers: Any, codes_at_s: list[float], polls_at_s: list[float]
) -> None:
    """However slow an earlier code was: half the life of the code that is shown bounds every interval."""
    faults("poll", *answers)(login)
    asked_at_s = codes(login, *lives)
    login.approve_at_s = polls_at_s[-1] - 1.0
    state, _ = asyncio.run(login.walk())
    assert state == "signed_in"
    assert asked_at_s == pytest.approx(codes_at_s)
    assert login.polls_at_s == pytest.approx(polls_at_s)


@pytest.mark.parametrize(
    ("life_s", "interval_s", "apart_s", "polls_at_s"),
    [
        (0.001, 5.0, 5.0, []),
        (1.0, 5.0, 5.0, []),
        (3.0, 1.0, 3.0, [1.2, 2.4]),
        (4.0, 300.0, 300.0, [2.4]),
        (1.0, 0.1, 1.0, []),
    ],
)
def test_codes_that_hardly_live(
    login: Login, life_s: float, interval_s: float, apart_s: float, polls_at_s: list[float]
) -> None:
    """Four codes are asked for all the same, never two within the interval, and none is polled within a second."""
    login.approve_at_s = None
    asked_at_s = codes(login, (life_s, interval_s))
    state, _ = asyncio.run(login.walk())
    assert state == "expired"
    assert asked_at_s == pytest.approx([apart_s * n for n in range(4)])
    assert [at_s for at_s in login.polls_at_s if at_s < apart_s] == pytest.approx(polls_at_s)


def test_a_code_dies_while_the_machine_sleeps(login: Login) -> None:
    """After eight hours of suspension the old code is not polled again: a new one is shown."""
    login.life.server.state.settings.code_ttl_s = 600.0
    login.approve_at_s = 30.0
    poll = login.life.server.poll
    polled: list[str] = []

    async def then_sleep(device_code: str) -> Any:
        polled.append(device_code)
        answer = await poll(device_code)
        if len(polled) == 2:
            login.life.clock.suspend(8 * 3600)
        return answer

    login.life.server.poll = then_sleep
    state, _ = asyncio.run(login.walk())
    assert state == "signed_in"
    assert polled == ["device-1"] * 2 + ["device-2"] * 3


@pytest.mark.parametrize("ends_early", [False, True])
def test_a_token_that_is_no_bearer_token_is_given_back(login: Login, ends_early: bool) -> None:
    """RFC 6749 §7.1: what we do not know how to use is neither stored nor handed out."""
    server, poll = login.life.server, login.life.server.poll

    async def mac(device_code: str) -> Any:
        answer = await poll(device_code)
        return answer._replace(value=answer.value._replace(token_type="mac")) if answer.value else answer

    server.poll = mac
    if ends_early:
        with pytest.raises(asyncio.CancelledError):
            interrupt_at(login, "polling")
    else:
        state, ctx = asyncio.run(login.walk())
        assert (state, type(ctx.error)) == ("failed", ConfigError)
        assert "not bearer tokens" in ctx.error.message
        assert server.counts["revoke"] == 1
        assert login.life.served == login.written == []
    assert login.life.store.read().state == "absent"


def test_the_person_sees_what_happens(login: Login) -> None:
    """The notices of a login with errors, in order; the browser gets the URL without the code."""
    faults("poll", OFFLINE, Answer("slow_down"), Answer("authorization_pending"))(login)
    asyncio.run(login.walk())
    assert login.kinds == [
        "code", "unreachable", "slowed_down", "waiting", "approved", "stored", "models", "configured", "live",
    ]  # fmt: skip
    code = login.notices[0].code
    assert code is not None
    assert code.user_code in login.notices[0].message
    assert login.opened == [code.verification_uri]  # a command line must not show the code


def interrupt_at(login: Login, state: str) -> tuple[str, LoginContext]:
    """Cancels the login when it enters `state`, as Ctrl-C does."""

    class Observer:
        def entered(self, machine: str, entered: str, activity: str) -> None:
            if entered == state:
                asyncio.current_task().cancel()

        def moved(self, transition: object) -> None:
            """Nothing to see."""

    async def walk() -> tuple[str, LoginContext]:
        around = LoginPorts(login, SilentView(), login.discover, login.life.served.append)
        login.life.server.state.settings.interval_s = 1.0
        poll = login.life.server.poll

        async def approving(device_code: str) -> Any:
            login.life.server.approve()
            return await poll(device_code)

        login.life.server.poll = approving
        machine = login.life.library["device_login"]
        return await walk_async(
            machine, DeviceLoginHooks(login.life.effects, around), LoginContext(), observe=Observer()
        )

    return asyncio.run(walk())


@pytest.mark.parametrize(
    ("state", "is_stored"),
    [
        ("checking_store", False),
        ("requesting_code", False),
        ("showing_code", False),
        ("waiting", False),
        ("polling", True),
        ("persisting", True),
        ("syncing_models", True),
        ("configuring", True),
        ("injecting", True),
    ],
)
def test_ctrl_c_leaves_nothing_half_written(login: Login, state: str, is_stored: bool) -> None:
    """Interrupted anywhere: before the grant nothing is stored, with the grant in flight or later it is whole."""
    with pytest.raises(asyncio.CancelledError):
        interrupt_at(login, state)
    snapshot = login.life.store.read()
    assert (snapshot.state == "present") == is_stored
    if is_stored:
        assert login.life.server.is_live(snapshot.token.access_token)


def test_ctrl_c_while_another_process_holds_the_lock_revokes_the_grant(login: Login) -> None:
    """A grant that cannot be stored because we leave is given back to the server."""

    class View(SilentView):
        def tell(self, notice: Notice) -> None:
            if notice.kind == "locked":
                task.cancel()

    async def main() -> None:
        nonlocal task
        around = LoginPorts(login, View(), login.discover)
        work = DeviceLoginHooks(login.life.effects, around)
        token = Token(login.life.server.issue().access_token, "refresh-1", 0.0, 900.0)
        task = asyncio.ensure_future(work.store_credential(LoginContext(token=token)))
        with pytest.raises(asyncio.CancelledError):
            await task

    task: asyncio.Future[Any]
    with login.life.store.locked(0):
        asyncio.run(main())
    assert login.life.store.read().state == "absent"
    assert login.life.server.counts["revoke"] == 1
    assert not login.life.server.is_live("access-1")


def test_a_context_never_shows_a_secret(login: Login) -> None:
    """The repr of everything that a login carries holds no token and no device code."""
    _, ctx = asyncio.run(login.walk())
    for thing in (ctx, replace(ctx, error=CorruptCredential("x")), login.notices):
        assert "access-" not in repr(thing)
        assert "refresh-" not in repr(thing)
        assert "device-" not in repr(thing)
