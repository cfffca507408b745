"""Scenarios: short walks, as data, whose course and end users rely on. Checking one takes microseconds.

Read each one as a story: from a rest state and an event, or from the initial state, the outcome of each activity and
the rest state where the walk ends. A walk that reaches an activity which the scenario does not name breaks the
scenario, and so does any other end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kimi_auth.machine import ACQUIRED, Machine, MachineError, steps
from kimi_auth.machine.engine import Step

__all__ = ["SCENARIOS", "Scenario", "broken_scenario"]


class Scenario(NamedTuple):
    """`says`: the sentence that must hold. `start`: "" for the initial state, else "REST EVENT". `course`: "ACTIVITY
    OUTCOME" per step; the steps of a child come between `acquired` and its end. `end`: the rest state."""

    machine: str
    says: str
    start: str
    course: str
    end: str


APPROVED = "check_store ready, request_code code, show_code shown, wait elapsed, poll_token granted"
STORED = f"{APPROVED}, store_credential stored"
SHOWN = "check_store ready, request_code code, show_code shown"
SENT = "reread renewable, claim claimed, look_again unchanged"
LOCKED = f"hold_credential acquired, {SENT}"
LOST = f"{LOCKED}, exchange in_doubt, postpone postponed"
RENEWABLE = ("fresh", "expiring", "expired", "usable", "in_doubt", "blocked")
ENDED = ("revoked", "corrupt", "absent")

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "device_login",
        "an approved login is stored, then models and config follow, and clients are served",
        "",
        f"{STORED}, sync_models synced, write_config configured, inject injected",
        "signed_in",
    ),
    Scenario("device_login", "a login that stands is left alone", "", "check_store already_signed_in", "signed_in"),
    Scenario(
        "device_login",
        "a login that was cut short before its configuration is finished without another approval",
        "",
        "check_store unfinished, sync_models synced, write_config configured, inject injected",
        "signed_in",
    ),
    Scenario(
        "device_login",
        "no approval is requested for a login that cannot be stored",
        "",
        "check_store blocked",
        "failed",
    ),
    Scenario(
        "device_login",
        "a server that does not answer is asked again",
        "",
        "check_store ready, request_code unreachable, pause_before_code again, request_code code, show_code shown, "
        "wait cancelled",
        "cancelled",
    ),
    Scenario(
        "device_login",
        "a server that never answers ends it",
        "",
        "check_store ready, request_code unreachable, pause_before_code gave_up",
        "failed",
    ),
    Scenario(
        "device_login",
        "one may leave while the server does not answer",
        "",
        "check_store ready, request_code unreachable, pause_before_code cancelled",
        "cancelled",
    ),
    Scenario(
        "device_login",
        "a server that refuses this program ends it",
        "",
        "check_store ready, request_code refused",
        "failed",
    ),
    Scenario(
        "device_login",
        "pending, slow_down and transient all wait and ask again, with the same code",
        "",
        f"{SHOWN}, wait elapsed, poll_token authorization_pending, wait elapsed, poll_token slow_down, wait elapsed, "
        "poll_token unreachable, wait elapsed, poll_token access_denied",
        "denied",
    ),
    Scenario(
        "device_login",
        "a refusal that is no answer to the code ends it",
        "",
        f"{SHOWN}, wait elapsed, poll_token refused",
        "failed",
    ),
    Scenario(
        "device_login",
        "a code that the server calls expired is followed by a new one, which is shown",
        "",
        f"{SHOWN}, wait elapsed, poll_token expired_token, renew_code renewed, request_code code, show_code shown, "
        "wait lapsed, renew_code exhausted",
        "expired",
    ),
    Scenario(
        "device_login",
        "one may leave between two codes",
        "",
        f"{SHOWN}, wait lapsed, renew_code cancelled",
        "cancelled",
    ),
    Scenario(
        "device_login",
        "a grant that cannot be stored is revoked",
        "",
        f"{APPROVED}, store_credential unwritable, return_grant returned",
        "failed",
    ),
    Scenario(
        "device_login", "a login without models stands", "", f"{STORED}, sync_models unavailable", "models_pending"
    ),
    Scenario(
        "device_login",
        "a login whose config cannot be written stands",
        "",
        f"{STORED}, sync_models synced, write_config unwritable",
        "models_pending",
    ),
    Scenario(
        "token_lifecycle",
        "a lock that is busy leaves a working token usable",
        "expiring renew",
        "hold_credential busy, can_still_use usable",
        "usable",
    ),
    Scenario(
        "token_lifecycle",
        "what changed while we waited is served and looked at",
        "expired renew",
        "hold_credential changed, inject injected, inspect fresh",
        "fresh",
    ),
    Scenario(
        "token_lifecycle",
        "a lost answer is followed by a declared recovery, with the lock left alone between them",
        "expired renew",
        f"{LOST}, back_off over, hold_credential acquired, reread renewable, claim interrupted, "
        "renew_claim claimed, look_again unchanged, exchange in_doubt, postpone postponed, "
        "back_off gave_up, can_still_use in_doubt",
        "in_doubt",
    ),
    Scenario(
        "token_lifecycle",
        "a record that was set aside for another issuer reads as signed out",
        "expired renew",
        "hold_credential acquired, reread foreign, inject injected, inspect absent",
        "absent",
    ),
    Scenario(
        "token_lifecycle",
        "an unreadable record is never served",
        "expired renew",
        "hold_credential acquired, reread corrupt, inject injected, inspect corrupt",
        "corrupt",
    ),
    Scenario(
        "token_lifecycle",
        "a claim whose owner may be at work is waited for, without a word at the server",
        "expired renew",
        "hold_credential acquired, reread renewable, claim in_flight, back_off gave_up, can_still_use expired",
        "expired",
    ),
    Scenario(
        "token_lifecycle",
        "a disk that takes no claim stops it before anything is sent",
        "expired renew",
        "hold_credential acquired, reread renewable, claim unwritable, back_off gave_up, can_still_use expired",
        "expired",
    ),
    Scenario(
        "token_lifecycle",
        "a recovery that cannot be declared is not begun",
        "in_doubt renew",
        "hold_credential acquired, reread renewable, claim interrupted, renew_claim unwritable, back_off gave_up, can_still_use in_doubt",
        "in_doubt",
    ),
    Scenario(
        "token_lifecycle",
        "a busy server leaves no claim and a backoff",
        "expired renew",
        f"{LOCKED}, exchange not_processed, withdraw_claim withdrawn, postpone postponed, back_off gave_up, can_still_use expired",
        "expired",
    ),
    Scenario(
        "token_lifecycle",
        "a server that refuses this program leaves no claim and a backoff",
        "expired renew",
        f"{LOCKED}, exchange misconfigured, withdraw_claim withdrawn, postpone postponed, back_off gave_up, can_still_use expired",
        "expired",
    ),
    Scenario(
        "token_lifecycle",
        "an answer that is no OAuth answer is noted, and the login stays",
        "expired renew",
        f"{LOCKED}, exchange unrecognized, record_unrecognized recorded, back_off gave_up, can_still_use blocked",
        "blocked",
    ),
    Scenario(
        "token_lifecycle",
        "a refusal that cannot be written down slows us down",
        "expired renew",
        f"{LOCKED}, exchange revoked, record_revoked unrecorded, postpone postponed, back_off gave_up, can_still_use expired",
        "expired",
    ),
    Scenario(
        "token_lifecycle",
        "a pair that cannot be saved is not forgotten by saying so",
        "expired renew",
        f"{LOCKED}, exchange tokens, stage unwritable, can_still_use expired",
        "expired",
    ),
    Scenario(
        "token_lifecycle",
        "a pair that cannot be committed stays staged",
        "expired renew",
        f"{LOCKED}, exchange tokens, stage staged, commit unwritable, can_still_use expired",
        "expired",
    ),
    *(
        Scenario(
            "token_lifecycle",
            "looking ends in the state that was seen, and does nothing",
            start,
            f"inspect {seen}",
            seen,
        )
        for seen in (*RENEWABLE, *ENDED)
        for start in ("", "fresh touched")
    ),
    *(
        Scenario(
            "token_lifecycle",
            "every rest state looks again when it is touched",
            f"{rest} touched",
            "inspect fresh",
            "fresh",
        )
        for rest in (*RENEWABLE, *ENDED)
    ),
    *(
        Scenario(
            "token_lifecycle",
            "whatever can be renewed takes the lock first, and stays as it is without",
            f"{rest} {event}",
            "hold_credential busy, can_still_use usable",
            "usable",
        )
        for rest in RENEWABLE
        for event in ("renew", "rejected")
    ),
    *(
        Scenario(
            "token_lifecycle",
            "one may sign out of everything; without the lock, or room to write, the login stands",
            f"{rest} logout",
            course,
            "fresh",
        )
        for rest in (*RENEWABLE, *ENDED)
        for course in (
            "hold_credential_to_sign_out busy, inspect fresh",
            "hold_credential_to_sign_out acquired, empty_record unwritable, inspect fresh",
        )
    ),
    *(
        Scenario(
            "token_lifecycle",
            "a record of another issuer that came while we waited for the lock is not ours to sign out",
            f"{rest} logout",
            "hold_credential_to_sign_out acquired, empty_record foreign, inspect absent",
            "absent",
        )
        for rest in (*RENEWABLE, *ENDED)
    ),
    *(
        Scenario(
            "token_lifecycle",
            "a record found under the lock that needs no renewal is served as it is",
            "expired renew",
            f"hold_credential acquired, reread {found}, inject injected, inspect {seen}",
            seen,
        )
        for found, seen in (("satisfied", "fresh"), ("gone", "absent"), ("revoked", "revoked"))
    ),
    *(
        Scenario(
            "token_lifecycle",
            "a wait beyond the patience of a caller is not begun",
            "expired renew",
            f"{LOST}, back_off gave_up, can_still_use {weighed}",
            end,
        )
        for weighed, end in (
            ("usable", "usable"),
            ("expired", "expired"),
            ("in_doubt", "in_doubt"),
            ("blocked", "blocked"),
        )
    ),
    Scenario(
        "token_lifecycle",
        "a renewal is on disk twice before anybody is served",
        "expiring renew",
        f"{LOCKED}, exchange tokens, stage staged, commit committed, inject injected, inspect fresh",
        "fresh",
    ),
    Scenario(
        "token_lifecycle",
        "the answer of a process that died is installed, and nothing is sent",
        "in_doubt renew",
        "hold_credential acquired, reread renewable, claim staged, commit committed, inject injected, inspect fresh",
        "fresh",
    ),
    Scenario(
        "token_lifecycle",
        "a login that the server ended stays ended, on disk",
        "expired renew",
        f"{LOCKED}, exchange revoked, record_revoked recorded, inject injected, inspect revoked",
        "revoked",
    ),
    Scenario(
        "token_lifecycle",
        "the backoff that all share is kept without a write",
        "expiring renew",
        "hold_credential acquired, reread backing_off, back_off gave_up, can_still_use usable",
        "usable",
    ),
    Scenario(
        "token_lifecycle",
        "a backoff that ends within the patience of a caller is followed by another try",
        "expired renew",
        "hold_credential acquired, reread backing_off, back_off over, hold_credential acquired, reread renewable, "
        "claim claimed, look_again unchanged, exchange tokens, stage staged, commit committed, inject injected, "
        "inspect fresh",
        "fresh",
    ),
    Scenario(
        "token_lifecycle",
        "what another process writes during a backoff is served and looked at",
        "expired renew",
        "hold_credential acquired, reread backing_off, back_off changed, inject injected, inspect fresh",
        "fresh",
    ),
    Scenario(
        "token_lifecycle",
        "a login that arrives before anything is sent takes precedence, and our claim is taken back",
        "expired renew",
        "hold_credential acquired, reread renewable, claim claimed, look_again changed, withdraw_claim withdrawn, "
        "inject injected, inspect fresh",
        "fresh",
    ),
    Scenario(
        "token_lifecycle",
        "a login that arrives while we ask takes precedence",
        "expired renew",
        f"{LOCKED}, exchange tokens, stage staged, commit superseded, inject injected, inspect fresh",
        "fresh",
    ),
    *(
        Scenario(
            "token_lifecycle",
            "a logout while we ask is final, whatever becomes of the revocation",
            "expired renew",
            f"{LOCKED}, exchange tokens, stage staged, commit gone, revoke {how}, inject injected, inspect absent",
            "absent",
        )
        for how in ("revoked", "unsupported", "failed")
    ),
    Scenario(
        "token_lifecycle",
        "a logout stands where the server knows no revocation",
        "expired logout",
        "hold_credential_to_sign_out acquired, empty_record emptied, discard_staged discarded, revoke unsupported, "
        "clear_sidecars cleared, restore_config restored, inject injected, inspect absent",
        "absent",
    ),
    Scenario(
        "token_lifecycle",
        "a logout is followed by the config, then by the clients",
        "fresh logout",
        "hold_credential_to_sign_out acquired, empty_record emptied, discard_staged discarded, revoke revoked, "
        "clear_sidecars cleared, restore_config restored, inject injected, inspect absent",
        "absent",
    ),
    Scenario(
        "token_lifecycle",
        "a logout stands when neither server nor config follow",
        "revoked logout",
        "hold_credential_to_sign_out acquired, empty_record emptied, discard_staged discarded, revoke failed, "
        "clear_sidecars cleared, restore_config kept, inject injected, inspect absent",
        "absent",
    ),
    Scenario(
        "token_lifecycle",
        "a logout tidies up when signed out, and asks no server",
        "absent logout",
        "hold_credential_to_sign_out acquired, empty_record nothing, clear_sidecars cleared, restore_config restored, "
        "inject injected, inspect absent",
        "absent",
    ),
    Scenario(
        "token_refresh",
        "a claim whose owner may be at work puts nothing of this walk in doubt",
        "",
        "reread renewable, claim in_flight",
        "postponed",
    ),
    Scenario(
        "token_refresh",
        "an interrupted claim that cannot be taken over is not sent",
        "",
        "reread renewable, claim interrupted, renew_claim unwritable",
        "postponed",
    ),
    Scenario(
        "token_refresh",
        "an end that cannot be recorded is told again later, and nothing is in doubt",
        "",
        f"{SENT}, exchange revoked, record_revoked unrecorded, postpone postponed",
        "postponed",
    ),
    Scenario(
        "token_refresh",
        "an answer that is not OAuth puts nothing in doubt",
        "",
        f"{SENT}, exchange unrecognized, record_unrecognized recorded",
        "postponed",
    ),
)


