"""The server's rules, without HTTP and by a clock that only the test moves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator import Fault, Reuse, Settings, State
from kimi_auth.testing.emulator.records import (
    USER_CODE_ALPHABET,
    CodeProblem,
    Device,
    OAuthError,
    fingerprint,
    normalise_user_code,
)

NowS = Any  # the conftest's Clock


def outcome(act: Callable[[], object]) -> str:
    """What came of a call, in a word: an OAuth error code, a code problem, or `granted`."""
    try:
        act()
    except OAuthError as error:
        return error.code
    except CodeProblem as problem:
        return problem.problem
    return "granted"


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        pytest.param(
            {},
            [(0, "poll", "authorization_pending"), (5, "poll", "authorization_pending"), (1, "approved", "granted"),
             (4, "poll", "granted")],
            id="approved",
        ),
        pytest.param({}, [(1, "approved", "granted"), (0, "poll", "granted")], id="the first poll may be at once"),
        pytest.param(
            {},
            [(0, "poll", "authorization_pending"), (4.9, "poll", "slow_down"), (9.9, "poll", "slow_down"),
             (14.9, "poll", "slow_down"), (20, "poll", "authorization_pending")],
            id="each poll too early costs five seconds more",
        ),
        pytest.param(
            {},
            [(0, "poll", "authorization_pending"), (0, "approved", "granted"), (1, "poll", "slow_down"),
             (10, "poll", "granted")],
            id="approval does not excuse haste",
        ),
        pytest.param(
            {"interval_s": 0},
            [(0, "poll", "authorization_pending"), (0, "poll", "authorization_pending")],
            id="interval zero never says slow_down",
        ),
        pytest.param(
            {},
            [(0, "denied", "granted"), (0, "poll", "access_denied"), (1, "poll", "access_denied"),
             (9999, "poll", "access_denied")],
            id="a refusal stays a refusal",
        ),
        pytest.param({}, [(1800, "poll", "expired_token"), (0, "approved", "expired")], id="expired"),
        pytest.param(
            {"code_ttl_s": 7}, [(6.9, "poll", "authorization_pending"), (5, "poll", "expired_token")], id="short-lived"
        ),
        pytest.param({}, [(0, "approved", "granted"), (1800, "poll", "expired_token")], id="approved, too late"),
        pytest.param({}, [(3, "expire", "granted"), (0, "poll", "expired_token")], id="ended by the tester"),
        pytest.param({}, [(0, "approved", "granted"), (0, "denied", "decided")], id="decided once"),
        pytest.param(
            {"approve": "auto", "approve_after_s": 8},
            [(0, "poll", "authorization_pending"), (7, "poll", "authorization_pending"), (6, "poll", "granted")],
            id="approves by itself",
        ),
        pytest.param({"approve": "auto"}, [(1800, "poll", "expired_token")], id="but never an expired code"),
        pytest.param({"approve": "auto"}, [(0, "denied", "granted"), (9, "poll", "access_denied")], id="nor a refused"),
        pytest.param({"approve": "auto"}, [(2, "denied", "decided"), (0, "poll", "granted")], id="a refusal too late"),
    ],
)  # fmt: skip
def test_device_code_life(clock: NowS, settings: dict[str, Any], steps: list[tuple[float, str, str]]) -> None:
    """RFC 8628 §3.5: each poll gets the answer that its moment and the person's verdict call for."""
    state = State(Settings(**{"approve": "page", **settings}), clock)
    code = state.issue_code()
    acts: dict[str, Callable[[], object]] = {
        "poll": lambda: state.poll(code.device_code),
        "approved": lambda: state.decide(code.user_code, "approved"),
        "denied": lambda: state.decide(code.user_code, "denied"),
        "expire": lambda: state.expire_code(code.user_code),
    }
    seen = []
    for wait_s, act, _ in steps:
        clock.pass_s(wait_s)
        seen.append((wait_s, act, outcome(acts[act])))
    assert seen == steps


def test_unknown_device_code(clock: NowS) -> None:
    """A device code that was never issued is an invalid grant."""
    assert outcome(lambda: State(now_s=clock).poll("emulated-device-guess")) == "invalid_grant"


def test_poll_after_grant_revokes(clock: NowS) -> None:
    """A device code that comes back after its tokens takes them along."""
    state = State(Settings(interval_s=0), clock)
    code = state.issue_code()
    clock.pass_s(1)
    grant = state.poll(code.device_code)
    assert state.judge(grant.access_token) == "ok"
    assert outcome(lambda: state.poll(code.device_code)) == "invalid_grant"
    assert state.judge(grant.access_token) == "revoked"
    assert outcome(lambda: state.refresh(grant.refresh_token)) == "invalid_grant"


