"""No test relies on a port that it gave back: the system may hand it to a server of another test."""

from __future__ import annotations

import ast
import errno
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from house.patience import joined, until
from house.ports import freed, silent_port
from house.waits import TESTS, sources

GIVEN_BACK = {
    "for later": "with socket.create_server(('127.0.0.1', 0)) as free:\n    port = free.getsockname()[1]",
    "returned": "with socket.create_server(address) as one:\n    return int(one.getsockname()[1])",
    "in a setting": "with socket.create_server(a) as one:\n    setenv('PROXY', f'http://127.0.0.1:{one.getsockname()[1]}')",
    "bound by hand": "with socket.socket() as one:\n    one.bind(('', 0))\n    port = one.getsockname()[1]",
    "of one of two": "with silent(), closing(socket.socket()) as one:\n    one.bind(a)\n    port = one.getsockname()[1]",
}
KEPT = (
    "with socket.create_server(a) as one:\n    port = one.getsockname()[1]\n    ask(port)",
    "with socket.socket() as one:\n    one.bind(a)\n    yield one.getsockname()[1]",
    "with silent_port() as port:\n    ask(port)",
    "with socket.create_connection(a) as one:\n    one.sendall(b'')",
)


def given_back(text: str) -> Iterator[int]:
    """The line of each block that learns the port of its own socket and does no more."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.With) and any("socket." in ast.unparse(item) for item in node.items):
            whole = [ast.unparse(each) for each in node.body]
            learnt = [each for each in whole if "getsockname()" in each and not each.startswith("yield")]
            if learnt and all(each in learnt or ".bind(" in each for each in whole):
                yield node.lineno


def test_no_port_is_given_back() -> None:
    """Over the whole suite."""
    found = [f"{file.relative_to(TESTS)}:{line}" for file in sources() for line in given_back(file.read_text("utf-8"))]
    assert found == [], "hold it: house.ports.silent_port"


@pytest.mark.parametrize("case", GIVEN_BACK)
def test_it_is_found(case: str) -> None:
    """Each way to write it."""
    assert list(given_back(GIVEN_BACK[case])) == [1]


@pytest.mark.parametrize("text", KEPT)
def test_what_holds_a_port_is_not(text: str) -> None:
    """A listener that is open while its port is used."""
    assert list(given_back(text)) == []


def test_a_port_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its server has ended; until then it is waited for."""
    server = socket.create_server(("127.0.0.1", 0))
    create_server, looks = socket.create_server, threading.Semaphore(0)

    def look(*args: Any) -> socket.socket:
        looks.release()
        return create_server(*args)

    monkeypatch.setattr(socket, "create_server", look)
    waiting = threading.Thread(target=freed, args=(f"http://127.0.0.1:{server.getsockname()[1]}/v1",))
    waiting.start()
    for _ in range(2):  # the second one says that the first did not find it free
        until(lambda tick_s: looks.acquire(timeout=tick_s), "a look")
    assert waiting.is_alive()
    server.close()
    joined(waiting)


def test_a_silent_port_refuses_and_is_nobodys() -> None:
    """Connections are refused, and the port cannot be taken by chance; on Linux a server that is told it can, twice."""
    with silent_port() as port:
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        for _ in range(2 if sys.platform == "linux" else 0):
            with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
                pass
