"""A soak's findings, as lines to read: figures first, then violations."""

from __future__ import annotations

import re
from collections import Counter

from .plan import BURST_MAX_S
from .stage import ACCESS_TTL_S, Call, Loss, Soak

AFTER_S = 5.0
"""How long after a new login a call that began before it may still say that the login had ended."""

DROPPED = "Http: HTTP 401"
DROPPED_S = ACCESS_TTL_S + BURST_MAX_S + AFTER_S
"""How long after the server dropped its access tokens a burst can keep a new one away."""

ENDED = ("not_signed_in", "revoked", DROPPED)
PATIENCE_S = 31.0
SPAN = re.compile(r"\bfor \d+ s\b")


def findings(soak: Soak) -> list[str]:
    """The violations, one line each; nothing if the run was as it has to be."""
    return [
        *soak.wrong,
        *(
            f"login {loss.family} was lost, and no killed process owned its exchange"
            for loss in soak.losses
            if not loss.killed
        ),
        *(f"{count} times {kind}: {error} ({words})" for (kind, error, words), count in _unexpected(soak).items()),
    ]


def _unexpected(soak: Soak) -> Counter[tuple[str, str, str]]:
    found = [call for call in soak.calls if call.error and not _may_be(soak, call)]
    return Counter((call.kind, call.error, SPAN.sub("for … s", call.message)) for call in found)


def _may_be(soak: Soak, call: Call) -> bool:
    """True for a call that says that the login has ended, where it had: between a logout or a loss and the next login;
    and for a 401 that the API gives to every token until there is a new one."""
    began_s = call.at_s - call.waited_s
    if call.error == DROPPED and any(at_s < call.at_s and began_s < at_s + DROPPED_S for at_s in soak.dropped_at_s):
        return True
    has_ended = call.error in ENDED
    return has_ended and any(began_s < to_s + AFTER_S and call.at_s > from_s for from_s, to_s in soak.signed_out)


def lines(soak: Soak, seed: int, length_s: float) -> list[str]:
    """The whole report."""
    errors = Counter(call.error for call in soak.calls if call.error)
    unreachable = [call for call in soak.calls if call.error == "unreachable"]
    longest = max(soak.calls, key=lambda call: call.waited_s, default=None)
    owning = sum(bool(kill.owned) for kill in soak.kills)
    found = findings(soak)
    return [
        f"soak: seed {seed}, {length_s / 60:g} minutes",
        f"calls {len(soak.calls)}, exchanges {soak.exchanges} of {len(soak.refreshes)} refresh requests",
        f"kills {len(soak.kills)}, {owning} of them in an exchange without its answer",
        "events " + ", ".join(f"{what} {count}" for what, count in sorted(soak.done.items())),
        f"losses {len(soak.losses)}",
        *(f"  {_reason(loss)}" for loss in soak.losses),
        "callers' errors " + (", ".join(f"{error} {count}" for error, count in errors.most_common()) or "none"),
        f"unreachable {len(unreachable)}, {sum(call.waited_s < PATIENCE_S for call in unreachable)} before their patience ended",
        f"longest wait {longest.waited_s:.1f} s ({longest.kind}, {longest.error or 'served'})"
        if longest
        else "no calls",
        f"findings {len(found)}",
        *(f"  {line}" for line in found),
    ]


def _reason(loss: Loss) -> str:
    why = f"{loss.killed.kind} was killed while it owned its exchange" if loss.killed else "UNEXPLAINED"
    return f"login {loss.family}: {why}"