@pytest.mark.parametrize(
    ("policy", "wait_s", "reuse", "newest_afterwards"),
    [
        ("strict", 0, "invalid_grant", "invalid_grant"),
        ("lenient", 0, "invalid_grant", "granted"),
        ("grace:10", 9.9, "granted", "granted"),
        ("grace:10", 10, "invalid_grant", "invalid_grant"),
        ("none", 5000, "granted", "granted"),
    ],
)
def test_reuse_policies(clock: NowS, policy: str, wait_s: float, reuse: str, newest_afterwards: str) -> None:
    """A refresh token used twice is met by the policy, and so is the newest token of its family."""
    state = State(Settings(approve="page", reuse=Reuse.parse(policy)), clock)
    first = state.issue()
    newest = state.refresh(first.refresh_token)
    clock.pass_s(wait_s)
    assert outcome(lambda: state.refresh(first.refresh_token)) == reuse
    assert outcome(lambda: state.refresh(newest.refresh_token)) == newest_afterwards
    assert state.counts["reuse_seen"] == (0 if policy == "none" else 1)
    assert (newest.refresh_token == first.refresh_token) == (policy == "none")


def test_rotation_keeps_old_access_token(clock: NowS) -> None:
    """A renewal leaves the access token before it alone until its own time is up."""
    state = State(Settings(approve="page", access_ttl_s=900), clock)
    first = state.issue()
    clock.pass_s(450)
    second = state.refresh(first.refresh_token)
    assert [state.judge(first.access_token), state.judge(second.access_token)] == ["ok", "ok"]
    clock.pass_s(450)
    assert [state.judge(first.access_token), state.judge(second.access_token)] == ["expired", "ok"]


def test_parallel_refreshes_lose_a_strict_login(clock: NowS) -> None:
    """Twenty racing holders of one refresh token: one wins, and its new tokens are dead before it can use them."""
    state = State(Settings(approve="page"), clock)
    grant = state.issue()
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(outcome(lambda: state.refresh(grant.refresh_token))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["granted"] + ["invalid_grant"] * 19
    assert state.snapshot()["families_alive"] == 0


@pytest.mark.parametrize(
    ("present", "wait_s"),
    [("refresh_token", 86_400), ("access_token", 0), ("a guess", 0)],
    ids=["expired", "not a refresh token", "unknown"],
)
def test_refresh_refused(clock: NowS, present: str, wait_s: float) -> None:
    """Only a living refresh token refreshes."""
    state = State(Settings(approve="page", refresh_ttl_s=86_400), clock)
    grant = state.issue()
    clock.pass_s(wait_s)
    assert outcome(lambda: state.refresh(getattr(grant, present, present))) == "invalid_grant"


@pytest.mark.parametrize(
    ("present", "access_afterwards", "refresh_afterwards"),
    [
        ("refresh_token", "revoked", "invalid_grant"),
        ("access_token", "revoked", "granted"),
        ("a guess", "ok", "granted"),
    ],
)
def test_revocation(clock: NowS, present: str, access_afterwards: str, refresh_afterwards: str) -> None:
    """RFC 7009 §2.1: a refresh token takes its family along, an access token only itself, an unknown token nothing."""
    state = State(Settings(approve="page"), clock)
    grant = state.issue()
    state.revoke(getattr(grant, present, present))
    assert state.judge(grant.access_token) == access_afterwards
    assert outcome(lambda: state.refresh(grant.refresh_token)) == refresh_afterwards


def test_judge_knows_only_access_tokens(clock: NowS) -> None:
    """A refresh token or a guess is no bearer."""
    state = State(Settings(approve="page"), clock)
    assert [state.judge(state.issue().refresh_token), state.judge("")] == ["unknown", "unknown"]


@pytest.mark.parametrize("only", [None, 1])
def test_tester_ends_tokens(clock: NowS, only: int | None) -> None:
    """Access tokens or whole logins end on command, of one family or of all."""
    state = State(Settings(approve="page"), clock)
    grants = [state.issue(), state.issue()]
    ended = 2 if only is None else 1
    assert [state.expire_access(only), state.expire_access(only)] == [ended, 0]
    assert [state.judge(grant.access_token) for grant in grants] == ["expired", "ok" if only else "expired"]
    assert [state.revoke_family(only), state.revoke_family(only)] == [ended, 0]
    assert outcome(lambda: state.refresh(grants[0].refresh_token)) == "invalid_grant"
    assert state.snapshot()["families_alive"] == 2 - ended


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("BCDF-GHJK", "BCDF-GHJK"),
        ("bcdf-ghjk", "BCDF-GHJK"),
        ("bcdfghjk", "BCDF-GHJK"),
        ("  bcdf  ghjk\n", "BCDF-GHJK"),
        ("b c d f – g h j k", "BCDF-GHJK"),
        ("BCDF\u2011GHJK", "BCDF-GHJK"),
        ("BCDF-GHJ", None),
        ("BCDF-GHJKL", None),
        ("ABCD-EFGH", None),
        ("BCDF-GHJ0", None),
        ("ßßßß", "SSSS-SSSS"),
        ("", None),
    ],
)
def test_normalise_user_code(typed: str, code: str | None) -> None:
    """Case, blanks and dashes of any kind are free; other characters make it no code."""
    assert normalise_user_code(typed) == code


