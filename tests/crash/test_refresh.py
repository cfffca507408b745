"""A renewal is torn at every step of it, by everything that can tear it; the next run recovers by itself.

An immediate end (SIGKILL, `os._exit`, SIGTERM while a worker thread renews and nothing guards it) leaves the disk as it
is. A request to end (any other signal, cancellation, the end of a block or of the interpreter) waits until the pair is
safe.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from crash.held_answers import IN_FLIGHT, HoldingStage
from fleet.invariants import violations
from fleet.stage import Age, Stage, Worker
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator import Fault
from kimi_auth.token import Token

pytestmark = pytest.mark.timeout(120)

LATER_S = 1000.0
"""Past every backoff that one failure sets."""

EMPTY = Token("", "", 0.0, 0.0, signed_out_at_s=1_800_000_000.0)


# --- what ends a process at once -------------------------------------------------------------------------------------


def sigkill(worker: Worker) -> None:
    worker.kill()


def os_exit(worker: Worker) -> None:
    worker.order("os_exit")
    assert worker.end() == 7
    worker.was_killed = True


def unheld(number: signal.Signals) -> Callable[[Worker], None]:
    def end(worker: Worker) -> None:
        worker.send(number)
        assert worker.end() == -number
        worker.was_killed = True

    return end


HARD: dict[str, tuple[str, Callable[[Worker], None]]] = {
    "SIGKILL": ("obtain", sigkill),
    "os._exit": ("obtain", os_exit),
    "SIGTERM during a worker thread's renewal": ("obtain_in_thread", unheld(signal.SIGTERM)),
    "SIGHUP during a worker thread's renewal": ("obtain_in_thread", unheld(signal.SIGHUP)),
}


class Left(NamedTuple):
    """What an end at a step leaves behind: requests that were sent, and whether their answer had a reader."""

    sends: int
    is_lost: bool = False


STEPS = {
    "token_lifecycle.inspecting": Left(0),
    "token_lifecycle.refreshing": Left(0),
    "token_refresh.rereading": Left(0),
    "token_refresh.claiming": Left(0),
    "token_refresh.looking_again": Left(0),
    "token_refresh.exchanging": Left(0),
    IN_FLIGHT: Left(1, is_lost=True),
    "token_refresh.staging": Left(1, is_lost=True),
    "token_refresh.committing": Left(1),
    "token_lifecycle.injecting": Left(1),
}
TELLING = {"token_refresh.claiming", IN_FLIGHT, "token_refresh.staging", "token_refresh.committing"}
"""The steps before which something else is on disk, or at the server: all others stand beside one of these."""

MOMENTS = (
    "token_refresh.claiming",
    "token_refresh.exchanging",
    IN_FLIGHT,
    "token_refresh.staging",
    "token_refresh.committing",
    "token_lifecycle.injecting",
)
"""The steps at which `test_signals.py::test_every_use_at_every_moment` sends each signal to each use."""


def is_elsewhere(how: str, step: str) -> bool:
    """True if `test_signals.py` has this row."""
    return step in MOMENTS and how in {
        "SIGTERM during a worker thread's renewal",
        "SIGHUP during a worker thread's renewal",
        "SIGINT to an event loop",
        "SIGTERM to an event loop",
    }


KILLED = [
    pytest.param(how, step, reuse, id=f"{how} at {step}, {reuse}",
                 marks=() if (how, reuse) == ("SIGKILL", "strict") and step in TELLING else pytest.mark.prove)
    for how in HARD for reuse in ("strict", "grace:60") for step in STEPS
    if (how == "SIGKILL" or reuse == "strict") and not is_elsewhere(how, step)
]  # fmt: skip


@pytest.mark.parametrize(("how", "step", "reuse"), KILLED)
def test_ended_at_once(stage: HoldingStage, how: str, step: str, reuse: str) -> None:
    """The next run takes over: it commits a staged pair, repeats a request in declared recovery, or begins anew."""
    left, (call, end) = STEPS[step], HARD[how]
    stage.serve(reuse=reuse)
    stage.sign_in("expired")
    worker = stand(stage, call, step)
    end(worker)
    assert len(stage.sends) == left.sends
    result = stage.next_run()
    is_over = left.is_lost and reuse == "strict"
    assert result.error == ("revoked" if is_over else "")
    assert len(stage.sends) == (left.sends if left.sends and not left.is_lost else left.sends + 1)
    if not is_over:
        assert (stage.look().access, stage.works) == (result.access, True)
        sent = len(stage.sends)
        assert (stage.next_run(), len(stage.sends))[1] == sent
    assert stage.next_run().error == result.error
    assert violations(stage, dead_owners=int(left.is_lost)) == []


def stand(stage: HoldingStage, call: str, step: str, **options: object) -> Worker:
    """A process that stands before `step`, or whose request has arrived and is not answered until it is let go."""
    if step != IN_FLIGHT:
        worker = stage.start(call, gates=[step], **options)
        worker.held(step)
        return worker
    stage.hold("token", "refresh_token")
    worker = stage.start(call, **options)
    stage.arrived(1)
    return worker


# --- what only wants to end it ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Soft:
    """`ask` asks the process to end while it stands at a step; `check` looks at how it ended."""

    call: str
    ask: Callable[[Worker], None]
    check: Callable[[Worker], None]
    age: Age = "expired"
    one_shot: bool = False


def ends(status: int) -> Callable[[Worker], None]:
    def check(worker: Worker) -> None:
        assert worker.end() == status, worker.story()

    return check


def interrupted(worker: Worker) -> None:
    assert worker.wait_for("end")["end"] == "KeyboardInterrupt"
    assert worker.end() == 130


ANNOUNCED = "kimi-auth: a renewal is in progress; exiting as soon as its result is stored\n"


def interrupted_at_exit(worker: Worker) -> None:
    """Without a traceback; what it waits for is said only where the wait lasts a second."""
    assert worker.end() == 0
    assert worker.stderr() in {"", ANNOUNCED}


def signals(*numbers: signal.Signals) -> Callable[[Worker], None]:
    def ask(worker: Worker) -> None:
        for number in numbers:
            worker.send(number)

    return ask


def interrupt_impatiently(worker: Worker) -> None:
    """The second one comes when the first has reached the task: microseconds after it, asyncio itself may lose a wake-up."""
    worker.send(signal.SIGINT)
    worker.wait_for("cancelled")
    worker.send(signal.SIGINT)


def cancel(worker: Worker) -> None:
    worker.order("cancel")
    assert worker.result().error == "CancelledError"


def leave_block(worker: Worker) -> None:
    worker.order("leave")
    worker.wait_for("leaving")


def leave_program(worker: Worker) -> None:
    assert worker.wait_for("end")["end"] == "returned"


def leave_program_impatiently(worker: Worker) -> None:
    leave_program(worker)
    worker.wait_for("exiting")
    signals(signal.SIGINT, signal.SIGINT)(worker)


SOFT = {
    "SIGINT to a command": Soft("obtain", signals(signal.SIGINT), interrupted, one_shot=True),
    "SIGTERM to a command": Soft("obtain", signals(signal.SIGTERM), ends(-signal.SIGTERM), one_shot=True),
    "SIGHUP to a command": Soft("obtain", signals(signal.SIGHUP), ends(-signal.SIGHUP), one_shot=True),
    "SIGINT to an event loop": Soft("obtain_async", signals(signal.SIGINT), interrupted),
    "two SIGINT to an event loop": Soft("obtain_async", interrupt_impatiently, interrupted),
    "SIGTERM to an event loop": Soft("obtain_async", signals(signal.SIGTERM), ends(-signal.SIGTERM)),
    "cancellation": Soft("obtain_async", cancel, ends(0)),
    "end of kept_fresh": Soft("kept_fresh", leave_block, ends(0), age="fresh"),
    "interpreter exit": Soft("obtain", leave_program, ends(0), age="expiring"),
    "interpreter exit, two Ctrl-C": Soft("obtain", leave_program_impatiently, interrupted_at_exit, age="expiring"),
}
IN_THE_AIR = [step for step in STEPS if step != "token_lifecycle.inspecting"]
SAMPLE = {"SIGINT to a command", "SIGTERM to a command", "cancellation", "end of kept_fresh", "interpreter exit"}
"""One of each kind; the others are the same with another signal, or with two."""

ASKED = [
    pytest.param(how, step, id=f"{how} at {step}",
                 marks=() if step == "token_refresh.exchanging" and how in SAMPLE else pytest.mark.prove)
    for how in SOFT for step in IN_THE_AIR if not is_elsewhere(how, step)
]  # fmt: skip


@pytest.mark.parametrize(("how", "step"), ASKED)
def test_asked_to_end(stage: HoldingStage, how: str, step: str) -> None:
    """The renewal lands all the same: one exchange, the new pair on disk, and nothing left for the next run to do."""
    soft = SOFT[how]
    token = stage.sign_in(soft.age)
    if soft.call == "kept_fresh":
        worker = stand_in_block(stage, token, step)
    else:
        worker = stand(stage, soft.call, step, one_shot=soft.one_shot)
    soft.ask(worker)
    stage.let_go(worker, step)
    soft.check(worker)
    now = stage.look()
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert now.refresh not in {"", stage.seen[0].refresh}
    assert stage.next_run().access == now.access
    assert len(stage.sends) == 1
    assert violations(stage) == []


def stand_in_block(stage: HoldingStage, token: Token, step: str) -> Worker:
    """A process in `kept_fresh`, whose token comes to its last minutes while the block runs."""
    if step == IN_FLIGHT:
        stage.hold("token", "refresh_token")
    worker = stage.start("kept_fresh", hurry=True, gates=[] if step == IN_FLIGHT else [step])
    worker.wait_for("inside")
    ages = Token(token.access_token, token.refresh_token, token.expires_at_s - 600.0, 900.0, issuer=token.issuer)
    with stage.store.locked(NO_LIMIT_S) as held:
        assert held
        stage.store.put(ages)
    if step == IN_FLIGHT:
        stage.arrived(1)
    else:
        worker.held(step)
    return worker


# --- the steps that only a transient error reaches -------------------------------------------------------------------


def nothing(_: Stage) -> None:
    """The scene needs no more than its gates and faults."""


def leave_a_claim(stage: HoldingStage) -> None:
    stand(stage, "obtain", "token_refresh.exchanging").kill()


def another_login(stage: Stage) -> None:
    stage.overwrite(stage.issue("fresh"))


def another_logout(stage: Stage) -> None:
    stage.overwrite(EMPTY)


def end_the_login(stage: Stage) -> None:
    stage.state.revoke_family()


def refuse(status: int, body: str | None = None, **headers: str) -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        stage.state.inject(Fault("token", grant="refresh_token", status=status, body=body, headers=headers))

    return inject


@dataclass(frozen=True)
class Scene:
    """`before` the process starts; `meanwhile`, as it stands at the first of two gates; what the next run is told."""

    gates: tuple[str, ...]
    before: Callable[[HoldingStage], None] = nothing
    meanwhile: Callable[[Stage], None] = nothing
    told: str = ""


TOO_MANY = refuse(429, **{"Retry-After": "2"})
BROKEN = refuse(503)
SCENES = {
    "reclaiming": Scene(("token_refresh.reclaiming",), leave_a_claim),
    "withdrawing": Scene(
        ("token_refresh.looking_again", "token_refresh.withdrawing"), meanwhile=another_login
    ),
    "revoking": Scene(
        ("token_refresh.committing", "token_refresh.revoking"), meanwhile=another_logout, told="not_signed_in"
    ),
    "recording a refusal": Scene(("token_refresh.recording_revoked",), end_the_login, told="revoked"),
    "recording something unrecognized": Scene(("token_refresh.recording_unrecognized",), refuse(403, "<html>go away</html>")),
    "withdrawing what was not sent": Scene(("token_refresh.withdrawing_unsent",), TOO_MANY),
    "postponing": Scene(("token_refresh.postponing",), TOO_MANY),
    "falling_back": Scene(("token_lifecycle.falling_back",), refuse(429, **{"Retry-After": "600"})),
    "postponing_in_doubt": Scene(("token_refresh.postponing_in_doubt",), BROKEN),
    "backing off": Scene(("token_lifecycle.backing_off",), BROKEN),
}  # fmt: skip
ENDS: dict[str, tuple[str, Callable[[Worker], None], Callable[[Worker], None] | None]] = {
    **{name: (call, end, None) for name, (call, end) in HARD.items()},
    **{name: (soft.call, soft.ask, soft.check) for name, soft in SOFT.items() if soft.age == "expired"},
}
ROUGH = {"reclaiming", "withdrawing", "revoking", "recording a refusal", "postponing_in_doubt"}
"""One scene of each kind: a claim of another process, another login, a logout, a server's word, and no word."""

