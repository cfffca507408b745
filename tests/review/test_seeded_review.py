"""Edits of the machines that a reviewer must not miss: the lines of the difference for each, the walk on which it is
observable, and the check that stops it before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from kimi_auth.credential.contracts import SignOutContract, TokenLifecycleContract, TokenRefreshContract
from kimi_auth.login.contracts import DeviceLoginContract
from kimi_auth.machine import Library, Machine, MachineError, SpecError, Step, disagreements, steps
from kimi_auth.proof.effects import Config
from kimi_auth.proof.explore import ANY, explore
from kimi_auth.proof.scenarios import SCENARIOS, broken_scenario
from kimi_auth.proof.verdicts import GUARDED
from kimi_auth.proof.world import World
from kimi_auth.review.difference import compare
from kimi_auth.review.revisions import Revision

OWN = Library.load()
HOOKS = {
    "device_login": DeviceLoginContract,
    "sign_out": SignOutContract,
    "token_lifecycle": TokenLifecycleContract,
    "token_refresh": TokenRefreshContract,
}
TWO = Config(logins=0, logouts=0, any_need=False, full_disk=False, all_answers=False)
ONE_SIGNS_OUT = TWO._replace(logouts=1)
POWER_CUTS = TWO._replace(processes=1, power=True)


@dataclass(frozen=True)
class Seeded:
    """`changes`: path inside the machines as data → value, None removes it. `says` and `tells`: the first line
    of the difference, and its witness. `stops`: the check that fails, named as lint, lock discipline, hook contract
    or scenario, "" if only the difference shows it. `rule`: the rule that `world` breaks."""

    changes: Mapping[str, Any]
    says: str
    tells: str
    stops: str = ""
    rule: str = ""
    world: Config = TWO


SEEDED: dict[str, Seeded] = {
    "a refusal of the person is polled away": Seeded(
        {"device_login.states.polling.on.access_denied": "waiting"},
        "polling --access_denied--> waiting, before denied",
        "ready → code → shown → elapsed → access_denied: rests in denied (bad), now runs wait holding nothing",
        "lint: device_login.toml, [states.denied]: cannot be reached from 'checking_store'",
    ),
    "a server that asks for patience is asked again at once": Seeded(
        {"device_login.states.polling.on.slow_down": "polling"},
        "polling --slow_down--> polling, before waiting",
        "ready → code → shown → elapsed → slow_down: runs wait holding nothing, now runs poll_token holding nothing",
        "scenario: pending, slow_down and a lost answer all wait and ask again, with the same code",
    ),
    "a grant is stored without the lock": Seeded(
        {"device_login.states.persisting.holds": None},
        "persisting: holds is nothing, before credential",
        "ready → code → shown → elapsed → granted: runs store_credential holding credential, "
        "now runs store_credential holding nothing",
        "lock discipline: device_login.toml, [states.persisting]: store_credential runs without 'credential'",
    ),
    "a grant that could not be stored stays valid at the server": Seeded(
        {"device_login.states.persisting.on.unwritable": "failed"},
        "persisting --unwritable--> failed, before returning_grant",
        "ready → code → shown → elapsed → granted → unwritable: runs return_grant holding nothing, now rests in failed (bad)",
        "lint: device_login.toml, [states.returning_grant]: cannot be reached",
    ),
    "a soft refusal counts as signed out": Seeded(
        {"token_lifecycle.states.falling_back.on.blocked": "absent"},
        "falling_back --blocked--> absent, before blocked",
        "fresh → renew → uncommitted → blocked: rests in blocked (bad), now rests in absent (plain)",
        "scenario: an answer that is no OAuth answer is noted, and the login stays",
        "I8",
    ),
    "the renewal leaves the lock": Seeded(
        {"token_lifecycle.states.refreshing.holds": None},
        "refreshing: holds is nothing, before credential",
        "fresh → renew: runs hold_credential holding credential and walks token_refresh, "
        "now runs hold_credential holding nothing and walks token_refresh",
        "lint: token_lifecycle.toml, [states.refreshing]: walks 'token_refresh' but holds nothing",
    ),
    "a lock that is busy is done without": Seeded(
        {"token_lifecycle.states.refreshing.on.busy": "injecting"},
        "refreshing --busy--> injecting, before falling_back",
        "fresh → renew → busy: runs can_still_use holding nothing, now runs inject holding nothing",
        "scenario: a lock that is busy leaves a working token usable",
    ),
    "an outcome is forgotten": Seeded(
        {"token_lifecycle.states.refreshing.on.busy": None},
        "refreshing --busy--> falling_back is removed",
        "fresh → renew → busy: goes to falling_back, now is no declared outcome",
        "contract: token_lifecycle and TokenLifecycleContract: hold_credential may answer 'busy', which refreshing does not declare",
    ),
    "clients are not served after a renewal": Seeded(
        {"token_lifecycle.states.refreshing.on.renewed": "inspecting"},
        "refreshing --renewed--> inspecting, before injecting",
        "fresh → renew → renewed: runs inject holding nothing, now runs inspect holding nothing",
        "scenario: a renewal is on disk twice before a client is served",
        "clients are served",
    ),
    "recovery without end": Seeded(
        {"token_lifecycle.states.backing_off.on.gave_up": "refreshing"},
        "backing_off --gave_up--> refreshing, before falling_back",
        "fresh → renew → postponed → gave_up: runs can_still_use holding nothing, "
        "now runs hold_credential holding credential and walks token_refresh",
        "scenario: a lost answer is followed by a declared recovery, with the lock left alone between them",
        "step bound",
        TWO._replace(processes=1),
    ),
    "a signed-out credential is renewed": Seeded(
        {"token_lifecycle.states.absent.on.renew": "refreshing"},
        "absent --renew--> refreshing is added",
        "absent → renew: is no declared outcome, now goes to refreshing",
        "",
        "I8",
        ONE_SIGNS_OUT,
    ),
    "a login that has ended may be renewed": Seeded(
        {"token_lifecycle.states.revoked.on.renew": "refreshing"},
        "revoked --renew--> refreshing is added",
        "revoked → renew: is no declared outcome, now goes to refreshing",
    ),
    "an end that is bad looks good": Seeded(
        {"token_lifecycle.states.corrupt.tone": "good"},
        "corrupt: tone is good, before bad",
        "corrupt: rests in corrupt (bad), now rests in corrupt (good)",
    ),
    "the exchange stands outside of the lock": Seeded(
        {"token_refresh.holds": None},
        "the machine holds nothing, before credential",
        "at the very beginning: runs reread holding credential, now runs reread holding nothing",
        "lint: token_lifecycle.toml, [states.refreshing]: holds 'credential' but token_refresh.toml declares no holds",
    ),
    "a token is sent without a claim": Seeded(
        {"token_refresh.states.rereading.on.renewable": "looking_again"},
        "rereading --renewable--> looking_again, before claiming",
        "renewable: runs claim holding credential, now runs look_again holding credential",
        "lint: token_refresh.toml, [states.claiming]: cannot be reached",
    ),
    "nobody looks again before sending": Seeded(
        {
            "token_refresh.states.claiming.on.claimed": "exchanging",
            "token_refresh.states.reclaiming.on.claimed": "exchanging",
            "token_refresh.states.looking_again": None,
            "token_refresh.states.withdrawing": None,
        },
        "claiming --claimed--> exchanging, before looking_again",
        "renewable → claimed: runs look_again holding credential, now runs exchange holding credential",
        "contract: token_refresh and TokenRefreshContract: no state runs look_again",
    ),
    "a pair that changed is sent all the same": Seeded(
        {"token_refresh.states.looking_again.on.changed": "exchanging"},
        "looking_again --changed--> exchanging, before withdrawing",
        "renewable → claimed → changed: runs withdraw_claim holding credential, now runs exchange holding credential",
        "lint: token_refresh.toml, [states.withdrawing]: cannot be reached",
    ),
    "a claim in flight is passed over": Seeded(
        {"token_refresh.states.claiming.on.in_flight": "looking_again"},
        "claiming --in_flight--> looking_again, before postponed",
        "renewable → in_flight: rests in postponed (plain), now runs look_again holding credential",
        "scenario: a claim whose owner may be at work is waited for, and nothing is sent",
        "I1",
        POWER_CUTS,
    ),
    "a dead process's answer is thrown away": Seeded(
        {"token_refresh.states.claiming.on.staged": "looking_again"},
        "claiming --staged--> looking_again, before committing",
        "renewable → staged: runs commit holding credential, now runs look_again holding credential",
        "scenario: the answer of a process that died is installed, and nothing is sent",
        "I1",
    ),
    "a lost answer counts as never sent": Seeded(
        {"token_refresh.states.exchanging.on.in_doubt": "withdrawing_unsent"},
        "exchanging --in_doubt--> withdrawing_unsent, before postponing_in_doubt",
        "renewable → claimed → unchanged → in_doubt: runs postpone holding credential, "
        "now runs withdraw_claim holding credential",
        "lint: token_refresh.toml, [states.postponing_in_doubt]: cannot be reached",
    ),
    "a proxy's no ends the login": Seeded(
        {"token_refresh.states.recording_unrecognized.on.recorded": "revoked"},
        "recording_unrecognized --recorded--> revoked, before postponed",
        "renewable → claimed → unchanged → unrecognized → recorded: rests in postponed (plain), now rests in revoked (bad)",
        "scenario: an answer that is no OAuth answer is noted, and the login stays",
        "I8",
    ),
    "two hooks change places": Seeded(
        {"token_refresh.states.staging.activity": "commit", "token_refresh.states.committing.activity": "stage"},
        "staging: activity is commit, before stage",
        "renewable → claimed → unchanged → tokens: runs stage holding credential, now runs commit holding credential",
        "contract: token_refresh and TokenRefreshContract: commit may answer 'committed', which staging does not declare",
        "I2",
    ),
    "a pair that is not on disk counts as renewed": Seeded(
        {"token_refresh.states.staging.on.unwritable": "renewed"},
        "staging --unwritable--> renewed, before uncommitted",
        "renewable → claimed → unchanged → tokens → unwritable: rests in uncommitted (bad), now rests in renewed (good)",
        "scenario: a pair that cannot be saved is not forgotten by saying so",
    ),
    "a logout that failed counts as done": Seeded(
        {"sign_out.states.emptying.on.unwritable": "signed_out"},
        "emptying --unwritable--> signed_out, before unwritable",
        "unwritable: rests in unwritable (bad), now rests in signed_out (good)",
        "scenario: one may sign out of everything; without the lock, or room to write, the login stays",
    ),
    "the server is told before the disk": Seeded(
        {"sign_out.initial": "revoking"},
        "walks begin in revoking, before in emptying",
        "at the very beginning: runs empty_record holding credential, now runs revoke holding credential",
        "lint: sign_out.toml, [states.emptying]: cannot be reached from 'revoking'",
    ),
    "another hook runs": Seeded(
        {"sign_out.states.revoking.activity": "forget"},
        "revoking: activity is forget, before revoke",
        "emptied → discarded: runs revoke holding credential, now runs forget holding credential",
        "contract: sign_out and SignOutContract: no state runs revoke",
    ),
}


def edited(seeded: Seeded) -> dict[str, Any]:
    """All machines as data, with these things changed."""
    data = OWN.data()
    for path, value in seeded.changes.items():
        *way, last = path.split(".")
        table: Any = data
        for key in way:
            table = table.setdefault(key, {})
        if value is None:
            del table[last]
        else:
            table[last] = value
    return data


def unlinted(data: Mapping[str, Any]) -> dict[str, Machine]:
    """The machines as they are, right or wrong."""
    machines = {name: Machine.from_data(table) for name, table in data.items()}
    return {name: machine.linked(machines) for name, machine in machines.items()}


def stopped_by(data: Mapping[str, Any]) -> str:
    """The first that finds these machines wrong without walking them in a world, with its message; "" if none does."""
    try:
        machines = Library.from_data(data)
    except SpecError as error:
        return f"lint: {error.problems[0]}"
    if unguarded := machines.lint_lock(dict.fromkeys(GUARDED, "credential")):
        return f"lock discipline: {unguarded[0]}"
    for name, protocol in HOOKS.items():
        if problems := disagreements(machines[name], protocol):
            return f"contract: {problems[0]}"
    broken = broken_scenario(machines, SCENARIOS)
    return f"scenario: {broken}" if broken else ""


def seen(machine: Machine, events: tuple[str, ...]) -> set[str]:
    """Everything true that may be said of a walk after these outcomes: a child's end counts as the outcome it is."""
    walk = steps(machine)
    at: Step | str = next(walk)
    name = machine.initial
    for number, event in enumerate(events, 1):
        try:
            if isinstance(at, str):
                walk = steps(machine, at, event)
                at = next(walk)
            else:
                at = walk.send(event)
        except StopIteration as end:
            at = str(end.value)
        except MachineError:
            assert number == len(events), "the walk is stuck before its end"
            return {"is no declared outcome"}
        name = at if isinstance(at, str) else at.state
    state = machine.states[name]
    if isinstance(at, str):
        return {f"goes to {name}", f"rests in {name} ({state.tone})"}
    held = f" holding {state.holds or machine.holds or 'nothing'}"
    walks = f" and walks {state.walks}" if state.walks else ""
    return {f"goes to {name}", f"runs {state.activity}{held}{walks}"}


