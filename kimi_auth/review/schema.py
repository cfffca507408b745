"""The JSON Schema of a machine file, for editors that complete and check TOML while it is written.

The schema covers the shape of one file. The linter sees all files together and checks whether the machines make sense.
"""

from __future__ import annotations

import json
from typing import Any

from kimi_auth.machine.lint import NAME, TONES
from kimi_auth.machine.spec import ACQUIRED, Machine, State, keys_of

__all__ = ["ABOUT", "schema", "text"]

ABOUT = {
    "name": "The name of the machine; the same as the file's.",
    "about": "A sentence for the reader.",
    "initial": "The state in which every walk begins.",
    "holds": "The resource that is held: by this state's hook, or (at the top) by the caller that walks this machine.",
    "states": "The states by name, in the order of the story.",
    "activity": "The one hook that runs in this state. A state without one is a rest state: a walk ends there.",
    "walks": "The machine that is walked while the resource is held; its rest states are outcomes here.",
    "tone": "How it feels to end in this rest state.",
    "on": "Each outcome of the activity, or each event from outside, with the state it leads to. The first is the happy one.",
}
"""The text that an editor shows for each key."""

_NAME = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_FORMS: dict[str, dict[str, Any]] = {
    "about": {"type": "string", "pattern": "\\S"},
    "tone": {"enum": list(TONES)},
    "on": {"type": "object", "propertyNames": _NAME, "additionalProperties": _NAME},
}


def schema() -> dict[str, Any]:
    """The schema, as JSON Schema 2020-12. Its keys are those of the tables that the files are read into."""
    states = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": _NAME,
        "additionalProperties": {"$ref": "#/$defs/state"},
    }
    state = _table(State, required=["about"])
    works = {
        "required": ["activity", "on"],
        "properties": {"on": {"minProperties": 1}},
        "not": {"required": ["tone"]},
        "dependentSchemas": {
            "walks": {"required": ["holds"], "properties": {"on": {"not": {"required": [ACQUIRED]}}}},
        },
    }
    rests = {"required": ["tone"], "not": {"anyOf": [{"required": [key]} for key in ("activity", "holds", "walks")]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "machine",
        **_table(Machine, {"states": states}, required=["name", "about", "initial", "states"]),
        "$defs": {"state": state | {"anyOf": [works, rests]}},
    }


def text() -> str:
    """The schema as the text of its file, ending in a newline."""
    return json.dumps(schema(), indent=2) + "\n"


def _table(model: type[Machine | State], forms: dict[str, Any] | None = None, *, required: list[str]) -> dict[str, Any]:
    known = _FORMS | (forms or {})
    properties = {name: {"description": ABOUT[name], **known.get(name, _NAME)} for name in keys_of(model)}
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
