"""Hook protocols and machines, compared both ways."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ContextManager, Literal, Protocol, TypeVar  # noqa: UP035 - also understood

import pytest
from typing_extensions import TypeAliasType

from kimi_auth.machine import Library, disagreements

if TYPE_CHECKING:
    from decimal import Decimal

Ctx = TypeVar("Ctx")
Dialled = Literal["answered", "engaged", "dead"]
Bad = Literal["engaged", "dead"]
Talked = TypeAliasType("Talked", Literal["done", "cut_off"])
Taken = Literal["acquired", "busy"]


class Good(Protocol):
    """Agrees with call."""

    label: str

    async def dial(self, ctx: int, /) -> tuple[Dialled, int]: ...
    async def talk(self, ctx: int, /) -> tuple[Talked, int]: ...
    def _private(self) -> None: ...


class Union(Protocol):
    """Agrees with call, its outcomes put together from parts."""

    async def dial(self, ctx: int, /) -> tuple[Literal["answered"] | Bad, int]: ...
    async def talk(self, ctx: int, /) -> tuple[Literal["done", "cut_off"], int]: ...


class Generic(Protocol[Ctx]):
    """Agrees with call, for any context."""

    async def dial(self, ctx: Ctx, /) -> tuple[Dialled, Ctx]: ...
    async def talk(self, ctx: Ctx, /) -> tuple[Talked, Ctx]: ...


class Inherited(Good, Protocol):
    """Agrees with call by what it inherits."""


class Extra(Good, Protocol):
    """One method too many."""

    async def sing(self, ctx: int, /) -> tuple[Literal["ok"], int]: ...


class Missing(Protocol):
    """One method too few."""

    async def dial(self, ctx: int, /) -> tuple[Dialled, int]: ...


class Outcomes(Protocol):
    """One outcome too many here, one too few there."""

    async def dial(self, ctx: int, /) -> tuple[Literal["answered", "engaged", "dead", "odd"], int]: ...
    async def talk(self, ctx: int, /) -> tuple[Literal["done"], int]: ...


class Mixed(Protocol):
    """One hook is awaited, one is not."""

    async def dial(self, ctx: int, /) -> tuple[Dialled, int]: ...
    def talk(self, ctx: int, /) -> tuple[Talked, int]: ...


class Untyped(Protocol):
    """Outcomes that say nothing."""

    async def dial(self, ctx: int, /) -> tuple[str, int]: ...
    async def talk(self, ctx: int, /): ...  # type: ignore[no-untyped-def]


class HalfLiteral(Protocol):
    """A union with something that is no outcome, and an answer without a context."""

    async def dial(self, ctx: int, /) -> tuple[Dialled | None, int]: ...
    async def talk(self, ctx: int, /) -> Talked: ...


class Unresolved(Protocol):
    """An annotation that exists for the type checker only."""

    async def dial(self, ctx: Decimal, /) -> tuple[Dialled, Decimal]: ...
    async def talk(self, ctx: int, /) -> tuple[Talked, int]: ...


class Walks(Protocol):
    """Agrees with errand."""

    def take_key(self, ctx: int, /) -> AbstractContextManager[tuple[Taken, int]]: ...


class WalksToo(Protocol):
    """Agrees with errand, with typing's old name for it."""

    def take_key(self, ctx: int, /) -> ContextManager[tuple[Taken, int]]: ...


class WalksAndChild(Walks, Protocol):
    """Agrees with errand, and has the child's hooks as well."""

    def turn(self, ctx: int, /) -> tuple[Literal["open", "stuck"], int]: ...
    def oil(self, ctx: int, /) -> tuple[Literal["oiled", "hopeless"], int]: ...


class NoContextManager(Protocol):
    """A walking hook that gives nothing to hold."""

    def take_key(self, ctx: int, /) -> tuple[Taken, int]: ...


class NeverAcquires(Protocol):
    """A walking hook that cannot succeed, and has a word of its own."""

    def take_key(self, ctx: int, /) -> AbstractContextManager[tuple[Literal["busy", "lost"], int]]: ...


class AsyncWalks(Protocol):
    """A walking hook that is awaited."""

    async def take_key(self, ctx: int, /) -> AbstractContextManager[tuple[Taken, int]]: ...