def broken_scenario(machines: Mapping[str, Machine], promises: Iterable[Scenario]) -> str:
    """The sentence of the first scenario that `machines` break; "" if they keep all of them."""
    for promise in promises:
        if not _is_kept(machines[promise.machine], promise):
            return promise.says
    return ""


def _is_kept(machine: Machine, promise: Scenario) -> bool:
    course = [step.split() for step in promise.course.split(", ")]
    try:
        at, event = promise.start.split() if promise.start else (None, None)
        end = _walked(machine, at, event, course)
    except MachineError:
        return False
    return end == promise.end and not course


def _walked(machine: Machine, at: str | None, event: str | None, course: list[list[str]]) -> str | None:
    """The rest state where a walk ends whose activities answer as `course` says; None if the walk takes another
    course."""
    walk = steps(machine, at, event, limit=100)
    try:
        due: Step = next(walk)
        while True:
            outcome = _answer(due, course)
            if outcome is None:
                return None
            due = walk.send(outcome)
    except StopIteration as end:
        return str(end.value)


def _answer(due: Step, course: list[list[str]]) -> str | None:
    activity, outcome = course.pop(0) if course else ("", "")
    if activity != due.activity:
        return None
    return _walked(due.child, None, None, course) if due.child is not None and outcome == ACQUIRED else outcome
