"""How long config.toml is locked: other programs that want to write it give up after ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.report import Table, number
from bench.turns import Row, Turn, medians
from kimi_auth.models import ConfigFile, ModelEntry, plan
from kimi_auth.platforms import registry

__all__ = ["table"]

KIMI = registry.get("kimi-code")
OWN = "# mine\n" + "".join(
    f'[providers.p{number}]\ntype = "openai_legacy"\nbase_url = "http://localhost"\napi_key = "k"\n\n'
    for number in range(20)
)
TARGET_S = 0.3
SIZES = (100, 500)


class Timed(ConfigFile):
    """Counts the seconds that it holds the lock."""

    held_s = 0.0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with super()._locked():
            began_s = time.perf_counter()
            try:
                yield
            finally:
                self.held_s += time.perf_counter() - began_s


def table(folder: Path, *, quick: bool = False) -> Table:
    """Seconds under the lock for each thing that is done to the file, by how many models the platform lists."""
    steps: dict[str, Callable[[Timed, int], object]] = {
        "login": lambda file, size: _plan(file, size, 1, "login"),
        "sync, every model has changed": lambda file, size: _plan(file, size, 2, "sync"),
        "sync, nothing has changed": lambda file, size: _plan(file, size, 2, "sync"),
        "login again": lambda file, size: _plan(file, size, 2, "login"),
        "logout, to the bytes from before": lambda file, size: file.revert(KIMI),
    }
    rows = [
        Row(f"{size} {name}", _turn(folder / f"config-{size}", size, steps, name)) for size in SIZES for name in steps
    ]
    seconds = medians(rows, 1 if quick else 5)
    lines = [
        (name, *(number(seconds[f"{size} {name}"]) for size in SIZES), number(TARGET_S) if name in MEASURED else "")
        for name in steps
    ]
    notes = ["Beside the models the file has twenty providers of the user's own."]
    head = ("", *(f"{size} models" for size in SIZES), f"target, {SIZES[-1]}")
    return Table("config.toml: seconds under its lock", head, lines, notes)


MEASURED = ("login", "sync, every model has changed")


def _turn(folder: Path, size: int, steps: dict[str, Callable[[Timed, int], object]], name: str) -> Turn:
    """The turn of one step, after those before it, which are not counted."""

    def once() -> float:
        file = Timed(folder)
        folder.mkdir(parents=True, exist_ok=True)
        file.path.write_text(OWN)
        (folder / "kimi-auth" / "undo.json").unlink(missing_ok=True)
        for step, work in steps.items():
            file.held_s = 0.0
            work(file, size)
            if step == name:
                return file.held_s
        raise AssertionError(name)

    return lambda times: sum(once() for _ in range(times))


def _plan(file: ConfigFile, size: int, version: int, reason: str) -> None:
    models = tuple(
        ModelEntry(
            id=f"kimi-model-{at}", context_length=1000 * version, supports_reasoning=True, display_name=f"Model {at}"
        )
        for at in range(size)
    )
    file.apply(lambda config: plan(config, KIMI, models, reason=reason))  # type: ignore[arg-type]
    assert len(file.read()["models"]) == size
