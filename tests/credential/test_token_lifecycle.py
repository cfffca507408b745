"""One credential's life with the real hooks: what each situation leads to, in the walk and on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from kimi_auth.credential.contracts import CredentialContext, Need
from kimi_auth.credential.credential import Credential
from kimi_auth.errors import (
    Blocked,
    ClientRefused,
    ConfigError,
    CorruptCredential,
    CredentialLocked,
    NotSignedIn,
    Revoked,
    StorageError,
    StoreUnwritable,
    Unreachable,
    WrongIssuer,
)
from kimi_auth.machine import NO_OBSERVER, EdgeRecorder
from kimi_auth.store import Binding, RevokedMark, Snapshot, claims, owners
from kimi_auth.store.owners import Owner
from kimi_auth.token import RECORD_MAX_BYTES, Token, fingerprint
from kimi_auth.wire import Answer, decode

Life = Any
"""tests/credential/conftest.py's."""

OFFLINE = Answer("not_processed", error=Unreachable("no connection"))
LOST = Answer("in_doubt", error=Unreachable("the answer was lost"))
LOST_BUSY = Answer("in_doubt", error=Unreachable("503"), retry_after_s=60.0)
BUSY = Answer("not_processed", error=Unreachable("429"), retry_after_s=20.0)
BUSY_FOR_LONG = Answer("not_processed", error=Unreachable("429"), retry_after_s=600.0)
PROXY = Answer("unrecognized", error=Blocked("403, HTML"), message="403, HTML")
SILENT = Owner("another-boot", "1/2", 7, "5", "box")
STRANGER = Answer("misconfigured", error=ClientRefused("invalid_client"))


def nobody(life: Life) -> None:
    """Nothing is stored."""


def fresh(life: Life) -> None:
    life.sign_in()


def expiring(life: Life) -> None:
    life.sign_in(age_s=400)


def expired(life: Life) -> None:
    life.sign_in(age_s=880)


def ended(life: Life) -> None:
    life.sign_in(age_s=901)


def ends_in_milliseconds(life: Life) -> None:
    """Another program wrote its `expires_at` in milliseconds."""
    token = life.sign_in()
    life.store.theirs.put(Token(token.access_token, token.refresh_token, token.expires_at_s * 1000, 900.0))


def backing_off(life: Life) -> None:
    expiring(life)
    life.store.theirs.set_backoff(life.store.backoff()._replace(retry_at_s=life.clock.wall_s() + 60, message="503"))


def paced_and_ended(life: Life) -> None:
    ended(life)
    life.store.theirs.set_backoff(life.store.backoff()._replace(retry_at_s=life.clock.wall_s() + 60, message="503"))


def interrupted(life: Life) -> None:
    """An earlier process sent the token, got no answer, and closed its claim."""
    token = life.sign_in(age_s=901)
    life.store.theirs.claim(fingerprint(token))


def left_open(life: Life, age_s: float = 901.0, owner: Owner = SILENT) -> None:
    """A process of which nothing is known has made a claim, and says nothing more."""
    fp = fingerprint(life.sign_in(age_s=age_s))
    life.store._claims[fp] = claims.Found(claims.new(fp, owner))


def silent(life: Life) -> None:
    left_open(life)


def owner_alive(life: Life) -> None:
    """Another thread of this very process, which holds a lock that excludes no process."""
    left_open(life, owner=owners.this_process(life.clock.boot_id()))


def owner_dead(life: Life) -> None:
    """The kernel knows no such process."""
    left_open(life, owner=owners.this_process(life.clock.boot_id())._replace(pid=2**31 - 2))


def silent_too_long(life: Life, age_s: float = 901.0, owner: Owner = SILENT) -> None:
    """The claim was met 76 s ago."""
    left_open(life, age_s, owner)
    assert life.walk("renew", patience_s=0.0).state in {"usable", "in_doubt"}
    life.clock.advance(76)
    assert life.server.counts["exchange"] == 0


def silent_and_usable(life: Life) -> None:
    silent_too_long(life, age_s=400.0)


def alive_and_silent(life: Life) -> None:
    """Stopped, say, or on a disk that takes no writes: after 75 s a lock that was void tells no more than before."""
    silent_too_long(life, owner=owners.this_process(life.clock.boot_id()))


def met_lately(life: Life) -> None:
    """This boot has met the claim of another one, 50 s ago."""
    silent(life)
    assert life.walk("renew", patience_s=0.0).state == "in_doubt"
    life.clock.advance(50)


def staged(life: Life) -> None:
    """An earlier process got the answer and died before it was in place."""
    token = life.sign_in(age_s=901)
    fp = fingerprint(token)
    claim = life.store.theirs.claim(fp)
    grant = life.server.exchange(token.refresh_token).value
    now_s = life.clock.wall_s()
    life.store.theirs.stage(
        claim, Token(grant.access_token, grant.refresh_token, now_s + 900, 900, issuer=token.issuer)
    )


