"""One table for simulated and real hooks: situation and fault, the outcome, and what is then so. What is proved is what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.machine import ACQUIRED, Library, Machine

# activity: (what is so, beyond "p is stored, expired, and nothing is beside it"; the outcome)
TABLE: dict[str, list[tuple[dict[str, Any], str]]] = {
    "reread": [
        ({}, "renewable"),
        ({"claim": "ours"}, "renewable"),
        ({"phase": "expiring"}, "renewable"),
        ({"phase": "fresh"}, "satisfied"),
        ({"record": "r"}, "satisfied"),
        ({"phase": "fresh", "need": "not_bearer"}, "renewable"),
        ({"phase": "fresh", "need": "not_pair"}, "renewable"),
        ({"phase": "fresh", "need": "not_pair", "held": True}, "paced"),
        ({"need": "not_pair", "unclear": 1}, "renewable"),
        ({"need": "not_pair", "unclear": 2}, "renewable"),
        ({"rejected": True}, "renewable"),
        ({"phase": "fresh", "rejected": True}, "satisfied"),
        ({"phase": "fresh", "need": "not_bearer", "full": True}, "renewable"),
        ({"record": "empty"}, "gone"),
        ({"record": "absent"}, "gone"),
        ({"record": "corrupt"}, "corrupt"),
        ({"record": "foreign", "seen": "foreign"}, "foreign"),
        ({"refused": True}, "refused"),
        ({"held": True}, "paced"),
        ({"held": True, "phase": "expiring"}, "paced"),
        ({"held": True, "recoveries": 1}, "paced"),
    ],
    "claim": [
        ({}, "claimed"),
        ({"claim": "heir"}, "heir"),
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
        ({"claim": "heir"}, "unwritable"),
        ({"claim": "none"}, "unwritable"),
        ({"claim": "closed", "full": True}, "unwritable"),
    ],
    "look_again": [
        ({"claim": "ours"}, "unchanged"),
        ({"claim": "ours", "record": "corrupt"}, "changed"),
        ({"record": "r"}, "changed"),
        ({"record": "empty"}, "changed"),
        ({"claim": "ours", "refused": True}, "changed"),
    ],
    "withdraw_claim": [
        ({"claim": "ours", "found": "made"}, "withdrawn"),
        ({"claim": "ours", "found": "found"}, "withdrawn"),
        ({"claim": "open", "found": "made"}, "withdrawn"),
        ({"claim": "ours", "found": "made", "full": True}, "withdrawn"),
    ],
    "exchange": [
        ({"claim": "ours"}, "tokens"),
        ({"claim": "ours", "fault": "refused"}, "refused"),
        ({"claim": "ours", "fault": "unclear"}, "unclear"),
        ({"claim": "ours", "fault": "busy"}, "not_processed"),
        ({"claim": "ours", "fault": "client"}, "misconfigured"),
        ({"claim": "ours", "fault": "lost"}, "ambiguous"),
        ({"claim": "ours", "fault": "late"}, "ambiguous"),
    ],
    "save_heir": [
        ({"claim": "ours", "pair": "q"}, "saved"),
        ({"pair": "q"}, "saved"),
        ({"claim": "open", "pair": "q"}, "saved"),
        ({"claim": "ours", "pair": "q", "full": True}, "unsaved"),
    ],
    "install": [
        ({"claim": "heir", "pair": "q"}, "installed"),
        ({"claim": "heir", "pair": "q", "held": True, "unclear": 1}, "installed"),
        ({"claim": "heir", "pair": "q", "rejected": True}, "installed"),
        ({"record": "r", "pair": "q"}, "superseded"),
        ({"record": "empty", "pair": "q"}, "gone"),
        ({"record": "absent", "pair": "q"}, "gone"),
        ({"claim": "heir", "pair": "q", "full": True}, "unsaved"),
    ],
    "revoke": [
        ({"record": "empty", "pair": "p"}, "revoked"),
        ({"record": "empty", "pair": ""}, "unsupported"),
        ({"record": "empty", "pair": "p", "fault": "unsupported"}, "unsupported"),
        ({"record": "empty", "pair": "p", "fault": "failed"}, "failed"),
    ],
    "record_refusal": [
        ({"claim": "ours"}, "recorded"),
        ({"claim": "ours", "full": True}, "unrecorded"),
    ],
    "record_unclear": [
        ({"claim": "ours"}, "recorded"),
        ({"claim": "ours", "unclear": 1}, "recorded"),
        ({"claim": "ours", "full": True}, "recorded"),
    ],
    "postpone": [
        ({"claim": "ours"}, "postponed"),
        ({"claim": "ours", "full": True}, "postponed"),
    ],
    "empty_record": [
        ({}, "emptied"),
        ({"claim": "heir"}, "emptied"),
        ({"record": "corrupt"}, "emptied"),
        ({"record": "empty"}, "nothing"),
        ({"record": "absent"}, "nothing"),
        ({"full": True}, "unwritable"),
        ({"record": "foreign", "seen": "foreign"}, "foreign"),
    ],
    "discard_heir": [
        ({"claim": "heir", "pair": "p"}, "discarded"),
        ({"claim": "ours", "pair": "p"}, "discarded"),
        ({"pair": "p"}, "discarded"),
    ],
    "clear_sidecars": [
        ({"record": "empty", "claim": "ours", "refused": True}, "cleared"),
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
        ({"phase": "fresh", "refused": True, "rejected": True}, "revoked"),
        ({"phase": "expiring", "held": True}, "usable"),
        ({"phase": "fresh", "refused": True}, "usable"),
        ({"claim": "ours"}, "uncertain"),
        ({"claim": "silent"}, "uncertain"),
        ({"claim": "heir"}, "expired"),
        ({"unclear": 1}, "expired"),
        ({"unclear": 2}, "refused"),
        ({"refused": True}, "revoked"),
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
        ({"awaits": "pace"}, "over"),
        ({"awaits": "pace", "held": True}, "gave_up"),
        ({"awaits": "pace", "held": True, "record": "r"}, "changed"),
        ({"awaits": "recovery", "held": True, "claim": "ours"}, "over"),
        ({"awaits": "recovery", "held": True, "record": "r"}, "changed"),
        ({"awaits": "claim", "claim": "met"}, "gave_up"),
        ({"awaits": "claim", "record": "r"}, "changed"),
        ({"awaits": "claim", "claim": "heir"}, "over"),
        ({"awaits": "claim", "claim": "waited"}, "over"),
    ],
    "weigh": [
        ({"phase": "fresh"}, "works"),
        ({"phase": "expiring", "held": True}, "works"),
        ({"held": True}, "ended"),
        ({"phase": "fresh", "rejected": True}, "works"),
        ({"claim": "ours"}, "doubtful"),
        ({"claim": "closed"}, "doubtful"),
        ({"unclear": 2}, "refused"),
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
