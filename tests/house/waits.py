"""The waits of tests that a clock on the wall ends, found in their source.

A wait may end by progress: one of `house.patience`, one without a limit, or one with `NO_LIMIT_S`, which the test's own limit
(`house.timeouts`) precedes. It may look without waiting (0), or for one tick of such a wait. Any other number of seconds is a
finding. The scripts that a test gives to a child are read like the test itself.

`waits.toml` lists the findings that stand, each group with the reason why.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["TESTS", "Wait", "found_in", "sources", "waits"]

TESTS: Final = Path(__file__).parents[1]

BY_PROGRESS: Final = {"NO_LIMIT_S", "TICK_S", "tick_s"}
KEYWORDS: Final = {"open_timeout", "timeout", "timeout_s"}

AT: Final = {
    **dict.fromkeys(
        ("alarm", "drain", "fail_after", "locked", "look", "move_on_after", "poll", "result", "exception"), 0
    ),
    **dict.fromkeys(("join", "settimeout", "setdefaulttimeout", "timeout", "timeout_at", "wait"), 0),
    **dict.fromkeys(("acquire", "create_connection", "setitimer", "wait_for"), 1),
    "select": 3,
}
"""Calls whose positional argument of that number is a limit, if it reads as seconds."""

REQUESTS: Final = {"delete", "get", "head", "patch", "post", "put", "request", "stream"}
CLIENTS: Final = {"AsyncClient", "Client"}
"""Of httpx and httpx2: five seconds, where no timeout is said. A test that has clients of both may call the module anything."""

PATIENT: Final = {"mcp"}
"""Modules whose `Client` has no limit."""

BUSES: Final = {"busctl", "gdbus"}
"""Programs whose `--timeout` is a limit, unless it is 0."""

SLEEPS: Final = {"sleep", "wait"}
CLOCKS: Final = {"monotonic", "perf_counter", "clock_gettime"}
SCRIPT: Final = re.compile(rf"\b(?:{'|'.join(sorted(KEYWORDS | AT.keys() | CLOCKS | CLIENTS | BUSES))})\b")


class Wait(NamedTuple):
    """A finding: its file below tests/, line, function (dotted, empty at the top), and the limit as it is written."""

    file: str
    line: int
    within: str
    limit: str

    @property
    def name(self) -> str:
        """How `waits.toml` names it."""
        return f"{self.file}::{self.within}: {self.limit}"


def waits() -> Iterator[Wait]:
    """Every finding in the tests, but for those that the search's own test plants."""
    for file in sources():
        if file.name != "test_waits.py":
            yield from found_in(file.read_text("utf-8"), file.relative_to(TESTS).as_posix())


def sources() -> Iterator[Path]:
    """Each Python file of the tests that is ours."""
    return (file for file in sorted(TESTS.rglob("*.py")) if "node_modules" not in file.parts)


def found_in(source: str, file: str = "", line: int = 0, within: str = "") -> Iterator[Wait]:
    """The findings in a source, whose first line is number `line` + 1 of `file`."""
    yield from _below(ast.parse(source), file, line, within)


def _below(parent: ast.AST, file: str, line: int, within: str) -> Iterator[Wait]:
    for node in ast.iter_child_nodes(parent):
        inside = within
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside = f"{within}.{node.name}" if within else node.name
        for limit in _limits(node):
            yield Wait(file, line + node.lineno, within, limit)  # type: ignore[attr-defined]
        if isinstance(node, (ast.Constant, ast.JoinedStr)):
            yield from _in_script(node, file, line, within)
        else:
            yield from _below(node, file, line, inside)