def blocked(life: Life) -> None:
    token = life.sign_in(age_s=901)
    now_s = life.clock.wall_s()
    life.store.theirs.set_backoff(
        life.store.backoff()._replace(
            unrecognized_fp=fingerprint(token),
            unrecognized_count=2,
            unrecognized_first_at_s=now_s - 1300,
            unrecognized_last_at_s=now_s - 1000,
            unrecognized_words="403, HTML",
        )
    )


def unrecognized_a_moment_ago(life: Life) -> None:
    ended(life)
    life.server.fault("exchange", PROXY)
    assert life.walk("renew", patience_s=0.0).state == "in_doubt"
    life.server.counts["exchange"] = 0


def blocked_lately(life: Life) -> None:
    blocked(life)
    backoff = life.store.backoff()
    life.store.theirs.set_backoff(backoff._replace(unrecognized_last_at_s=life.clock.wall_s() - 100))


def paced_as_a_stranger(life: Life) -> None:
    ended(life)
    life.server.fault("exchange", STRANGER)
    assert life.walk("renew").state == "expired"
    life.server.counts["exchange"] = 0


def blocked_and_backing_off(life: Life) -> None:
    blocked(life)
    life.store.theirs.set_backoff(life.store.backoff()._replace(retry_at_s=life.clock.wall_s() + 600))


def refused_but_alive(life: Life) -> None:
    token = life.sign_in(age_s=400)
    life.store.theirs.mark_revoked(fingerprint(token), RevokedMark(life.clock.wall_s(), "invalid_grant"))


def revoked(life: Life) -> None:
    refused_but_alive(life)
    life.clock.advance(600)


def corrupt(life: Life) -> None:
    life.sign_in()
    life.store.spoil()


def foreign(life: Life) -> None:
    life.store.theirs.put(Token("a", "r", life.clock.wall_s() + 900, 900, issuer="https://elsewhere.example"))


def bound_elsewhere(life: Life) -> None:
    """Another client has written the record and dropped its key; the binding remembers."""
    life.store.theirs.put(Token("a", "r", life.clock.wall_s() + 900, 900))
    life.store.theirs.bind(Binding("https://elsewhere.example"))


def bound_here(life: Life) -> None:
    life.store.theirs.put(Token("a", "r", life.clock.wall_s() + 900, 900))
    life.store.theirs.bind(Binding("https://simulated.example"))


def at_odds(life: Life) -> None:
    life.sign_in()
    life.store.theirs.bind(Binding("https://elsewhere.example"))


def bound_unreadably(life: Life) -> None:
    life.sign_in()
    life.store.theirs.bind(Binding(""))


def tombstone(life: Life) -> None:
    life.store.theirs.put(Token("", "", 0.0, 0.0))


def signed_out(life: Life) -> None:
    life.sign_in()
    life.store.theirs.sign_out(life.clock.wall_s())


def unrenewable(life: Life) -> None:
    life.store.theirs.put(Token("only-access", "", life.clock.wall_s() + 400, 900))


INSPECTED: dict[Callable[[Life], None], tuple[str, type[Exception] | None]] = {
    nobody: ("absent", None),
    signed_out: ("absent", None),
    foreign: ("absent", WrongIssuer),
    bound_elsewhere: ("absent", WrongIssuer),
    bound_here: ("fresh", None),
    at_odds: ("absent", WrongIssuer),
    bound_unreadably: ("absent", WrongIssuer),
    tombstone: ("revoked", Revoked),
    fresh: ("fresh", None),
    expiring: ("expiring", None),
    expired: ("expired", None),
    ended: ("expired", None),
    ends_in_milliseconds: ("expired", StorageError),
    backing_off: ("usable", Unreachable),
    paced_and_ended: ("expired", Unreachable),
    unrenewable: ("usable", Revoked),
    refused_but_alive: ("usable", Revoked),
    interrupted: ("in_doubt", Unreachable),
    silent: ("in_doubt", Unreachable),
    silent_and_usable: ("expiring", None),
    staged: ("expired", None),
    blocked: ("blocked", Blocked),
    revoked: ("revoked", Revoked),
    corrupt: ("corrupt", CorruptCredential),
}


@pytest.mark.parametrize("situation", INSPECTED, ids=lambda situation: situation.__name__)
def test_inspection_names_the_state_and_the_error(life: Life, situation: Callable[[Life], None]) -> None:
    """Inspecting names the state of a stored credential, walked for an observer or not, and sends nothing."""
    situation(life)
    asked = life.server.counts.copy()
    state, error = INSPECTED[situation]
    for observe in (EdgeRecorder(), NO_OBSERVER):
        landing = Credential(life.work, observe=observe).inspect()
        assert (landing.state, type(landing.ctx.error) if landing.ctx.error else None) == (state, error)
    assert life.walk("touched").state == state
    assert life.server.counts == asked


def test_an_inspection_needs_no_walk(life: Life) -> None:
    """The outcomes of the first step are the names of the rest states that it leads to, so one that no observer watches is
    the hook alone."""
    machine = life.library["token_lifecycle"]
    first = machine.states[machine.initial]
    assert first.activity == "inspect"
    assert set(first.on.items()) == {(name, name) for name in first.on}
    assert set(first.on) <= set(machine.rest)


