"""The hooks of `machines/grant.toml`: one method for each activity, and the context that a walk carries.

A hook takes the walk's frozen context and returns its outcome and the next context. Expected failures are outcomes. Each
docstring states what the hook touches, whether it may be repeated after a crash, and what each outcome promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from kimi_auth.errors import KimiAuthError
from kimi_auth.token import Token

from .records import Caller, Grant

__all__ = ["GrantContext", "GrantContract", "Wish"]

InspectOutcome = Literal["active", "issued", "expired", "revoked", "corrupt", "absent"]
IssueOutcome = Literal["issued", "unwritable"]
AdmitOutcome = Literal["admitted", "first", "limited", "ended"]
ActivateOutcome = Literal["activated", "unwritable"]
HandOutOutcome = Literal["found", "unavailable"]
AccountOutcome = Literal["recorded", "unwritable", "ended"]
RevokeOutcome = Literal["revoked", "unwritable"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for. `has_fp`: the fingerprint of the access token that the client has and wants another one for,
    because the API refused it or its end is near; "" for none. `min_ttl_s`: life that the token must have left. `what`: the
    word for the audit log, and `about`: more of it."""

    has_fp: str = ""
    min_ttl_s: float = 0.0
    what: str = "token"
    about: str = ""


@dataclass(frozen=True, slots=True)
class GrantContext:
    """What one walk knows. `token`: what `hand_out` found, and what the server answers with only if the walk came to `active`
    with no `error`. `retry_after_s`: when to ask again after a refusal that passes."""

    id: str
    caller: Caller = field(default_factory=Caller)
    wish: Wish = field(default_factory=Wish)
    grant: Grant | None = None
    token: Token | None = field(default=None, repr=False)
    error: KimiAuthError | None = None
    retry_after_s: float = 0.0


class GrantContract(Protocol):
    """The hooks of `machines/grant.toml`: coroutines, of any number of walks at once."""

    async def inspect(self, ctx: GrantContext, /) -> tuple[InspectOutcome, GrantContext]:
        """Reads the grant's three files and the clock. Writes nothing; repeatable at any time.

        `revoked`: the note of its end is there, whatever else is. `corrupt`: its own file cannot be read or understood.
        `expired`: its end has come. `active`: the note of its first use is there. `issued`: it is not. `absent`: there is
        no grant with this id.
        """

    async def issue(self, ctx: GrantContext, /) -> tuple[IssueOutcome, GrantContext]:
        """Appends the audit line, then writes `ctx.grant` to a new file, both durably. After a crash the file is there whole or
        not at all, the line perhaps without it; a grant whose handle was never shown is worth nothing. Repeatable.

        `issued`: from now on its handle is good. `unwritable`: there is no grant (`error`).
        """

    async def admit(self, ctx: GrantContext, /) -> tuple[AdmitOutcome, GrantContext]:
        """Reads the grant's files again and counts this request against its rate, in memory. Writes nothing; after a crash the
        count begins again.

        `first`: it stands, and was never used. `admitted`: it stands, and may ask now. `limited`: it stands and has asked too
        often; `retry_after_s` says when to ask again. `ended`: it does not stand any more.
        """

    async def activate(self, ctx: GrantContext, /) -> tuple[ActivateOutcome, GrantContext]:
        """Appends the audit line, then writes the note of the first use, both durably. Repeatable: a note that is there counts.

        `activated`: the note is on disk. `unwritable`: it is not, and nothing was handed out (`error`).
        """

    async def hand_out(self, ctx: GrantContext, /) -> tuple[HandOutOutcome, GrantContext]:
        """Asks the login for a token that serves the wish; may renew it, within the patience of a caller. Touches the login
        only, by its own machines; repeatable.

        `found`: `token` is one that works, as far as is known; nothing has left yet. `unavailable`: there is none now
        (`error`), and the grant stands.
        """

    async def account_for(self, ctx: GrantContext, /) -> tuple[AccountOutcome, GrantContext]:
        """Reads the grant's files once more, then appends the audit line of this hand-out. A crash before the answer leaves a
        line for a token that did not leave; repeating it adds a line.

        `recorded`: the line is written, and the token may leave. `unwritable`: it is not, so the token may not (`error`).
        `ended`: the grant was revoked or expired meanwhile, and the token may not leave.
        """

    async def revoke(self, ctx: GrantContext, /) -> tuple[RevokeOutcome, GrantContext]:
        """Writes the note of the grant's end, durably, and its audit line. Repeatable: a note that is there counts.

        `revoked`: the grant has ended for good, also after a crash. `unwritable`: it has not (`error`).
        """
