"""`kimi-auth diagram --verify`: the model checker, for reviewers and authors of machines."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from kimi_auth.cli.errors import Findings
from kimi_auth.machine import Library, digest
from kimi_auth.proof.verdicts import faults_of, unknown_to, verdicts
from kimi_auth.proof.walks import counterexample
from kimi_auth.proof.workers import side_by_side
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import QUICK, WORLDS
from kimi_auth.support.language import counted, tr

__all__ = ["verify"]

WIDTH = 80
AGAIN = tr("fix the machines and verify again")


def verify(say: Callable[[str], None], machines: Library, stories: list[dict[str, Any]], *, everything: bool) -> None:
    """Says what each world finds, as soon as it is known, and adds each counterexample to `stories`.

    Raises Findings where anything is not as it must be.
    """
    for line in textwrap.wrap(
        f"machines {digest(machines)[:12]}: {', '.join(machines)}", WIDTH, subsequent_indent="  "
    ):
        say(line)
    faults = faults_of(machines)
    for fault in faults:
        for line in textwrap.wrap(fault, WIDTH, subsequent_indent="  "):
            say(line)
    if unknown_to(machines):
        raise Findings(tr("these machines cannot be walked in any world"), hint=AGAIN)
    names = list(WORLDS if everything else QUICK)
    broken = 0
    with side_by_side() as pool:
        for verdict in verdicts(machines, names, pool):
            broken += not verdict.holds
            for line in verdict.lines(WIDTH):
                say(line)
            for rule, story in verdict.report.stories.items() if verdict.report else ():
                world = World(machines, verdict.config)
                stories.append(counterexample(verdict.world, world, rule, story.steps))
    if faults or broken:
        many = counted(len(faults), tr("one fault"), tr("{number} faults"))
        said = tr("{faults}, {broken} of {number} worlds broken", faults=many, broken=broken, number=len(names))
        raise Findings(said, hint=AGAIN)
    say(tr("every rule holds in {number} of {all} worlds", number=len(names), all=len(WORLDS)))
    if not everything:
        say(tr("the others take minutes: kimi-auth diagram --verify --all"))