def _in_script(node: ast.Constant | ast.JoinedStr, file: str, line: int, within: str) -> Iterator[Wait]:
    """A string that is a program, with a name for each value that an f-string puts in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "tick_s" for part in parts)
    if SCRIPT.search(text):
        try:
            yield from found_in(textwrap.dedent(text), file, line + node.lineno - 1, within)
        except SyntaxError:
            return  # a sentence


def _limits(node: ast.AST) -> Iterator[str]:
    """The limits that this node itself sets."""
    if isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, (ast.List, ast.Tuple)):
        yield from _of_command(node)
    elif isinstance(node, ast.For) and _called(node.iter) == "range" and _waits(node):
        yield f"for in {ast.unparse(node.iter)}"
    elif (isinstance(node, ast.Compare) and any(_called(part) in CLOCKS for part in ast.walk(node))) or (
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "timeout" and not _by_progress(node.value)
    ):
        yield ast.unparse(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    name = _called(call)
    said = {word.arg for word in call.keywords}
    for word in call.keywords:
        if word.arg in KEYWORDS and not _by_progress(word.value):
            yield f"{name}({word.arg}={ast.unparse(word.value)})"
    at = AT.get(name, len(call.args))
    if at < len(call.args) and ".mark." not in ast.unparse(call.func):
        seconds = call.args[at]
        if _reads_as_seconds(seconds) and not _by_progress(seconds) and not _is_sleep(call, seconds):
            yield f"{name}({ast.unparse(seconds)})"
    library = ast.unparse(call.func).removesuffix(f".{name}")
    is_request = library in {"httpx", "httpx2"} and name in REQUESTS
    is_client = name in CLIENTS and isinstance(call.func, ast.Attribute) and library not in PATIENT
    if (is_request or is_client) and not said & {"timeout", "transport"}:
        yield f"{library}.{name}()"


def _of_command(command: ast.List | ast.Tuple) -> Iterator[str]:
    words = [part.value if isinstance(part, ast.Constant) else "" for part in command.elts]
    if words and words[0] in BUSES:
        for option, value in re.findall(r"(--timeout)[ =](\S+)", " ".join(map(str, words))):
            if value != "0":
                yield f"{words[0]} {option} {value}"


def _called(node: ast.AST) -> str:
    """The last name of the function that a call calls, empty for anything else."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", "") or getattr(node.func, "id", "")


def _by_progress(seconds: ast.expr) -> bool:
    """No limit, no wait, or a limit of `house.patience`, alone or as a part of it."""
    if isinstance(seconds, ast.Constant):
        return not seconds.value
    if isinstance(seconds, ast.Call) and _called(seconds) != "min":
        return False
    return any(isinstance(part, ast.Name) and part.id in BY_PROGRESS for part in ast.walk(seconds))


def _reads_as_seconds(value: ast.expr) -> bool:
    """A number, a name that ends in _s or is `timeout`, and arithmetic on them."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, (int, float)) and not isinstance(value.value, bool)
    if isinstance(value, (ast.Name, ast.Attribute)):
        name = ast.unparse(value).rpartition(".")[2]
        return name.lower().endswith("_s") or name in {"seconds", "timeout"}
    if isinstance(value, ast.BinOp):
        return _reads_as_seconds(value.left) and _reads_as_seconds(value.right)
    if isinstance(value, ast.IfExp):
        return _reads_as_seconds(value.body) and _reads_as_seconds(value.orelse)
    return _called(value) in {"min", "max", "float", "int"}


def _is_sleep(call: ast.Call, seconds: ast.expr) -> bool:
    """An event that no other thread has, and less than a second: as `time.sleep`, it ends nothing."""
    alone = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "threading.Event()"
    return alone and isinstance(seconds, ast.Constant) and seconds.value < 1


def _waits(loop: ast.For) -> bool:
    """Whether a loop looks so many times, with a pause before the next one."""
    parts = list(ast.walk(loop))
    return any(map(_is_pause, parts)) and any(isinstance(part, (ast.Break, ast.Return)) for part in parts)


def _is_pause(node: ast.AST) -> bool:
    """`sleep`, or an event's `wait`, of so many seconds."""
    if not isinstance(node, ast.Call) or _called(node) not in SLEEPS or not node.args:
        return False
    return _reads_as_seconds(node.args[0]) and not _by_progress(node.args[0])
