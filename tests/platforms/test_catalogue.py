"""The catalogue and what it means for a config: tables of what a server may say and what becomes of it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_auth.errors import ConfigError
from kimi_auth.models import ModelEntry, capabilities, offered, parse_catalogue, plan, unplan
from kimi_auth.models.catalogue import CONTEXT_LENGTH_MAX, MODELS_MAX
from kimi_auth.models.tomltext import applied
from kimi_auth.platforms import CAPABILITIES, Platform

Models = tuple[ModelEntry, ...]
REFERENCE = {"storage": "file", "key": "oauth/kimi-code"}


def after(config: dict[str, Any], change: Any) -> dict[str, Any]:
    """The config with the change done; asked again, the same plan has nothing more to say."""
    return applied(config, change.edits)


# -- what a server may say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"id": "m"}, ModelEntry(id="m")),
        ({"id": "m", "object": "model", "owned_by": {}}, ModelEntry(id="m")),
        ({"id": "m", "context_length": 262144}, ModelEntry(id="m", context_length=262144)),
        ({"id": "m", "context_length": "262144"}, ModelEntry(id="m", context_length=262144)),
        ({"id": "m", "context_length": 262144.0}, ModelEntry(id="m", context_length=262144)),
        ({"id": "m", "context_length": None}, ModelEntry(id="m")),
        ({"id": "m", "context_length": 0}, ModelEntry(id="m")),
        ({"id": "m", "context_length": -5}, ModelEntry(id="m")),
        ({"id": "m", "context_length": 10**30}, ModelEntry(id="m", context_length=CONTEXT_LENGTH_MAX)),
        ({"id": "m", "supports_reasoning": None}, ModelEntry(id="m")),
        ({"id": "m", "supports_image_in": True}, ModelEntry(id="m", supports_image_in=True)),
        ({"id": "m", "display_name": "K2\x1b[2J\u202e\nCode  月"}, ModelEntry(id="m", display_name="K2[2J Code 月")),
        ({"id": "m", "display_name": "\x00"}, ModelEntry(id="m")),
        ({"id": "m", "display_name": None}, ModelEntry(id="m")),
        ({"id": "m", "display_name": "x" * 500}, ModelEntry(id="m", display_name="x" * 199 + "…")),
        ({"id": "a/b:c@d"}, ModelEntry(id="a/b:c@d")),
        ({}, None),
        ("m", None),
        (None, None),
        ({"id": ""}, None),
        ({"id": 5}, None),
        ({"id": None}, None),
        ({"id": "a\nb"}, None),
        ({"id": "a\x1b[2Jb"}, None),
        ({"id": "a\u202eb"}, None),
        ({"id": "\ud800"}, None),
        ({"id": "x" * 201}, None),
    ],
)
def test_item(item: object, expected: ModelEntry | None) -> None:
    """An item is understood, or left out with a note that no terminal is harmed by; the others stay."""
    models, notes = parse_catalogue({"data": [{"id": "before"}, item, {"id": "after"}]})
    middle = (expected,) if expected else ()
    assert models == (ModelEntry(id="before"), *middle, ModelEntry(id="after"))
    assert len(notes) == (0 if expected else 1)
    assert all(note.startswith("model 2 left out: ") and note.isprintable() for note in notes)


WHOLE = ModelEntry(
    id="m",
    context_length=9,
    supports_reasoning=True,
    supports_image_in=True,
    supports_video_in=True,
    display_name="M",
)
ODD: dict[str, tuple[Any, ...]] = {
    "context_length": ("many", "٣", "9" * 5000, "", True, 1.5, math.nan, math.inf, [], [5], {}, {"tokens": 5}),
    **dict.fromkeys(
        ("supports_reasoning", "supports_image_in", "supports_video_in"),
        ("yes", "true", "", 1, 0, 1.0, math.nan, [], [True], {}, {"value": True}),
    ),
    "display_name": (5, 1.5, math.nan, True, [], ["x"], {}, {"en": "x"}),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(field, value, id=f"{field}-{number}") for field in ODD for number, value in enumerate(ODD[field])],
)
def test_an_optional_field_of_an_odd_type(kimi: Platform, field: str, value: Any) -> None:
    """It counts as missing and is named; the model stays, with all its other fields, and so does the user's default."""
    models, notes = parse_catalogue({"data": [{"id": "first"}, {**WHOLE.model_dump(), field: value}]})
    default = ModelEntry.model_fields[field].default
    assert models == (ModelEntry(id="first"), WHOLE.model_copy(update={field: default}))
    (note,) = notes
    assert note.startswith(f"{field} of m left out: ")
    assert note.isprintable()
    config = after({}, plan({}, kimi, (WHOLE,), reason="login"))
    change = plan(config, kimi, models, reason="sync")
    assert (change.removed, change.default_after) == ((), "kimi-code/m")