@pytest.mark.parametrize("situation", [foreign, bound_elsewhere, at_odds, bound_unreadably])
def test_what_is_not_ours_goes_nowhere(life: Life, situation: Callable[[Life], None]) -> None:
    """Neither a renewal nor a sign-out sends a pair whose host is another, or in doubt; the record stays as it is."""
    situation(life)
    before = life.store.read()
    with pytest.raises(WrongIssuer):
        life.credential.obtain(Need(), life.clock.wall_s())
    assert life.walk("logout").state == "absent"
    assert life.store.read() == before
    assert not life.server.counts


def test_it_is_seen_under_the_lock(life: Life) -> None:
    """A binding that is written while a renewal waits for the lock counts: nothing is sent."""
    ended(life)
    life.store.before["locked"] = lambda: life.store.theirs.bind(Binding("https://elsewhere.example"))
    assert life.walk("renew").state == "absent"
    assert not life.server.counts


def test_the_first_renewal_binds(life: Life) -> None:
    """A login that nothing was known of is bound once the host has renewed it; a later renewal leaves the binding alone."""
    token = life.sign_in(age_s=901)
    assert life.store.binding() is None
    life.store.theirs.put(Token(token.access_token, token.refresh_token, token.expires_at_s, 900))
    assert life.walk("renew").state == "fresh"
    assert life.store.binding() == Binding("https://simulated.example")
    pinned = Binding("https://simulated.example", ("https://tokens.example",))
    life.store.theirs.bind(pinned)
    life.clock.advance(901)
    assert life.walk("renew").state == "fresh"
    assert life.store.binding() == pinned


