"""What a collection depends on: a plugin that writes down every id with its parameters, and every clock that was read.

`pytest -p house.collected --assert=plain --collect-only --collected=FILE`. Parameters are described down to what functions close over, so
that two collections can be compared by content; addresses and the order of sets leave no trace.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import re
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import freezegun
import pytest

CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime"}
CHANCE = {"urandom", "getpid", "getrandbits", "uuid4", "uuid1"}
DATES = {"now", "utcnow", "today"}
READS = pytest.StashKey["Reads"]()


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


class Reads:
    """A profiler that notes which module of the tests read a clock or chance while it was imported."""

    def __init__(self, tests: str) -> None:
        self.tests = tests
        self.found: set[str] = set()

    def __call__(self, frame: types.FrameType, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in CLOCKS | CHANCE | DATES:
            return
        module = getattr(called, "__module__", None)
        owner = getattr(called, "__self__", None)
        if called.__name__ in DATES and not isinstance(owner, type):
            return
        if importer := _importing(frame, self.tests):
            self.found.add(f"{importer} reads {module or getattr(owner, '__name__', owner)}.{called.__name__}")


def _importing(frame: types.FrameType | None, tests: str) -> str:
    """The file and line of the tests at whose import this happens, "" if it is not at an import of theirs."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(tests):
            return f"{code.co_filename.removeprefix(tests)}:{frame.f_lineno}"
        if code.co_filename.startswith("<frozen importlib"):
            return ""
        frame = frame.f_back
    return ""


def profiled(reads: Reads) -> type[SourceFileLoader]:
    """The loader of every module, with the profiler on while a module of the tests runs its own lines."""

    class Loader(SourceFileLoader):
        def exec_module(self, module: types.ModuleType) -> None:
            if not self.path.startswith(reads.tests):
                return super().exec_module(module)
            before = sys.getprofile()
            sys.setprofile(reads)
            try:
                return super().exec_module(module)
            finally:
                sys.setprofile(before)

    return Loader


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--collected", type=Path, help="the file that says what was collected")
    parser.addoption(
        "--hours", type=float, default=0.0, help="how far the clock is ahead; its readings are not noted then"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[READS] = reads = Reads(f"{config.rootpath / 'tests'}/")
    if hours := config.getoption("hours"):
        ahead = freezegun.freeze_time(datetime.timedelta(hours=hours), tick=True, real_asyncio=True)
        ahead.start()
        config.add_cleanup(ahead.stop)
        return
    finder = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (profiled(reads), SOURCE_SUFFIXES))
    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    try:
        return (yield)
    finally:
        items = {item.nodeid: _sum(_parameters(item)) for item in session.items}
        session.config.getoption("collected").write_text(
            json.dumps({"items": items, "reads": sorted(session.config.stash[READS].found)})
        )


def _sum(value: object) -> str:
    return hashlib.sha256(json.dumps(describe(value)).encode()).hexdigest()


def _parameters(item: pytest.Item) -> object:
    return getattr(getattr(item, "callspec", None), "params", None)
