"""You will see two machines of your own linted, drawn and model-checked, and what the checker says of a wrong edge.

python examples/own_machine/own_machine.py [FOLDER FOR THE PAGES]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kimi_auth.machine import ACQUIRED, Library, Machine
from kimi_auth.proof.explore import Kind, Move, explore
from kimi_auth.proof.locations import Program
from kimi_auth.review import diagram

RULE = "the new program never serves on the old schema"


class World:
    """The effects of the hooks on the world: a schema that is new or not. A state is `2 * state + schema`."""

    def __init__(self, machines: Mapping[str, Machine]) -> None:
        self._program = Program(machines, ["release"])

    def initial(self) -> Iterable[int]:
        return [2 * self._program.initial["release"]]

    def moves(self, state: int, /) -> Iterable[Move]:
        location, schema = self._program.locations[state // 2], state % 2
        for outcome, arrow in location.arrows.items():
            if location.activity == "lock_database" and outcome not in {ACQUIRED, "busy"}:
                continue  # the other outcomes are the migration's own ends
            after = {"applied": 1, "undone": 0}.get(outcome, schema)
            broken = (RULE,) if outcome == "switched" and not after else ()
            yield Move(Kind.WALK, 2 * arrow.target + after, broken, arrow.edges)

    def broken(self, state: int, /) -> tuple[str, ...]:
        return ()

    def is_settled(self, state: int, /) -> bool:
        return self._program.locations[state // 2].is_rest

    def story(self, path: Sequence[int], rule: str, /) -> list[str]:
        return [f"{self._program.locations[state // 2]}, schema {('old', 'new')[state % 2]}" for state in path]


def check(machines: Mapping[str, Machine]) -> str:
    report = explore(World(machines))
    verdict = "fine" if report.holds else "not fine"
    return "\n".join([f"{report.states} states: {verdict}", *map(str, report.stories.values())])


machines = Library.load(Path(__file__).parent / "machines")  # raises SpecError with all problems at once
pages = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
diagram.write(pages, machines.values())
print("drawn:", *sorted(page.name for page in pages.iterdir()))
print("checked:", check(machines))
data = machines.data()
data["release"]["states"]["migrating"]["on"]["busy"] = "switching"
print("with migrating --busy--> switching:", check(Library.from_data(data)))
