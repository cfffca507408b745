"""Two revisions of machines: every change is named, drawn, and told by the shortest sequence on which they disagree."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kimi_auth.machine import Library, Machine, SpecError
from kimi_auth.review.difference import Difference, compare, pictures
from kimi_auth.review.revisions import revision
from kimi_auth.review.styles import PICTURE
from kimi_auth.review.svg import svg

OWN = Library.load()


def unlinted(data: Mapping[str, Any]) -> dict[str, Machine]:
    return {name: Machine.from_data(table) for name, table in data.items()}


def test_nothing_changed() -> None:
    """Equal machines have no difference, in any form."""
    same = compare(OWN, Library.from_data(OWN.data()))
    assert (same.changes, same.pairs, same.text()) == ((), {}, "")
    assert same.markdown() == "The machines are equal.\n"


def test_what_is_not_observable() -> None:
    """Sentences, the order of outcomes, and a detour that runs the same hooks change no walk, and that is said."""
    data = OWN.data()
    data["sign_out"]["about"] = "Another sentence."
    states = data["sign_out"]["states"]
    states["revoking"]["about"] = "Another sentence."
    states["revoking"]["on"] = {"failed": "clearing", "revoked": "clearing", "unsupported": "tidying"}
    states["tidying"] = states["clearing"]
    found = compare(OWN, Library.from_data(data))
    assert [(change.kind, change.says, change.witness) for change in found.changes] == [
        ("worded", "the sentence about the machine", None),
        ("worded", "the sentence about revoking", None),
        ("changed", "revoking --unsupported--> tidying, before clearing", None),
        ("worded", "revoking: the order of its outcomes, first is failed, before revoked", None),
        ("added", "state tidying is added (runs clear_sidecars; cleared → signed_out)", None),
    ]
    assert "    not observable: every walk behaves as before\n" in found.text()


def test_a_lock_that_is_held_already() -> None:
    """A state that holds what its whole machine holds behaves as before, whatever else has changed before it."""
    data = OWN.data()
    data["sign_out"]["states"]["clearing"]["holds"] = data["sign_out"]["holds"]
    data["sign_out"]["states"]["unwritable"]["tone"] = "good"
    changes = {change.says: change.witness for change in compare(OWN, unlinted(data)).changes}
    assert changes["clearing: holds is credential, before nothing"] is None
    assert str(changes["unwritable: tone is good, before bad"]).startswith("unwritable: rests in unwritable (bad), now")


def test_changes_behind_a_change() -> None:
    """An edge in a state that the newer machine reaches by another way only is told by what differs before it."""
    data = OWN.data()
    states = data["sign_out"]["states"]
    states["emptying"]["on"] = {
        "emptied": "tidying",
        "nothing": "clearing",
        "unwritable": "unwritable",
        "foreign": "unwritable",
    }
    states["tidying"] = {"about": "T.", "activity": "tidy", "on": {"tidied": "discarding_staged"}}
    states["revoking"]["on"]["failed"] = "unwritable"
    states["revoking"]["activity"] = "forget"
    found = compare(OWN, Library.from_data(data))
    first = "emptied: runs discard_staged holding credential, now runs tidy holding credential"
    assert {change.says: str(change.witness) for change in found.changes} == dict.fromkeys(
        (
            "emptying --emptied--> tidying, before discarding_staged",
            "revoking: activity is forget, before revoke",
            "revoking --failed--> unwritable, before clearing",
            "state tidying is added (runs tidy; tidied → discarding_staged)",
        ),
        first,
    )


def test_an_outcome_that_came_behind_a_detour() -> None:
    """Both walk the same hooks under other names of states; the outcome that only one of them takes is the witness."""
    data = OWN.data()
    states = data["sign_out"]["states"]
    states["emptying"]["on"]["nothing"] = "tidying"
    states["tidying"] = {
        "about": "T.",
        "activity": "clear_sidecars",
        "on": {"cleared": "signed_out", "late": "signed_out"},
    }
    (edge, state) = compare(OWN, Library.from_data(data)).changes
    assert str(edge.witness) == str(state.witness) == "nothing → late: is no declared outcome, now goes to signed_out"


def test_states_machines_and_beginnings() -> None:
    """States and machines that come and go, and another first state, are changes too."""
    data = OWN.data()
    lifecycle = data["token_lifecycle"]
    lifecycle["initial"] = "falling_back"
    lifecycle["states"]["injecting"]["on"]["injected"] = "looking"
    lifecycle["states"]["looking"] = {"about": "L.", "activity": "look", "on": {"seen": "inspecting"}}
    del lifecycle["states"]["unconfiguring"]
    lifecycle["states"]["signing_out"]["on"]["signed_out"] = "injecting"
    after = {**unlinted(data), "window": Machine.from_data({"name": "window"})}
    del after["device_login"]
    said = [str(change) for change in compare(OWN, after).changes]
    assert said == [
        "token_lifecycle: walks begin in falling_back, before in inspecting",
        "token_lifecycle: injecting --injected--> looking, before inspecting",
        "token_lifecycle: signing_out --signed_out--> injecting, before unconfiguring",
        "token_lifecycle: state looking is added (runs look; seen → inspecting)",
        "token_lifecycle: state unconfiguring is removed (runs restore_config; restored → injecting; kept → injecting)",
        "window: the whole machine is added",
        "device_login: the whole machine is removed",
    ]


def test_markdown() -> None:
    """For a pull request: how many, and a table for each machine."""
    data = OWN.data()
    data["token_refresh"]["states"]["exchanging"]["on"]["in_doubt"] = "withdrawing_unsent"
    text = compare(OWN, unlinted(data)).markdown()
    assert text.startswith("**1 change of the machines; 1 can be observed in a walk.**\n\n### ")
    assert (
        "### token_refresh\n\n| | change | shortest sequence on which they disagree |\n|---|---|---|\n"
        "| ~ | exchanging --in_doubt--> withdrawing_unsent, before postponing_in_doubt |" in text
    )


SPACE = "{http://www.w3.org/XML/1998/namespace}space"


def footer(drawn: str) -> list[tuple[str, str]]:
    """The lines below a picture, each with its colour."""
    texts = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    return [(str(one.get("class")).removeprefix("line").strip(), str(one.text)) for one in texts if one.get(SPACE)]


def test_pictures() -> None:
    """The new machine with its changes in colour; each outcome and state that is gone is named below, first and in red."""
    data = OWN.data()
    data["sign_out"]["states"]["emptying"]["on"] |= {"nothing": "resting", "empty": "clearing"}
    data["sign_out"]["states"]["resting"] = {"about": "R.", "activity": "rest", "on": {"rested": "clearing"}}
    del data["sign_out"]["states"]["revoking"]["on"]["failed"]
    (drawn,) = pictures(compare(OWN, Library.from_data(data))).values()
    assert 'nothing <tspan class="note changed">moved</tspan>' in drawn
    assert 'empty <tspan class="note added">new</tspan>' in drawn
    assert '<g class="state added" data-state="resting">' in drawn
    assert '<g class="edge added" data-edges="resting.rested">' in drawn
    assert '<g class="state changed" data-state="revoking">' in drawn, "it lost an outcome"
    assert '<g class="edge pale" data-edges="clearing.cleared">' in drawn
    lines = footer(drawn)
    assert lines[0] == ("removed", "- sign_out: revoking --failed--> clearing is removed")
    assert ("changed", "~ sign_out: emptying --nothing--> resting, before clearing") in lines
    assert "gone: listed below" in drawn


def test_colours_of_changes() -> None:
    """A mark of a change has a colour that nothing else in a drawing has, neither a tone nor a lock, light and dark."""
    marks = {rule[2:] for rule in PICTURE for kind in ("added", "changed") if f".state.{kind} " in rule[0]}
    others = {rule[2:] for rule in PICTURE if rule[0].startswith((".good", ".bad", ".plain", ".held", ".edge path"))}
    assert len(marks) == 2
    assert not {colour for pair in marks for colour in pair} & {colour for pair in others for colour in pair}


def test_it_is_drawn_as_on_its_page() -> None:
    """A machine with a layout keeps it in the picture of its changes: every box and every path."""
    data = OWN.data()
    del data["sign_out"]["states"]["revoking"]["on"]["failed"]
    (drawn,) = pictures(compare(Library.from_data(data), OWN)).values()
    shapes = re.findall(r'<rect class="box"[^>]*>|<path d="[^"]*"/><polygon[^>]*>', svg(OWN["sign_out"]))
    assert len(shapes) > len(OWN["sign_out"].states)
    assert all(shape in drawn for shape in shapes)


def test_an_outcome_on_a_shared_arrow() -> None:
    """The arrow has the colour of the change, and the note stands beside the one outcome that is new."""
    data = OWN.data()
    del data["sign_out"]["states"]["revoking"]["on"]["failed"]
    (drawn,) = pictures(compare(Library.from_data(data), OWN)).values()
    keys = "revoking.revoked revoking.unsupported revoking.failed"
    arrow = re.search(rf'<g class="edge added" data-edges="{keys}">.*?</g>', drawn, re.DOTALL)
    assert arrow is not None
    assert re.findall("[a-z]+ <tspan[^>]*>[a-z]+", arrow[0]) == ['failed <tspan class="note added">new']


@pytest.mark.parametrize(("states", "note"), [(["usable"], "usable"), (["usable", "expiring"], r"2/\d+")])
def test_a_difference_from_some_states_of_a_frame(states: list[str], note: str) -> None:
    """Where states share an arrow and only some of them have changed, the one is named, or they are counted."""
    data = OWN.data()
    for state in states:
        del data["token_lifecycle"]["states"][state]["on"]["rejected"]
    (drawn,) = pictures(compare(unlinted(data), OWN)).values()
    assert re.search(rf'>rejected <tspan class="note added">{note}</tspan>', drawn)


def test_the_list_says_where_it_can_be_observed() -> None:
    """Each change is below the picture, with the shortest sequence on which it can be observed."""
    data = OWN.data()
    data["sign_out"]["states"]["clearing"]["on"]["cleared"] = "unwritable"
    data["sign_out"]["states"]["unwritable"]["tone"] = "plain"
    (drawn,) = pictures(compare(OWN, unlinted(data))).values()
    lines = footer(drawn)
    assert lines[0] == ("changed", "~ sign_out: clearing --cleared--> unwritable, before signed_out")
    assert lines[1][0] == ""
    assert lines[1][1].endswith("rests in signed_out (good), now rests in unwritable (plain)")


def test_a_long_list_is_whole() -> None:
    """However many changes there are, and however long their lines, each is below the picture."""
    before, after = OWN.data(), OWN.data()
    came = {f"an_outcome_with_a_rather_long_name_{number}": "clearing" for number in range(60)}
    went = {f"event_{number}": "clearing" for number in range(40)}
    after["sign_out"]["states"]["revoking"]["on"] |= came
    before["sign_out"]["states"]["long"] = {"about": "L.", "activity": "rest", "on": went}
    (drawn,) = pictures(compare(unlinted(before), unlinted(after))).values()
    text = "".join(line for _, line in footer(drawn)).replace(" ", "")
    assert f"statelongisremoved(runsrest;{';'.join(f'{event}→clearing' for event in went)})" in text
    assert all(f"revoking--{event}-->clearingisadded" in text for event in came)


def test_a_machine_that_came_or_went() -> None:
    """A machine that came or went is drawn as it is or was."""
    one = OWN["sign_out"]
    for pair, words in (((None, one), "a new machine"), ((one, None), "this machine is gone")):
        before, after = ({"sign_out": machine} if machine else {} for machine in pair)
        (text,) = pictures(compare(before, after)).values()
        assert words in text


def test_a_machine_that_came_or_went_can_be_told() -> None:
    """Nothing is said of walks that only one revision has; the change counts all the same."""
    found = compare({}, {"sign_out": OWN["sign_out"]})
    assert found.text() == (
        "+ sign_out: the whole machine is added\n    only one revision has it, so no walk can be compared\n"
    )
    assert found.markdown().startswith("**1 change of the machines; 1 can be observed in a walk.**\n")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """A git checkout with machines; the function commits files into it."""
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]

    def commit(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        subprocess.run(["git", "add", "-A"], check=True)
        subprocess.run(["git", *who, "commit", "-qm", "machines"], check=True)

    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    return commit


SWITCH = """
name = "switch"
about = "A switch."
initial = "off"

