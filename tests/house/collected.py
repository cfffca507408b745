"""A plugin that writes down every id of a collection with its parameters, at a time of its own.

`pytest -p house.collected --assert=plain --collect-only --collected=FILE`. Parameters are described down to what functions close over, so
that two collections can be compared by content; addresses and the order of sets leave no trace.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import freezegun
import pytest

with contextlib.suppress(
    ImportError
):  # an extra; compiled, it measures datetime.date when it is loaded: freezegun's is larger
    import psycopg  # noqa: F401


def describe(value: object, above: tuple[int, ...] = ()) -> object:
    """`value` as JSON that is the same in every process in which `value` is the same."""
    if isinstance(value, (str, int, float, bool, type(None), complex)) and type(value).__module__ == "builtins":
        return repr(value)
    if isinstance(value, (bytes, bytearray)):
        return repr(bytes(value))
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, (type, types.ModuleType)):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    return [name, *(describe(part, above) for part in _parts(value))]


def _parts(value: Any) -> Iterator[object]:
    """What a value consists of."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (set, frozenset)):
        yield sorted(json.dumps(describe(part)) for part in value)
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        yield from (value.__qualname__, value.__defaults__, value.__kwdefaults__, cells)
    elif isinstance(value, types.BuiltinFunctionType):
        yield value.__qualname__
    else:
        kept = {**getattr(value, "__dict__", {})}
        for kind in type(value).__mro__:
            slots = getattr(kind, "__slots__", ())
            kept |= {name: getattr(value, name, None) for name in ([slots] if isinstance(slots, str) else slots)}
        yield kept or re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--collected", type=Path, help="the file that says what was collected")
    parser.addoption("--hours", type=float, default=0.0, help="how far the clock is ahead")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    hours = datetime.timedelta(hours=config.getoption("hours"))
    ahead = freezegun.freeze_time(hours, tick=True, real_asyncio=True)
    ahead.start()
    config.add_cleanup(ahead.stop)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    try:
        return (yield)
    finally:
        items = {item.nodeid: _sum(_parameters(item)) for item in session.items}
        session.config.getoption("collected").write_text(json.dumps(items))


def _sum(value: object) -> str:
    return hashlib.sha256(json.dumps(describe(value)).encode()).hexdigest()


def _parameters(item: pytest.Item) -> object:
    return getattr(getattr(item, "callspec", None), "params", None)