def test_every_optional_field_is_tried() -> None:
    """A field that is added to a model belongs into the table above."""
    assert set(ODD) == set(ModelEntry.model_fields) - {"id"}


def test_what_is_left_out_of_many() -> None:
    """One note for each kind of thing: the first model and how many more, not a line for each model."""
    odd = {"supports_reasoning": "yes", "display_name": 5}
    models, notes = parse_catalogue({"data": [{"id": f"m{n}", **odd} for n in range(3)] + [{"id": "m0"}, 5, {"id": 5}]})
    assert [model.id for model in models] == ["m0", "m1", "m2"]
    assert [note.partition(" left out: ")[0] for note in notes] == [
        "supports_reasoning of m0 and of 2 more",
        "display_name of m0 and of 2 more",
        "m0",
        "model 5",
        "model 6",
    ]


def test_the_filter_comes_before_the_cut() -> None:
    """Models of another platform do not count, and no note names them."""
    others = [{"id": f"other-{n}"} for n in range(MODELS_MAX)]
    own = [{"id": f"kimi-{n}"} for n in range(MODELS_MAX + 2)]
    models, notes = parse_catalogue({"data": [*others, *own]}, ("kimi-",))
    assert [model.id for model in models] == [f"kimi-{n}" for n in range(MODELS_MAX)]
    assert notes == (f"kimi-{MODELS_MAX} and 1 more left out: more than {MODELS_MAX} are listed",)
    assert parse_catalogue({"data": [*others, *own[:MODELS_MAX]]}, ("kimi-",))[1] == ()


@pytest.mark.parametrize("answer", [None, [], "x", 5, {}, {"data": None}, {"data": {}}, {"models": []}])
def test_answer_of_another_form(answer: object) -> None:
    """An answer that is no catalogue has no models, and a note."""
    assert parse_catalogue(answer) == ((), ("the answer has no list `data`",))


def test_duplicates_and_floods() -> None:
    """The first of two models with one id counts, and the list has an end."""
    models, notes = parse_catalogue({"data": [{"id": "m", "context_length": 1}, {"id": "m"}]})
    assert models == (ModelEntry(id="m", context_length=1),)
    assert notes == ("m left out: listed twice, the first one counts",)
    models, notes = parse_catalogue({"data": [{"id": f"m{n}"} for n in range(MODELS_MAX + 7)]})
    assert len(models) == MODELS_MAX
    assert notes == (f"m{MODELS_MAX} and 6 more left out: more than {MODELS_MAX} are listed",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "id", "context_length", "supports_reasoning", "display_name"]), inner
        )
    ),
)


@given(JSON | st.fixed_dictionaries({"data": st.lists(JSON)}))
def test_any_answer(answer: object) -> None:
    """Whatever a server sends is understood or noted, never an exception, and the understood part can be written."""
    models, notes = parse_catalogue(answer)
    for model in models:
        (model.id + (model.display_name or "")).encode()
    assert all(note.isprintable() for note in notes)


