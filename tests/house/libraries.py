"""A test that asks for `library` runs once for each library that our requests can be sent with."""

from __future__ import annotations

import sys
from typing import Any

import httpx
import httpx2
import pytest

__all__ = ["LIBRARIES", "in_library"]

LIBRARIES = {"httpx": httpx, "httpx2": httpx2}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library that the program of this test has loaded; the other one counts as not loaded."""
    for name in LIBRARIES:
        if name != request.param:
            monkeypatch.delitem(sys.modules, name)
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
