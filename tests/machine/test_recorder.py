"""Which edges were walked, by whom, in this process and in others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kimi_auth.machine import (
    NO_OBSERVER,
    Edge,
    EdgeRecorder,
    Library,
    Transition,
    edges,
    recorder,
    recorder_from_environ,
    walk_sync,
)

DEAD = Edge("call", "dialling", "dead", "gave_up")
ENGAGED = Edge("call", "dialling", "engaged", "dialling")


def transition(edge: Edge) -> Transition:
    """What an observer is told when `edge` is walked."""
    return Transition(*edge, seconds=0.0, step=1)


def test_edges_in_file_order(library: Library) -> None:
    """Every declared edge, events from outside included."""
    assert [str(edge) for edge in edges(library["call"])] == [
        "call: dialling --answered--> talking",
        "call: dialling --engaged--> dialling",
        "call: dialling --dead--> gave_up",
        "call: talking --done--> hung_up",
        "call: talking --cut_off--> dialling",
        "call: hung_up --ring--> talking",
    ]


class Hooks:
    """Hooks for an errand through a door that opens at once."""

    @contextmanager
    def take_key(self, ctx: None) -> Iterator[tuple[str, None]]:
        """Gets the key."""
        yield "acquired", ctx

    def turn(self, ctx: None) -> tuple[str, None]:
        """Opens."""
        return "open", ctx


def test_a_walk_is_counted_with_its_child(library: Library) -> None:
    """Edges of parent and child count, by test; unwalked edges are left, in file order."""
    names = iter(["first", "first", "second", "second", "second"])
    counting = EdgeRecorder(test=lambda: next(names))
    walk_sync(library["errand"], Hooks(), None, observe=counting)
    walk_sync(library["errand"], Hooks(), None, at="outside", event="retry", observe=counting)
    inside = Edge("errand", "waiting_for_key", "inside", "at_home")
    assert counting.walks(inside) == {"first": 1, "second": 1}
    assert counting.walks(DEAD) == {}
    assert [str(edge) for edge in counting.unwalked([library["errand"], library["door"]])] == [
        "errand: waiting_for_key --jammed--> outside",
        "errand: waiting_for_key --busy--> outside",
        "door: turning --stuck--> oiling",
        "door: oiling --oiled--> turning",
        "door: oiling --hopeless--> jammed",
    ]


def test_nothing_is_left_when_all_was_walked(library: Library) -> None:
    """A full run has no unwalked edge."""
    counting = EdgeRecorder()
    for machine in library.values():
        for edge in edges(machine):
            counting.moved(transition(edge))
    assert counting.unwalked(library.values()) == []


@pytest.mark.parametrize(
    ("current", "test"),
    [
        ("tests/a.py::test_b (call)", "tests/a.py::test_b"),
        ("tests/a.py::test_b[x (y)] (setup)", "tests/a.py::test_b[x (y)]"),
        (None, ""),
    ],
)
def test_the_running_test(monkeypatch: pytest.MonkeyPatch, current: str | None, test: str) -> None:
    """pytest's own variable says which test is running; children inherit it."""
    with monkeypatch.context() as patch:
        if current is None:
            patch.delenv("PYTEST_CURRENT_TEST")
        else:
            patch.setenv("PYTEST_CURRENT_TEST", current)
        assert recorder.running_test() == test


def test_files_of_several_processes_are_merged(tmp_path: Path) -> None:
    """Each recorder appends to its own file; merging adds to the earlier counts."""
    here = EdgeRecorder(test=lambda: "here")
    here.moved(transition(DEAD))
    for name in ("one", "two"):
        other = EdgeRecorder(tmp_path, test=lambda name=name: name)  # type: ignore[misc]
        other.entered("call", "dialling", "dial")
        other.moved(transition(DEAD))
        other.moved(transition(DEAD))
    assert len(list(tmp_path.iterdir())) == 2
    here.merge(tmp_path)
    assert here.walks(DEAD) == {"here": 1, "one": 2, "two": 2}


def test_a_line_cut_off_by_a_kill_does_not_count(tmp_path: Path) -> None:
    """Whole lines before it do."""
    (tmp_path / "1-a.ndjson").write_text('["call","dialling","dead","gave_up","t"]\n["call","dialling","eng')
    (tmp_path / "2-b.ndjson").write_text('["call","dialling","engaged","dialling",""]')
    (tmp_path / "notes.txt").write_text("not ours")
    counting = EdgeRecorder()
    counting.merge(tmp_path)
    assert counting.walks(DEAD) == {"t": 1}
    assert counting.walks(ENGAGED) == {}


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the variable nothing is recorded; with it a process has one recorder for the folder."""
    monkeypatch.delenv(recorder.ENVIRONMENT, raising=False)
    assert recorder_from_environ() is NO_OBSERVER
    monkeypatch.setenv(recorder.ENVIRONMENT, str(tmp_path))
    found = recorder_from_environ()
    assert isinstance(found, EdgeRecorder)
    assert recorder_from_environ() is found
    monkeypatch.setenv(recorder.ENVIRONMENT, "")
    assert recorder_from_environ() is NO_OBSERVER


CHILD = """
import os, pathlib, signal, sys
from kimi_auth.machine import Library, Observers, recorder_from_environ, walk_sync

class Hooks:
    answers = iter(["engaged", "engaged", "dead"])
    def dial(self, ctx):
        return next(self.answers), ctx

class Gate:
    seen = 0
    def entered(self, machine, state, activity):
        self.seen += 1
        if self.seen == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    def moved(self, transition):
        pass

call = Library.load(pathlib.Path(sys.argv[1]))["call"]
walk_sync(call, Hooks(), None, observe=Observers(recorder_from_environ(), Gate()))
if len(sys.argv) > 3:
    pid = os.fork()
    if pid == 0:
        Hooks.answers = iter(["dead"])
        walk_sync(call, Hooks(), None, observe=recorder_from_environ())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
os._exit(0)
"""


@pytest.mark.parametrize(
    ("arguments", "status", "engaged", "dead", "files"),
    [
        (["3"], -signal.SIGKILL, 2, 0, 1),
        (["1"], -signal.SIGKILL, 0, 0, 0),
        (["9"], 0, 2, 1, 1),
        (["9", "f"], 0, 2, 2, 2),
    ],
    ids=["killed before the third", "killed before the first", "left by _exit", "forked"],
)
def test_a_process_that_is_killed_loses_nothing(
    tmp_path: Path,
    load: Callable[..., Library],
    texts: dict[str, str],
    arguments: list[str],
    status: int,
    engaged: int,
    dead: int,
    files: int,
) -> None:
    """What a child walked before it died is on disk, under the test that started it; a fork has its own file."""
    load(call=texts["call"])
    (tmp_path / "edges").mkdir()
    program = [sys.executable, "-c", CHILD, str(tmp_path / "machines_of_the_test"), *arguments]
    environment = os.environ | {recorder.ENVIRONMENT: str(tmp_path / "edges"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, "")
    assert len(list((tmp_path / "edges").iterdir())) == files
    counting = EdgeRecorder()
    counting.merge(tmp_path / "edges")
    me = recorder.running_test()
    assert me.startswith("tests/machine/test_recorder.py::test_a_process_that_is_killed_loses_nothing[")
    assert counting.walks(ENGAGED) == ({me: engaged} if engaged else {})
    assert counting.walks(DEAD) == ({me: dead} if dead else {})
