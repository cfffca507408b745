"""Any valid config, whatever its layout: login, sync and logout say what they should and touch nothing else."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kimi_auth.models import ConfigFile, ModelEntry, has_login, plan, unplan
from kimi_auth.models.tomlscan import scan
from kimi_auth.models.tomltext import REMOVED, Edit, diff, edited, loads
from kimi_auth.platforms import registry

KIMI = registry.get("kimi-code")
OURS = {"managed:kimi-code", "moonshot_search", "moonshot_fetch", "default_model", "default_thinking"}

SCALARS = st.sampled_from(
    (
        *("1", "-0", "0xFF", "1_000", "1.50", "6e3", "nan", "-inf", "true", "1979-05-27 07:32:00Z", "07:32:00"),
        *('""', '"x # y"', '"\\"]"', "'a = {'", '"""\n[x]\n"""', "'''\n# no '' comment'''", '"""a\\""""""'),
        *('"kimi-code/a"', '"m"'),
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).flatmap(
            lambda items: st.sampled_from([f"[{', '.join(items)}]", "[ # ]\n " + ",\n ".join([*items, ""]) + "]"])
        )
        | st.dictionaries(st.sampled_from(["a", '"b c"', "'d.e'", "f.g"]), inner, max_size=3).map(
            lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }"
        )
    ),
    max_leaves=4,
)
NAMES = st.sampled_from(
    ["mine", '"managed:kimi-code"', "'managed:kimi-code'", '"a.b"', '"kimi-code/a"', "moonshot_search", "m"]
)
SECTIONS = st.sampled_from(["providers", "models", "services", "mcp", '"models"', "'providers'", "hooks"])
FIELDS = st.sampled_from(
    ["type", "provider", "model", '"base_url"', "api_key", "oauth", "oauth.key", "env.A", "max_context_size"]
)
COMMENTS = st.sampled_from(["", "", " # note", "#[x]", " # é月"])
FILLERS = st.sampled_from(["", "", "# alone", "  # [providers]", "\t", "# default_model = 1"])