# -- capabilities ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ModelEntry(id="x"), ()),
        (ModelEntry(id="x", supports_reasoning=True), ("thinking",)),
        (ModelEntry(id="kimi-Thinking-preview"), ("thinking", "always_thinking")),
        (ModelEntry(id="x", supports_video_in=True, supports_image_in=True), ("image_in", "video_in")),
        (ModelEntry(id="Kimi-K2.5"), ("thinking", "image_in", "video_in")),
        (ModelEntry(id="my-kimi-k2"), ()),
        (ModelEntry(id="kimi-k2-thinking", supports_reasoning=True), CAPABILITIES),
    ],
)
def test_capabilities(kimi: Platform, moonshot: Platform, model: ModelEntry, expected: tuple[str, ...]) -> None:
    """The rules of the data, and one order."""
    assert capabilities(kimi, model) == expected
    assert capabilities(moonshot, model) == expected
    assert capabilities(kimi._replace(capability_rules=()), model) == ()


def test_offered(kimi: Platform, moonshot: Platform) -> None:
    """A platform with prefixes offers only those models, in the server's order."""
    models = tuple(ModelEntry(id=name) for name in ("moonshot-v1", "kimi-k3", "kimi-latest", "kimi-k2"))
    assert offered(kimi, models) == models
    assert [model.id for model in offered(moonshot, models)] == ["kimi-k3", "kimi-k2"]


# -- login ----------------------------------------------------------------------------------------------------------------------


def test_login_to_nothing(kimi: Platform, models: Models) -> None:
    """From an empty config: provider, models, services, defaults."""
    change = plan({}, kimi, models, reason="login")
    assert after({}, change) == {
        "default_model": "kimi-code/kimi-for-coding",
        "default_thinking": True,
        "providers": {
            "managed:kimi-code": {
                "type": "kimi",
                "base_url": "https://api.kimi.com/coding/v1",
                "api_key": "",
                "oauth": REFERENCE,
            }
        },
        "models": {
            "kimi-code/kimi-for-coding": {
                "provider": "managed:kimi-code",
                "model": "kimi-for-coding",
                "max_context_size": 262144,
                "capabilities": ["thinking"],
                "display_name": "K2.7 Code",
            },
            "kimi-code/kimi-lite": {"provider": "managed:kimi-code", "model": "kimi-lite", "max_context_size": 131072},
        },
        "services": {
            "moonshot_search": {"base_url": "https://api.kimi.com/coding/v1/search", "api_key": "", "oauth": REFERENCE},
            "moonshot_fetch": {"base_url": "https://api.kimi.com/coding/v1/fetch", "api_key": "", "oauth": REFERENCE},
        },
    }
    assert (change.added, change.changed, change.removed) == (
        ("kimi-code/kimi-for-coding", "kimi-code/kimi-lite"),
        (),
        (),
    )
    assert (change.default_before, change.default_after) == ("", "kimi-code/kimi-for-coding")
    assert (change.platform, change.reason, bool(change)) == ("kimi-code", "login", True)


PROVIDER = {"type": "kimi", "base_url": "https://old.example", "api_key": "", "oauth": REFERENCE}
OLD = {"provider": "managed:kimi-code", "model": "old", "max_context_size": 5}
LITE = {"provider": "managed:kimi-code", "model": "kimi-lite", "max_context_size": 5}
MINE = {"provider": "mine", "model": "m", "max_context_size": 5}


