"""What the pages can play: one process followed step by step, each counterexample again, and the scenarios."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

import kimi_auth.store.file
from kimi_auth.machine import Library, edges, steps
from kimi_auth.proof.ablations import ABLATIONS, world_without
from kimi_auth.proof.disk import COLUMNS, FILES, ON_DISK, VALUES, disk_of
from kimi_auth.proof.effects import Config
from kimi_auth.proof.explore import ANY, explore
from kimi_auth.proof.replay import replayed
from kimi_auth.proof.revision import revision
from kimi_auth.proof.rules import not_asked
from kimi_auth.proof.scenarios import SCENARIOS
from kimi_auth.proof.walkable import Walkable, dying, gates, walkable
from kimi_auth.proof.walks import behind_lints, counterexample, main, scenario_rows, stories, unspent, walks
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import QUIET, WORLDS

DIAGRAMS = Path(__file__).parents[2] / "diagrams"
SMALL = QUIET._replace(processes=1, any_need=False)


@pytest.fixture(scope="module")
def own() -> Library:
    return Library.load()


@pytest.fixture(scope="module")
def whole(own: Library) -> Walkable:
    """The world of the pages. It takes some seconds, so it is explored once."""
    return walkable(own)


def walked(world: Walkable) -> set[str]:
    return {edge for label in world.labels for edge in label.edges}


@pytest.mark.prove
def test_the_refresh_transaction_can_be_walked_whole(own: Library, whole: Walkable) -> None:
    """Every edge of token_refresh is a move of the one process; one kept as an exception would be seen here."""
    every = {f"token_refresh.{edge.source}.{edge.event}" for edge in edges(own["token_refresh"])}
    assert every - walked(whole) == {"token_refresh.rereading.revoked"}, "revoked while it waited for the lock"


@pytest.mark.prove
def test_where_a_token_is_sent_twice(whole: Walkable) -> None:
    """Only a declared recovery leads to a second sending."""
    assert gates(whole) == ["token_refresh.claiming.interrupted", "token_refresh.reclaiming.claimed"]


@pytest.mark.prove
def test_what_a_death_leaves(own: Library, whole: Walkable) -> None:
    """While a token may be on the way the claim is on disk, and an answer that was staged stays staged."""
    left = dying(whole)
    for state in ("looking_again", "exchanging", "staging", "postponing_in_doubt"):
        assert left[f"token_refresh.{state}"]["claim"] == ["open: its owner died"]
    assert left["token_refresh.committing"]["staged pair"] == ["yes"]
    assert left["sign_out.revoking"]["record"] == ["empty: signed out"]
    # another program replaced the record after this walk had claimed the pair: that claim stays, under the old pair's name
    assert left["token_refresh.withdrawing"]["claim"] == ["of an older pair: void"]
    # a first login finds no record, one after a logout an empty one
    assert {"none: signed out", "empty: signed out"} <= set(left["device_login.persisting"]["record"])
    # a recovery within the walk's own backoff sends, and stages, while that backoff is on disk
    for state in ("exchanging", "staging", "committing", "revoking"):
        assert left[f"token_refresh.{state}"]["backoff"] == ["none", "set"]
    working = {
        f"{name}.{state}"
        for name in ("token_lifecycle", "token_refresh", "sign_out")
        for state, spec in own[name].states.items()
        if spec.activity
    }
    assert working <= set(left)


def kept(name: str) -> Any:
    return json.loads((DIAGRAMS / name).read_text("utf-8"))


def made(own: Library, world: Walkable) -> Any:
    return json.loads(json.dumps(walks(own, kept("measured/checker.json"), world)))


def test_the_kept_stories_are_fresh(own: Library) -> None:
    """Stories and scenarios of diagrams/walks.json are what they would be made to be; `make diagrams` updates it."""
    of_the_world = {"world", "dying", "sent again"}
    assert {name: value for name, value in kept("walks.json").items() if name not in of_the_world} == {
        name: value for name, value in made(own, walkable(own, SMALL)).items() if name not in of_the_world
    }


@pytest.mark.prove
def test_the_kept_walks_are_fresh(own: Library, whole: Walkable) -> None:
    """The same for the world of one process."""
    assert kept("walks.json") == made(own, whole)


@pytest.mark.parametrize("seed", range(4))
def test_merged_states_are_equal(own: Library, seed: int) -> None:
    """Whatever move is taken, the merged world has it, too, and shows the same disk."""
    chance = random.Random(seed)
    world, merged = World(own, SMALL, chained=False), walkable(own, SMALL)
    (state,) = world.initial()
    at = 0
    for _ in range(300):
        shared, (process,) = world.opened(state)
        store, disk = merged.states[at]
        assert merged.disks[disk] == disk_of(shared, process)
        assert merged.locations[store] == (str(world.program.locations[process.location]) if process.location else "")
        possible = {merged.labels[label].text: target for label, target in merged.moves[at]}
        moves = [move for move in world.told(state, [""]) if move.text.removeprefix(": ") in possible]
        assert moves
        move = chance.choice(moves)
        state, at = move.target, possible[move.text.removeprefix(": ")]
        if len({target for label, target in merged.moves[at]}) == 0:
            break


def test_every_kept_counterexample_is_played_again(own: Library) -> None:
    """Each step of each ablation's course is possible in its world, with the disk; the last one breaks the rule."""
    checker = kept("measured/checker.json")
    told = list(stories(own, checker["ablations"]))
    assert len(told) == sum(bool(row["course"]) for row in checker["ablations"])
    assert len({story["id"] for story in told}) == len(told)
    for story in told:
        for frame in story["frames"]:
            assert len(frame["disk"]) == len(COLUMNS)
            assert all(VALUES[value] for value in frame["disk"])
            assert set(frame["at"]) == set(story["frames"][0]["at"])


