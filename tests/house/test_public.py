"""What other programs may lean on is listed, documented, and announced."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

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


def test_changelog() -> None:
    """The version has an entry in CHANGELOG.md, above all older ones."""
    headings = re.findall(r"^## \[([^\]]+)\]", (CHECKOUT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert kimi_auth.__version__ in headings[:2]
