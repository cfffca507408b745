"""A recorded walk is followed through the machines: what they allow passes, and the first step that they do not is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kimi_auth.cli import main
from kimi_auth.machine import ACQUIRED, Library, Machine, steps
from kimi_auth.machine.trace import Trace
from kimi_auth.review.conformance import Checked, checked

OWN = Library.load()

RENEWAL = (
    ("reread", "renewable"),
    ("claim", "claimed"),
    ("look_again", "unchanged"),
    ("exchange", "tokens"),
    ("stage", "staged"),
    ("commit", "committed"),
)


def walked(
    machine: Machine, at: str, event: str, answers: Sequence[str], inner: Sequence[tuple[str, str]]
) -> list[str]:
    """The lines of a walk that the engine makes; `inner` are the answers inside the lock."""
    trace = Trace(wall_s=lambda: 1_764_000_000.0)
    outer = iter(answers)
    walk = steps(machine, at, event, observe=trace)
    due = next(walk)
    try:
        while True:
            outcome = next(outer)
            if outcome == ACQUIRED:
                assert due.child is not None
                child = steps(due.child, observe=trace)
                next(child)
                try:
                    for _, answer in inner:
                        child.send(answer)
                except StopIteration as end:
                    outcome = str(end.value)
            due = walk.send(outcome)
    except StopIteration:
        return [traced.line().strip() for traced in trace.traced]


@pytest.fixture
def renewal() -> list[str]:
    """A renewal, recorded: expired, the lock, the refresh transaction, clients are served, fresh."""
    lines = walked(OWN["token_lifecycle"], "expired", "renew", [ACQUIRED, "injected", "fresh"], RENEWAL)
    assert len(lines) == 10
    return lines


def found(lines: Sequence[str]) -> Checked:
    return checked(OWN, "\n".join(lines))


def changed(line: str, **fields: object) -> str:
    """`line` with other fields; `source` and `target` are its from and to."""
    names = {"source": "from", "target": "to"}
    return json.dumps(json.loads(line) | {names.get(key, key): value for key, value in fields.items()})


def test_a_walk_of_the_engine_conforms(renewal: list[str]) -> None:
    """The engine's own record of a renewal, its child inside, is what the machines allow."""
    assert found(renewal) == Checked(walks=1, transitions=10)


def test_several_walks_between_other_lines(renewal: list[str]) -> None:
    """Two walks may be mixed, other lines of a log lie between them, and the second one was killed on its way."""
    other = [changed(line, walk="another") for line in renewal[:4]]
    lines = [part for pair in zip(renewal, [*other, *[""] * 6], strict=True) for part in pair]
    assert found(["starting", '{"level": "info"}', *lines]) == Checked(2, 14, interrupted=1, others=2)


Edit = Callable[[list[str]], list[str]]

