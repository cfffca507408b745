"""httpx and its successor httpx2: same names, other classes. A process may have loaded none, one or both.

This module imports neither. A class of the one is none of the other's, so code that looks at a client, an auth or an
exception asks here for that class in each library that the program has imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from types import ModuleType

    import httpx
    import httpx2

    Client: TypeAlias = httpx.Client | httpx2.Client
    AsyncClient: TypeAlias = httpx.AsyncClient | httpx2.AsyncClient
    Request: TypeAlias = httpx.Request | httpx2.Request
    Response: TypeAlias = httpx.Response | httpx2.Response
    URL: TypeAlias = httpx.URL | httpx2.URL
    Transport: TypeAlias = httpx.BaseTransport | httpx2.BaseTransport
    AsyncTransport: TypeAlias = httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport

__all__ = ["classes", "is_async_client", "is_client", "library_for", "loaded"]

NAMES = ("httpx2", "httpx")
"""In the order in which our own requests prefer them, where the program has imported both."""


def loaded() -> tuple[ModuleType, ...]:
    """The libraries that the program has imported; one, where `httpx2.alias_httpx()` made both names the same module."""
    return tuple(dict.fromkeys(module for name in NAMES if (module := sys.modules.get(name)) is not None))


def classes(*names: str) -> tuple[type[Any], ...]:
    """The classes of these names in each loaded library. One that another thread is just importing may lack some; then
    no object of that class exists yet."""
    found = (getattr(module, name, None) for module in loaded() for name in names)
    return tuple(it for it in found if isinstance(it, type))


def library_for(transport: Transport | AsyncTransport | None = None) -> Any:
    """The library that our requests are sent with: that of a given `transport`, whose responses only its own clients take;
    else httpx2 if the program has loaded it, else httpx, our declared dependency, which is imported here."""
    from importlib import import_module

    for module in loaded():
        # Not by the class's `__module__`: openai writes its own name into httpx2's classes.
        if isinstance(transport, tuple(getattr(module, name, ()) for name in ("BaseTransport", "AsyncBaseTransport"))):
            return module
    return import_module(next((module.__name__ for module in loaded()), NAMES[-1]))  # waits while a thread imports it


def is_client(it: object) -> bool:
    """Whether `it` is a client of either library, for threads or for an event loop."""
    return isinstance(it, classes("Client", "AsyncClient"))


def is_async_client(it: object) -> bool:
    """Whether `it` is a client of either library for an event loop."""
    return isinstance(it, classes("AsyncClient"))
