"""Runs a soak and prints what it found; the exit status says whether it was as it has to be.

PYTHONPATH=tests python -m soak [--minutes 8] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from soak.plan import plan
from soak.program import KINDS
from soak.report import findings, lines
from soak.stage import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="A login under kills and faults, for some minutes.")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    length_s = options.minutes * 60
    print(f"soak: {options.minutes:g} minutes; again with SEED={options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kimi-auth-soak-") as folder, Soak(Path(folder)) as soak:
        soak.live(plan(options.seed, length_s, list(KINDS)))
    print(*lines(soak, options.seed, length_s), sep="\n")
    return 1 if findings(soak) else 0


if __name__ == "__main__":
    sys.exit(main())