def test_a_binding_that_cannot_be_written_costs_nothing(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    """The renewal stands, the next one binds."""
    ended(life)

    def full() -> None:
        raise StoreUnwritable("full")

    life.store.before["bind"] = full
    assert life.walk("renew").state == "fresh"
    assert life.store.binding() is None
    assert "could not be bound" in caplog.text


class Row(NamedTuple):
    """A situation, an event, perhaps a fault on the way; where the walk ends, and how many exchanges it took."""

    situation: Callable[[Life], None]
    event: str
    end: str
    exchanges: int
    error: type[Exception] | None = None
    fault: Callable[[Life], None] = nobody
    need: Need = Need()
    patience_s: float = 30.0
    then: str = ""


def answers(*lost: Answer[Any, Any], processed: bool = False) -> Callable[[Life], None]:
    def fault(life: Life) -> None:
        for answer in lost:
            life.server.fault("exchange", answer, processed=processed)

    return fault


def always(answer: Answer[Any, Any]) -> Callable[[Life], None]:
    return answers(*[answer] * 50)


def login_ended(life: Life) -> None:
    life.server.end_logins()


def at(operation: str, act: Callable[[Life], None]) -> Callable[[Life], None]:
    """`act` happens just before the store's `operation` runs for the first time."""

    def fault(life: Life) -> None:
        life.store.before[operation] = lambda: act(life)

    return fault


def disk_full(life: Life) -> None:
    life.store.fail_writes = True


def disk_full_during_exchange(life: Life) -> None:
    at("stage", disk_full)(life)


def disk_full_at_rename(life: Life) -> None:
    at("commit", disk_full)(life)


def disk_full_for_three_seconds(life: Life) -> None:
    def full(life: Life) -> None:
        life.store.fail_writes = True
        sleep, slept = life.clock.sleep, []

        def sleeping(seconds: float) -> None:
            slept.append(seconds)
            life.store.fail_writes = len(slept) < 3
            sleep(seconds)

        life.clock.sleep = sleeping

    at("stage", full)(life)


def refusal_cannot_be_written(life: Life) -> None:
    login_ended(life)
    at("mark_revoked", disk_full)(life)


def somebody_logs_in(life: Life) -> None:
    life.store.theirs.put(Token("newer", "newer-refresh", life.clock.wall_s() + 900, 900))


def logs_in_while_we_claim(life: Life) -> None:
    at("claim", lambda life: setattr(life.store, "before", {"read": lambda: somebody_logs_in(life)}))(life)


def logs_in_while_we_send(life: Life) -> None:
    at("stage", lambda life: setattr(life.store, "before", {"read": lambda: somebody_logs_in(life)}))(life)


def logs_out_while_we_send(answer: Answer[Any, Any] | None) -> Callable[[Life], None]:
    def fault(life: Life) -> None:
        if answer is not None:
            life.server.fault("revoke", answer, processed=False)

        def sign_out(life: Life) -> None:
            life.store.before["read"] = lambda: life.store.theirs.sign_out(life.clock.wall_s())

        at("stage", sign_out)(life)

    return fault


def later(act: Callable[[Life], None]) -> Callable[[Life], None]:
    """`act` happens after a caller has waited three seconds."""

    def fault(life: Life) -> None:
        sleep, begun_s = life.clock.sleep, life.clock.wall_s()

        def sleeping(seconds: float) -> None:
            sleep(seconds)
            if life.clock.wall_s() >= begun_s + 3.0:
                life.clock.sleep = sleep
                act(life)

        life.clock.sleep = sleeping

    return fault


signs_in_later = later(somebody_logs_in)
signs_out_later = later(lambda life: life.store.theirs.sign_out(life.clock.wall_s()))


def lock_is_held(life: Life) -> None:
    life.store.locked = lambda patience_s, give_up=None: _Held(life, give_up, None)


def lock_is_held_until_it_changes(life: Life) -> None:
    life.store.locked = lambda patience_s, give_up=None: _Held(life, give_up, somebody_logs_in)


def no_lock_works(life: Life) -> None:
    def locked(patience_s: float | None, give_up: object = None) -> _Held:
        raise StoreUnwritable("locks do not exclude here")

    life.store.locked = locked


class _Held:
    """A lock that another process holds for longer than any caller waits, or until `meanwhile` has happened."""

    def __init__(
        self, life: Life, give_up: Callable[[], bool] | None, meanwhile: Callable[[Life], None] | None
    ) -> None:
        self.life, self.give_up, self.meanwhile = life, give_up, meanwhile

    def __enter__(self) -> bool:
        if self.meanwhile and self.give_up:
            self.meanwhile(self.life)
            assert self.give_up()
        return False

    def __exit__(self, *_: object) -> None:
        """Nothing was taken."""


BEARER = Need(not_bearer="access-1")
ROWS = {
    "advisory renewal": Row(expiring, "renew", "fresh", 1, patience_s=0.0),
    "mandatory renewal": Row(expired, "renew", "fresh", 1),
    "fresh, and no need of another": Row(fresh, "renew", "fresh", 0),
    "fresh, but another pair is wanted": Row(fresh, "renew", "fresh", 1, need=Need(not_fp="@", insist=True)),
    "fresh, but not for long enough": Row(fresh, "renew", "fresh", 1, need=Need(min_ttl_s=3600.0)),
    "fresh, rejected by the platform": Row(fresh, "rejected", "fresh", 1, need=BEARER),
    "expiring, rejected": Row(expiring, "rejected", "fresh", 1, need=BEARER),
    "expired, rejected": Row(expired, "rejected", "fresh", 1, need=BEARER),
    "usable, rejected, and the backoff holds": Row(backing_off, "rejected", "usable", 0, Unreachable, need=BEARER),
    "usable, insisted": Row(backing_off, "renew", "usable", 0, Unreachable, need=Need(insist=True)),
    "refused by a proxy a moment ago, insisted": Row(
        unrecognized_a_moment_ago, "renew", "fresh", 1, need=Need(insist=True)
    ),
    "refused by a proxy a moment ago": Row(unrecognized_a_moment_ago, "renew", "fresh", 1),
    "soft refusal, insisted": Row(blocked_lately, "renew", "fresh", 1, need=Need(insist=True)),
    "soft refusal lately": Row(blocked_lately, "renew", "blocked", 0, Blocked),
    "this program is refused, the backoff holds": Row(paced_as_a_stranger, "renew", "expired", 0, ClientRefused),
    "usable, the backoff holds": Row(backing_off, "renew", "usable", 0, Unreachable),
    "refused for good, rejected as well": Row(refused_but_alive, "rejected", "revoked", 0, Revoked, need=BEARER),
    "ended, the backoff holds": Row(paced_and_ended, "renew", "expired", 0, Unreachable),
    "declared recovery": Row(interrupted, "renew", "fresh", 1),
    "recovery for a rejected bearer": Row(interrupted, "rejected", "fresh", 1, need=BEARER),
    "its owner may be sending": Row(silent, "renew", "in_doubt", 0, Unreachable),
    "its owner is this process": Row(owner_alive, "renew", "in_doubt", 0, Unreachable),
    "its owner is dead": Row(owner_dead, "renew", "fresh", 1),
    "its owner is silent for too long": Row(silent_too_long, "renew", "fresh", 1),
    "its owner is alive, and silent for too long": Row(alive_and_silent, "renew", "fresh", 1),
    "its owner is silent, and the token works": Row(
        silent_and_usable, "renew", "usable", 0, Unreachable, patience_s=0.0
    ),
    "the same, to whoever waits": Row(silent_and_usable, "renew", "usable", 0, Unreachable),
    "its owner is silent, and the token was rejected": Row(silent_and_usable, "rejected", "fresh", 1, need=BEARER),
    "its owner is silent, and another pair is wanted": Row(
        silent_and_usable, "renew", "fresh", 1, need=Need(not_fp="@")
    ),
    "its owner is silent, and more life is wanted": Row(
        silent_and_usable, "renew", "fresh", 1, need=Need(min_ttl_s=800.0)
    ),
    "a staged pair is committed, nothing is sent": Row(staged, "renew", "fresh", 1),
    "soft refusal, tried again": Row(blocked, "renew", "fresh", 1),
    "soft refusal, rejected": Row(blocked, "rejected", "fresh", 1, need=BEARER),
    "soft refusal, the backoff holds": Row(blocked_and_backing_off, "renew", "blocked", 0, Blocked),
    "refused for good": Row(expiring, "renew", "usable", 1, Revoked, login_ended, then="revoked"),
    "refused for good, and ended": Row(ended, "renew", "revoked", 1, Revoked, login_ended),
    "refusal that cannot be written": Row(ended, "renew", "in_doubt", 1, Revoked, refusal_cannot_be_written),
    "offline, still alive": Row(expiring, "renew", "usable", 1, Unreachable, answers(OFFLINE), patience_s=0.0),
    "offline for a moment, ended": Row(ended, "renew", "fresh", 2, None, answers(OFFLINE)),
    "offline for good, ended": Row(ended, "renew", "expired", 5, Unreachable, always(OFFLINE)),
    "told to wait, within the patience": Row(ended, "renew", "fresh", 2, None, answers(BUSY)),
    "told to wait, beyond the patience": Row(ended, "renew", "expired", 1, Unreachable, answers(BUSY_FOR_LONG)),
    "this program is refused": Row(ended, "renew", "expired", 1, ClientRefused, answers(STRANGER)),
    "answer lost once, unprocessed": Row(ended, "renew", "fresh", 2, None, answers(LOST)),
    "answer lost twice": Row(ended, "renew", "fresh", 3, None, answers(LOST, LOST)),
    "answer lost each time": Row(ended, "renew", "in_doubt", 5, Unreachable, always(LOST)),
    "answer lost, told to wait": Row(ended, "renew", "in_doubt", 1, Unreachable, answers(LOST_BUSY)),
    "answer lost, still alive": Row(expiring, "renew", "usable", 2, Unreachable, answers(LOST, LOST), patience_s=0.0),
    "an answer that is none": Row(ended, "renew", "fresh", 2, None, answers(PROXY)),
    "answers that are none": Row(ended, "renew", "in_doubt", 5, Unreachable, always(PROXY)),
    "recovery finds the proxy": Row(interrupted, "renew", "fresh", 2, None, answers(PROXY)),
    "recovery finds the proxy each time": Row(interrupted, "renew", "in_doubt", 5, Unreachable, always(PROXY)),
    "offline during recovery": Row(interrupted, "renew", "fresh", 2, None, answers(OFFLINE)),
    "somebody signs in during a backoff": Row(
        ended, "renew", "fresh", 1, None, lambda life: (answers(BUSY)(life), signs_in_later(life))
    ),
    "somebody signs out during a backoff": Row(
        ended, "renew", "absent", 1, None, lambda life: (answers(BUSY)(life), signs_out_later(life))
    ),
    "the claim of another boot comes free": Row(met_lately, "renew", "fresh", 1),
    "full disk: nothing is sent": Row(expiring, "renew", "usable", 0, StoreUnwritable, disk_full),
    "full disk at recovery": Row(interrupted, "renew", "in_doubt", 0, StoreUnwritable, disk_full),
    "full disk while a claim is taken over": Row(
        interrupted, "renew", "in_doubt", 0, StoreUnwritable, at("renew_claim", disk_full)
    ),
    "full disk after the answer": Row(ended, "renew", "in_doubt", 1, StoreUnwritable, disk_full_during_exchange),
    "full disk for three seconds": Row(ended, "renew", "fresh", 1, None, disk_full_for_three_seconds),
    "full disk at the rename": Row(ended, "renew", "expired", 1, StoreUnwritable, disk_full_at_rename),
    "a login while we claim": Row(expired, "renew", "fresh", 0, None, logs_in_while_we_claim),
    "a login while we send": Row(expired, "renew", "fresh", 1, None, logs_in_while_we_send),
    "a logout while we send": Row(expired, "renew", "absent", 1, None, logs_out_while_we_send(None)),
    "a logout while we send, no revocation": Row(
        expired, "renew", "absent", 1, None, logs_out_while_we_send(Answer("unsupported"))
    ),
    "a logout while we send, revocation fails": Row(
        expired, "renew", "absent", 1, Unreachable, logs_out_while_we_send(Answer("failed", error=Unreachable("503")))
    ),
    "locked, still alive": Row(expiring, "renew", "usable", 0, CredentialLocked, lock_is_held, patience_s=0.0),
    "locked, ended": Row(ended, "renew", "expired", 0, CredentialLocked, lock_is_held),
    "locked until somebody is done": Row(ended, "renew", "fresh", 0, None, lock_is_held_until_it_changes),
    "no lock works": Row(expiring, "renew", "usable", 0, StoreUnwritable, no_lock_works),
    "signed out meanwhile": Row(ended, "renew", "absent", 0, None, at("locked", signed_out)),
    "spoilt meanwhile": Row(ended, "renew", "corrupt", 0, CorruptCredential, at("locked", corrupt)),
    "another issuer's meanwhile": Row(ended, "renew", "absent", 0, WrongIssuer, at("locked", foreign)),
    "somebody was faster": Row(ended, "renew", "fresh", 0, None, at("locked", somebody_logs_in)),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_walk_ends_where_it_must(life: Life, name: str) -> None:
    """Every situation and fault: the end, its reason, the number of exchanges, and no login that is lost."""
    row = ROWS[name]
    row.situation(life)
    need = row.need._replace(not_fp=life.store.read().fp) if row.need.not_fp else row.need
    row.fault(life)
    landing = life.walk(row.event, need, patience_s=row.patience_s)
    error = landing.ctx.error
    assert (landing.state, type(error) if error else None) == (row.end, row.error), error
    assert life.server.counts["exchange"] == row.exchanges
    assert not life.server.state.reused, "a spent refresh token was sent again"
    if row.end == "fresh":
        assert life.stored.access_token == landing.ctx.snapshot.token.access_token
        assert life.state == "fresh"
    if row.then:
        life.clock.advance(3600)
        assert life.state == row.then


@pytest.mark.parametrize("lost_by", ["killed", "full disk"])
def test_what_reached_the_disk_is_installed_by_the_next_process(life: Life, lost_by: str) -> None:
    """A pair that was saved but not put in place is not asked for a second time."""
    if lost_by == "killed":
        staged(life)
    else:
        ended(life)
        disk_full_at_rename(life)
        assert life.walk("renew").state == "expired"
        life.store.fail_writes = False
    exchanges = life.server.counts["exchange"]
    assert life.walk("renew").state == "fresh"
    assert life.server.counts["exchange"] == exchanges
    assert life.server.is_live(life.stored.access_token)


def another_issuers_comes(life: Life) -> None:
    """While the logout waits for the lock, a login of another OAuth host is installed."""
    pair = Token("access-b", "refresh-b", 4e9, 900, issuer="https://elsewhere.example")
    life.store.before["locked"] = lambda: life.store.theirs.put(pair)


LOGOUTS = {
    "another issuer's comes meanwhile": (fresh, "absent", "", WrongIssuer, another_issuers_comes),
    "fresh": (fresh, "absent", "revoked", None, nobody),
    "expiring": (expiring, "absent", "revoked", None, nobody),
    "expired": (expired, "absent", "revoked", None, nobody),
    "usable": (backing_off, "absent", "revoked", None, nobody),
    "in_doubt": (interrupted, "absent", "revoked", None, nobody),
    "blocked": (blocked, "absent", "revoked", None, nobody),
    "revoked": (revoked, "absent", "revoked", None, nobody),
    "with a staged pair": (staged, "absent", "revoked", None, nobody),
    "corrupt": (corrupt, "absent", "unread", None, nobody),
    "nobody is signed in": (nobody, "absent", "", None, nobody),
    "twice": (signed_out, "absent", "", None, nobody),
    "without a refresh token": (unrenewable, "absent", "revoked", None, nobody),
    "server without revocation": (
        fresh,
        "absent",
        "unsupported",
        None,
        lambda life: life.server.fault("revoke", Answer("unsupported")),
    ),
    "server unreachable": (
        fresh,
        "absent",
        "failed",
        Unreachable,
        lambda life: life.server.fault("revoke", Answer("failed", error=Unreachable("503"))),
    ),
    "read-only disk": (fresh, "fresh", "", StoreUnwritable, disk_full),
    "locked for too long": (fresh, "fresh", "", CredentialLocked, lock_is_held),
    "unreadable config": (
        fresh,
        "absent",
        "revoked",
        ConfigError,
        lambda life: setattr(life, "config_fails", ConfigError("line 3")),
    ),
}


@pytest.mark.parametrize("name", LOGOUTS)
def test_logout_is_local_first_and_final(life: Life, name: str) -> None:
    """From every state a logout leaves nothing that signs anybody in, or says that the login stands."""
    situation, end, revocation, error, fault = LOGOUTS[name]
    situation(life)
    fault(life)
    landing = life.walk("logout")
    said = landing.ctx.error
    assert (landing.state, landing.ctx.revocation, type(said) if said else None) == (end, revocation, error), said
    if error is WrongIssuer:
        assert (life.stored.refresh_token, life.server.counts["revoke"]) == ("refresh-b", 0)
    elif end == "absent":
        assert life.served[-1] == ""
        assert landing.ctx.config == ("kept" if error is ConfigError else "restored")
        access = [f"access-{number}" for number in range(1, 5)]
        assert revocation != "revoked" or not any(map(life.server.is_live, access))


@pytest.mark.parametrize(("age_s", "before", "after"), [(600.0, "usable", "usable"), (905.0, "expired", "expired")])
def test_what_cannot_be_replaced_is_never_sent(life: Life, age_s: float, before: str, after: str) -> None:
    """A record whose answer could not be stored serves while it works; no walk sends it, and each says why."""
    life.sign_in(age_s=age_s)
    life.store.fixed = True
    assert life.state == before
    landing = life.walk("renew")
    assert (landing.state, landing.ctx.error.code if landing.ctx.error else "") == (after, "unwritable")
    assert life.server.counts["exchange"] == 0
    life.store.fixed = False
    assert life.walk("renew").state == "fresh"


def test_fixed_once_the_claim_is_made(life: Life) -> None:
    """A mount over the record between the claim and the second look keeps it from being sent, too."""
    life.sign_in(age_s=905.0)
    original = life.store.claim

    def claim(fp: str) -> object:
        made = original(fp)
        life.store.fixed = True
        return made

    life.store.claim = claim  # type: ignore[method-assign,assignment]
    assert life.walk("renew").state == "expired"
    assert life.server.counts["exchange"] == 0
    assert life.store.peek_claim(life.store.read().fp).state == "none"


def test_a_hung_claim_is_recovered_after_75_seconds(life: Life) -> None:
    """The wall clock never decides: 75 s of boot time after it was first met, the claim is recovered."""
    silent(life)
    assert life.walk("renew").state == "in_doubt"
    life.clock.set_wall(life.clock.wall_s() + 86_400)
    assert life.walk("renew").state == "in_doubt"
    life.clock.advance(76)
    assert life.walk("renew").state == "fresh"


def test_a_rejecting_platform_forces_one_rotation_in_thirty_seconds(life: Life) -> None:
    """Renewed because of a 401 and rejected again: the next forced rotation waits, longer each time, and then is tried."""
    life.sign_in()
    walks = []
    for pause_s in (0.0, 1.0, 30.0, 31.0):
        life.clock.advance(pause_s)
        bearer = life.stored.access_token
        walks.append((life.walk("rejected", Need(not_bearer=bearer)).state, life.server.counts["exchange"]))
    assert walks == [("fresh", 1), ("usable", 1), ("fresh", 2), ("usable", 2)]


def test_a_rejected_token_that_ends_is_renewed_as_any_other(life: Life) -> None:
    """The wait for another forced rotation is for a token that is still alive: one that has ended by itself is due."""
    life.sign_in()
    assert life.walk("rejected", Need(not_bearer=life.stored.access_token)).state == "fresh"
    assert life.walk("rejected", Need(not_bearer=life.stored.access_token)).state == "usable"
    life.store.theirs.set_backoff(life.store.backoff()._replace(forced_retry_at_s=life.clock.wall_s() + 1700))
    life.clock.advance(850)
    assert life.walk("rejected", Need(not_bearer=life.stored.access_token)).state == "usable"
    life.clock.advance(49)
    assert life.walk("rejected", Need(not_bearer=life.stored.access_token)).state == "fresh"
    assert life.server.counts["exchange"] == 2


@pytest.mark.parametrize("given", ["R1\u00e9", "r" * (RECORD_MAX_BYTES + 1), 12345])
def test_a_rotated_refresh_token_that_nobody_can_send(life: Life, given: object) -> None:
    """The new access token is kept and the spent refresh token is not: it would be sent a second time."""
    life.sign_in(age_s=901)
    spent = life.stored.refresh_token
    _, grant = decode.grant({"access_token": "access-9", "refresh_token": given, "expires_in": 900})
    life.server.fault("exchange", Answer("tokens", grant))
    assert life.walk("renew").state == "fresh"
    assert (life.stored.access_token, life.stored.refresh_token) == ("access-9", "")
    life.clock.advance(901)
    landing = life.walk("touched")
    assert (landing.state, life.server.counts["exchange"]) == ("revoked", 1)
    assert spent not in str(life.stored.record())


def test_a_large_pair_is_kept(life: Life) -> None:
    """What fits a record is kept, from the answer to the disk: two tokens of 16,385 and 40,000 characters."""
    life.sign_in(age_s=901)
    data = {"access_token": "a" * 16_385, "refresh_token": "r" * 40_000, "expires_in": 900}
    life.server.fault("exchange", Answer("tokens", decode.grant(data)[1]))
    assert life.walk("renew").state == "fresh"
    assert (life.stored.access_token, life.stored.refresh_token) == (data["access_token"], data["refresh_token"])


def test_a_program_that_is_to_end_does_not_recover(life: Life) -> None:
    """A lost answer would cost it another minute: the claim stays, and the next program recovers."""
    life.sign_in(age_s=901)
    ending = life.effects._replace(recovers=lambda patience_s: False)
    life.work._ports = ending
    life.server.fault("exchange", LOST)
    assert life.walk("renew").state == "in_doubt"
    assert life.server.counts["exchange"] == 1
    life.work._ports = life.effects
    life.clock.advance(1)
    assert life.walk("renew").state == "fresh"


def test_a_recovery_obeys_what_others_were_told_meanwhile(life: Life) -> None:
    """In the second before it recovers, a process passes over the backoff that it has set itself, and over no other."""
    life.sign_in(age_s=901)
    life.server.fault("exchange", LOST)

    def asked_to_wait() -> None:
        life.store.theirs.set_backoff(
            life.store.backoff()._replace(retry_at_s=life.clock.wall_s() + 900, message="429")
        )

    slept = life.clock.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        asked_to_wait()

    life.clock.sleep = sleep  # type: ignore[method-assign]
    landing = life.walk("renew")
    assert (landing.state, life.server.counts["exchange"]) == ("in_doubt", 1)
    assert "429; not tried again for 900 s" in landing.error.message


def test_a_clock_that_is_set_back_does_not_undo_the_pace(life: Life) -> None:
    """A backoff is written and read by the wall clock, whatever clock the ages of tokens are computed with."""
    life.sign_in(age_s=901)
    steady_s = life.clock.wall_s() + 3600
    life.work._ports = life.effects._replace(now_s=lambda: max(steady_s, life.clock.wall_s()))
    life.server.fault("exchange", OFFLINE)
    for _ in range(2):
        assert life.walk("renew", patience_s=0.0).state == "expired"
        assert life.server.counts["exchange"] == 1


def test_an_old_logout_is_cleared_away_by_whoever_comes(life: Life) -> None:
    """Every waiter has heard of the empty record after a minute; until then it stays."""
    life.sign_in()
    assert life.walk("logout").state == "absent"
    for passed_s, state in ((30.0, "present"), (31.0, "absent")):
        life.clock.advance(passed_s)
        with pytest.raises(NotSignedIn):
            life.credential.obtain(Need(), life.clock.wall_s())
        assert life.store.read().state == state


def test_transient_failures_slow_everybody_down(life: Life) -> None:
    """1 s doubling to 60 s, shared on disk; a success forgets it."""
    life.sign_in(age_s=901)
    waits = []
    for _ in range(8):
        life.server.fault("exchange", OFFLINE)
        life.walk("renew", patience_s=0.0)
        waits.append(life.store.backoff().retry_at_s - life.clock.wall_s())
        life.clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert life.walk("renew").state == "fresh"
    assert life.store.backoff().failures == 0


def test_unrecognized_refusals_become_a_refusal_and_a_success_clears_it(life: Life) -> None:
    """A captive portal signs no one out; a dead login is told in the end. Tries within a minute count once, however
    many they are: 1 s, 2 s, ... apart while no token works."""
    life.sign_in(age_s=901)
    for _ in range(4):
        life.server.fault("exchange", PROXY)
    seen = []
    for pause_s in (0.0, 0.5, 0.5, 59.0, 30.0, 871.0):
        life.clock.advance(pause_s)
        life.walk("renew", patience_s=0.0)
        seen.append((life.state, life.server.counts["exchange"]))
    in_doubt = [("in_doubt", 1), ("in_doubt", 1), ("in_doubt", 2)]
    assert seen == [*in_doubt, ("blocked", 3), ("blocked", 3), ("blocked", 4)]
    life.clock.advance(901)
    assert life.walk("renew").state == "fresh"
    assert life.store.backoff().unrecognized_count == 0


@pytest.mark.parametrize(("age_s", "waits"), [(400, [60, 120, 240, 480, 900]), (901, [1, 2, 4, 8, 16])])
def test_how_long_an_unrecognized_refusal_is_waited_for(life: Life, age_s: float, waits: list[float]) -> None:
    """While a token works 60 s doubling to 15 min: nothing is lost by waiting. Without one it is as after any failure."""
    life.sign_in(age_s=age_s)
    seen = []
    for _ in waits:
        with life.store.locked(0):
            ctx = CredentialContext(view=life.store.view(), error=PROXY.error)
            assert life.work.record_unrecognized(ctx)[0] == "recorded"
        seen.append(life.store.backoff().retry_at_s - life.clock.wall_s())
        if age_s == 400:
            life.store.theirs.set_backoff(
                life.store.backoff()._replace(unrecognized_last_at_s=life.clock.wall_s() - 61)
            )
    assert seen == waits


# --- while a staged pair cannot be committed -------------------------------------------------------------------------


def stays(life: Life) -> None:
    """Nothing happens meanwhile."""


def signs_in(life: Life) -> None:
    """A program that takes no lock signs in."""
    life.store.theirs.put(OTHER)


def signs_out(life: Life) -> None:
    """A program that takes no lock removes the record."""
    life.store._found = Snapshot("absent")


def sweeps(life: Life) -> None:
    """Another program removes the sidecars, the answer included."""
    life.store._claims.clear()


OTHER = Token("access-other", "refresh-other", 1_700_001_801.0, 900.0)


@pytest.mark.parametrize(
    ("meanwhile", "state", "access_token"),
    [
        (stays, "fresh", "access-2"),
        (signs_in, "fresh", "access-other"),
        (signs_out, "absent", ""),
        (sweeps, "fresh", "access-2"),
    ],
    ids=["nothing", "a login", "a logout", "a sweep"],
)
def test_what_happens_while_it_cannot_be_installed(
    life: Life, meanwhile: Callable[[Life], None], state: str, access_token: str
) -> None:
    """Each try compares anew: a login or a logout of those seconds is final, and an answer that was taken away is written
    again from memory."""
    life.sign_in(age_s=901)

    def error() -> None:
        meanwhile(life)
        raise StoreUnwritable("the directory cannot be written to")

    life.store.before["commit"] = error
    landing = life.walk("renew")
    assert landing.state == state
    found = life.store.read().token
    assert (found.access_token if found else "") == access_token
    assert life.server.counts["exchange"] == 1
