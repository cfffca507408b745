"""What the pages can play, as `walks.json`: the world of one process, the stories of the ablations, and the scenarios.

    python -m kimi_auth.proof.walks FOLDER

writes `FOLDER/walks.json`. The stories are the courses that `FOLDER/measured/checker.json` keeps, played again; courses
of other machines are left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kimi_auth.machine import Library, MachineError, digest
from kimi_auth.machine.lint import problems

from . import environment
from .ablations import ABLATIONS, world_without
from .disk import FILES
from .effects import FIRST_SENDING
from .hooks_outside import HOOKS
from .mutation import Mutant, mutants
from .replay import Frame, replayed
from .rules import RULES, not_asked
from .scenarios import SCENARIOS, Scenario, broken_scenario
from .state import Process
from .walkable import Walkable, dying, gates, walkable
from .world import World
from .worlds import QUIET, WORLDS

__all__ = ["behind_lints", "counterexample", "main", "scenario_rows", "stories", "unspent", "walks"]

NAME = "walks.json"


def walks(machines: Library, checker: Mapping[str, Any], world: Walkable | None = None) -> dict[str, Any]:
    """The content of `walks.json`. `checker`: the kept figures; `world`: the one process, explored here by default."""
    world = walkable(machines) if world is None else world
    is_of_these = checker.get("machines") == digest(machines)
    return {
        "machines": digest(machines),
        "world": world.data(),
        "dying": dying(world),
        "files": FILES,
        "sent again": gates(world),
        "not spent": unspent(machines),
        "behind lints": behind_lints(machines),
        "stories": list(stories(machines, checker.get("ablations", ()) if is_of_these else ())),
        "scenarios": scenario_rows(SCENARIOS),
        "not asked": {name: not_asked(config) for name, config in WORLDS.items()},
    }


def unspent(machines: Library) -> list[str]:
    """The edges in `walks.json` after which a refresh token that was sent counts as not sent: the outcomes of
    `exchange` that say so."""
    config = QUIET._replace(processes=1, all_answers=True)
    beginning = environment.beginning(config)
    sent = beginning._replace(pairs=(beginning.pairs[0]._replace(sent=1), *beginning.pairs[1:]))
    answers = HOOKS["exchange"](config, sent, Process(1, record=0, stage=FIRST_SENDING))
    outcomes = dict.fromkeys(outcome for outcome, after, *_ in answers if outcome and not after.pairs[0].sent)
    return [
        f"{name}.{state}.{outcome}"
        for name, machine in machines.items()
        for state, spec in machine.states.items()
        for outcome in outcomes
        if spec.activity == "exchange"
    ]


def behind_lints(machines: Library) -> dict[str, dict[str, list[str]]]:
    """The states, by edge and scenario of `walks.json`, that the lints forbid the edge to lead to and that the scenario
    notices, too.

    A machine that a lint refuses is never explored, so that no rule of the checker can be asked. Scenarios are walked.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for machine in machines.values():
        for mutant in mutants(machine):
            if says := _behind_lint(mutant, machines):
                found.setdefault(str(mutant.edge), {}).setdefault(says, []).append(mutant.target)
    return found


def _behind_lint(mutant: Mutant, machines: Library) -> str:
    name, source, event, _ = mutant.edge
    machine = machines[name]
    state = machine.states[source]
    led = machine._replace(states={**machine.states, source: state._replace(on={**state.on, event: mutant.target})})
    # Where an edge leads is a matter of its own machine: the lints of several machines need not be asked.
    if next(problems({name: led}, complete=False), None) is None:
        return ""
    edited = {**machines, name: led}
    try:
        return broken_scenario({name: each.linked(edited) for name, each in edited.items()}, SCENARIOS)
    except MachineError:
        return ""


def stories(machines: Library, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A story for each row of the ablations that has a course. Raises ValueError for one that cannot be played again."""
    parts = {ablation.part: ablation for ablation in ABLATIONS}
    for row in rows:
        if row.get("course"):
            world = world_without(parts[row["about"]], machines)
            yield story(f"left out: {row['about']}", row["rule"], replayed(world, row["course"]))


def counterexample(name: str, world: World, rule: str, course: Sequence[str]) -> dict[str, Any]:
    """The story in `walks.json` of a rule that breaks in the `world` of that name."""
    return story(name, rule, replayed(world, course))


def story(title: str, rule: str, frames: Sequence[Frame]) -> dict[str, Any]:
    """One story to play: `id` for its address, `title`, the `rule` that its last step breaks, and `frames`."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{title} {rule}".lower()).strip("-")
    return {"id": words, "title": title, "rule": rule, "says": RULES.get(rule, ""), "frames": list(frames)}


def scenario_rows(scenarios: Iterable[Scenario]) -> list[dict[str, Any]]:
    """The scenarios in `walks.json`, by machine and sentence: walks that must go exactly so, as `start`, `course`, `end`."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    for one in scenarios:
        found.setdefault((one.machine, one.says), []).append([one.start, one.course, one.end])
    return [{"machine": machine, "says": says, "walks": walked} for (machine, says), walked in found.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """The command that writes `walks.json`, at the top of this file."""
    (folder,) = map(Path, sys.argv[1:] if argv is None else argv)
    kept = folder / "measured" / "checker.json"
    checker = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    text = json.dumps(walks(Library.load(), checker), ensure_ascii=False, separators=(",", ":"))
    # A line for each state of the world would be longer than the machines; one for each part shows what changed.
    (folder / NAME).write_text(text.replace('},"', '},\n"') + "\n", "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