@pytest.mark.parametrize(
    ("config", "path", "expected"),
    [
        ({"providers": {"mine": {"a": 1}}}, "providers mine", {"a": 1}),
        (
            {"providers": {"managed:kimi-code": {**PROVIDER, "env": {"A": "b"}}}},
            "providers managed:kimi-code env",
            {"A": "b"},
        ),
        (
            {"providers": {"managed:kimi-code": PROVIDER}},
            "providers managed:kimi-code base_url",
            "https://api.kimi.com/coding/v1",
        ),
        ({"providers": {"managed:kimi-code": {"api_key": "sk"}}}, "providers managed:kimi-code api_key", "sk"),
        ({"providers": {"managed:kimi-code": {"api_key": 5}}}, "providers managed:kimi-code api_key", ""),
        ({"providers": {"managed:kimi-code": {"oauth": "x"}}}, "providers managed:kimi-code oauth", REFERENCE),
        (
            {"providers": {"managed:kimi-code": {"oauth": {"storage": "keyring", "key": "oauth/kimi-code", "x": 1}}}},
            "providers managed:kimi-code oauth",
            {**REFERENCE, "x": 1},
        ),
        ({"services": {"moonshot_search": {"base_url": "mine"}}}, "services moonshot_search", {"base_url": "mine"}),
        ({"services": {"moonshot_search": "off"}}, "services moonshot_search", "off"),
        (
            {"services": {"moonshot_search": {"oauth": {"key": "oauth/other"}}}},
            "services moonshot_search base_url",
            None,
        ),
        (
            {"services": {"moonshot_search": {"base_url": "old", "oauth": REFERENCE, "custom_headers": {"a": "b"}}}},
            "services moonshot_search custom_headers",
            {"a": "b"},
        ),
        (
            {"services": {"moonshot_fetch": {"base_url": "old", "oauth": REFERENCE}}},
            "services moonshot_fetch base_url",
            "https://api.kimi.com/coding/v1/fetch",
        ),
        ({"models": {"m": MINE}}, "models m", MINE),
        ({"models": {"kimi-code/old": OLD}}, "models kimi-code/old", None),
        ({"models": {"by another name": OLD}}, "models by another name", None),
        ({"models": {"by another name": LITE}}, "models by another name", LITE),
        ({"models": {"kimi-code/mine": MINE}}, "models kimi-code/mine", MINE),
        ({"models": {"odd": 5}}, "models odd", 5),
        ({"models": {"kimi-code/kimi-lite": {**LITE, "colour": "red"}}}, "models kimi-code/kimi-lite colour", "red"),
        ({"models": {"kimi-code/kimi-lite": LITE}}, "models kimi-code/kimi-lite max_context_size", 131072),
        (
            {"models": {"kimi-code/kimi-lite": {**LITE, "capabilities": ["video_in"]}}},
            "models kimi-code/kimi-lite capabilities",
            None,
        ),
        (
            {"models": {"kimi-code/kimi-lite": {**LITE, "capabilities": []}}},
            "models kimi-code/kimi-lite capabilities",
            [],
        ),
        (
            {"models": {"kimi-code/kimi-lite": {**LITE, "display_name": "L"}}},
            "models kimi-code/kimi-lite display_name",
            "L",
        ),
        ({"models": {"m": MINE}, "default_model": "m"}, "default_model", "kimi-code/kimi-for-coding"),
        ({"default_thinking": False}, "default_thinking", True),
        ({"default_thinking": 1}, "default_thinking", True),
        ({"mcp": {"a": [1]}}, "mcp", {"a": [1]}),
    ],
)
def test_login_keeps_and_rebuilds(
    kimi: Platform, models: Models, config: dict[str, Any], path: str, expected: Any
) -> None:
    """Values of the user stay, our values are made anew, and a second look finds nothing to do."""
    frozen = json.dumps(config)
    result = after(config, plan(config, kimi, models, reason="login"))
    value: Any = result
    parts = path.split(" ") if "another" not in path else ["models", "by another name"]
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    assert (value, type(value)) == (expected, type(expected))
    assert json.dumps(config) == frozen
    assert not plan(result, kimi, models, reason="login")
    assert is_loadable(result)


def is_loadable(config: dict[str, Any]) -> bool:
    """The two rules of the Kimi CLI's loader, for the models that are ours."""
    default, models = config.get("default_model", ""), config.get("models", {})
    providers = {model["provider"] for model in models.values() if isinstance(model, dict)} - {"mine"}
    return (not default or default in models) and providers <= set(config.get("providers", {}))