KEYS = st.one_of(
    st.sampled_from(
        ["default_model", "default_thinking", "theme", '"default_model"', "models", "providers", "services"]
    ),
    st.tuples(SECTIONS, NAMES).map(" . ".join),
    st.tuples(SECTIONS, NAMES, FIELDS).map(".".join),
)
HEADERS = st.one_of(
    SECTIONS.map(lambda section: f"[{section}]"),
    st.tuples(SECTIONS, NAMES).map(lambda parts: f"[ {'.'.join(parts)} ]"),
    st.tuples(SECTIONS, NAMES, st.sampled_from(["oauth", "env", "x"])).map(lambda parts: f"[{'.'.join(parts)}]"),
    st.sampled_from(["[[hooks]]", "[[mcp.list]]"]),
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A valid TOML text in a layout of any kind."""
    lines: list[str] = []

    def keep(line: str) -> None:
        try:
            tomllib.loads("\n".join([*lines, line]))
        except tomllib.TOMLDecodeError:
            return
        lines.append(line)

    indents = st.sampled_from(["", "", "  ", "\t"])
    for _ in range(draw(st.integers(0, 4))):
        keep(draw(FILLERS))
        keep(f"{draw(indents)}{draw(KEYS)} = {draw(VALUES)}{draw(COMMENTS)}")
    for _ in range(draw(st.integers(0, 5))):
        keep(draw(FILLERS))
        keep(f"{draw(indents)}{draw(HEADERS)}{draw(COMMENTS)}")
        for _ in range(draw(st.integers(0, 3))):
            keep(draw(FILLERS))
            keep(f"{draw(indents)}{draw(FIELDS | NAMES)}={draw(VALUES)}{draw(COMMENTS)}")
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n\n"]))
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


MODELS = st.lists(
    st.builds(
        ModelEntry,
        id=st.sampled_from(["a", "b", "kimi-k2", 'q"]', "月"]),
        context_length=st.none() | st.integers(1, 9),
        supports_reasoning=st.booleans(),
        display_name=st.none() | st.sampled_from(["A", 'B "b"\\', "\x7f"]),
    ),
    max_size=3,
    unique_by=lambda model: model.id,
).map(tuple)


def foreign(text: str) -> list[tuple[tuple[str, ...], str]]:
    """Every pair that is not ours and holds nothing of ours, as it is spelled."""
    return [
        (node.path, text[node.start : node.end])
        for node in scan(text)
        if node.is_pair
        and not (node.is_inline_table and len(node.path) <= 2)
        and not OURS & set(node.path)
        and not (node.path[0] == "models" and len(node.path) > 1)
    ]


def can_be_planned(config: dict[str, Any]) -> bool:
    """Nothing but tables where our tables belong (otherwise the file is refused, which has its own tests)."""
    places = [("providers", "managed:kimi-code")] + [
        ("models", f"kimi-code/{name}") for name in ("a", "b", "kimi-k2", 'q"]', "月")
    ]
    for section, key in places:
        table = config.get(section, {})
        if not isinstance(table, dict) or not isinstance(table.get(key, {}), dict):
            return False
    own = config.get("providers", {}).get("managed:kimi-code", {})
    oauth_is_fine = all(
        not isinstance(own.get(key), list | dict) or key == "oauth" for key in ("type", "base_url", "api_key")
    )
    entries = [entry for entry in config.get("models", {}).values() if isinstance(entry, dict)]
    fields_are_fine = all(
        not isinstance(entry.get(key), dict) for entry in entries for key in ("model", "provider", "max_context_size")
    )
    defaults_are_fine = not any(isinstance(config.get(key), dict) for key in ("default_model", "default_thinking"))
    return isinstance(config.get("services", {}), dict) and oauth_is_fine and fields_are_fine and defaults_are_fine


@settings(deadline=None)
@given(texts(), MODELS, MODELS)
def test_text(text: str, models: tuple[ModelEntry, ...], newer: tuple[ModelEntry, ...]) -> None:
    """Each step's text says exactly what its plan says, nothing foreign is respelled, and each step is done once."""
    assume(can_be_planned(loads(text)))
    before, comments = loads(text), text.count("#")
    for reason, entries in (("login", models), ("sync", newer)):
        config = loads(text)
        change = plan(config, KIMI, entries, reason=reason)  # type: ignore[arg-type]
        written = edited(text, change.edits)
        assert foreign(written) == foreign(text)
        assert not plan(loads(written), KIMI, entries, reason=reason)  # type: ignore[arg-type]
        default = loads(written).get("default_model", "")
        assert default == "" or default in loads(written)["models"]
        text = written
    left = edited(text, unplan(loads(text), KIMI, before=before).edits)
    assert foreign(left) == foreign(text)
    assert not unplan(loads(left), KIMI, before=before)
    assert left.count("#") <= comments + 1


@settings(deadline=None)
@given(texts(), MODELS, MODELS)
def test_file(text: str, models: tuple[ModelEntry, ...], newer: tuple[ModelEntry, ...]) -> None:
    """Login, sync and logout give the same bytes back, unless there was a login in them before."""
    assume(can_be_planned(loads(text)))
    with tempfile.TemporaryDirectory() as directory:
        file = ConfigFile(Path(directory))
        file.path.write_bytes(text.encode())
        file.apply(lambda config: plan(config, KIMI, models, reason="login"))
        file.apply(lambda config: plan(config, KIMI, newer, reason="sync"))
        assert plan(file.read(), KIMI, newer, reason="sync").edits == ()
        file.revert(KIMI)
        assert not has_login(file.read(), KIMI)
        assert has_login(loads(text), KIMI) or file.path.read_bytes() == text.encode()


def pruned(data: Any) -> Any:
    """Without empty tables, which an edit may leave or take along."""
    if not isinstance(data, dict):
        return data
    inner = {key: pruned(value) for key, value in data.items()}
    return {key: value for key, value in inner.items() if value != {}}


@settings(deadline=None)
@given(texts(), texts())
def test_any_edit(text: str, other: str) -> None:
    """From any config to any other, with nested tables and removals: done exactly, or refused and never wrong."""
    try:
        result = edited(text, diff(loads(text), loads(other)))
    except ValueError:
        return
    assert not diff(pruned(loads(result)), pruned(loads(other)))


def one_by_one(text: str, edits: tuple[Edit, ...]) -> str:
    """The same edits, each on a text that is scanned anew: first the removals, which are one, then each value."""
    text = edited(text, [edit for edit in edits if edit.value is REMOVED])
    for edit in edits:
        if edit.value is not REMOVED:
            text = edited(text, [edit])
    return text


@settings(deadline=None)
@given(texts(), texts())
def test_all_at_once(text: str, other: str) -> None:
    """Many edits in one pass make the very text that they make one after another."""
    edits = diff(loads(text), loads(other))
    try:
        expected = one_by_one(text, edits)
    except ValueError:
        return
    assert edited(text, edits) == expected
