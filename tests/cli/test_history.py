"""What the doctor tells about yesterday."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.cli.doctor import history
from kimi_auth.clock import SystemClock
from kimi_auth.credential.history import WalkHistory
from kimi_auth.credential.status import Status
from kimi_auth.machine import NO_OBSERVER, Library, Observer, Transition
from kimi_auth.machine.recorder import ENVIRONMENT
from kimi_auth.session import Session
from kimi_auth.store import MemoryStore

Run = Callable[..., Any]
NOBODY = Status("", "", "absent", "")
YESTERDAY_S = 1_763_900_000.0


@pytest.fixture
def share(share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A share dir without a login."""
    share_dir.mkdir()
    monkeypatch.setenv("KIMI_SHARE_DIR", str(share_dir))
    return share_dir


def keep(share: Path, machine: str, *steps: tuple[str, str, str, str, float], at_s: float = YESTERDAY_S) -> None:
    """Records a walk that made these steps: machine, source, event, target, seconds."""
    now_s = at_s

    def tell(observe: Observer) -> None:
        nonlocal now_s
        for number, (name, source, event, target, seconds) in enumerate(steps, 1):
            now_s += seconds
            observe.moved(Transition(name, source, event, target, seconds, number))

    with WalkHistory(share, lambda: now_s).recording(Library.load()[machine], NO_OBSERVER) as observe:
        tell(observe)


def told() -> list[str]:
    checks = list(history.walks(Session(), NOBODY))
    assert not any(check.step for check in checks), "what is over is no finding"
    return [f"{check.name}: {check.evidence}" for check in checks]


DENIED = (
    ("device_login", "requesting_code", "code", "showing_code", 0.25),
    ("device_login", "waiting", "elapsed", "polling", 5.0),
    ("device_login", "polling", "access_denied", "denied", 0.5),
)
RENEWED = (
    ("token_lifecycle", "expired", "renew", "refreshing", 0.0),
    ("token_refresh", "exchanging", "tokens", "staging", 2.0),
    ("token_refresh", "committing", "committed", "renewed", 0.1),
    ("token_lifecycle", "refreshing", "renewed", "injecting", 2.5),
)


def test_the_last_of_each_kind(share: Path) -> None:
    """Newest first, with the time, the end and the longest step; how to see more of one is said once."""
    for day in range(3):
        keep(share, "device_login", *DENIED, at_s=YESTERDAY_S - day * 86_400)
    keep(share, "token_lifecycle", *RENEWED, at_s=YESTERDAY_S + 60)
    assert told() == [
        "last walks: 2025-11-23 12:14:20 UTC: token_lifecycle was interrupted after 4.60 s, longest exchanging 2.00 s",
        "last walks: 2025-11-23 12:13:20 UTC: device_login ended in denied after 5.75 s, longest waiting 5.00 s",
        f"all walks: the newest drawn over its machine: kimi-auth diagram --trace last; another: --trace {share}/kimi-auth/walks/FILE",
    ]


def test_machines_of_another_version(share: Path) -> None:
    """What this version does not know is told as far as it goes."""
    keep(share, "sign_out", ("sign_out", "long_gone", "done", "elsewhere", 1.0), ("gone", "a", "b", "c", 2.0))
    assert told()[0] == "last walks: 2025-11-23 12:13:20 UTC: sign_out was interrupted after 3.00 s"


def test_nothing_to_tell(share: Path) -> None:
    """No walk, none that can be read, and a credential that is no file."""
    assert told() == []
    keep(share, "device_login", *DENIED)
    (file,) = (share / "kimi-auth" / "walks").iterdir()
    file.write_text("")
    assert told() == []
    keep(share, "device_login", *DENIED)
    assert list(history.walks(Session(store=MemoryStore(SystemClock())), NOBODY)) == []


def test_a_life_is_told(kimi: Run, age: Run, share_dir: Path) -> None:
    """A login, a renewal and a logout by commands: each is told, and the file that is named can be drawn."""
    assert kimi("login").status == 0
    age(-5.0)
    kimi("token")
    rows = [row for row in kimi("doctor").out.splitlines() if "last walks" in row]
    assert ["token_lifecycle ended in fresh" in rows[0], "device_login ended in signed_in" in rows[1]] == [True, True]
    for file in (share_dir / "kimi-auth" / "walks").iterdir():
        assert "ended in" in kimi("diagram", "--trace", str(file)).out


def test_a_trace_bypasses_nobody(kimi: Run, tmp_path: Path, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --trace the walk is in the file, in the kept walks, in the log and in whatever else listens to every
    command."""
    edges, file = tmp_path / "edges", tmp_path / "walk.ndjson"
    edges.mkdir()
    monkeypatch.setenv(ENVIRONMENT, str(edges))
    said = kimi("--verbose", "login", "--trace", str(file))
    assert said.status == 0
    traced = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    recorded = [json.loads(line)[2] for path in edges.iterdir() for line in path.read_text().splitlines()]
    (kept,) = (share_dir / "kimi-auth" / "walks").glob("*-device_login-*")
    assert traced[-1] == "injected"
    assert [json.loads(line)["event"] for line in kept.read_text().splitlines()] == traced
    assert set(traced) <= set(recorded)
    assert "device_login: injecting --injected--> signed_in" in said.err