def test_login_with_api_key(moonshot: Platform) -> None:
    """A platform without OAuth gets the key, no reference, no services, and only its own models."""
    models = (ModelEntry(id="moonshot-v1"), ModelEntry(id="kimi-k2", context_length=7))
    result = after({}, plan({}, moonshot, models, reason="login", api_key="sk"))
    assert result["providers"] == {
        "managed:moonshot-cn": {"type": "kimi", "base_url": "https://api.moonshot.cn/v1", "api_key": "sk"}
    }
    assert list(result["models"]) == ["moonshot-cn/kimi-k2"]
    assert "services" not in result
    again = plan(result, moonshot, models, reason="login")
    assert not again
    assert (
        after(result, plan(result, moonshot, models, reason="login", api_key="new"))["providers"][
            "managed:moonshot-cn"
        ]["api_key"]
        == "new"
    )


def test_services_of_a_platform_with_api_key(moonshot: Platform, models: Models) -> None:
    """Without OAuth a service is known by its URL: ours is written and taken out, another one is neither."""
    platform = moonshot._replace(search_path="/search", model_prefixes=())
    config = after({}, plan({}, platform, models, reason="login", api_key="sk"))
    assert config["services"] == {"moonshot_search": {"base_url": "https://api.moonshot.cn/v1/search", "api_key": "sk"}}
    assert not unplan(after(config, unplan(config, platform)), platform)
    own = {"services": {"moonshot_search": {"base_url": "http://mine"}}}
    assert after(own, plan(own, platform, models, reason="login", api_key="sk"))["services"] == own["services"]


def test_login_without_models(kimi: Platform) -> None:
    """Signed in while the catalogue cannot be read: provider and services, the models and a valid default stay."""
    config = {"default_model": "kimi-code/old", "models": {"kimi-code/old": OLD}}
    result = after(config, plan(config, kimi, (), reason="login"))
    assert result["models"] == config["models"]
    assert result["default_model"] == "kimi-code/old"
    assert set(result["services"]) == {"moonshot_search", "moonshot_fetch"}
    assert "default_thinking" not in result
    gone = {"default_model": "gone"}
    assert after(gone, plan(gone, kimi, (), reason="login"))["default_model"] == ""


def test_unknown_context_length(kimi: Platform) -> None:
    """Where the server does not say how long, the value in the file stays, else the platform's assumption holds."""
    models = (ModelEntry(id="a"), ModelEntry(id="b"), ModelEntry(id="c"))
    config = {
        "models": {
            "kimi-code/a": {"provider": "managed:kimi-code", "model": "a", "max_context_size": 9},
            "kimi-code/b": {"provider": "managed:kimi-code", "model": "b", "max_context_size": 0},
        }
    }
    result = after(config, plan(config, kimi, models, reason="login"))
    assert [model["max_context_size"] for model in result["models"].values()] == [9, 131072, 131072]


# -- sync -----------------------------------------------------------------------------------------------------------------------


def test_sync(kimi: Platform, models: Models) -> None:
    """Added, changed and removed models by name; nothing else is touched."""
    config = after({"theme": "dark"}, plan({"theme": "dark"}, kimi, models, reason="login"))
    config["default_thinking"] = False
    config["providers"]["managed:kimi-code"]["base_url"] = "http://proxy"
    newer = (ModelEntry(id="kimi-k2"), ModelEntry(id="kimi-lite", context_length=9))
    change = plan(config, kimi, newer, reason="sync")
    assert (change.added, change.changed, change.removed) == (
        ("kimi-code/kimi-k2",),
        ("kimi-code/kimi-lite",),
        ("kimi-code/kimi-for-coding",),
    )
    assert (change.default_before, change.default_after) == ("kimi-code/kimi-for-coding", "kimi-code/kimi-k2")
    result = after(config, change)
    assert {key: result[key] for key in ("providers", "services", "theme", "default_thinking")} == {
        key: config[key] for key in ("providers", "services", "theme", "default_thinking")
    }
    assert not plan(result, kimi, newer, reason="sync")


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("kimi-code/kimi-lite", "kimi-code/kimi-lite"),
        ("kimi-code/gone", "kimi-code/kimi-for-coding"),
        ("k", "k"),
        ("", ""),
        (None, None),
        (5, "kimi-code/kimi-for-coding"),
        (["k"], "kimi-code/kimi-for-coding"),
    ],
)
def test_sync_default(kimi: Platform, models: Models, default: object, expected: object) -> None:
    """A default that exists stays, none stays none, one that does not exist falls to the first model."""
    config: dict[str, Any] = {"providers": {"managed:kimi-code": PROVIDER}, "models": {"k": LITE}}
    if default is not None:
        config["default_model"] = default
    result = after(config, plan(config, kimi, models, reason="sync"))
    assert result.get("default_model") == expected
    assert is_loadable(result)


