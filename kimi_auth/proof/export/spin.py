"""Runs spin on an exported model: `spin -a`, the C compiler, and the verifier that they make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from kimi_auth.proof.rules import RULES

from .model import Exported
from .programs import ended
from .promela import STORY, promela, rule_number

__all__ = ["Compiled", "Found", "SpinFailed", "compiled", "missing_tool"]

DEPTH_MAX = 1_000_000
MEBIBYTES_MAX = 3000
PATIENCE_S = 900


class SpinFailed(Exception):
    """spin, the compiler or the verifier did not do its work; the message is what it said."""


class Found(NamedTuple):
    """What the verifier found. `states`: those between moves, as our checker counts them. `rule`: "" where none is broken;
    `story`: the moves that lead there. `complete`: every state was visited."""

    states: int
    transitions: int
    depth: int
    seconds: float
    rule: str
    story: tuple[str, ...]
    complete: bool


def missing_tool() -> str:
    """The first program that spin needs and that is missing; "" if all are here."""
    return next((tool for tool in ("spin", "gcc") if shutil.which(tool) is None), "")


class Compiled(NamedTuple):
    """A verifier in a folder of its own."""

    folder: Path

    def run(self, rule: str = "") -> Found:
        """Has spin visit the whole model, or stop where a rule is first broken: any, or `rule`. Raises SpinFailed."""
        where = self.folder
        wanted = {"KIMI_AUTH_RULE": str(rule_number(rule))} if rule else {}
        began_s = time.perf_counter()
        said = _said(where, "./pan", "-E", f"-m{DEPTH_MAX}", **wanted)
        seconds = time.perf_counter() - began_s
        told = _said(where, "./pan", "-r", KIMI_AUTH_STORY="1", **wanted) if _number(said, r"errors: (\d+)") else ""
        return _found(said, told, seconds, wanted=rule)


@contextmanager
def compiled(model: Exported, *, shortest: bool = False) -> Iterator[Compiled]:
    """The verifier of a model, until the block ends. `shortest`: it searches breadth first, and finds the shortest story.
    Raises SpinFailed."""
    with TemporaryDirectory(prefix="kimi-auth-spin-") as folder:
        where = Path(folder)
        (where / "model.pml").write_text(promela(model), encoding="utf-8")
        _said(where, "spin", "-a", "model.pml")
        # A counterexample is near, so that compiling well takes longer than looking for it.
        how = ("-O0", "-DBFS") if shortest else ("-O1",)
        limit = f"-DMEMLIM={MEBIBYTES_MAX}"
        _said(where, "gcc", "-w", "-DSAFETY", "-DNOREDUCE", limit, *how, "-o", "pan", "pan.c")
        yield Compiled(where)


def _found(said: str, told: str, seconds: float, *, wanted: str) -> Found:
    if any(gap in said for gap in ("out of memory", "max search depth too small", "reached -DMEMLIM")):
        raise SpinFailed(said)
    broken = [int(number) for number in re.findall(rf"^{STORY}breaks (\d+)", told, re.MULTILINE)]
    rule = next((name for name in RULES if broken and (name == wanted or rule_number(name) == broken[-1])), "")
    if "errors: 0" not in said and not rule:
        raise SpinFailed(f"{said}\n{told}")
    # One more than ours: the state before the first statement of `init`.
    states = _number(said, r"(\d+) states, stored") - 1
    depth = _number(said, r"depth reached (\d+)")
    return Found(states, _number(said, r"(\d+) transitions"), depth, seconds, rule, tuple(_story(told)), not rule)


def _number(said: str, pattern: str) -> int:
    found = re.search(pattern, said)
    if found is None:
        raise SpinFailed(said)
    return int(found[1])


def _story(told: str) -> Iterator[str]:
    """The story that spin found, one sentence for each move. Processes keep their letters, although the model sorts them."""
    letters = list("ABCDEFGH")
    parts: list[str] = []
    for line in told.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in {STORY + "move", STORY + "around"}:
            if parts:
                yield " ".join(parts)
            number, _, position = rest.partition(" ")
            parts = [f"{letters[int(number)]}: {position or 'begins a walk'}"] if kind == STORY + "move" else []
        elif kind == STORY + "say":
            parts.append(
                rest.partition(" ")[2] if not parts or parts[0][1:2] != ":" else f"--{rest.partition(' ')[2]}-->"
            )
        elif kind in {STORY + "to", STORY + "left"}:
            parts.append(rest.partition(" ")[2])
        elif kind == STORY + "swap":
            at = int(rest)
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
    if parts:
        yield " ".join(parts)


def _said(where: Path, *command: str, **variables: str) -> str:
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **variables}
    done = ended(command, where, PATIENCE_S, environ)
    _failed(command, done)
    return done.stdout


def _failed(command: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode and command[0] != "./pan":
        raise SpinFailed(
            f"{command[0]} ended with status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
