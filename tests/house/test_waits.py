"""No test waits for a clock on the wall where it expects an answer: every such wait is found, or argued."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from house.waits import TESTS, Wait, found_in, waits

EXCEPTIONS = tomllib.loads((Path(__file__).parent / "waits.toml").read_text("utf-8"))["exception"]

# A limit in seconds, as a test might write it, and how the search names it.
PLANTED = {
    "an event": ("gate.wait(10)", "wait(10)"),
    "an event of its own": ("threading.Event().wait(60)", "wait(60)"),
    "a process": ("assert process.wait(180.0) == 0", "wait(180.0)"),
    "a named number": ("gate.wait(LONG_S)", "wait(LONG_S)"),
    "a reckoned number": ("process.wait(4 * PATIENCE_S)", "wait(4 * PATIENCE_S)"),
    "one of two": ("said.wait(10 if long else 0)", "wait(10 if long else 0)"),
    "a thread": ("thread.join(30)", "join(30)"),
    "an output": ("process.communicate(timeout=60)", "communicate(timeout=60)"),
    "a command": ("subprocess.run(['true'], timeout=60)", "run(timeout=60)"),
    "a queue": ("reports.get(timeout=5)", "get(timeout=5)"),
    "a semaphore": ("seats.acquire(timeout=10)", "acquire(timeout=10)"),
    "a lock": ("guard.acquire(True, 10)", "acquire(10)"),
    "a condition": ("changed.wait_for(lambda: done, 60.0)", "wait_for(60.0)"),
    "a pipe": ("ready.poll(60.0)", "poll(60.0)"),
    "a descriptor": ("select.select([descriptor], [], [], 10)", "select(10)"),
    "a future": ("future.result(10)", "result(10)"),
    "a task": ("await asyncio.wait_for(work(), 5)", "wait_for(5)"),
    "tasks": ("await asyncio.wait(tasks, timeout=5)", "wait(timeout=5)"),
    "a block of asyncio": ("async def f():\n    async with asyncio.timeout(5): pass", "timeout(5)"),
    "a block of anyio": ("with anyio.fail_after(5): pass", "fail_after(5)"),
    "a socket": ("peer.settimeout(20)", "settimeout(20)"),
    "a connection": ("socket.create_connection(address, timeout=5)", "create_connection(timeout=5)"),
    "a handler": ("class Handler:\n    timeout = 20", "timeout = 20"),
    "an alarm": ("signal.alarm(10)", "alarm(10)"),
    "a database": ("for told in renewer.notifies(timeout=60.0): pass", "notifies(timeout=60.0)"),
    "a store": ("with store.locked(10.0): pass", "locked(10.0)"),
    "a call of ours": ("session.access_token_sync(timeout_s=5)", "access_token_sync(timeout_s=5)"),
    "a request": ("httpx.get(url)", "httpx.get()"),
    "a client": ("httpx2.AsyncClient(auth=auth)", "httpx2.AsyncClient()"),
    "a client of a module": ("self.library.Client(auth=auth)", "self.library.Client()"),
    "a client of whatever is loaded": ("library_for().AsyncClient(**options)", "library_for().AsyncClient()"),
    "a client's seconds": ("httpx.Client(timeout=60)", "Client(timeout=60)"),
    "a handshake": ("await websockets.connect(url, open_timeout=10)", "connect(open_timeout=10)"),
    "a service of a bus": ("subprocess.run(['gdbus', 'wait', '--timeout', '10', name])", "gdbus --timeout 10"),
    "a call over a bus": ("subprocess.run(['busctl', '--timeout=10', 'call', name])", "busctl --timeout 10"),
    "so many looks": ("for _ in range(6000):\n    if done: break\n    time.sleep(0.01)", "for in range(6000)"),
    "a deadline": ("while time.monotonic() < end_s: look()", "time.monotonic() < end_s"),
    "a measurement": ("assert time.perf_counter() - began_s < 5", "time.perf_counter() - began_s < 5"),
    "a script": ('run("""\n    import threading\n    gate.wait(10)\n""")', "wait(10)"),
    "a script with values": ('run(f"""\n    kill({number})\n    gate.wait(10)\n""")', "wait(10)"),
}

BY_PROGRESS = (
    *("met(gate)", "joined(thread)", "ended(process)", "heard(process, 'text')", "gate.wait()", "thread.join()"),
    *("gate.wait(NO_LIMIT_S)", "future.result(0)", "gate.wait(timeout=None)", "httpx.get(url, timeout=NO_LIMIT_S)"),
    *(
        "until(lambda tick_s: process.wait(tick_s / 10))",
        "until(lambda tick_s: select.select([fd], [], [], tick_s)[0])",
    ),
    *("each.Client(timeout=NO_LIMIT_S, **options)", "mcp.Client(streams)", "Client(server)"),
    *("connect(url, open_timeout=NO_LIMIT_S)", "run(['gdbus', 'wait', name])"),
    *("run(['busctl', '--timeout=0', 'call'])", "run(['pytest', '--timeout=9'])"),
    *("httpx.Client(transport=transport)", "threading.Event().wait(0.01)", "time.sleep(0.01)", "', '.join(found)"),
    *("state.poll(code.device_code)", "pytest.mark.timeout(600)", "for _ in range(3):\n    time.sleep(0.01)"),
    *('"""Waits for 10 s, with a timeout (5)."""', "stage.start('obtain', patience_s=1.0)", "found.get('a', 5)"),
)


def findings(found: list[Wait], exceptions: list[dict[str, object]]) -> list[str]:
    """One line for each wait that no exception covers, and for each exception that covers none or gives no reason."""
    names = {wait.name for wait in found}
    argued = [name for row in exceptions for name in (row["waits"] if row["why"] else [])]  # type: ignore[attr-defined]
    new = [
        f"tests/{wait.file}:{wait.line}: {wait.limit} in {wait.within!r}" for wait in found if wait.name not in argued
    ]
    stale = [name for name in argued if name not in names or argued.count(name) > 1]
    return new + [f"waits.toml: {name} is no wait any more, or is argued twice" for name in stale]


@pytest.fixture(scope="module")
def found() -> list[Wait]:
    """Every finding in the tests."""
    return list(waits())


def test_waits_end_by_progress(found: list[Wait]) -> None:
    """Every wait in the tests ends by progress, or stands in waits.toml with its reason; nothing else stands there."""
    assert findings(found, EXCEPTIONS) == []


@pytest.mark.parametrize(("source", "limit"), PLANTED.values(), ids=PLANTED)
def test_a_planted_one_is_found(source: str, limit: str) -> None:
    """Each shape is found once, with its file, line and function, and is a finding."""
    indented = source.replace("\n", "\n    ")
    (wait,) = found_in(f"\nasync def test_x():\n    {indented}\n", "a/test_a.py")
    assert wait.name == f"a/test_a.py::test_x{'.Handler' * ('Handler' in source)}{'.f' * ('def f' in source)}: {limit}"
    (line,) = findings([wait], [])
    assert line.startswith(f"tests/a/test_a.py:{wait.line}: {limit} in 'test_x")


@pytest.mark.parametrize("source", BY_PROGRESS)
def test_what_ends_by_progress_is_allowed(source: str) -> None:
    """The waits of `house.patience`, those without a limit, looks and pauses, and calls that only have such a name."""
    assert list(found_in(source)) == []


def test_a_script_keeps_its_lines() -> None:
    """A finding in a script is on the line where it is written."""
    (wait,) = found_in('run(\n    """\n    import threading\n    gate.wait(10)\n    """\n)')
    assert wait.line == 4


def test_an_exception_is_for_one_function() -> None:
    """The same limit in another function is a finding; an exception without a reason, or for nothing, is one too."""
    here, there = (Wait("a.py", 1, name, "wait(10)") for name in ("test_here", "test_there"))
    row = {"why": "the test of a limit", "waits": [here.name]}
    assert findings([here], [row]) == []
    assert findings([here, there], [row]) == ["tests/a.py:1: wait(10) in 'test_there'"]
    assert findings([here], [row | {"why": ""}]) == ["tests/a.py:1: wait(10) in 'test_here'"]
    assert findings([], [row]) == ["waits.toml: a.py::test_here: wait(10) is no wait any more, or is argued twice"]


def test_the_tests_are_read(found: list[Wait]) -> None:
    """The search sees every room of the tests, the scripts in them and this house."""
    assert {"cli", "crash", "store", "house"} <= {file.parent.name for file in TESTS.rglob("test_*.py")}
    assert "serving/test_sandbox.py" in {wait.file for wait in found}