def behaviour(machine: Machine, events: tuple[str, ...]) -> set[str]:
    """The same without the names of working states, which an observer cannot see."""
    return {words for words in seen(machine, events) if not words.startswith("goes to ")}


@pytest.mark.parametrize("seeded", SEEDED.values(), ids=SEEDED.keys())
def test_the_difference_names_it(seeded: Seeded) -> None:
    """Each edit is a line of the difference, with the shortest sequence on which old and new disagree: also one that the
    lints refuse, with their message behind it."""
    after = Revision.of(unlinted(edited(seeded)))
    found = compare(OWN, after.machines, after.problems)
    assert ("! cannot run: " in found.text()) == seeded.stops.startswith("lint: ")
    changes = found.changes
    first = changes[0]
    assert (first.says, str(first.witness)) == (seeded.says, seeded.tells)
    assert len(changes) == len(seeded.changes)


@pytest.mark.parametrize("seeded", SEEDED.values(), ids=SEEDED.keys())
def test_the_witness_is_true(seeded: Seeded) -> None:
    """Walked by the engine, both machines look alike up to the last outcome, and then as the witness says."""
    name = next(iter(seeded.changes)).partition(".")[0]
    before, after = OWN[name], unlinted(edited(seeded))[name]
    witness = compare({name: before}, {name: after}).changes[0].witness
    assert witness is not None
    for length in range(len(witness.events)):
        assert behaviour(before, witness.events[:length]) == behaviour(after, witness.events[:length])
    assert witness.before in seen(before, witness.events)
    assert witness.after in seen(after, witness.events)
    assert witness.before != witness.after


@pytest.mark.parametrize("seeded", SEEDED.values(), ids=SEEDED.keys())
def test_what_stops_it(seeded: Seeded) -> None:
    """A lint, lock discipline, the hooks' contract or a scenario finds it wrong, and says why."""
    said = stopped_by(edited(seeded))
    assert said.startswith(seeded.stops)
    assert bool(said) == bool(seeded.stops)


@pytest.mark.parametrize(
    "seeded",
    [pytest.param(seeded, id=name) for name, seeded in SEEDED.items() if seeded.rule],
)
def test_the_checker_finds_it(seeded: Seeded) -> None:
    """Among all that may happen in a small world there is a story in which the edit breaks a rule."""
    report = explore(World(Library.from_data(edited(seeded)), seeded.world), limit=400_000, seek=ANY)
    assert list(report.stories) == [seeded.rule]


def test_what_only_a_reviewer_sees() -> None:
    """Next to nothing: correct for the machines, perhaps wrong for people."""
    legal = [name for name, seeded in SEEDED.items() if not seeded.stops and not seeded.rule]
    assert legal == ["a login that has ended may be renewed", "an end that is bad looks good"]
    assert len(SEEDED) >= 10