[states.off]
about = "It is off."
activity = "press"
on.pressed = "on"

[states.on]
about = "It is on."
tone = "good"
"""


def between(before: str, after: str) -> Difference:
    old, new = revision(before), revision(after)
    return compare(old.machines, new.machines, new.problems)


def test_revisions(checkout: Callable[..., None]) -> None:
    """A revision of the checkout is compared with another, or with a folder."""
    checkout({"machines/switch.toml": SWITCH, "machines/README.md": "# Machines\n"})
    checkout({"machines/switch.toml": SWITCH.replace('tone = "good"', 'tone = "bad"')})
    assert between("HEAD", "HEAD").text() == ""
    for after in ("HEAD", "machines"):
        assert between("HEAD~1", after).text() == (
            "~ switch: on: tone is bad, before good\n    pressed: rests in on (good), now rests in on (bad)\n"
        )
    assert list(revision().machines) == ["switch"], "the machines of this checkout"


def test_a_change_that_the_lints_refuse(checkout: Callable[..., None]) -> None:
    """What a reviewer must not miss is named all the same, with its witness; why it cannot run stands behind it."""
    checkout({"machines/switch.toml": SWITCH + '[states.gone]\nabout = "It is gone."\ntone = "bad"\n'})
    with pytest.raises(SpecError):
        Library.load(Path("machines"))
    checkout({"machines/switch.toml": SWITCH})
    found = between("HEAD", "HEAD~1")
    assert found.text().startswith("+ switch: state gone is added")
    assert "\n! cannot run: switch.toml, [states.gone]: cannot be reached from 'off'" in found.text()
    assert "\n### These machines cannot run\n" in found.markdown()
    checkout({"machines/switch.toml": SWITCH.replace('"on"', '"nowhere"', 1)})
    with pytest.raises(SpecError, match="is no state"):  # no walk that could be compared
        revision("HEAD")


@pytest.mark.parametrize("where", ["--output=stolen", "-h", "a\0b"])
def test_what_looks_like_an_option(checkout: Callable[..., None], tmp_path: Path, where: str) -> None:
    """A revision is a name to git, never an option."""
    checkout({"machines/switch.toml": SWITCH})
    with pytest.raises(SpecError, match=r"is no folder|embedded null byte"):
        revision(where)
    assert not (tmp_path / "stolen").exists()


def test_a_checkout_that_is_not_trusted_runs_nothing(checkout: Callable[..., None], tmp_path: Path) -> None:
    """Comparing a revision runs no command of the checkout's config: no transport of a partial clone, no hook, no filter."""
    (tmp_path / "mark").write_text(f"#!/bin/sh\ntouch {tmp_path}/$1-ran\n")
    (tmp_path / "mark").chmod(0o755)
    (tmp_path / ".gitignore").write_text("mark\n*-ran\n")
    checkout({"machines/switch.toml": SWITCH, ".gitattributes": "*.toml diff=mark filter=mark\n"})
    for key, value in {
        "core.fsmonitor": f"{tmp_path}/mark fsmonitor",
        "core.pager": f"{tmp_path}/mark pager",
        "core.sshCommand": f"{tmp_path}/mark ssh",
        "core.alternateRefsCommand": f"{tmp_path}/mark alternates",
        "diff.external": f"{tmp_path}/mark diff",
        "diff.mark.textconv": f"{tmp_path}/mark textconv",
        "filter.mark.smudge": f"{tmp_path}/mark smudge",
        "gpg.program": f"{tmp_path}/mark gpg",
        "log.showSignature": "true",
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": f"ext::{tmp_path}/mark transport",
        "remote.origin.promisor": "true",
        "protocol.ext.allow": "always",
    }.items():
        subprocess.run(["git", "config", key, value], check=True)
    assert [*revision("HEAD").machines] == ["switch"]
    assert not list(tmp_path.glob("*-ran"))
    found = subprocess.run(
        ["git", "rev-parse", "HEAD:machines/switch.toml"], capture_output=True, text=True, check=True
    )
    blob = found.stdout.strip()
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(SpecError, match=r"^'HEAD' is not complete here \(.+\); fetch it with git, or name a folder$"):
        revision("HEAD")
    assert not list(tmp_path.glob("*-ran")), "git has asked the remote of a partial clone"


def test_what_is_no_revision(checkout: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that cannot be compared are one line."""
    checkout({"README.md": "nothing here\n"})
    with pytest.raises(SpecError, match=r"^HEAD has no machines/\*\.toml; name another revision, or a folder$"):
        revision("HEAD")
    with pytest.raises(SpecError, match=r"^'yesterday' is no folder .*; name one of the two$"):
        revision("yesterday")
    checkout({"machines/switch.toml": "name = ="})
    with pytest.raises(SpecError, match=r"HEAD:machines/switch\.toml: is not TOML"):
        revision("HEAD")
    Path("machines/switch.toml").write_bytes(b"name = '\xff'")
    checkout({})
    with pytest.raises(SpecError, match=r"HEAD:machines/switch\.toml: is not TOML"):
        revision("HEAD")
    for where in ("", "x" * 300):
        with pytest.raises(SpecError, match=rf"^'{where}' is no folder .*; name one of the two$"):
            revision(where)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SpecError, match=r"^git cannot be run \(No such file or directory\), .*; .*$"):
        revision("HEAD")
