"""`python -m kimi_auth.proof.export.others --tlc JAR --quint PROGRAM`: TLC's and Quint's verdicts beside ours.

TLC needs minutes where spin needs a second, and Quint simulates. Each therefore has a small part of what spin is asked: TLC
one whole world and the near counterexamples, Quint the same world and one ablation.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kimi_auth.machine import Library, digest
from kimi_auth.proof.ablations import ABLATIONS, without
from kimi_auth.proof.explore import explore
from kimi_auth.proof.world import World

from . import tlc
from .compare import COMPARED, OF_ONE_CHECKER, model_without
from .model import exported
from .simulator import QuintFailed, simulated

__all__ = ["ALONE", "NEAR", "PARTS", "SIMULATED", "disagreements", "figures", "main", "quint_ablation", "quint_world"]
__all__ += ["tlc_ablation", "tlc_world"]

ALONE = "one quiet process"
"""The world that both visit: TLC whole, Quint at random."""

NEAR = (
    "never without the lock",
    "the claim",
    "closing the claim with the lock",
    "keeping the lock while the pair is unsaved",
    "credential first, sidecars after, at logout",
    "protection from cancellation",
    "only an OAuth error is a rejection",
    "no retry in line without a declared recovery",
    "a rejected bearer is handed out to others",
    "waiters wait out a backoff",
)
"""Ablations whose counterexample has at most ten steps. TLC needs minutes for the others, which spin has in a second each."""

SIMULATED = "never without the lock"
"""The ablation that a simulation of some dozen walks finds. The others need a course that chance rarely takes: a kill at
one step, and another process with the same pair after it."""

SAMPLES, STEPS = 10, 20
"""The bounds of Quint's walks in a world that holds: 200 states and their moves take five seconds, after twenty of types."""

SEEKING = (60, 12)
"""Samples and steps in which the ablation is found."""

NAME = "checkers.json"
PARTS = {ablation.part: ablation for ablation in ABLATIONS}

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Asks TLC and Quint. Exit status 0 if they agree with ours, 1 if not, 3 where a program is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m kimi_auth.proof.export.others", description="Asks TLC and Quint for another verdict."
    )
    parser.add_argument("--tlc", type=Path, metavar="JAR", required=True, help="the TLA+ tools")
    parser.add_argument("--quint", type=Path, metavar="PROGRAM", required=True, help="cli.js of Quint's package")
    parser.add_argument("--write", type=Path, metavar="DIR", help="keep the figures in this folder")
    asked = parser.parse_args(argv)
    for tool, is_here in (
        ("java", tlc.has_java()),
        ("node", shutil.which("node") is not None),
        (asked.tlc, asked.tlc.is_file()),
        (asked.quint, asked.quint.is_file()),
    ):
        if not is_here:
            _say(f"{tool} is not here: apt-get install default-jre-headless nodejs npm; make servers")
            return 3
    machines = Library.load()
    try:  # both run in a folder of their own
        found = figures(machines, asked.tlc.resolve(), (shutil.which("node") or "node", str(asked.quint.resolve())))
    except (tlc.TlcFailed, QuintFailed) as failed:
        _say(f"no verdict: {failed}")
        return 1
    problems = disagreements(found)
    for problem in problems:
        _say(f"THE CHECKERS DISAGREE: {problem}")
    if asked.write and not problems:
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (asked.write / NAME).write_text(text, encoding="utf-8", newline="\n")
        _say(f"the figures are in {asked.write / NAME}")
    return 1 if problems else 0


def figures(machines: Library, jar: Path, quint: tuple[str, ...]) -> dict[str, Any]:
    """What TLC and Quint find: `worlds` and `ablations` in the form of spin's figures, and what Quint `simulated`.
    Raises TlcFailed and QuintFailed."""
    return {
        "machines": digest(machines),
        "worlds": [_said(tlc_world(machines, jar))],
        "ablations": [_said(tlc_ablation(machines, jar, part)) for part in NEAR],
        "simulated": [_said(quint_world(machines, quint)), _said(quint_ablation(machines, quint))],
    }


def disagreements(found: Mapping[str, Any]) -> list[str]:
    """Each row of TLC's or Quint's verdicts that is not as ours, as text."""
    rows = [row for row in found["worlds"] if row["states"] != row["ours"] or row["verdict"] != "holds"]
    rows += [row for row in found["ablations"] if row["steps"] != row["ours"] or not row["rule"]]
    rows += [row for row in found["simulated"] if bool(row["rule"]) != (row["about"] == SIMULATED)]
    return [json.dumps(row) for row in rows]


def tlc_world(machines: Library, jar: Path) -> Row:
    """TLC's row of `worlds`: visited whole. Raises TlcFailed."""
    config, pairs = COMPARED[ALONE]
    found = tlc.run(exported(machines, config, pairs=pairs), jar)
    ours = explore(World(machines, config), liveness=False).states
    verdict = f"broken: {', '.join(sorted(found.rules))}" if found.rules else "holds"
    return {
        "checker": "TLC",
        "world": ALONE,
        "states": found.states,
        "ours": ours,
        "transitions": 0,
        "seconds": round(found.seconds, 1),
        "verdict": verdict,
    }


def tlc_ablation(machines: Library, jar: Path, part: str) -> Row:
    """TLC's row of `ablations`: without `part`, the first of its rules to break. Raises TlcFailed."""
    ablation = PARTS[part]
    rules = sorted(ablation.breaks - OF_ONE_CHECKER)
    found = tlc.run(model_without(ablation, machines), jar, rules)
    ours = {rule: len(without(ablation, machines).stories[rule].steps) for rule in rules}
    rule = min(found.rules & ours.keys(), key=lambda rule: ours[rule], default="")
    return {
        "checker": "TLC",
        "about": part,
        "rule": rule,
        "steps": len(found.story),
        "ours": min(ours.values()) if rule and ours[rule] == min(ours.values()) else 0,
        "seconds": round(found.seconds, 1),
        "course": list(found.story),
    }


def quint_world(
    machines: Library, command: tuple[str, ...], name: str = ALONE, samples: int = SAMPLES, steps: int = STEPS
) -> Row:
    """Quint's row of `simulated` about a world of `COMPARED`. Raises QuintFailed."""
    config, pairs = COMPARED[name]
    found = simulated(exported(machines, config, pairs=pairs), command, samples=samples, steps=steps)
    return _row(name, found.rules, found.steps, samples, found.seconds)


def quint_ablation(machines: Library, command: tuple[str, ...]) -> Row:
    """Quint's row of `simulated`: without `SIMULATED`. Raises QuintFailed."""
    samples, steps = SEEKING
    found = simulated(model_without(PARTS[SIMULATED], machines), command, samples=samples, steps=steps)
    return _row(SIMULATED, found.rules, found.steps, samples, found.seconds)


def _row(about: str, rules: frozenset[str], steps: int, samples: int, seconds: float) -> Row:
    rule = min(rules, default="")
    return {
        "checker": "Quint",
        "about": about,
        "rule": rule,
        "steps": steps,
        "samples": samples,
        "seconds": round(seconds, 1),
    }


def _said(row: Row) -> Row:
    told = ", ".join(f"{name}: {value}" for name, value in row.items() if name != "course")
    _say(told)
    return row


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
