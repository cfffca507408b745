"""The plugins of every run, tried on small runs of their own: a gate that cannot close is no gate."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from house import edge_gate, isolation
from kimi_auth.machine import Edge, EdgeRecorder, Library, Transition, edges

WALKS = """
from kimi_auth.machine import Library, Transition, edges, recorder_from_environ

def walk(chosen):
    for machine in Library.load().values():
        for edge in edges(machine):
            if chosen(edge):
                recorder_from_environ().moved(Transition(*edge, seconds=0.0, step=1))
"""
HERE = """
import subprocess, sys
from walks import walk

def test_here():
    walk(lambda edge: edge.event != "granted")
"""
IN_A_CHILD = """
def test_child():
    code = "from walks import walk; walk(lambda edge: edge.event == 'granted')"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
AT_HOME = """
import os, pathlib

def look(seen=set()):
    home = os.environ["HOME"]
    assert pathlib.Path.home() == pathlib.Path(home) and os.listdir(home) == []
    assert os.environ["KIMI_SHARE_DIR"] == home + "/.kimi"
    assert "outside" not in os.environ.values()
    assert home not in seen
    seen.add(home)

def test_one(): look()
def test_two(): look()
def test_outside(outside): assert outside["KIMI_API_KEY"] == "outside"
"""
IGNORED = """
import signal, subprocess, sys

def test_here():
    assert signal.getsignal(signal.NAME) == signal.SIG_DFL

def test_child():
    code = "import os, signal; os.kill(os.getpid(), signal.NAME)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.NAME
"""
GRANTED = "device_login: polling --granted--> persisting"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project with the plugins of this one and its selection of tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        testpaths = ["tests"]
        addopts = ["-p", "house.isolation", "-p", "house.edge_gate", "-p", "house.ci", "-p", "house.no_secrets", "-m", "not prove"]
        markers = ["prove", "browser"]
        """
    )
    pytester.mkdir("tests")
    pytester.makepyfile(walks=WALKS)
    return pytester


def put(run: pytest.Pytester, text: str) -> None:
    """Write the project's only test file."""
    (run.path / "tests" / "test_it.py").write_text(text)


@pytest.fixture
def ignored(number: signal.Signals) -> Iterator[None]:
    """Processes that are started now ignore this signal."""
    before = signal.signal(number, signal.SIG_IGN)
    yield
    signal.signal(number, before)


class TestEdgeGate:
    def test_unwalked(self, run: pytest.Pytester) -> None:
        """A full run that walks all edges but one fails, names it, and says in JSON who walked the others."""
        put(run, HERE)
        done = run.runpytest_subprocess()
        assert done.ret == pytest.ExitCode.TESTS_FAILED
        done.assert_outcomes(passed=1)
        done.stdout.fnmatch_lines([f"FAILED edges: nobody walked {GRANTED}; write a test that does"])
        assert done.stdout.str().count("FAILED edges") == 1
        report = json.loads((run.path / edge_gate.REPORT).read_text())
        walked = {edge["event"]: edge["tests"] for edge in report["edges"] if edge["source"] == "polling"}
        assert walked["granted"] == {}
        assert walked["slow_down"] == {"tests/test_it.py::test_here": 1}
        assert report["full_run"]

    def test_children_count(self, run: pytest.Pytester) -> None:
        """What a process walks that a test started is counted for that test."""
        put(run, HERE + IN_A_CHILD)
        done = run.runpytest_subprocess()
        assert done.ret == pytest.ExitCode.OK
        done.stdout.fnmatch_lines(["edges: every declared transition was walked; *"])
        report = json.loads((run.path / edge_gate.REPORT).read_text())
        assert next(edge["tests"] for edge in report["edges"] if edge["event"] == "granted") == {
            "tests/test_it.py::test_child": 1
        }

    @pytest.mark.parametrize("argument", ["tests/test_it.py", "-k test_here", "-m not browser", "--lf"])
    def test_partial_runs(self, run: pytest.Pytester, argument: str) -> None:
        """Who runs some of the tests is not asked for all of the edges."""
        put(run, HERE)
        done = run.runpytest_subprocess(*argument.split(" ", 1))
        assert done.ret == pytest.ExitCode.OK
        assert "FAILED edges" not in done.stdout.str()
        assert not json.loads((run.path / edge_gate.REPORT).read_text())["full_run"]

    def test_excused(self, run: pytest.Pytester) -> None:
        """An edge that is excused with a reason lets the run pass."""
        put(run, HERE)
        (run.path / "tests" / edge_gate.EXCEPTED).write_text(f'"{GRANTED}" = "a reason"\n')
        assert run.runpytest_subprocess().ret == pytest.ExitCode.OK

    def test_poor_excuses(self) -> None:
        """An excuse for an edge that is not declared, or without a reason, is a finding."""
        machines = Library.load().values()
        recorder = EdgeRecorder()
        for machine in machines:
            for edge in edges(machine):
                recorder.moved(Transition(*edge, seconds=0.0, step=1))
        nowhere = str(Edge("device_login", "polling", "gone", "denied"))
        assert edge_gate.judge(machines, recorder, {}) == []
        assert edge_gate.judge(machines, recorder, {nowhere: "why", GRANTED: " "}) == [
            f"edges_excepted.toml excuses {nowhere}, which no machine declares",
            f"edges_excepted.toml gives no reason for {GRANTED}",
        ]


