"""What a command that hands out a token does for the next one: a renewal that is due runs in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.cli.opening import components_of
from kimi_auth.credential.credential import PATIENCE_S
from kimi_auth.token import Token

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["handed_out"]

SUCCESSOR_S = PATIENCE_S
"""How long a token is watched that a renewal under way is about to end, in seconds: as long as a mandatory renewal."""


def handed_out(session: Session, pair: Token) -> Token:
    """The pair that a command hands out: `pair`, which works. Starts its renewal if it is due, and waits for nothing.
    Only where a rotation ends the access token at once, it is the pair that a renewal under way brings."""
    from kimi_auth import advisory  # the help waits for none of it

    parts = components_of(session)
    if parts.given is not None:
        return pair
    is_running = advisory.renew_detached(parts) if advisory.is_renewal_due(parts) else None
    if not parts.platform.rotation_ends_access:
        return pair
    return advisory.successor_of(
        parts,
        pair,
        SUCCESSOR_S,
        is_coming=lambda: (is_running is not None and is_running()) or advisory.is_being_renewed(parts),
    )
