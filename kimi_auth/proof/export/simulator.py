"""Runs Quint's simulator on an exported model: node, and the program of Quint's package."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from .model import Exported
from .programs import ended
from .quint import MODULE, quint

__all__ = ["QuintFailed", "Simulated", "simulated"]

PATIENCE_S = 900
SEED = "0x7"


class QuintFailed(Exception):
    """Quint did not do its work; the message is what it said."""


class Simulated(NamedTuple):
    """The end of a simulation. `rules`: what the last of `steps` steps breaks; none where every sample went through, each
    of `steps` steps."""

    rules: frozenset[str]
    steps: int
    seconds: float


def simulated(model: Exported, command: tuple[str, ...], *, samples: int, steps: int) -> Simulated:
    """Checks the types, then walks at random, `samples` times from the beginning, until a rule breaks. `command`: node and
    the program. The seed is fixed, so that the same model gives the same walks. Raises QuintFailed."""
    began_s = time.perf_counter()
    with TemporaryDirectory(prefix="kimi-auth-quint-") as folder:
        file = Path(folder) / f"{MODULE}.qnt"
        file.write_text(quint(model), encoding="utf-8")
        bounds = ("--max-samples", str(samples), "--max-steps", str(steps))
        fixed = ("--backend", "typescript", "--seed", SEED, "--invariant", "holds")
        done = ended([*command, "run", str(file), *fixed, *bounds], folder, PATIENCE_S)
    return _found(done, time.perf_counter() - began_s, steps)


def _found(done: subprocess.CompletedProcess[str], seconds: float, steps: int) -> Simulated:
    said = done.stdout
    if done.returncode == 0 and "No violation found" in said:
        return Simulated(frozenset(), steps, seconds)
    broke = re.findall(r"broke: Set\((.*?)\)", said)
    if done.returncode != 1 or "[violation]" not in said or not broke:
        raise QuintFailed(f"{said[-2000:]}{done.stderr[-2000:]}")
    numbers = re.findall(r"^\[State (\d+)\]", said, re.MULTILINE)
    return Simulated(frozenset(re.findall(r'"([^"]*)"', broke[-1])), int(numbers[-1]), seconds)
