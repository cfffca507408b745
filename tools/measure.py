"""Keep what the tests measured and what the tables of answers say, where the pages are made from.

    python tools/measure.py coverage   .edges/coverage.json of the last full test run -> diagrams/measured/coverage.json
    python tools/measure.py answers    the tables of kimi_auth.wire -> diagrams/answers.json

`make diagrams` does both. Exit status 3: there is no report of a full run of the tests on these machines; the last file
stays as it is, and the pages say that it is old.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from kimi_auth.machine import Library
from kimi_auth.review.coverage import condense
from kimi_auth.wire.rules import columns
from kimi_auth.wire.tables import TABLES

ROOT: Final = Path(__file__).resolve().parents[1]
DIAGRAMS: Final = ROOT / "diagrams"
HEAD: Final = ("status", "error", "body", "failure", "outcome", "reported as", "why")


def answers() -> dict[str, Any]:
    """The tables of answers, as pages show them."""
    return {
        title: {"columns": list(HEAD), "rows": [list(columns(row)) for row in table]} for title, table in TABLES.items()
    }


def write(file: Path, data: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps(data, indent=1, ensure_ascii=False, sort_keys=file.parent != DIAGRAMS) + "\n", "utf-8", newline="\n"
    )


def main(what: list[str]) -> int:
    if "answers" in what:
        write(DIAGRAMS / "answers.json", answers())
    if "coverage" in what:
        report = ROOT / ".edges" / "coverage.json"
        data = json.loads(report.read_text("utf-8")) if report.is_file() else {"full_run": False}
        if not data["full_run"]:
            print(
                "coverage is kept as it was: the last test run was not a full one; run make test first", file=sys.stderr
            )
            return 3
        try:
            write(DIAGRAMS / "measured" / "coverage.json", condense(Library.load(), data))
        except ValueError as error:
            print(f"coverage is kept as it was: {error}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["answers", "coverage"]))
