"""The engine, driven by hand and by both drivers."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from kimi_auth.machine import (
    NO_OBSERVER,
    Library,
    Machine,
    MachineError,
    Observers,
    Step,
    Transition,
    engine,
    steps,
    walk_async,
    walk_sync,
)

START: tuple[str, ...] = ()


class Script:
    """Plain hooks that answer from a script; the context is the tuple of the activities that ran."""

    def __init__(self, **answers: Iterable[Any]) -> None:
        self._answers = {activity: iter(outcomes) for activity, outcomes in answers.items()}
        self.log: list[str] = []

    def __getattr__(self, activity: str) -> Callable[[tuple[str, ...]], tuple[Any, tuple[str, ...]]]:
        def hook(ctx: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
            self.log.append(activity)
            answer = next(self._answers[activity])
            if isinstance(answer, BaseException):
                raise answer
            return answer, (*ctx, activity)

        return hook

    @contextmanager
    def take_key(self, ctx: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
        """The hook of the walking state: logs when the key is taken and when it is given back."""
        self.log.append("key taken")
        try:
            yield next(self._answers["take_key"]), (*ctx, "take_key")
        finally:
            self.log.append("key back")


class AwaitedScript(Script):
    """The same as hooks that are awaited and give way in the middle."""

    def __getattr__(self, activity: str) -> Any:
        hook = super().__getattr__(activity)

        async def awaited(ctx: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
            await asyncio.sleep(0)
            return hook(ctx)

        return awaited


class Notes:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def entered(self, machine: str, state: str, activity: str) -> None:
        """Notes the activity that is about to run."""
        self.told.append((machine, state, activity))

    def moved(self, transition: Transition) -> None:
        """Notes the transition."""
        self.told.append(transition)


def walk(machine: Machine, hooks: Script, *, awaited: bool, **arguments: Any) -> tuple[str, tuple[str, ...]]:
    """Walks with the driver that fits the hooks, from an empty context."""
    if awaited:
        return asyncio.run(walk_async(machine, hooks, START, **arguments))
    return walk_sync(machine, hooks, START, **arguments)


both = pytest.mark.parametrize(
    ("script", "awaited"), [(Script, False), (AwaitedScript, True)], ids=["walk_sync", "walk_async"]
)


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_by_hand(library: Library) -> None:
    """The generator yields each step, is sent outcomes and returns the rest state."""
    by_hand = steps(library["call"])
    assert next(by_hand) == Step("call", "dialling", "dial", None)
    assert by_hand.send("engaged") == Step("call", "dialling", "dial", None)
    assert by_hand.send("answered") == Step("call", "talking", "talk", None)
    with pytest.raises(StopIteration) as end:
        by_hand.send("done")
    assert end.value.value == "hung_up"


def test_by_hand_from_a_rest_state(library: Library) -> None:
    """An event from outside starts a walk in a rest state."""
    assert next(steps(library["call"], "hung_up", "ring")) == Step("call", "talking", "talk", None)


def test_by_hand_a_walking_state_names_its_child(library: Library) -> None:
    """The step of a walking state carries the very machine that the library holds."""
    assert next(steps(library["errand"])) == Step("errand", "waiting_for_key", "take_key", library["door"])


def test_a_walk_that_starts_at_rest_is_over(load: Callable[..., Library]) -> None:
    """A machine whose initial state is a rest state answers without running anything."""
    still = 'name = "still"\nabout = "S."\ninitial = "lying"\n[states.lying]\nabout = "L."\ntone = "plain"\n'
    assert walk_sync(load(still=still)["still"], object(), 7) == ("lying", 7)


def test_an_outside_event_may_lead_to_rest(load: Callable[..., Library]) -> None:
    """From one rest state straight to another: one transition, no activity."""
    text = (
        'name = "lamp"\nabout = "L."\ninitial = "off"\n'
        '[states.off]\nabout = "O."\ntone = "plain"\non.press = "on"\n[states.on]\nabout = "I."\ntone = "good"\n'
    )
    notes = Notes()
    assert walk_sync(load(lamp=text)["lamp"], object(), None, at="off", event="press", observe=notes) == ("on", None)
    assert notes.told == [Transition("lamp", "off", "press", "on", 0.0, 1)]


@pytest.mark.parametrize(
    ("at", "event", "message"),
    [
        ("hung_up", None, "call: a walk from a rest state needs both at and event"),
        (None, "ring", "call: a walk from a rest state needs both at and event"),
        ("talking", "done", "call: 'talking' is no rest state; a walk starts in one of hung_up, gave_up"),
        ("nowhere", "done", "call: 'nowhere' is no rest state; a walk starts in one of hung_up, gave_up"),
        (
            "hung_up",
            "sing",
            "call: in 'hung_up' was sent from outside 'sing', which is not declared; declared: ring",
        ),
        (
            "gave_up",
            "ring",
            "call: in 'gave_up' was sent from outside 'ring', which is not declared; declared: none",
        ),
    ],
)
def test_a_wrong_start(library: Library, at: str | None, event: str | None, message: str) -> None:
    """A walk cannot begin anywhere else."""
    with pytest.raises(MachineError) as caught:
        next(steps(library["call"], at, event))
    assert str(caught.value) == message


# --- both drivers ----------------------------------------------------------------------------------------------------


@both
def test_a_walk(library: Library, script: type[Script], awaited: bool) -> None:
    """Hooks are found by name, and the context goes from one to the next."""
    hooks = script(dial=["engaged", "answered", "dead"], talk=["cut_off"])
    assert walk(library["call"], hooks, awaited=awaited) == ("gave_up", ("dial", "dial", "talk", "dial"))


@both
def test_a_walk_from_outside(library: Library, script: type[Script], awaited: bool) -> None:
    """`at` and `event` skip the initial state."""
    assert walk(library["call"], script(talk=["done"]), awaited=awaited, at="hung_up", event="ring") == (
        "hung_up",
        ("talk",),
    )


SECRET = "eyJhbGciOiJub25lIn0.secret"


@both
@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ("dnoe", "'dnoe'"),
        ("ring", "'ring'"),
        ("acquired", "'acquired'"),
        (SECRET, "something that is no outcome (str)"),
        ("a" * 31, "something that is no outcome (str)"),
        ({"access_token": SECRET}, "something that is no outcome (dict)"),
        (None, "something that is no outcome (NoneType)"),
    ],
)
def test_an_undeclared_outcome(library: Library, script: type[Script], awaited: bool, outcome: Any, shown: str) -> None:
    """It is a bug in the hook, named in full; what does not look like an outcome is not shown."""
    with pytest.raises(MachineError) as caught:
        walk(library["call"], script(dial=["answered"], talk=[outcome]), awaited=awaited)
    expected = f"call: in 'talking' talk answered {shown}, which is not declared; declared: done, cut_off"
    assert str(caught.value) == expected


@both
@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, OSError, GeneratorExit])
def test_what_a_hook_raises_comes_out_as_it_is(
    library: Library, script: type[Script], awaited: bool, error: type[BaseException]
) -> None:
    """Cancellations, signals and bugs pass through untouched: the same object, no chain, nothing run after it."""
    raised = error("as it is")
    hooks = script(dial=["answered"], talk=[raised])

    async def inside_a_task() -> BaseException:
        try:
            await walk_async(library["call"], hooks, START)
        except BaseException as caught:  # noqa: BLE001 - the loop must not see a KeyboardInterrupt
            return caught
        raise AssertionError("nothing was raised")

    if awaited:
        caught = asyncio.run(inside_a_task())
    else:
        with pytest.raises(error) as info:
            walk_sync(library["call"], hooks, START)
        caught = info.value
    assert caught is raised
    assert caught.__cause__ is None
    assert caught.__context__ is None
    assert hooks.log == ["dial", "talk"]


@both
@pytest.mark.parametrize(("limit", "enough"), [(3, False), (4, True)])
def test_the_step_bound(library: Library, script: type[Script], awaited: bool, limit: int, enough: bool) -> None:
    """A walk that is not at rest after `limit` transitions is a bug; the limit itself is allowed."""
    hooks = script(dial=["engaged", "engaged", "answered"], talk=["done"])
    if enough:
        assert walk(library["call"], hooks, awaited=awaited, limit=limit)[0] == "hung_up"
        return
    with pytest.raises(MachineError, match=r"^call: not at rest after 3 transitions, now in 'talking'$"):
        walk(library["call"], hooks, awaited=awaited, limit=limit)
    assert "talk" not in hooks.log


def test_the_default_bound_stops_a_walk_that_never_ends(library: Library) -> None:
    """A limit exists by default."""
    hooks = Script(dial=iter(lambda: "engaged", None))
    with pytest.raises(MachineError, match="not at rest after 10000 transitions"):
        walk_sync(library["call"], hooks, START)
    assert len(hooks.log) == engine.STEP_LIMIT


def test_a_real_cancellation_reaches_the_hook_and_the_caller(library: Library) -> None:
    """A task that is cancelled while a hook waits ends cancelled, after the hook has cleaned up."""
    seen: list[str] = []

    class Waiting:
        async def dial(self, ctx: None) -> tuple[str, None]:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cleaned up")
            raise AssertionError

    async def main() -> None:
        task = asyncio.create_task(walk_async(library["call"], Waiting(), None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await walk_async(library["call"], Waiting(), None)

    asyncio.run(main())
    assert seen == ["cleaned up"] * 2


# --- children --------------------------------------------------------------------------------------------------------


def test_a_child_is_walked_while_the_resource_is_held(library: Library) -> None:
    """Take, walk the child with the same hooks, give back; the child's rest state is the event."""
    hooks = Script(take_key=["acquired"], turn=["stuck", "open"], oil=["oiled"])
    assert walk_sync(library["errand"], hooks, START) == ("at_home", ("take_key", "turn", "oil", "turn"))
    assert hooks.log == ["key taken", "turn", "oil", "turn", "key back"]