def test_a_course_of_another_world_is_found() -> None:
    """A step that is not possible is named, with its number."""
    own = Library.load()
    with pytest.raises(ValueError, match=r"step 2 is not possible in this world: A: flies"):
        replayed(World(own, SMALL), ["tokens grow older", "A: flies"])


def test_a_counterexample_of_edited_machines(own: Library) -> None:
    """What `--verify` finds becomes a story whose last frame is the broken step."""
    ablation = next(one for one in ABLATIONS if one.part == "protection from cancellation")
    world = world_without(ablation, own)
    course = explore(world, limit=100_000, liveness=False, seek=ANY).stories["I2"].steps
    story = counterexample("small", world, "I2", course)
    assert [frame["text"] for frame in story["frames"]] == ["", *course]
    assert story["id"] == "small-i2"
    assert story["says"]


def test_what_counts_as_not_sent(own: Library) -> None:
    """The outcomes of an exchange that say so; a lost answer and a page of a proxy are not among them."""
    assert unspent(own) == ["token_refresh.exchanging.not_processed", "token_refresh.exchanging.misconfigured"]


@pytest.mark.prove
def test_behind_a_lint_stands_a_scenario(own: Library) -> None:
    """Most edits that a lint refuses break a scenario, too; each of them is one that a lint refuses."""
    found = behind_lints(own)
    names = {scenario.says for scenario in SCENARIOS}
    noticed = 0
    for machine in own.values():
        for edge in edges(machine):
            for says, targets in found.get(str(edge), {}).items():
                assert says in names
                assert edge.target not in targets
                noticed += len(targets)
    kept = json.loads((DIAGRAMS / "measured" / "mutation.json").read_text("utf-8"))["by"]["lint"]
    assert 0.9 * kept < noticed <= kept


def test_the_files_of_a_login() -> None:
    """Each column that outlives a process has its file, and the store's own list of files has it."""
    assert tuple(FILES) == ON_DISK
    assert all(file.partition(",")[0] in str(kimi_auth.store.file.__doc__) for file in FILES.values())


def test_scenarios_are_walks(own: Library) -> None:
    """Each row names a walk that its machine takes: the page plays it by the outcomes alone."""
    rows = scenario_rows(SCENARIOS)
    assert sum(len(row["walks"]) for row in rows) == len(SCENARIOS)
    assert {row["says"] for row in rows} == {scenario.says for scenario in SCENARIOS}
    for row in rows:
        state, _, event = row["walks"][0][0].partition(" ")
        walk = steps(own[row["machine"]], state or None, event or None, limit=100)
        first = next(walk)
        assert row["walks"][0][1].split(" ")[0] == first.activity


def test_rules_that_a_world_leaves_to_others() -> None:
    """A rule that is left out is asked by another world, and the reason is said."""
    left = {name: not_asked(config) for name, config in WORLDS.items()}
    for rule in ("I8", "I9", "I10"):
        assert 0 < sum(rule in rules for rules in left.values()) < len(left)
    for name, rules in left.items():
        config = WORLDS[name]
        assert ("I9" in rules) == (not config.excludes and config.store != "sessions")
    assert all(reason for rules in left.values() for reason in rules.values())


def test_the_revision_that_was_proved(tmp_path: Path) -> None:
    """The commit and its day; whether the proved files were edited since; nothing outside of a checkout."""
    assert revision(tmp_path) == {}

    def git(*command: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        environ = {"GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        subprocess.run(["git", "-C", str(tmp_path), *who, *command], check=True, capture_output=True, env=environ)

    (tmp_path / "machines").mkdir()
    file = tmp_path / "machines" / "a.toml"
    file.write_text("a = 1\n")
    git("init")
    git("add", "-A")
    git("commit", "-m", "a")
    seen = revision(tmp_path)
    assert (seen["date"], seen["edited"], len(seen["commit"])) == ("2026-01-02", "no", 12)
    file.write_text("a = 2\n")
    assert revision(tmp_path)["edited"] == "yes"


def test_the_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without figures there is a world to walk in and no story; the same machines give the same bytes."""
    small: dict[str, Any] = {}

    def explored(machines: Library) -> Walkable:
        small.setdefault("world", walkable(machines, Config(processes=1, logins=0, logouts=0, full_disk=False)))
        return small["world"]

    monkeypatch.setattr("kimi_auth.proof.walks.walkable", explored)
    assert main([str(tmp_path)]) == 0
    first = (tmp_path / "walks.json").read_bytes()
    assert json.loads(first)["stories"] == []
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "walks.json").read_bytes() == first
