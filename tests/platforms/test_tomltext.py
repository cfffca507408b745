"""Text edits by themselves: what the scanner sees, what it refuses, and that a wrong result never gets out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.errors import ConfigError
from kimi_auth.models import ConfigFile, ModelEntry, plan, tomlsplice, tomltext
from kimi_auth.models.tomlscan import Node, scan
from kimi_auth.models.tomltext import REMOVED, Edit, applied, diff, edited, loads
from kimi_auth.platforms import Platform


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", []),
        ("# x = 1\n", []),
        ("a.\"b.c\".'d' = 1", ["a/b.c/d"]),
        ("a = { b = { c = 1 }, d.e = [ {f = 1} ] }", ["a", "a/b", "a/b/c", "a/d/e"]),
        ("a = {\n  b = 1, # TOML 1.1\n  c = 2,\n}\n[d]\n", ["a", "a/b", "a/c", "d"]),
        ('[a]\nx = """\n[b]\n"""\n[[c]]\ny = \'}\' # [d]\n', ["a", "a/x", "c", "c/y"]),
    ],
)
def test_scan(text: str, paths: list[str]) -> None:
    """Headers and pairs with their absolute paths, in the order of the text."""
    assert ["/".join(node.path) for node in scan(text)] == paths


@pytest.mark.parametrize("text", ["= 1", "[a", "a = ", "a b = 1", "a = [1", "a = {b = 1"])
def test_scan_of_something_else(text: str) -> None:
    """A text that is not TOML has no offsets, and never leads to an endless search."""
    with pytest.raises(ValueError, match="line 1"):
        scan(text)


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ("", "a", 1, "a = 1\n"),
        ("", "a/b", 1, "[a]\nb = 1\n"),
        ("", "a/b", {"c": "d", "e": {"f g": [1, True]}}, '[a.b]\nc = "d"\ne = { "f g" = [1, true] }\n'),
        ("a = 1", "a", 'q"\\\n\x7f月', 'a = "q\\"\\\\\\n\\u007f月"'),
        ("a = 1 # c\nb = 2\n", "a", REMOVED, "b = 2\n"),
        ("a = 1\n\nb = 2\n\nc = 3\n", "b", REMOVED, "a = 1\n\nc = 3\n"),
        ("[a]\nb = 1\n\n# of c\n[c]\n", "a", REMOVED, "# of c\n[c]\n"),
        ("# title\n\n# of a\n[a]\n", "b", 1, "# title\n\nb = 1\n\n# of a\n[a]\n"),
        ("# of a\n[a]\n", "b", 1, "b = 1\n\n# of a\n[a]\n"),
        ("# title", "b", 1, "# title\nb = 1\n"),
        ("[a]\n  b = 1\n[c]\n", "a/d", 1, "[a]\n  b = 1\n  d = 1\n[c]\n"),
        ("[a.x]\nb = 1\n", "a/d", 1, "[a.x]\nb = 1\n\n[a]\nd = 1\n"),
        ("a.x.b = 1\nz = 1\n", "a/x/d", 1, "a.x.b = 1\na.x.d = 1\nz = 1\n"),
        ("a = {}\n", "a/b", 1, "a = { b = 1 }\n"),
        ("a = { b = 1 }\n", "a/c/d", 1, "a = { b = 1, c.d = 1 }\n"),
        ("a = { b = 1, c = 2, d = 3 }\n", "a/c", REMOVED, "a = { b = 1, d = 3 }\n"),
        ("a = { b = 1, c = 2 }\n", "a/c", REMOVED, "a = { b = 1 }\n"),
        ("a = { b = { c = 1, d = 2 } }\n", "a/b/d", REMOVED, "a = { b = { c = 1 } }\n"),
        ("[a]\nx = 1\n# in a\ny = 2\n# after\n[b]\n[a.c]\n", "a", REMOVED, "# after\n[b]\n"),
        ("[[a]]\nb = 1\n[a.c]\n[d]\n", "a", REMOVED, "[d]\n"),
    ],
)
def test_edit(text: str, path: str, value: Any, expected: str) -> None:
    """One edit and the exact text that it makes."""
    assert edited(text, [Edit(tuple(path.split("/")), value)]) == expected


MANY = 400
ABOUT_MANY = {
    "added as tables": ("", [Edit(("t", str(n)), {"a": n}) for n in range(MANY)]),
    "added to a table": ("[t] # c\n", [Edit(("t", str(n)), n) for n in range(MANY)]),
    "added to an inline table": ("t = { }\n", [Edit(("t", str(n)), n) for n in range(MANY)]),
    "changed": (
        "".join(f"[t.{n}]\na = {n}\n" for n in range(MANY)),
        [Edit(("t", str(n), "a"), 0) for n in range(MANY)],
    ),
    "removed": (
        "".join(f"[t.{n}]\na = {n}\n" for n in range(MANY)),
        [Edit(("t", str(n)), REMOVED) for n in range(MANY)],
    ),
    "removed from an inline table": (
        f"t = {{ {', '.join(f'a{n} = {n}' for n in range(MANY))} }}\n",
        [Edit(("t", f"a{n}"), REMOVED) for n in range(MANY)],
    ),
}


@pytest.mark.parametrize(("text", "edits"), ABOUT_MANY.values(), ids=ABOUT_MANY)
def test_many_edits_are_one_pass(text: str, edits: list[Edit], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many edits there are, the text is scanned once, or twice where inline tables lose something."""
    scans: list[str] = []

    def counted(text: str) -> list[Node]:
        scans.append(text)
        return scan(text)

    monkeypatch.setattr(tomlsplice, "scan", counted)
    assert loads(edited(text, edits)).get("t", {}).keys() == applied(loads(text), edits)["t"].keys()
    assert len(scans) <= 2


