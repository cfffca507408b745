"""The world of `machines/grant.toml`: a grant's files, processes that serve, issue and revoke it, and faults.

It is apart from the credential's world, with which it shares nothing but the login that is asked. Two processes walk the machine
at once, interleaved at every hook; any of them may be killed at any step, the disk may refuse any write, time may pass the
grant's end, and the login may have no token. All states are visited: they are some hundreds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kimi_auth.machine import Edge, Library, Machine

__all__ = ["ABLATIONS", "RULES", "GrantReport", "explore_grants"]

RULES: Mapping[str, str] = {
    "ended": "No token leaves for a grant that is revoked or expired when its line is written.",
    "accounted": "No token leaves without its line in the audit log.",
    "noted": "No token leaves for a grant whose files call it unused.",
    "issued": "A walk that says issued leaves a grant on disk.",
    "final": "A walk that says revoked leaves the end on disk, and no later look says anything else.",
    "told": "A walk ends in the phase that the files had at its last look, or in the one that it has written.",
    "rests": "Every walk comes to rest.",
}
ABLATIONS: Mapping[str, str] = {
    "the last look": "ended",
    "the line": "accounted",
    "the note": "noted",
    "the end on disk": "final",
}
"""Parts of the hooks, each with the rule that breaks without it."""

STEPS_MAX = 12
"""Hooks in one walk; a longer one does not come to rest."""


class Files(NamedTuple):
    """The files, and whether the end has passed."""

    grant: bool = False
    used: bool = False
    revoked: bool = False
    expired: bool = False
    corrupt: bool = False

    @property
    def phase(self) -> str:
        """As `GrantFiles.standing`."""
        if self.revoked:
            return "revoked"
        if self.corrupt:
            return "corrupt"
        if not self.grant:
            return "absent"
        if self.expired:
            return "expired"
        return "active" if self.used else "issued"

    @property
    def stands(self) -> bool:
        """Whether it is worth a token."""
        return self.phase in {"active", "issued"}


class Walk(NamedTuple):
    """One process: where its walk is ("" for none), and what it carries. `ok`: it stood when the line was written."""

    at: str = ""
    event: str = ""
    token: bool = False
    line: bool = False
    ok: bool = False
    seen: str = ""
    steps: int = 0


class World(NamedTuple):
    """The files and two processes."""

    files: Files = Files()
    walks: tuple[Walk, Walk] = (Walk(), Walk())


class GrantReport(NamedTuple):
    """How many states and edges were seen; the shortest course to each broken rule."""

    states: int
    walked: frozenset[Edge]
    broken: Mapping[str, tuple[str, ...]]


Effect = tuple[str, Files, Walk]


def _hook(activity: str, files: Files, walk: Walk, without: str) -> Iterator[Effect]:
    """The outcomes that a grant's hook may have now, each with the files and the walk after it; `without` one of `ABLATIONS`."""
    refused = walk._replace(token=False)
    if activity == "inspect":
        yield files.phase, files, walk._replace(seen=files.phase)
    elif activity == "issue":
        yield "issued", files._replace(grant=True), walk._replace(seen="issued")
        yield "unwritable", files, walk
    elif activity == "admit":
        if not files.stands:
            yield "ended", files, walk
        elif not files.used:
            yield "first", files, walk
        else:
            yield "admitted", files, walk._replace(seen="active")
            yield "limited", files, walk._replace(seen="active")
    elif activity == "activate":
        yield "activated", files._replace(used=without != "the note"), walk._replace(seen="active")
        yield "unwritable", files, walk
    elif activity == "hand_out":
        yield "found", files, walk._replace(token=True)
        yield "unavailable", files, refused
    elif activity == "account_for":
        if not files.stands and without != "the last look":
            yield "ended", files, refused
        else:
            yield "recorded", files, walk._replace(line=without != "the line", ok=files.stands)
            yield "unwritable", files, refused
    elif activity == "revoke":
        yield "revoked", files._replace(revoked=without != "the end on disk"), walk._replace(seen="revoked")
        yield "unwritable", files, walk


