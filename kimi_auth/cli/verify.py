"""`kimi-auth diagram --verify`: the model checker, for reviewers and authors of machines."""

from __future__ import annotations

import textwrap

from kimi_auth.cli.errors import Findings
from kimi_auth.cli.terminal import Terminal
from kimi_auth.language import counted, tr
from kimi_auth.machine import Library, digest
from kimi_auth.proof.verdicts import faults_of, unknown_to, verdicts
from kimi_auth.proof.workers import side_by_side
from kimi_auth.proof.worlds import QUICK, WORLDS

__all__ = ["verify"]

WIDTH = 80
AGAIN = tr("fix the machines and verify again")


def verify(out: Terminal, machines: Library, *, everything: bool) -> None:
    """Says what each world finds, as soon as it is known. Raises Findings where anything is not as it must be."""
    out.line(f"machines {digest(machines)[:12]}: {', '.join(machines)}")
    faults = faults_of(machines)
    for fault in faults:
        for line in textwrap.wrap(fault, WIDTH, subsequent_indent="  "):
            out.line(line)
    if unknown_to(machines):
        raise Findings(tr("these machines cannot be walked in any world"), hint=AGAIN)
    names = list(WORLDS if everything else QUICK)
    broken = 0
    with side_by_side() as pool:
        for verdict in verdicts(machines, names, pool):
            broken += not verdict.holds
            for line in verdict.lines(WIDTH):
                out.line(line)
    if faults or broken:
        many = counted(len(faults), tr("one fault"), tr("{number} faults"))
        said = tr("{faults}, {broken} of {number} worlds broken", faults=many, broken=broken, number=len(names))
        raise Findings(said, hint=AGAIN)
    out.line(tr("every rule holds in {number} of {all} worlds", number=len(names), all=len(WORLDS)))
    if not everything:
        out.line(tr("the others take minutes: kimi-auth diagram --verify --all"))