def test_without_the_resource_no_child_is_walked(library: Library) -> None:
    """Any other answer of the hook is the event, and the context manager is left all the same."""
    hooks = Script(take_key=["busy"])
    assert walk_sync(library["errand"], hooks, START) == ("outside", ("take_key",))
    assert hooks.log == ["key taken", "key back"]


def test_an_outside_event_may_lead_into_a_child(library: Library) -> None:
    """A rest state of the parent leads back into the walking state."""
    hooks = Script(take_key=["acquired"], turn=["stuck"], oil=["hopeless"])
    assert walk_sync(library["errand"], hooks, START, at="outside", event="retry")[0] == "outside"


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, OSError])
def test_what_is_raised_in_a_child_comes_out_through_the_with(library: Library, error: type[BaseException]) -> None:
    """The resource is given back and the exception goes on as it is."""
    raised = error("as it is")
    hooks = Script(take_key=["acquired"], turn=[raised])
    with pytest.raises(error) as caught:
        walk_sync(library["errand"], hooks, START)
    assert caught.value is raised
    assert hooks.log == ["key taken", "turn", "key back"]


def test_a_with_that_swallows_an_exception_is_found_out(library: Library) -> None:
    """A hook that hides what happened in the child does not end the walk as if nothing had been."""

    class Swallowing(Script):
        @contextmanager
        def take_key(self, ctx: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
            with suppress(OSError):
                yield "acquired", ctx

    with pytest.raises(MachineError, match="take_key answered 'acquired', which is not declared"):
        walk_sync(library["errand"], Swallowing(turn=[OSError()]), START)


def test_the_limit_is_the_childs_too(library: Library) -> None:
    """A child that never ends is stopped, and the resource is given back."""
    hooks = Script(take_key=["acquired"], turn=["stuck"] * 9, oil=["oiled"] * 9)
    with pytest.raises(MachineError, match=r"^door: not at rest after 5 transitions, now in 'oiling'$"):
        walk_sync(library["errand"], hooks, START, limit=5)
    assert hooks.log[-1] == "key back"


def test_the_awaiting_driver_walks_no_child(library: Library) -> None:
    """A transaction that must not be torn is not for a task that can be cancelled."""
    with pytest.raises(MachineError, match=r"^errand: 'waiting_for_key' walks door; use walk_sync, in a thread$"):
        asyncio.run(walk_async(library["errand"], Script(), START))


def test_a_locked_machine_may_be_walked_directly(library: Library) -> None:
    """Tests and checkers walk a child alone."""
    assert walk_sync(library["door"], Script(turn=["open"]), START)[0] == "inside"


def test_a_machine_that_no_library_linked(texts: dict[str, str], library: Library) -> None:
    """A machine made by hand names the missing child instead of skipping its child."""
    alone = Machine.from_data(library["errand"].data())
    with pytest.raises(MachineError, match="walks 'door', which is not linked; load both in a Library"):
        next(steps(alone))


# --- observers -------------------------------------------------------------------------------------------------------


def test_what_observers_are_told(library: Library) -> None:
    """Each activity before it runs, each transition after it, children's too; seconds come from the given clock."""
    notes = Notes()
    clock = iter([10.0, 20.0, 20.5, 40.0])
    hooks = Script(take_key=["acquired"], turn=["open"])
    walk_sync(
        library["errand"], hooks, START, at="outside", event="retry", observe=notes, monotonic=lambda: next(clock)
    )
    assert notes.told == [
        Transition("errand", "outside", "retry", "waiting_for_key", 0.0, 1),
        ("errand", "waiting_for_key", "take_key"),
        ("door", "turning", "turn"),
        Transition("door", "turning", "open", "inside", 0.5, 1),
        Transition("errand", "waiting_for_key", "inside", "at_home", 30.0, 2),
    ]


def test_an_observer_of_an_awaited_walk(library: Library) -> None:
    """The awaiting driver tells the same."""
    notes = Notes()
    walk(library["call"], AwaitedScript(dial=["dead"]), awaited=True, observe=notes, monotonic=lambda: 1.0)
    assert notes.told == [("call", "dialling", "dial"), Transition("call", "dialling", "dead", "gave_up", 0.0, 1)]


def test_the_default_clock_is_looked_up_at_the_call(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a test has replaced is the one that is read."""
    ticks = iter([1.0, 4.0])
    notes = Notes()
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: next(ticks))
        walk_sync(library["call"], Script(dial=["dead"]), START, observe=notes)
    assert notes.told[-1].seconds == 3.0


def test_several_observers_in_order(library: Library) -> None:
    """Observers are told one after the other; no observer at all is fine."""
    first, second = Notes(), Notes()
    second.told = first.told
    walk_sync(library["call"], Script(dial=["dead"]), START, observe=Observers(first, NO_OBSERVER, second))
    assert first.told[0] == first.told[1]
    assert first.told[2] is first.told[3]
    assert len(first.told) == 4


def test_a_gate_before_each_activity(library: Library) -> None:
    """An observer that raises on `entered` stops the walk before the hook runs: so crash tests stop at each step."""

    class Gate(Notes):
        def entered(self, machine: str, state: str, activity: str) -> None:
            if activity == "oil":
                raise SystemExit(9)

    hooks = Script(take_key=["acquired"], turn=["stuck"], oil=["oiled"])
    with pytest.raises(SystemExit):
        walk_sync(library["errand"], hooks, START, observe=Gate())
    assert hooks.log == ["key taken", "turn", "key back"]


# --- what it stands on -----------------------------------------------------------------------------------------------


def test_a_hook_that_is_missing(library: Library) -> None:
    """A hooks object without the method of an activity stops the walk with a line that names both, sync and async."""
    words = "'dialling' runs dial, which object does not have; .*diagram --check"
    with pytest.raises(MachineError, match=words):
        walk_sync(library["call"], object(), START)
    with pytest.raises(MachineError, match=words):
        asyncio.run(walk_async(library["call"], object(), START))


def test_tables_are_built_once(library: Library) -> None:
    """One declaration, one transitions.Machine, however many walks."""
    built = engine._tables.cache_info().misses
    for _ in range(3):
        walk_sync(library["call"], Script(dial=["dead"]), START)
    assert engine._tables.cache_info().misses == built + 1


def test_any_plain_name_can_be_an_outcome(load: Callable[..., Library]) -> None:
    """Names that the tables underneath use themselves are as good as others."""
    names = ["state", "trigger", "initial", "to", "model", "on", "at", "is_state", "send"]
    ends = "".join(f'on.{name} = "state"\n' for name in names)
    text = (
        'name = "odd"\nabout = "O."\ninitial = "machine"\n'
        f'[states.machine]\nabout = "M."\nactivity = "run"\n{ends}[states.state]\nabout = "S."\ntone = "good"\n'
    )
    machine = load(odd=text)["odd"]
    for name in names:
        assert walk_sync(machine, Script(run=[name]), START)[0] == "state"


def test_a_walk_writes_nothing_to_the_log_of_the_program(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    """Programs that log at INFO do not read about our states."""
    caplog.set_level(logging.INFO)
    walk_sync(library["call"], Script(dial=["engaged", "dead"]), START)
    assert caplog.records == []


def test_two_threads_step_through_one_machine(library: Library) -> None:
    """Walks share the tables and nothing else: each ends as its own script says."""
    machine, rounds = library["call"], 300
    ends: dict[str, set[str]] = {}
    start = threading.Barrier(2)

    def run(outcome: str) -> None:
        start.wait()
        scripts = (Script(dial=["engaged"] * 5 + [outcome], talk=["done"]) for _ in range(rounds))
        ends[outcome] = {walk_sync(machine, hooks, START)[0] for hooks in scripts}

    threads = [threading.Thread(target=run, args=(outcome,)) for outcome in ("answered", "dead")]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert ends == {"answered": {"hung_up"}, "dead": {"gave_up"}}


def test_two_walks_taken_in_turns(library: Library) -> None:
    """Two generators over one machine do not see each other."""
    one, other = steps(library["call"]), steps(library["call"])
    next(one)
    next(other)
    assert one.send("answered").state == "talking"
    assert other.send("engaged").state == "dialling"
    assert one.send("cut_off").state == "dialling"