ON_A_FAILURE_PATH = [
    pytest.param(how, scene, id=f"{how} at {scene}",
                 marks=() if how == "SIGKILL" and scene in ROUGH else pytest.mark.prove)
    for how in ENDS for scene in SCENES if not how.startswith(("two", "SIGHUP"))
]  # fmt: skip


LEFT_BEHIND = {"withdrawing": (True, "pair"), "revoking": (False, "signed out"), "postponing_in_doubt": (True, "pair")}
"""By scene: whether a claim is on disk after the death, of whichever pair, and what the record is. `diagrams/review.html` says the
same in "If the process dies"."""


@pytest.mark.parametrize("scene", LEFT_BEHIND)
def test_what_a_death_leaves_on_disk(stage: HoldingStage, scene: str) -> None:
    """The files are those that the pages list: a claim of a replaced pair stays, and a logout's record has none."""
    around, (has_claim, record) = SCENES[scene], LEFT_BEHIND[scene]
    stage.sign_in("expired")
    around.before(stage)
    worker = stage.start("obtain", gates=list(around.gates), hurry=True)
    for gate in around.gates[:-1]:
        worker.held(gate)
        around.meanwhile(stage)
        worker.order("on")
    worker.held(around.gates[-1])
    sigkill(worker)
    snapshot = stage.store.read()
    assert ("pair" if snapshot.token and snapshot.token.refresh_token else "signed out") == record
    claims = [file.name for file in stage.share_dir.rglob("*") if file.is_file() and file.name.endswith(".next")]
    assert bool(claims) == has_claim, claims


@pytest.mark.parametrize(("how", "scene"), ON_A_FAILURE_PATH)
def test_ended_on_a_failure_path(stage: HoldingStage, how: str, scene: str) -> None:
    """On the steps off the straight road too, the next run works, or reports the true state."""
    (call, ask, check), around = ENDS[how], SCENES[scene]
    stage.sign_in("expired")
    around.before(stage)
    worker = stage.start(call, gates=list(around.gates), hurry=True)
    for gate in around.gates[:-1]:
        worker.held(gate)
        around.meanwhile(stage)
        worker.order("on")
    worker.held(around.gates[-1])
    ask(worker)
    if check is not None:
        worker.order("on")
        check(worker)
    result = stage.next_run(wall_offset_s=LATER_S)
    assert result.error == around.told
    assert around.told or stage.works
    assert violations(stage) == []