def test_sync_changes_nothing(kimi: Platform, models: Models) -> None:
    """An empty catalogue, a platform that is not in the config, and capabilities in another order are no change."""
    config = after({}, plan({}, kimi, (ModelEntry(id="kimi-k2"),), reason="login"))
    assert not plan(config, kimi, (), reason="sync")
    assert not plan({"theme": "x"}, kimi, models, reason="sync")
    assert not plan({"providers": {"managed:kimi-code": 5}}, kimi, models, reason="sync")
    config["models"]["kimi-code/kimi-k2"]["capabilities"].reverse()
    assert not plan(config, kimi, (ModelEntry(id="kimi-k2"),), reason="sync")


@pytest.mark.parametrize("section", ["providers", "models", "services"])
def test_our_place_is_taken(kimi: Platform, models: Models, section: str) -> None:
    """Something that is no table where our tables belong is an error, not a loss."""
    config = {section: "x"}
    for attempt in (
        lambda: plan(config, kimi, models, reason="login"),
        lambda: unplan(config, kimi),
    ):
        with pytest.raises(ConfigError, match=f"{section} is not a table"):
            attempt()


# -- logout ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "foreign", "default", "thinking"),
    [
        (None, {}, None, True),
        (None, {"m": MINE}, "m", True),
        ({}, {"m": MINE}, None, None),
        ({"default_model": "n", "default_thinking": False}, {"m": MINE, "n": MINE}, "n", False),
        ({"default_model": ""}, {"m": MINE}, "", None),
        ({"default_model": "gone"}, {"m": MINE}, "m", None),
        ({"default_model": "gone"}, {}, None, None),
        ({"default_model": 5}, {}, None, None),
    ],
)
def test_logout_default(
    kimi: Platform, models: Models, before: Any, foreign: dict[str, Any], default: str | None, thinking: bool | None
) -> None:
    """The default goes back to what it was if that is known and there, else to the first model that is left, else to none."""
    config = {"models": foreign}
    config = after(config, plan(config, kimi, models, reason="login"))
    result = after(config, unplan(config, kimi, before=before))
    assert (result.get("default_model"), result.get("default_thinking")) == (default, thinking)
    assert is_loadable(result)
    assert not unplan(result, kimi, before=before)


def test_logout_takes_only_ours(kimi: Platform, models: Models) -> None:
    """Provider, its models under any name, and our services go; all else stays, also a default set by the user."""
    foreign = {
        "default_model": "m",
        "default_thinking": False,
        "models": {"m": MINE, "kimi-code/mine": MINE},
        "providers": {"mine": {}, "managed:moonshot-cn": {}},
        "services": {"moonshot_search": {"base_url": "http://mine"}, "other": {}},
    }
    config = after(foreign, plan(foreign, kimi, models, reason="login"))
    config["models"]["k"] = LITE
    config["default_model"], config["default_thinking"] = "m", False
    change = unplan(config, kimi)
    assert after(config, change) == foreign
    assert change.removed == ("kimi-code/kimi-for-coding", "kimi-code/kimi-lite", "k")
    assert (change.reason, change.default_before, change.default_after) == ("logout", "m", "m")