def test_issued_codes(clock: NowS) -> None:
    """User codes are two groups of four unambiguous letters, and a typed one finds its request."""
    state = State(Settings(approve="page"), clock)
    codes = [state.issue_code(Device(name=str(number))) for number in range(50)]
    assert all(set(code.user_code) <= set(USER_CODE_ALPHABET + "-") and code.user_code[4] == "-" for code in codes)
    assert len({code.user_code for code in codes}) == len({code.device_code for code in codes}) == 50
    assert state.look_up(codes[7].user_code.lower().replace("-", " ")).device.name == "7"


def test_faults_are_taken_in_order(clock: NowS) -> None:
    """The first fault that meets a request is counted off; others wait for theirs."""
    state = State(now_s=clock)
    state.inject(
        Fault("token", grant="refresh_token", status=503, times=2),
        Fault("token", status=500),
        Fault("models", status=502, times=None),
    )
    asked = [
        ("token", "device_code"), ("token", "device_code"), ("token", "refresh_token"), ("revoke", None),
        ("token", "refresh_token"), ("token", "refresh_token"), ("models", None), ("models", None),
    ]  # fmt: skip
    met = [state.take_fault(*request) for request in asked]
    assert [fault and fault.status for fault in met] == [500, None, 503, None, 503, None, 502, 502]
    assert state.snapshot()["faults_left"] == 1
    state.clear_faults()
    assert state.take_fault("models", None) is None


def test_snapshot_has_no_secret(clock: NowS) -> None:
    """The snapshot is JSON that counts and fingerprints, and neither it nor a repr shows a token or a device code."""
    state = State(Settings(approve="page"), clock)
    code = state.issue_code()
    state.decide(code.user_code, "approved")
    first = state.poll(code.device_code)
    second = state.refresh(first.refresh_token)
    seen = state.snapshot()
    family = seen["families"][0]
    assert family["refresh"] == [fingerprint(second.refresh_token)]
    assert family["refresh_spent"] == [fingerprint(first.refresh_token)]
    assert family["access"] == [fingerprint(first.access_token), fingerprint(second.access_token)]
    assert (family["generation"], family["alive"], family["revoked_because"]) == (2, True, None)
    assert seen["counts"] == {"device_codes": 1, "polls": 1, "exchanges": 1, "refreshes": 1, "rotations": 1}
    assert seen["codes"] == [
        {"user_code": code.user_code, "verdict": "used", "interval_s": 5.0, "expires_in_s": 1800.0}
    ]
    shown = json.dumps(seen) + repr((state, code, first, second, code.family, code.family and code.family.tokens))
    for secret in (
        code.device_code,
        first.access_token,
        first.refresh_token,
        second.access_token,
        second.refresh_token,
    ):
        assert secret not in shown


def test_reset_forgets_everything(clock: NowS) -> None:
    """After a reset tokens are unknown, counts are zero and membership is back."""
    state = State(Settings(approve="page"), clock)
    grant = state.issue()
    state.membership, state.models = False, ()
    state.inject(Fault("token", status=500))
    state.record({"endpoint": "token"})
    state.reset()
    assert state.judge(grant.access_token) == "unknown"
    assert (state.membership, len(state.models), state.take_fault("token", None)) == (True, 3, None)
    assert (state.snapshot()["counts"], state.snapshot()["log"]) == ({}, [])


def test_wait_for_a_request(clock: NowS) -> None:
    """A test's thread waits until a recorded request made its condition true, or for a bounded time."""
    state = State(now_s=clock)
    written: list[object] = []
    state.on_record = written.append

    def work() -> None:
        state.issue_code()
        state.record({"endpoint": "device"})

    worker = threading.Thread(target=work)
    worker.start()
    assert state.wait_for(lambda s: s.counts["device_codes"] == 1 and len(s.log) == 1, NO_LIMIT_S)
    worker.join()
    assert written == [{"endpoint": "device"}]
    assert not state.wait_for(lambda s: s.counts["device_codes"] == 2, timeout_s=0)


@pytest.mark.parametrize(
    ("text", "reuse"),
    [
        ("strict", Reuse()),
        ("lenient", Reuse(revokes_family=False)),
        ("none", Reuse(rotates=False)),
        ("grace:2.5", Reuse(grace_s=2.5)),
        ("grace:", None),
        ("grace:-1", None),
        ("Strict", None),
    ],
)
def test_reuse_parse(text: str, reuse: Reuse | None) -> None:
    """The four policies have names; anything else says which there are."""
    if reuse is None:
        with pytest.raises(ValueError, match="strict, lenient, none or grace:SECONDS"):
            Reuse.parse(text)
    else:
        assert Reuse.parse(text) == reuse


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"approve": "never"}, "approve is auto or page"),
        ({"access_ttl_s": -1.0}, "access_ttl_s is a number of seconds"),
        ({"interval_s": float("nan")}, "interval_s is a number of seconds"),
        ({"latency_s": float("inf")}, "latency_s is a number of seconds"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    """A setting that makes no sense is named."""
    with pytest.raises(ValueError, match=message):
        Settings(**settings)
