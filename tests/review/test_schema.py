"""The schema that editors check machine files with agrees with what the library accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.machine import Library, Machine, SpecError, State
from kimi_auth.machine.spec import keys_of
from kimi_auth.review.schema import ABOUT, schema, text

CHECKOUT = Path(__file__).parents[2]
OWN = Library.load()


def valid(value: Any, form: dict[str, Any], whole: dict[str, Any]) -> bool:
    """JSON Schema, as much of it as the schema uses; a keyword that is not known here is an error."""
    judges = {
        "type": lambda said: isinstance(value, {"object": dict, "string": str}[said]),
        "enum": lambda said: value in said,
        "pattern": lambda said: re.search(said, value) is not None,
        "dependentSchemas": lambda said: all(valid(value, said[key], whole) for key in said.keys() & value.keys()),
        "minLength": lambda said: len(value) >= said,
        "minProperties": lambda said: len(value) >= said,
        "required": lambda said: set(said) <= value.keys(),
        "properties": lambda said: all(valid(value[key], said[key], whole) for key in said.keys() & value.keys()),
        "propertyNames": lambda said: all(valid(key, said, whole) for key in value),
        "additionalProperties": lambda said: all(
            said and valid(value[key], said, whole) for key in value.keys() - form.get("properties", {}).keys()
        ),
        "anyOf": lambda said: any(valid(value, one, whole) for one in said),
        "not": lambda said: not valid(value, said, whole),
        "$ref": lambda said: valid(value, whole["$defs"][said.rpartition("/")[2]], whole),
        **dict.fromkeys(("$schema", "$defs", "title", "description"), lambda _: True),
    }
    return all(judges[keyword](said) for keyword, said in form.items())


@pytest.mark.parametrize("name", OWN)
def test_editors_are_told_where_it_is(name: str) -> None:
    """The first line of each file names the schema beside it, in the form that TOML language servers read."""
    file = CHECKOUT / "machines" / f"{name}.toml"
    directive, path = file.read_text("utf-8").splitlines()[0].split(" ")
    assert directive == "#:schema"
    assert (file.parent / path).is_file()


def test_it_is_fresh() -> None:
    """The committed file is what the models say; `make diagrams` updates it."""
    assert (CHECKOUT / "machines" / "machine.schema.json").read_text("utf-8") == text()
    assert json.loads(text()) == schema()


def test_every_key_is_explained() -> None:
    """An editor shows a sentence for each key, and knows no other."""
    assert ABOUT.keys() == {*keys_of(Machine), *keys_of(State)}
    assert schema()["properties"].keys() == set(keys_of(Machine))
    assert schema()["$defs"]["state"]["properties"].keys() == set(keys_of(State))


@pytest.mark.parametrize("name", list(OWN))
def test_good_machines_pass(name: str) -> None:
    """The machines of this package are what the schema asks for."""
    assert valid(OWN[name].data(), schema(), schema())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("initial",), None),
        (("about",), ""),
        (("about",), "  "),
        (("states", "emptying", "on"), {}),
        (("states", "emptying", "walks"), "token_refresh"),
        (("colour",), "red"),
        (("states",), {}),
        (("states", "Emptying"), {"about": "E.", "tone": "good"}),
        (("states", "emptying", "activity"), "Empty it"),
        (("states", "emptying", "tone"), "good"),
        (("states", "emptying", "on"), None),
        (("states", "emptying", "guard"), "x > 1"),
        (("states", "emptying", "on", "emptied"), "Not a name"),
        (("states", "signed_out", "tone"), "fine"),
        (("states", "signed_out", "tone"), None),
        (("states", "signed_out", "holds"), "credential"),
    ],
)
def test_bad_machines_do_not(path: tuple[str, ...], value: object) -> None:
    """What the schema underlines is what the library refuses, too."""
    data = OWN.data()
    table: Any = data["sign_out"]
    for key in path[:-1]:
        table = table[key]
    if value is None:
        del table[path[-1]]
    else:
        table[path[-1]] = value
    assert not valid(data["sign_out"], schema(), schema())
    with pytest.raises(SpecError):
        Library.from_data(data)
