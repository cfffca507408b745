"""The measured parts of docs/protocol.md: `python tools/pages.py` writes them, `make diagrams` calls it, a test compares them.

They come from diagrams/measured/checker.json, the figures of the last whole proof. A part stands between two comments,
`<!-- measured: NAME -->` and `<!-- end -->`; the text around it was written by people and stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "protocol.md"
FIGURES: Final = ROOT / "diagrams" / "measured" / "checker.json"
PART: Final = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Figures = dict[str, Any]


def main() -> int:
    PAGE.write_text(page(PAGE.read_text("utf-8"), json.loads(FIGURES.read_text("utf-8"))), "utf-8", newline="\n")
    return 0


def page(text: str, figures: Figures) -> str:
    """`text` with its measured parts made of `figures`. Raises KeyError for a part that no function makes."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]](figures)}\n{found[3]}", text)


def rules(figures: Figures) -> str:
    """What the checker looks for in every state that it visits."""
    rows = [f"| {_cell(rule['name'])} | {_cell(rule['about'])} |" for rule in figures["invariants"]]
    return "\n".join(["| rule | what never happens, or always does |", "|---|---|", *rows, ""])


def worlds(figures: Figures) -> str:
    """How much was visited, in one sentence."""
    runs = figures["runs"]
    states, moves = (sum(run[key] for run in runs) for key in ("states", "edges"))
    deepest, longest = (max(run[key] for run in runs) for key in ("depth", "longest_walk"))
    return (
        f"The figures committed in `diagrams/measured/` are from {len(runs)} worlds with {states:,} states and {moves:,} moves in all. "
        f"The deepest state lies {deepest} moves from the start; the longest walk has {longest} transitions.\n"
    )


def ablations(figures: Figures) -> str:
    """A table of what breaks without each part, and below it the courses, where the figures have them."""
    rows = ["| without | breaks | in steps |", "|---|---|---:|"]
    rows += [
        f"| {_cell(gone['about'])} | {_cell(gone['rule']) or 'nothing'} | {_steps(gone['steps'])} |"
        for gone in figures["ablations"]
    ]
    told = [
        f"### Without: {gone['about']} ({gone['rule']})\n\n```text\n{_course(gone['course'])}\n```\n"
        for gone in figures["ablations"]
        if gone.get("course")
    ]
    return "\n".join([*rows, "", *told])


PARTS: Final[dict[str, Callable[[Figures], str]]] = {"rules": rules, "worlds": worlds, "ablations": ablations}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _steps(steps: int | str) -> str:
    """A number, or the reason why there is none."""
    return str(steps) if isinstance(steps, int) else "the other parts make up for it"


def _course(course: list[str]) -> str:
    return "\n".join(f"{number:2}  {step}" for number, step in enumerate(course, 1))


if __name__ == "__main__":
    sys.exit(main())