class TestIsolation:
    def test_environment(self, run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each test has a home of its own, and nothing of the caller's Kimi settings, browser or proxy."""
        for name in ("KIMI_CODE_OAUTH_HOST", "KIMI_API_KEY", "BROWSER", "NO_COLOR", "HTTPS_PROXY"):
            monkeypatch.setenv(name, "outside")
        put(run, AT_HOME)
        run.runpytest_subprocess("-k", "test").assert_outcomes(passed=3)

    def test_touched(self, run: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run that changes the share dir of the user who runs it fails and names what changed."""
        share = tmp_path / "share"
        monkeypatch.setenv("KIMI_SHARE_DIR", str(share))
        put(run, f"def test_it(): __import__('os').makedirs({str(share / 'credentials')!r})\n")
        done = run.runpytest_subprocess("-k", "test")
        assert done.ret == pytest.ExitCode.TESTS_FAILED
        done.stdout.fnmatch_lines(
            [f"FAILED isolation: {share} changed*", f"FAILED isolation: {share}/credentials changed*"]
        )
        assert run.runpytest_subprocess("-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED

    @pytest.mark.parametrize("number", isolation.INHERITED, ids=lambda number: number.name)
    @pytest.mark.usefixtures("ignored")
    def test_signals(self, run: pytest.Pytester, number: signal.Signals) -> None:
        """Under `nohup`, which ignores a signal for all that it starts, tests and their programs have it as usual."""
        put(run, IGNORED.replace("NAME", number.name))
        run.runpytest_subprocess("-k", "test").assert_outcomes(passed=2)

    def test_what_is_looked_at(self, tmp_path: Path) -> None:
        """A rewritten credential is seen, and so is one that vanished."""
        file = tmp_path / "credentials" / "kimi-code.json"
        file.parent.mkdir()
        file.write_text("{}")
        before = {tmp_path: isolation.look_at(tmp_path)}
        assert isolation.changes(before) == []
        file.write_text("{ }")
        assert isolation.changes(before) == [str(file)]
        file.unlink()
        assert str(file) in isolation.changes(before)


@pytest.mark.parametrize(
    ("marker", "ci", "outcome"),
    [("browser", "true", {"failed": 1}), ("browser", "", {"skipped": 1}), ("prove", "true", {"skipped": 1})],
)
def test_skips_in_ci(
    run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, marker: str, ci: str, outcome: dict[str, int]
) -> None:
    """With CI=true, and only there, a skipped browser test fails; a skip of another test stays one."""
    monkeypatch.setenv("CI", ci)
    put(run, f"import pytest\n@pytest.mark.{marker}\ndef test_it(): pytest.skip('no browser')\n")
    done = run.runpytest_subprocess("-rfs", "-m", marker)
    done.assert_outcomes(**outcome)
    done.stdout.fnmatch_lines(["*no browser*"])


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        ("logging.getLogger('kimi_auth.credential').debug('sent %s', 'refresh-17')", {"passed": 1, "errors": 1}),
        ("sys.stderr.write('emulated-access-' + 'x' * 32)", {"passed": 1, "errors": 1}),
        ("print('emulated-access-' + 'x' * 32)", {"passed": 1}),
        ("logging.getLogger('kimi_auth').warning('access-token refused, fp=0123456789abcdef')", {"passed": 1}),
    ],
)
def test_secrets_in_logs(run: pytest.Pytester, statement: str, outcome: dict[str, int]) -> None:
    """A token in a log, at any level, or on standard error fails the run."""
    put(run, f"import logging, sys\ndef test_it():\n    {statement}\n")
    done = run.runpytest_subprocess("-k", "test_it")
    done.assert_outcomes(**outcome)
    if "errors" in outcome:
        done.stdout.fnmatch_lines(["a secret is in *<SECRET>*"])