@pytest.mark.parametrize("value", [None, {1, 2}, object()])
def test_value_that_toml_does_not_have(value: object) -> None:
    """A value without a spelling is refused."""
    with pytest.raises(ValueError, match="TOML has no"):
        edited("", [Edit(("a",), value)])


def test_nested_too_deeply() -> None:
    """Depth is a reason to refuse, not to break."""
    with pytest.raises(ValueError, match="nested too deeply"):
        edited("a = " + "[" * 5000 + "]" * 5000, [])


@pytest.mark.parametrize(
    ("one", "other"), [("a = 1", "a = true"), ("a = 1", "a = 1.0"), ("a = 1", 'a = "1"'), ("a = []", "a = {}")]
)
def test_diff_knows_types(one: str, other: str) -> None:
    """Values of different types are different, whatever Python thinks; nan is nan."""
    assert len(diff(loads(one), loads(other))) == 1
    assert not diff(loads(f"{one}\nb = [nan]"), loads(f"{one}\nb = [nan]"))


def test_edits_hide_their_values() -> None:
    """A value may be an API key."""
    assert "sk-1" not in repr(Edit(("a",), "sk-1"))


def test_wrong_text_never_gets_out(
    file: ConfigFile,
    kimi: Platform,
    models: tuple[ModelEntry, ...],
    config_error: Callable[..., ConfigError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If an edit did something else than the plan says, the file would stay as it is."""
    file.path.write_text("theme = 'dark'\n")
    real = tomltext.spliced
    for wrong in (lambda text, removed, put: text, lambda text, removed, put: real(text, removed, put) + "x = 1\n"):
        monkeypatch.setattr(tomltext, "spliced", wrong)
        for attempt in (file.writable, file.apply):
            error = config_error(attempt, lambda config: plan(config, kimi, models, reason="login"))
            assert "cannot be edited safely" in error.message
    assert file.path.read_text() == "theme = 'dark'\n"
    assert not (file.share_dir / "kimi-auth").exists()
