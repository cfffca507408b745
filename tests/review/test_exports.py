"""Machines for other tools: SCXML that keeps the rules of the standard, and a graph that Graphviz draws."""

from __future__ import annotations

import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from kimi_auth.cli import main
from kimi_auth.machine import ACQUIRED, Library, Machine
from kimi_auth.review.dot import dot
from kimi_auth.review.scxml import scxml

OWN = Library.load()
W3C = "{http://www.w3.org/2005/07/scxml}"
CHILDREN = {"scxml": {"state", "final"}, "state": {"state", "final", "transition"}, "final": set(), "transition": set()}
ATTRIBUTES = {
    "scxml": {"version", "datamodel", "name", "initial"},
    "state": {"id", "initial"},
    "final": {"id"},
    "transition": {"event", "target"},
}
"""The part of SCXML 1.0 (§3.2 to §3.7) that the export uses."""


@pytest.fixture(params=list(OWN))
def machine(request: pytest.FixtureRequest) -> Machine:
    return OWN[request.param]


def test_scxml_keeps_the_rules(machine: Machine) -> None:
    """Elements, attributes and content are those of the standard; ids are unique; initial states are descendants."""
    root = ElementTree.fromstring(scxml(machine))
    assert (root.tag, root.get("version"), root.get("datamodel")) == (W3C + "scxml", "1.0", "null")
    ids = [element.get("id") for element in root.iter() if element.get("id") is not None]
    assert len(ids) == len(set(ids))
    for element in root.iter():
        name = element.tag.removeprefix(W3C)
        assert {inner.tag.removeprefix(W3C) for inner in element} <= CHILDREN[name]
        assert {key for key in element.attrib if not key.startswith("{")} <= ATTRIBUTES[name]
        assert element.get("target", ids[0]) in ids
        inside = {inner.get("id") for inner in element.iter()}
        assert element.get("initial", element.get("id")) in inside
        # §3.3.2: a compound state needs a default, and ours names it
        assert ("initial" in element.attrib) == any(inner.tag == W3C + "state" for inner in element) or name == "scxml"


def test_scxml_has_each_edge(machine: Machine) -> None:
    """Walking the document with the events of an edge leads where the machine says, children included."""
    root = ElementTree.fromstring(scxml(machine))
    states = {element.get("id"): element for element in root.iter() if element.get("id")}
    for name, state in machine.states.items():
        child = machine.child(name)
        at = f"{machine.name}.{name}" + (".taking" if child is not None else "")
        leads = {one.get("event"): one.get("target") for one in states[at].findall(W3C + "transition")}
        if child is not None:
            assert leads.pop(ACQUIRED) == f"{child.name}.{child.initial}"
            for rest in (inner for inner, each in child.states.items() if each.is_rest):
                (on,) = states[f"{child.name}.{rest}"].findall(W3C + "transition")
                assert on.get("event") is None
                leads[rest] = on.get("target")
        assert leads == {event: f"{machine.name}.{target}" for event, target in state.on.items()}


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not here: apt-get install graphviz")
def test_graphviz_draws_it(machine: Machine) -> None:
    """`dot` reads the graph without a warning and draws every state."""
    done = subprocess.run(["dot", "-Tsvg"], input=dot(machine), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = [element.text for element in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}title")]
    assert {f"{machine.name}__{state}" for state in machine.states} <= set(drawn)


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    """`--export` prints what the functions make; another form, or none of a machine's name, is a usage error."""
    for form, make in (("scxml", scxml), ("dot", dot)):
        assert main(["diagram", "sign_out", "--export", form]) == 0
        assert capsys.readouterr().out == make(OWN["sign_out"])
    for wrong in (
        ["--export", "dot"],
        ["--export", "visio"],
        ["nix", "--export", "dot"],
        ["--export", "promela", "--world", "x"],
    ):
        assert main(["diagram", *wrong]) == 2
    capsys.readouterr()
