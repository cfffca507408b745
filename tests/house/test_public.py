"""What other programs may lean on is listed, documented, and announced."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

import kimi_auth

PACKAGE = Path(kimi_auth.__file__).parent
CHECKOUT = Path(__file__).parents[2]
FILES = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))


def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text("utf-8"))


def exported(module: ast.Module) -> list[str] | None:
    """The names in a module's `__all__`; None where there is none."""
    for node in module.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def ordering(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def undocumented(module: ast.Module) -> list[str]:
    """The module itself, and the functions and classes of its `__all__`, where they have no docstring."""
    public = exported(module) or ()
    defined = [node for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    bare = [node.name for node in defined if node.name in public and ast.get_docstring(node) is None]
    return bare if ast.get_docstring(module) else ["the module", *bare]


@pytest.mark.parametrize("file", FILES)
def test_all_is_sorted(file: str) -> None:
    """`__all__` is sorted and names nothing twice."""
    names = exported(tree(file)) or []
    assert names == sorted(set(names), key=ordering)


@pytest.mark.parametrize("file", FILES)
def test_docstrings(file: str) -> None:
    """Every module, and every function and class in its `__all__`, says what it is."""
    assert undocumented(tree(file)) == []


def test_public_methods() -> None:
    """Every public method and property of what `kimi_auth` exports has a docstring."""
    bare = []
    for name in kimi_auth.__all__:
        value = getattr(kimi_auth, name)
        for member, found in vars(value).items() if inspect.isclass(value) else ():
            described = inspect.isfunction(found) or isinstance(found, property | classmethod | staticmethod)
            if described and not member.startswith("_") and not inspect.getdoc(getattr(value, member)):
                bare.append(f"{name}.{member}")
    assert bare == []


@pytest.mark.parametrize("room", sorted(file.parent.name for file in PACKAGE.glob("*/__init__.py")))
def test_rooms_export_what_they_say(room: str) -> None:
    """Each name in a room's `__all__` is there, and says what it is."""
    module = importlib.import_module(f"kimi_auth.{room}")
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        assert inspect.getdoc(value) or not (inspect.isclass(value) or inspect.isfunction(value)), name


def test_the_front_door() -> None:
    """Each public name loads, `dir` lists it, and an unknown one is an AttributeError."""
    for name in kimi_auth.__all__:
        assert getattr(kimi_auth, name) is not None
    assert set(kimi_auth.__all__) <= set(dir(kimi_auth))
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        kimi_auth.Sesion  # noqa: B018


SESSION_NAMES_MAX = 15


def test_a_session_stays_small() -> None:
    """At most fifteen public names; what the programs of this package need besides comes from `components_of`."""
    session = kimi_auth.Session(environ={"KIMI_SHARE_DIR": "/nowhere"})
    names = {name for name in dir(session) if not name.startswith("_")}
    assert len(names) <= SESSION_NAMES_MAX, sorted(names)
    assert {"access_token", "login", "login_sync", "models", "status", "kept_fresh"} <= names


def _ours(annotation: object) -> set[str]:
    """The names of our classes in an annotation, and in what it is made of."""
    inner: set[str] = set().union(*map(_ours, annotation if isinstance(annotation, list) else get_args(annotation)))
    if inspect.isclass(annotation) and annotation.__module__.startswith("kimi_auth"):
        inner.add(annotation.__name__)
    return inner


def test_what_a_session_takes_and_returns_is_exported() -> None:
    """Every class in the signatures of Session and of `session.models` is a public name of `kimi_auth`."""
    named: set[str] = set()
    for kind in (kimi_auth.Session, kimi_auth.PlatformModels):
        home = vars(sys.modules[kind.__module__])
        for name, member in vars(kind).items():
            found = member.fget if isinstance(member, property) else getattr(member, "__wrapped__", member)
            if inspect.isfunction(found) and (not name.startswith("_") or kind.__name__ + name == "Session__init__"):
                hints = inspect.get_annotations(found)
                for text in hints.values():
                    named |= _ours(eval(text, {**home, **_types_only(kind)}))
    assert {"LoginView", "LoginReport", "Status", "Change", "OAuthServer"} <= named
    assert named <= set(kimi_auth.__all__)


def _types_only(kind: type) -> dict[str, object]:
    """What the module of `kind` imports for type checkers only, loaded for this test."""
    names: dict[str, object] = {}
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[kind.__module__]))):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            names |= {alias.asname or alias.name: getattr(module, alias.name, None) for alias in node.names}
    return names


PUBLIC_MODULES = {"kimi_auth", "kimi_auth.clients", "kimi_auth.testing"}
ON_PURPOSE = {
    "draw_a_machine.py": {"kimi_auth.machine", "kimi_auth.review.mermaid"},  # shows the machines themselves
    "kimi_cli_dropin.py": {"kimi_auth.compat.kimi_cli"},  # stands in for another program's modules
    "own_machine.py": {"kimi_auth.machine", "kimi_auth.proof.explore", "kimi_auth.proof.locations", "kimi_auth.review"},
}
"""Examples that are about other rooms than the library, and what they import of them."""


EXAMPLES = sorted(path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "examples").rglob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_use_the_public_surface(example: str) -> None:
    """An example imports from `kimi_auth`, its adapters in `kimi_auth.clients` and `kimi_auth.testing`, so that a reader can copy it."""
    file = CHECKOUT / example
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    ours = {name for name in modules if name.partition(".")[0] == "kimi_auth"}
    assert ours - ON_PURPOSE.get(file.name, set()) <= PUBLIC_MODULES
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "kimi_auth":
            assert {alias.name for alias in node.names} <= set(kimi_auth.__all__)


def test_changelog() -> None:
    """The version has an entry in CHANGELOG.md, above all older ones."""
    headings = re.findall(r"^## \[([^\]]+)\]", (CHECKOUT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert kimi_auth.__version__ in headings[:2]
