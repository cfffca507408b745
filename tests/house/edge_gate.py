"""A full run of the tests walks every edge that `machines/` declares, or it fails.

Whatever walks a machine with the observer that the environment asks for is counted, in this process and in every one
that a test starts. `.edges/coverage.json` says afterwards which test walked which edge how often. An edge that no test
can walk stands in `tests/edges_excepted.toml`, with the reason.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.machine import Edge, EdgeRecorder, Library, Machine, digest, edges
from kimi_auth.machine.recorder import ENVIRONMENT

FULL_SELECTION = "not prove"
PARTIAL = ("keyword", "lf", "failedfirst", "stepwise", "deselect", "ignore", "ignore_glob", "collectonly", "maxfail")
EXCEPTED = "edges_excepted.toml"
REPORT = ".edges/coverage.json"
FOLDER = pytest.StashKey[Path]()
FINDINGS = pytest.StashKey[list[str]]()


def is_full_run(config: pytest.Config) -> bool:
    """True if nothing was left out but the long proofs: no paths, no `-k`, no `-m` of one's own."""
    whole = config.args_source is not config.ArgsSource.ARGS and not any(
        getattr(config.option, name, None) for name in PARTIAL
    )
    return whole and config.option.markexpr == FULL_SELECTION


def excepted(file: Path) -> dict[str, str]:
    """The excused edges, as they print, with the reason for each."""
    table = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    return {str(edge): str(reason) for edge, reason in table.items()}


def judge(machines: Iterable[Machine], recorder: EdgeRecorder, excuses: Mapping[str, str]) -> list[str]:
    """Why a full run fails, one line each: edges that no test walked, and excuses that excuse nothing."""
    machines = list(machines)
    declared = {str(edge) for machine in machines for edge in edges(machine)}
    unwalked = {str(edge) for edge in recorder.unwalked(machines)}
    return [
        *(f"nobody walked {edge}; write a test that does" for edge in sorted(unwalked - excuses.keys())),
        *(f"{EXCEPTED} excuses {edge}, which no machine declares" for edge in sorted(excuses.keys() - declared)),
        *(f"{EXCEPTED} gives no reason for {edge}" for edge, reason in sorted(excuses.items()) if not reason.strip()),
    ]


def report(machines: Mapping[str, Machine], recorder: EdgeRecorder, *, full: bool) -> dict[str, object]:
    """The walked edges, as JSON."""

    def walks(edge: Edge) -> dict[str, object]:
        return {**edge._asdict(), "tests": dict(sorted(recorder.walks(edge).items()))}

    return {
        "machines": digest(machines),
        "full_run": full,
        "edges": [walks(edge) for machine in machines.values() for edge in edges(machine)],
    }


def is_worker(config: pytest.Config) -> bool:
    """True in a process of pytest-xdist's: it counts its share into the folder of the one that handed it out."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if is_worker(config):
        config.stash[FOLDER] = Path(config.workerinput["edges"])
    else:
        folder = tempfile.TemporaryDirectory(prefix="kimi-auth-edges-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        config.stash[FOLDER] = Path(folder.name)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv(ENVIRONMENT, str(config.stash[FOLDER]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["edges"] = str(node.config.stash[FOLDER])


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if is_worker(config):
        return
    machines, recorder = Library.load(), EdgeRecorder()
    recorder.merge(config.stash[FOLDER])
    full = is_full_run(config)
    file = config.rootpath / REPORT
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(report(machines, recorder, full=full), indent=1) + "\n", "utf-8")
    if not full or session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    config.stash[FINDINGS] = judge(machines.values(), recorder, excepted(config.rootpath / "tests" / EXCEPTED))
    if config.stash[FINDINGS] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    findings = config.stash.get(FINDINGS, None)
    if findings is None:
        return
    for line in findings:
        terminalreporter.write_line(f"FAILED edges: {line}", red=True)
    if not findings:
        terminalreporter.write_line(f"edges: every declared transition was walked; {REPORT} says by which tests")
