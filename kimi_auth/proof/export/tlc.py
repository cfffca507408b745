"""Runs TLC on an exported model: Java, and the jar of the TLA+ tools."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from .model import Exported
from .programs import ended
from .tla import MODULE, config_of, tla

__all__ = ["Found", "TlcFailed", "has_java", "run"]

PATIENCE_S = 900


class TlcFailed(Exception):
    """TLC did not do its work; the message is what it said."""


class Found(NamedTuple):
    """What TLC found. `states`: those that it visited, one for each of ours; `rules`: what the last move of `story` breaks,
    nothing where the visit is whole."""

    states: int
    seconds: float
    rules: frozenset[str]
    story: tuple[str, ...]


def has_java() -> bool:
    """True where a `java` is on PATH."""
    return shutil.which("java") is not None


def run(model: Exported, jar: Path, rules: Iterable[str] = ()) -> Found:
    """Has TLC visit the whole model, or stop where one of `rules` (default: any) is first broken. Raises TlcFailed."""
    began_s = time.perf_counter()
    with TemporaryDirectory(prefix="kimi-auth-tlc-") as folder:
        where = Path(folder)
        (where / f"{MODULE}.tla").write_text(tla(model), encoding="utf-8")
        (where / f"{MODULE}.cfg").write_text(config_of(rules), encoding="utf-8")
        # One worker: with more, the first counterexample need not be a shortest one.
        tool = ("java", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={where}", "-cp", str(jar), "tlc2.TLC")
        bounds = ("-deadlock", "-workers", "1", "-metadir", str(where / "states"))
        done = ended([*tool, *bounds, MODULE], where, PATIENCE_S)
    return _found(done.stdout, done.stderr, time.perf_counter() - began_s)


def _found(said: str, complaint: str, seconds: float) -> Found:
    states = re.findall(r"([\d,]+) distinct states found, \d", said)
    is_whole = "Model checking completed. No error has been found." in said
    if not states or not (is_whole or "Invariant Holds is violated" in said):
        raise TlcFailed(f"{said[-3000:]}{complaint[-1000:]}")
    story = () if is_whole else tuple(_story(said))
    broken = re.findall(r"/\\ broke = \{([^}]*)\}", said)
    rules = frozenset(re.findall(r'"([^"]*)"', broken[-1])) if broken and not is_whole else frozenset()
    return Found(int(states[-1].replace(",", "")), seconds, rules, story)


def _story(said: str) -> Iterator[str]:
    """One line for each move, after the state that it began in."""
    for words in re.findall(r"/\\ said = <<(.*?)>>\s", said, re.DOTALL)[1:]:
        number, _, rest = words.partition(",")
        texts = " ".join(text for text in re.findall(r'"([^"]*)"', words) if text)
        yield f"{'ABCDEFGH'[int(number)]}: {texts}" if rest and number.strip().isdigit() else texts
