"""The made parts of docs/: `python tools/pages.py` writes them, `make diagrams` calls it, a test compares them.

A part stands between two comments, `<!-- measured: NAME -->` and `<!-- end -->`; the text around it was written by people and
stays. Figures of docs/protocol.md come from diagrams/measured/checker.json, of the last whole proof; the matrix of
docs/sdk-matrix.md from diagrams/measured/sdks.json, of the last measurement of tests/sdks. `<!-- recipe: FILE -->` gives a
file of examples/sdk.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
MEASURED: Final = ROOT / "diagrams" / "measured"
RECIPES: Final = ROOT / "examples" / "sdk"
PAGES: Final = {"protocol.md": "checker.json", "sdk-matrix.md": "sdks.json", "with-your-sdk.md": "sdks.json"}
"""Each page of docs/ that has made parts, and the figures that they are made of."""

PART: Final = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

RECIPE: Final = re.compile(r"(<!-- recipe: (\w+\.py) -->\n).*?(<!-- end -->)", re.DOTALL)

TRIPLE: Final = '"""'

Figures = dict[str, Any]


def main() -> int:
    for name, text in made().items():
        (ROOT / "docs" / name).write_text(text, "utf-8", newline="\n")
    return 0


def made() -> dict[str, str]:
    """Each page that has made parts, as it should be."""
    return {
        name: page((ROOT / "docs" / name).read_text("utf-8"), json.loads((MEASURED / figures).read_text("utf-8")))
        for name, figures in PAGES.items()
    }


def page(text: str, figures: Figures) -> str:
    """`text` with its measured parts made of `figures`. Raises KeyError for a part that no function makes, OSError for a
    recipe that is not there."""
    text = PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]](figures)}\n{found[3]}", text)
    return RECIPE.sub(lambda found: f"{found[1]}\n{recipe(found[2])}\n{found[3]}", text)


def recipe(file: str) -> str:
    """A recipe's program, without the sentence above it."""
    text = (RECIPES / file).read_text("utf-8")
    return f"```python\n{text.partition(TRIPLE)[2].partition(TRIPLE)[2].strip()}\n```\n"


def matrix(figures: Figures) -> str:
    """What each recipe's program saw in the four phases."""
    head = ("SDK", "version", "token by", "fresh", "renewed under way", "401 under way", "signed out")
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for file, row in figures.items():
        cells = [
            row["version"],
            row["takes"],
            *(row[name] for name in ("fresh", "renewed", "rejected", "signed_out")),
        ]
        rows.append(f"| [{row['sdk']}](../examples/sdk/{file}) | " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join([*rows, ""])


def rules(figures: Figures) -> str:
    """What the checker looks for in every state that it visits."""
    rows = [f"| {_cell(rule['name'])} | {_cell(rule['about'])} |" for rule in figures["invariants"]]
    return "\n".join(["| rule | what never happens, or always does |", "|---|---|", *rows, ""])


def across_hosts(figures: Figures) -> str:
    """The same rules where the credential rests in a store that several hosts reach."""
    rows = [
        f"| {_cell(rule['name'])} | {_cell(rule['across hosts'])} |"
        for rule in figures["invariants"]
        if "across hosts" in rule
    ]
    return "\n".join(["| rule | across hosts |", "|---|---|", *rows, ""])


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


PARTS: Final[dict[str, Callable[[Figures], str]]] = {
    "rules": rules,
    "across_hosts": across_hosts,
    "worlds": worlds,
    "ablations": ablations,
    "matrix": matrix,
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _steps(steps: int | str) -> str:
    """A number, or the reason why there is none."""
    return str(steps) if isinstance(steps, int) else "the other parts make up for it"


def _course(course: list[str]) -> str:
    return "\n".join(f"{number:2}  {step}" for number, step in enumerate(course, 1))


if __name__ == "__main__":
    sys.exit(main())
