"""The bench works: it counts right, its tables fit, and its rows give what they are timed for. No figure is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import (
    config_lock,
    contended,
    door,
    due,
    engine,
    environment,
    fresh_token,
    proxied,
    report,
    run,
    served,
    shell,
    stalls,
)
from bench.surroundings import at_home, file_store, pair, sign_in
from bench.worker import started


@pytest.fixture
def folder() -> Iterator[Path]:
    """A home for the bench."""
    with at_home() as found:
        yield found


def check(table: report.Table) -> None:
    """80 columns, one cell for each column, and Markdown with as many lines."""
    assert max(len(line) for line in table.text().splitlines()) <= 80
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.markdown().count("\n|") == len(table.rows) + 2


def test_fresh_token(folder: Path) -> None:
    """Ours ask the system at most once for a token that is held, and not at all where a second may pass."""
    table = fresh_token.table(folder, quick=True)
    check(table)
    calls = {row[0]: row[3] for row in table.rows}
    if any("not counted" in note for note in table.notes):
        pytest.skip("there is no strace that works; it counts system calls")
    assert calls["kimi-auth, sync"] == calls["kimi-auth, async"] == "1"
    assert calls["kimi-auth, sync, recheck_every_s=1"] == calls["kimi-auth, async, recheck_every_s=1"] == "0"


@pytest.mark.parametrize(
    "table", [engine.table, shell.table, door.table, due.table, config_lock.table, stalls.table, served.table]
)
def test_quick_tables(folder: Path, table: object) -> None:
    """They run, and what they print fits."""
    check(table(folder, quick=True))  # type: ignore[operator]


def test_the_proxy(folder: Path) -> None:
    """The proxy's table fits. For each request it uses some of a core, not many times what a server alone does (6 times here,
    with an HTTP client of its own), and it holds no memory of requests that have ended."""
    direct, through = proxied.measured(5, 960)
    check(proxied.drawn(direct, through, 960))
    assert through.cpu_ms < 25 * direct.cpu_ms
    assert through.after_mib - through.before_mib < 2
    assert through.after_mib < 60


def test_system_calls_are_counted() -> None:
    """What one call costs, without what the loop around it costs."""
    mark = f'access("{fresh_token.MARK}/{b"row".hex()}", F_OK) = -1 ENOENT'
    calls, around = ["stat(…) = 0"] * 2 * fresh_token.CALLS, ["rt_sigaction(…) = 0"] * 3
    log = ["execve(…) = 0", mark, *around, *calls, mark, *around, *calls, *calls, mark, *around]
    assert fresh_token.counted("\n".join(log)) == {"row": "2"}


@pytest.mark.parametrize(
    ("value", "text"), [(0.2134, "0.213"), (2.134, "2.13"), (21.34, "21.3"), (213.4, "213"), (2134.0, "2,134")]
)
def test_numbers(value: float, text: str) -> None:
    """Three digits that count."""
    assert report.number(value) == text


def test_who_and_where(folder: Path) -> None:
    """The heading names a class of machines, and no single machine or folder."""
    heading = report.machine_class(folder)
    assert "cores of" in heading
    assert os.uname().nodename not in heading
    assert str(folder) not in heading


def test_fleet_of_ours(folder: Path) -> None:
    """Forked programs that find a fresh login get its token, each in its own session."""
    token = sign_in(file_store(folder / ".kimi"), pair())
    with started(1, "contender", "ours", "2") as (nursery,):
        found = nursery.ask("go")["results"]
    assert [result["token"] for result in found] == [token.access_token] * 2


def test_peers_are_pinned() -> None:
    """Each peer has one version, so that a figure says what it was measured with."""
    assert len(environment._peers()) == 4
    assert all("==" in peer and "#" not in peer for peer in environment._peers())


@pytest.mark.parametrize(
    ("fails", "is_made", "is_whole", "commands"),
    [
        ((), True, True, 4),
        (("--requirement",), True, False, 4 + 4),
        (("--upgrade",), False, False, 2),
    ],
    ids=["all", "a peer cannot be installed", "no registry"],
)
def test_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: tuple[str, ...],
    is_made: bool,
    is_whole: bool,
    commands: int,
) -> None:
    """A broken installation is left out and tried again the next time; a whole one is used as it is."""
    ran: list[list[str]] = []

    def done(command: list[str], _environ: dict[str, str]) -> bool:
        ran.append(command)
        (tmp_path / "new").mkdir(exist_ok=True)
        return not set(fails) & set(command)

    monkeypatch.setattr(environment, "ENVIRONMENT", tmp_path / "new")
    monkeypatch.setattr(environment, "newer", lambda _environ: iter(["python3"]))
    monkeypatch.setattr(environment, "answer", lambda *_: "1")
    monkeypatch.setattr(environment, "_done", done)
    assert (environment.made() is not None) == is_made
    assert len(ran) == commands
    environment.made()
    assert (len(ran) == commands) == is_whole


@pytest.mark.parametrize(("prints", "is_there"), [("gho_bench", True), ("", False)])
def test_github(folder: Path, monkeypatch: pytest.MonkeyPatch, prints: str, is_there: bool) -> None:
    """The GitHub CLI is a row where it prints its token, and a reason where it does not."""
    gh = folder / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(f"#!/bin/sh\ntest -f $GH_CONFIG_DIR/hosts.yml && echo {prints}\n")
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", str(gh.parent), prepend=os.pathsep)
    assert (shell._github(folder).turn is not None) == is_there


def test_home_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench's files are its own, also when it is interrupted."""
    monkeypatch.setenv("KIMI_BASE_URL", "https://example.com")
    before = dict(os.environ)
    seen: list[str | None] = []

    def interrupted(_options: object) -> None:
        with at_home():
            seen.append(os.environ.get("KIMI_BASE_URL"))
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "_measure", interrupted)
    assert run.main(["--alone"]) == 130
    assert seen == [None]
    assert dict(os.environ) == before


def test_contended_says_who_is_missing() -> None:
    """Ours is measured in any environment, and a peer that is not there is named."""
    notes: list[str] = []
    names = [name for name, _ in contended._contenders(notes)]
    assert names[0] == "kimi-auth"
    assert len(names) + len(notes) == 2
