"""Which HTTP libraries a test's program has loaded, as far as this package is told.

The tests' own process has loaded both. A test sees httpx alone, as most programs do; one that asks for `library` runs once
for each; the tests of `clients` see both.
"""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest

from kimi_auth.support import http_libraries

__all__ = ["LIBRARIES", "in_library"]

LIBRARIES = {"httpx": httpx, "httpx2": httpx2}


@pytest.fixture(autouse=True)
def loaded_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx alone is loaded."""
    monkeypatch.setattr(http_libraries, "NAMES", ("httpx",))


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, loaded_libraries: None) -> Any:
    """The library that the program of this test has loaded; the other one counts as not loaded."""
    monkeypatch.setattr(http_libraries, "NAMES", (request.param,))
    return LIBRARIES[request.param]


def in_library(it: Any, library: Any) -> Any:
    """A response or an exception of httpx, as the other library would have it; anything else is left as it is."""
    if isinstance(it, httpx.Response):
        body = {"content": it.content} if hasattr(it, "_content") else {"stream": in_library(it.stream, library)}
        headers = it.headers.raw
        return library.Response(it.status_code, headers=headers, **body)
    if isinstance(it, httpx.ByteStream):
        return library.ByteStream(b"".join(it))
    if isinstance(it, Exception) and type(it).__module__ == "httpx":
        other = getattr(library, type(it).__name__)(*it.args)
        other.__cause__, other.__context__ = it.__cause__, it.__context__
        return other
    return it.in_library(library) if hasattr(it, "in_library") else it
