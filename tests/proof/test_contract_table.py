"""One table for simulated and real hooks: situation and fault, the outcome, and the state after it. The proof and the
code agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.machine import ACQUIRED, Library, Machine

# activity: (the situation, beyond "p is stored, expired, and nothing is beside it"; the outcome)
TABLE: dict[str, list[tuple[dict[str, Any], str]]] = {
    "reread": [
        ({}, "renewable"),
        ({"claim": "ours"}, "renewable"),
        ({"phase": "expiring"}, "renewable"),
        ({"phase": "fresh"}, "satisfied"),
        ({"record": "r"}, "satisfied"),
        ({"phase": "fresh", "need": "not_bearer"}, "renewable"),
        ({"phase": "fresh", "need": "not_pair"}, "renewable"),
        ({"phase": "fresh", "need": "not_pair", "held": True}, "backing_off"),
        ({"need": "not_pair", "unrecognized": 1}, "renewable"),
        ({"need": "not_pair", "unrecognized": 2}, "renewable"),
        ({"rejected": True}, "renewable"),
        ({"phase": "fresh", "rejected": True}, "satisfied"),
        ({"phase": "fresh", "need": "not_bearer", "full": True}, "renewable"),
        ({"record": "empty"}, "gone"),
        ({"record": "absent"}, "gone"),
        ({"record": "corrupt"}, "corrupt"),
        ({"record": "foreign", "seen": "foreign"}, "foreign"),
        ({"revoked": True}, "revoked"),
        ({"held": True}, "backing_off"),
        ({"held": True, "phase": "expiring"}, "backing_off"),
        ({"held": True, "recoveries": 1}, "backing_off"),
    ],
    "claim": [
        ({}, "claimed"),
        ({"claim": "staged"}, "staged"),
        ({"claim": "closed"}, "interrupted"),
        ({"claim": "closed", "phase": "expiring"}, "interrupted"),
        ({"claim": "dead"}, "interrupted"),
        ({"claim": "dead", "phase": "expiring"}, "interrupted"),
        ({"claim": "open"}, "in_flight"),
        ({"claim": "silent"}, "in_flight"),
        ({"claim": "met"}, "in_flight"),
        ({"claim": "waited"}, "interrupted"),
        ({"claim": "waited", "phase": "expiring"}, "in_flight"),
        ({"claim": "waited", "phase": "expiring", "need": "not_pair"}, "interrupted"),
        ({"claim": "waited", "phase": "expiring", "need": "not_bearer"}, "interrupted"),
        ({"claim": "waited", "phase": "fresh", "rejected": True}, "in_flight"),
        ({"full": True}, "unwritable"),
    ],
    "renew_claim": [
        ({"claim": "closed"}, "claimed"),
        ({"claim": "waited"}, "claimed"),
        ({"claim": "open"}, "unwritable"),
        ({"claim": "staged"}, "unwritable"),
        ({"claim": "none"}, "unwritable"),
        ({"claim": "closed", "full": True}, "unwritable"),
    ],
    "look_again": [
        ({"claim": "ours"}, "unchanged"),
        ({"claim": "ours", "record": "corrupt"}, "changed"),
        ({"record": "r"}, "changed"),
        ({"record": "empty"}, "changed"),
        ({"claim": "ours", "revoked": True}, "changed"),
    ],
    "withdraw_claim": [
        ({"claim": "ours", "found": "made"}, "withdrawn"),
        ({"claim": "ours", "found": "found"}, "withdrawn"),
        ({"claim": "open", "found": "made"}, "withdrawn"),
        ({"claim": "ours", "found": "made", "full": True}, "withdrawn"),
    ],
    "exchange": [
        ({"claim": "ours"}, "tokens"),
        ({"claim": "ours", "fault": "revoked"}, "revoked"),
        ({"claim": "ours", "fault": "unrecognized"}, "unrecognized"),
        ({"claim": "ours", "fault": "busy"}, "not_processed"),
        ({"claim": "ours", "fault": "client"}, "misconfigured"),
        ({"claim": "ours", "fault": "lost"}, "in_doubt"),
        ({"claim": "ours", "fault": "late"}, "in_doubt"),
    ],
    "stage": [
        ({"claim": "ours", "pair": "q"}, "staged"),
        ({"pair": "q"}, "staged"),
        ({"claim": "open", "pair": "q"}, "staged"),
        ({"claim": "ours", "pair": "q", "full": True}, "unwritable"),
    ],
    "commit": [
        ({"claim": "staged", "pair": "q"}, "committed"),
        ({"claim": "staged", "pair": "q", "held": True, "unrecognized": 1}, "committed"),
        ({"claim": "staged", "pair": "q", "rejected": True}, "committed"),
        ({"record": "r", "pair": "q"}, "superseded"),
        ({"record": "empty", "pair": "q"}, "gone"),
        ({"record": "absent", "pair": "q"}, "gone"),
        ({"claim": "staged", "pair": "q", "full": True}, "unwritable"),
    ],
    "revoke": [
        ({"record": "empty", "pair": "p"}, "revoked"),
        ({"record": "empty", "pair": ""}, "unsupported"),
        ({"record": "empty", "pair": "p", "fault": "unsupported"}, "unsupported"),
        ({"record": "empty", "pair": "p", "fault": "failed"}, "failed"),
    ],
    "record_revoked": [
        ({"claim": "ours"}, "recorded"),
        ({"claim": "ours", "full": True}, "unrecorded"),
    ],
    "record_unrecognized": [
        ({"claim": "ours"}, "recorded"),
        ({"claim": "ours", "unrecognized": 1}, "recorded"),
        ({"claim": "ours", "full": True}, "recorded"),
    ],
    "postpone": [
        ({"claim": "ours"}, "postponed"),
        ({"claim": "ours", "full": True}, "postponed"),
    ],
    "empty_record": [
        ({}, "emptied"),
        ({"claim": "staged"}, "emptied"),
        ({"record": "corrupt"}, "emptied"),
        ({"record": "empty"}, "nothing"),
        ({"record": "absent"}, "nothing"),
        ({"full": True}, "unwritable"),
        ({"record": "foreign", "seen": "foreign"}, "foreign"),
    ],
    "discard_staged": [
        ({"claim": "staged", "pair": "p"}, "discarded"),
        ({"claim": "ours", "pair": "p"}, "discarded"),
        ({"pair": "p"}, "discarded"),
    ],
    "clear_sidecars": [
        ({"record": "empty", "claim": "ours", "revoked": True}, "cleared"),
        ({"record": "empty", "full": True}, "cleared"),
        ({"record": "r"}, "cleared"),
    ],
    "inspect": [
        ({"phase": "fresh"}, "fresh"),
        ({"phase": "expiring"}, "expiring"),
        ({}, "expired"),
        ({"held": True}, "expired"),
        ({"phase": "fresh", "rejected": True}, "fresh"),
        ({"phase": "expiring", "rejected": True}, "expiring"),
        ({"phase": "fresh", "revoked": True, "rejected": True}, "revoked"),
        ({"phase": "expiring", "held": True}, "usable"),
        ({"phase": "fresh", "revoked": True}, "usable"),
        ({"claim": "ours"}, "in_doubt"),
        ({"claim": "silent"}, "in_doubt"),
        ({"claim": "staged"}, "expired"),
        ({"unrecognized": 1}, "expired"),
        ({"unrecognized": 2}, "blocked"),
        ({"revoked": True}, "revoked"),
        ({"record": "corrupt"}, "corrupt"),
        ({"record": "empty"}, "absent"),
        ({"record": "absent"}, "absent"),
        ({"record": "foreign", "seen": "foreign"}, "absent"),
    ],
    "hold_credential": [
        ({}, ACQUIRED),
        ({"record": "r"}, ACQUIRED),
        ({"lock": "taken"}, "busy"),
        ({"lock": "taken", "record": "r"}, "changed"),
        ({"lock": "taken", "record": "empty"}, "changed"),
    ],
    "hold_credential_to_sign_out": [
        ({}, ACQUIRED),
        ({"lock": "taken"}, "busy"),
    ],
    "back_off": [
        ({}, "gave_up"),
        ({"held": True}, "gave_up"),
        ({"awaits": "backoff"}, "over"),
        ({"awaits": "backoff", "held": True}, "gave_up"),
        ({"awaits": "backoff", "held": True, "record": "r"}, "changed"),
        ({"awaits": "recovery", "held": True, "claim": "ours"}, "over"),
        ({"awaits": "recovery", "held": True, "record": "r"}, "changed"),
        ({"awaits": "claim", "claim": "met"}, "gave_up"),
        ({"awaits": "claim", "record": "r"}, "changed"),
        ({"awaits": "claim", "claim": "staged"}, "over"),
        ({"awaits": "claim", "claim": "waited"}, "over"),
    ],
    "can_still_use": [
        ({"phase": "fresh"}, "usable"),
        ({"phase": "expiring", "held": True}, "usable"),
        ({"held": True}, "expired"),
        ({"phase": "fresh", "rejected": True}, "usable"),
        ({"claim": "ours"}, "in_doubt"),
        ({"claim": "closed"}, "in_doubt"),
        ({"unrecognized": 2}, "blocked"),
    ],
    "inject": [
        ({"phase": "fresh"}, "injected"),
        ({"record": "empty"}, "injected"),
    ],
    "restore_config": [
        ({"record": "empty"}, "restored"),
        ({"record": "empty", "fault": "config"}, "kept"),
    ],
}

ROWS = [
    pytest.param(activity, changes, outcome, id=f"{activity}-{number}-{outcome}")
    for activity, rows in TABLE.items()
    for number, (changes, outcome) in enumerate(rows, 1)
]


@pytest.mark.parametrize(("activity", "changes", "outcome"), ROWS)
def test_the_real_hook_does_what_the_simulated_one_says(
    activity: str,
    changes: dict[str, Any],
    outcome: str,
    real: Any,
    model: Callable[..., Any],
    given: Callable[..., Any],
) -> None:
    """In each situation the real hook answers as the table says, and leaves behind what the model has for that answer."""
    situation = given(**changes)
    answers = model(activity, situation)
    said, facts = real.run(activity, situation)
    assert said == outcome
    assert outcome in answers
    assert facts in answers[outcome]


def test_every_outcome_of_every_activity_has_a_row() -> None:
    """The table forgets no outcome that the machines of the credential declare."""
    machines = Library.load()
    declared = {
        (state.activity, outcome)
        for name in ("token_lifecycle", "token_refresh", "sign_out")
        for state in machines[name].states.values()
        if state.activity
        for outcome in own_outcomes(machines, state)
    }
    listed = {(activity, outcome) for activity, rows in TABLE.items() for _, outcome in rows}
    assert listed == declared


def own_outcomes(machines: Library, state: Any) -> set[str]:
    """The outcomes of the state's own hook: not the ends of a child."""
    child: Machine | None = machines[state.walks] if state.walks else None
    return set(state.on) - set(child.rest) | {ACQUIRED} if child else set(state.on)
