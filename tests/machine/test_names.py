"""The room's public names, which are loaded when they are first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kimi_auth.machine as room


def test_every_name_is_there() -> None:
    """Each public name can be used, is listed, and comes from the module that the type checker is told."""
    source = ast.parse(Path(room.__file__).read_text("utf-8"))
    told = {
        alias.name: f"{room.__name__}.{node.module}"
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert sorted(told) == sorted(room.__all__)
    for name, module in told.items():
        assert getattr(room, name) is getattr(sys.modules[module], name)
        assert name in dir(room)


def test_an_unknown_name() -> None:
    """An unknown name is an AttributeError, as everywhere."""
    with pytest.raises(AttributeError, match=r"'kimi_auth.machine' has no attribute 'Mashine'"):
        _ = room.Mashine


def test_reading_loads_no_engine() -> None:
    """Reading machines loads neither the engine nor its tables; walking one does."""
    script = (
        "import sys; from kimi_auth.machine import Library; Library.load(); print('transitions' in sys.modules); "
        "from kimi_auth.machine import steps; print('transitions' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True"]