def explore_grants(machines: Library, without: str = "") -> GrantReport:
    """Visits every state of the grant's world; `without` leaves out a part of the hooks (`ABLATIONS`)."""
    machine = machines["grant"]
    start = World()
    courses: dict[World, tuple[str, ...]] = {start: ()}
    broken: dict[str, tuple[str, ...]] = {}
    walked: set[Edge] = set()
    ahead = deque([start])
    while ahead:
        world = ahead.popleft()
        for said, after, edge, rules in _moves(machine, world, without):
            course = (*courses[world], said)
            if edge is not None:
                walked.add(edge)
            for rule in rules:
                broken.setdefault(rule, course)
            if after not in courses:
                courses[after] = course
                ahead.append(after)
    return GrantReport(len(courses), frozenset(walked), broken)


Move = tuple[str, World, Edge | None, list[str]]


def _moves(machine: Machine, world: World, without: str) -> Iterator[Move]:
    files = world.files
    if files.grant and not files.expired:
        yield "its time passes", world._replace(files=files._replace(expired=True)), None, []
    if files.grant and not files.corrupt:
        yield "its file is damaged", world._replace(files=files._replace(corrupt=True)), None, []
    for number, walk in enumerate(world.walks):
        who = f"process {number + 1}"
        if walk.at:
            yield f"{who} is killed", _with(world, number, Walk()), None, []
        for said, files_after, walk_after, edge in _steps(machine, files, walk, without):
            after = _with(world._replace(files=files_after), number, walk_after)
            rules = list(_broken(machine, files_after, walk_after))
            if rules or _is_at_rest(machine, walk_after):
                after = _with(after, number, Walk())
            yield f"{who}: {said}", after, edge, rules


def _steps(machine: Machine, files: Files, walk: Walk, without: str) -> Iterator[tuple[str, Files, Walk, Edge | None]]:
    """A grant's walk that begins, or its next hook. A program begins with a look, and sends its event where the look ended."""
    if not walk.at:
        for event in ("issue", "ask", "revoke"):
            yield f"begins to {event}", files, Walk(machine.initial, event), None
        return
    state = machine.states[walk.at]
    for outcome, files_after, carried in _hook(state.activity or "", files, walk, without):
        target = state.on[outcome]
        edge = Edge(machine.name, walk.at, outcome, target)
        after = carried._replace(at=target, steps=walk.steps + 1)
        yield f"{state.activity} {outcome}", files_after, after, edge
        begun = machine.states[target].on.get(walk.event) if machine.states[target].activity is None else None
        if begun is not None and walk.at == machine.initial and walk.steps == 0:
            started = after._replace(at=begun)
            yield f"{walk.event} in {target}", files_after, started, Edge(machine.name, target, walk.event, begun)


def _is_at_rest(machine: Machine, walk: Walk) -> bool:
    return not walk.at or machine.states[walk.at].activity is None


def _broken(machine: Machine, files: Files, walk: Walk) -> Iterator[str]:
    if walk.steps > STEPS_MAX:
        yield "rests"
    if not walk.at or not _is_at_rest(machine, walk):
        return
    if walk.at in {"active", "issued"} and walk.token:
        yield from (
            rule for rule, holds in (("ended", walk.ok), ("accounted", walk.line), ("noted", files.used)) if not holds
        )
    if walk.at == "issued" and not (files.grant or files.corrupt):
        yield "issued"
    if walk.at == "revoked" and not files.revoked:
        yield "final"
    if walk.seen and walk.at != walk.seen and not (walk.at == "issued" and walk.event == "ask"):
        yield "told"


def _with(world: World, number: int, walk: Walk) -> World:
    first, second = world.walks
    return world._replace(walks=(walk, second) if number == 0 else (first, walk))