ROWS: dict[str, tuple[str, Any, list[str]]] = {
    "good": ("call", Good, []),
    "union": ("call", Union, []),
    "generic": ("call", Generic, []),
    "inherited": ("call", Inherited, []),
    "walking": ("errand", Walks, []),
    "walking, old name": ("errand", WalksToo, []),
    "walking, with the child's hooks": ("errand", WalksAndChild, []),
    "a method too many": (
        "call",
        Extra,
        ["call and Extra: no state runs sing; remove the method or name it as an activity"],
    ),
    "a method too few": (
        "call",
        Missing,
        ["call and Missing: talking runs talk, which is no method; add it to the protocol"],
    ),
    "outcomes": (
        "call",
        Outcomes,
        [
            "call and Outcomes: dial may answer 'odd', which dialling does not declare; add on.odd or drop the outcome",
            (
                "call and Outcomes: talking declares on.cut_off, which talk never answers; "
                "add it to the Literal or drop the edge"
            ),
        ],
    ),
    "mixed": (
        "call",
        Mixed,
        ["call and Mixed: some hooks are async (dial) and some are not (talk); make them alike"],
    ),
    "untyped": (
        "call",
        Untyped,
        [
            "call and Untyped: dial does not return tuple[Literal[...], Ctx], as dialling needs it; annotate it so",
            "call and Untyped: talk does not return tuple[Literal[...], Ctx], as talking needs it; annotate it so",
        ],
    ),
    "half a literal": (
        "call",
        HalfLiteral,
        [
            "call and HalfLiteral: dial does not return tuple[Literal[...], Ctx], as dialling needs it; annotate it so",
            "call and HalfLiteral: talk does not return tuple[Literal[...], Ctx], as talking needs it; annotate it so",
        ],
    ),
    "unresolved": (
        "call",
        Unresolved,
        [
            (
                "call and Unresolved: the annotations of dial cannot be resolved "
                "(name 'Decimal' is not defined); import it at run time"
            )
        ],
    ),
    "no context manager": (
        "errand",
        NoContextManager,
        [
            (
                "errand and NoContextManager: take_key does not return AbstractContextManager[tuple[Literal[...], Ctx]], "
                "as waiting_for_key needs it; annotate it so"
            )
        ],
    ),
    "never acquires": (
        "errand",
        NeverAcquires,
        [
            (
                "errand and NeverAcquires: take_key never answers 'acquired', so waiting_for_key never walks door; "
                "add it to the Literal"
            ),
            (
                "errand and NeverAcquires: take_key may answer 'lost', which waiting_for_key does not declare; "
                "add on.lost or drop the outcome"
            ),
        ],
    ),
    "async walking": (
        "errand",
        AsyncWalks,
        ["errand and AsyncWalks: waiting_for_key walks a child, so every hook is a plain def; take_key is async"],
    ),
    "another machine's hooks": (
        "door",
        Good,
        [
            "door and Good: no state runs dial; remove the method or name it as an activity",
            "door and Good: no state runs talk; remove the method or name it as an activity",
            "door and Good: turning runs turn, which is no method; add it to the protocol",
            "door and Good: oiling runs oil, which is no method; add it to the protocol",
        ],
    ),
}


@pytest.mark.parametrize(("machine", "protocol", "said"), ROWS.values(), ids=ROWS)
def test_agreement(library: Library, machine: str, protocol: type, said: list[str]) -> None:
    """Each difference is one line that names both sides and the fix."""
    assert disagreements(library[machine], protocol) == said


def test_an_activity_of_two_states_answers_both(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """A hook that runs in several states has the outcomes of each, no more and no fewer."""
    text = texts["call"].replace('activity = "talk"', 'activity = "dial"')
    assert disagreements(load(call=text)["call"], Missing) == [
        "call and Missing: dial may answer 'answered', which talking does not declare; add on.answered or drop the outcome",
        "call and Missing: dial may answer 'dead', which talking does not declare; add on.dead or drop the outcome",
        "call and Missing: dial may answer 'engaged', which talking does not declare; add on.engaged or drop the outcome",
        "call and Missing: talking declares on.cut_off, which dial never answers; add it to the Literal or drop the edge",
        "call and Missing: talking declares on.done, which dial never answers; add it to the Literal or drop the edge",
    ]