WRONG: dict[str, tuple[Edit, int, str]] = {
    "an outcome that is not declared": (
        lambda w: [*w[:3], changed(w[3], event="maybe"), *w[4:]],
        4,
        "looking_again has no maybe; it declares unchanged, changed",
    ),
    "an outcome that leads elsewhere": (
        lambda w: [*w[:4], changed(w[4], target="renewed"), *w[5:]],
        5,
        "tokens leads to staging",
    ),
    "a step that is left out": (lambda w: [*w[:3], *w[4:]], 4, "the walk is in token_refresh.looking_again"),
    "a step twice": (lambda w: [*w[:4], w[3], *w[4:]], 5, "the walk is in token_refresh.exchanging"),
    "a number that is not due": (lambda w: [w[0], changed(w[1], step=7), *w[2:]], 2, "step 1 of token_refresh is due"),
    "a walk that begins in the middle": (lambda w: w[1:], 1, "token_refresh is walked only inside a machine"),
    "a beginning that is no beginning": (
        lambda w: [changed(w[0], source="refreshing", event="busy", target="falling_back")],
        1,
        "a walk begins in inspecting or in a rest state, not in refreshing",
    ),
    "a parent that contradicts its child": (
        lambda w: [*w[:7], changed(w[7], event="revoked"), *w[8:]],
        8,
        "token_refresh ended in renewed, and that is the outcome",
    ),
    "a child that was never walked": (
        lambda w: [w[0], changed(w[7], step=2)],
        2,
        "renewed is an end of token_refresh, which was not walked",
    ),
    "another child": (
        lambda w: [
            w[0],
            changed(w[1], machine="sign_out", source="emptying", event="emptied", target="discarding_staged"),
        ],
        2,
        "token_lifecycle.refreshing, which does not walk sign_out",
    ),
    "a walk that goes on after its end": (lambda w: [*w, w[9]], 11, "the walk ended in fresh"),
    "an unknown machine": (lambda w: [changed(w[0], machine="magic")], 1, "there is no machine magic"),
    "an unknown state": (lambda w: [changed(w[0], source="tired")], 1, "token_lifecycle has no state tired"),
    "a transition with a name of another kind": (lambda w: [w[0], changed(w[1], to=7)], 2, "missing or malformed"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_the_first_wrong_step_is_named(renewal: list[str], fault: str) -> None:
    """Each fault is found at its line, with the reason."""
    edit, line, reason = WRONG[fault]
    deviation = found(edit(renewal)).deviation
    assert deviation is not None
    assert (deviation.line, reason in deviation.reason) == (line, True), deviation.text


def test_each_edge_led_elsewhere_is_seen(renewal: list[str]) -> None:
    """No step of the walk can lead to another state, or have another outcome, unseen."""
    for number, line in enumerate(renewal):
        step = json.loads(line)
        machine = OWN[step["machine"]]
        for target in set(machine.states) - {step["to"]}:
            assert found([*renewal[:number], changed(line, to=target), *renewal[number + 1 :]]).deviation is not None
        for event in (event for event, target in machine.states[step["from"]].on.items() if target != step["to"]):
            assert found([*renewal[:number], changed(line, event=event), *renewal[number + 1 :]]).deviation is not None


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, renewal: list[str]) -> Path:
    made = tmp_path / "walk.ndjson"
    made.write_text("\n".join(renewal))
    return made


def test_the_command(file: Path, tmp_path: Path, renewal: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 for what conforms, 1 for what does not; several files, the wrong line as text and as JSON."""
    assert main(["diagram", "--conforms", str(file), str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{file}: conforms: one walk, 10 transitions"] * 2
    bad = tmp_path / "bad.ndjson"
    bad.write_text("\n".join([renewal[0], *renewal[2:]]))
    assert main(["diagram", "--conforms", str(file), "--conforms", str(bad)]) == 1
    assert f"{bad}: line 2: walk " in capsys.readouterr().out
    assert main(["diagram", "--json", "--conforms", str(file), str(bad)]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["walks"], [one["deviation"] is None for one in said["files"]]) == (2, [True, False])
    assert said["files"][1]["deviation"]["line"] == 2


def test_the_advice_is_about_the_fault(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without a walk needs a recording; only a wrong step is something to compare with the machine."""
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    bad = tmp_path / "bad"
    bad.write_text("\n".join(file.read_text().splitlines()[1:3]))
    assert main(["diagram", "--conforms", str(empty), str(file)]) == 1
    assert capsys.readouterr().err == ("kimi-auth: 1 of 2 files: no walk (record one: kimi-auth login --trace FILE)\n")
    assert main(["diagram", "--conforms", str(empty), str(bad)]) == 1
    assert capsys.readouterr().err == (
        "kimi-auth: 1 of 2 files: a step that the machines do not allow (compare it with: kimi-auth diagram NAME)\n"
    )


def test_a_file_that_is_too_large_is_to_be_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The size and the way out, and no advice to record another."""
    large = tmp_path / "large"
    with large.open("wb") as opened:
        opened.truncate((8 << 20) + 1)
    assert main(["diagram", "--conforms", str(large)]) == 2
    said = f"kimi-auth: {large} holds more than 8 MiB (split it at the end of a walk)\n"
    assert capsys.readouterr().err == said


def test_hostile_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe, an endless file, a file without a walk and escape sequences end at once, with one clean line."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    with large.open("wb") as opened:
        opened.truncate((8 << 20) + 1)
    empty = tmp_path / "empty\x1b[31m"
    empty.write_bytes(b'\xff\x1b[2J\n{"machine": "\\u001b[2J", "from": 1, "event": 1, "to": 1}\n' + b"[" * 100_000)
    for strange, status in ((pipe, 2), (large, 2), (empty, 1), (Path("/dev/zero"), 2), (tmp_path / "none", 2)):
        assert main(["diagram", "--conforms", str(strange)]) == status
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        assert len((out + err).splitlines()) <= 2


@pytest.mark.parametrize(
    "args",
    [
        ("--conforms", "a", "--check"),
        ("one", "two"),
        ("--json",),
        ("--world", "two processes"),
        ("--export", ""),
        ("--export", "dot", "sign_out", "--world", ""),
        ("--export", "tla", "--world", ""),
        ("--world", ""),
        ("--format", ""),
    ],
)
def test_what_has_no_effect_is_refused(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Options of another question are a usage error, and empty ones, which an unset variable of a shell leaves."""
    assert main(["diagram", *args]) == 2
    capsys.readouterr()
