"""Something else lies where a file of ours should be: nothing hangs, nothing is sent blindly, and it is said what it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fleet.invariants import violations
from fleet.stage import Stage

pytestmark = pytest.mark.timeout(120)

SOMEBODY = 12_345


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)


def foreign(path: Path) -> None:
    path.touch()
    os.chown(path, SOMEBODY, SOMEBODY)


def link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.with_name("nowhere"))


def directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


PUT: dict[str, Callable[[Path], None]] = {
    "FIFO": fifo,
    "foreign owner": foreign,
    "symlink": link,
    "directory": directory,
}

ERROR = {
    ("record", "FIFO"): "corrupt",
    ("record", "foreign owner"): "corrupt|storage",
    ("record", "symlink"): "not_signed_in",
    ("record", "directory"): "corrupt",
    **{("lock", what): "storage|unwritable" for what in PUT},
    **{("claim", what): "unreachable" for what in PUT},
    ("claim", "directory"): "unreachable|unwritable|storage",
    **{("refusal", what): "revoked" for what in PUT},
    **{("backoff", what): "" for what in PUT},
}
"""What a program that needs a new token is told, or that it gets one."""

ROWS = [
    pytest.param(*row, id=f"{row[1]} as {row[0]}", marks=() if row[1] == "FIFO" else pytest.mark.prove) for row in ERROR
]


@pytest.mark.parametrize(("place", "what"), ROWS)
def test_strange(stage: Stage, place: str, what: str) -> None:
    """It ends with a token or with an honest word; when the strange thing is gone, the login is still there."""
    if what == "foreign owner" and os.geteuid() != 0:
        pytest.skip("only root can give a file away; run: sudo make test")
    stage.sign_in("expired")
    fp, name = stage.snapshot.fp, stage.store.path.name.removesuffix(".json")
    record = stage.store.path.read_bytes()
    endings = {
        "record": "json",
        "lock": "lock",
        "claim": f"{fp}.next",
        "refusal": f"{fp}.revoked",
        "backoff": "backoff",
    }
    path = stage.store.path.with_name(f"{name}.{endings[place]}")
    PUT[what](path)
    worker = stage.start("obtain", patience_s=2.0)
    result = worker.result()
    assert worker.end() == 0
    assert result.error in ERROR[place, what].split("|"), result
    assert len(stage.sends) == (place == "backoff")
    if place == "record":
        path.rmdir() if what == "directory" else path.unlink()
        path.touch(0o600)
        path.write_bytes(record)
    elif place != "backoff" and os.path.lexists(path):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    worker.results.clear()  # what it said was true of what lay there
    later = stage.start("obtain", boottime_offset_s=80.0, wall_offset_s=60.0)
    assert (later.result().error, later.end()) == ("", 0)
    assert (stage.exchanges, stage.works) == (1, True)
    assert violations(stage) == []
