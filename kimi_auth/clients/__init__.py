"""Injection: how a token gets, and stays, in the client that is running. It knows no Session, only a `TokenSource`.

`BearerAuth` and the classes of `for_requests`, `for_aiohttp`, `for_anthropic` and `for_websockets` are for programs. None
imports the library that it is for before that library calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.support.lazily import lazily

if TYPE_CHECKING:
    from .bearer import NOT_RESENT, BearerAuth
    from .for_aiohttp import AiohttpMiddleware
    from .for_anthropic import AnthropicCredentials, AsyncAnthropicCredentials
    from .for_requests import RequestsAuth
    from .for_websockets import WebsocketAuth
    from .keeper import keep
    from .kinds import Target, as_target
    from .source import TokenSource
    from .targets import Targets

__all__ = [
    "NOT_RESENT",
    "AiohttpMiddleware",
    "AnthropicCredentials",
    "AsyncAnthropicCredentials",
    "BearerAuth",
    "RequestsAuth",
    "Target",
    "Targets",
    "TokenSource",
    "WebsocketAuth",
    "as_target",
    "keep",
]

__getattr__ = lazily(
    __name__,
    {
        "bearer": ("NOT_RESENT", "BearerAuth"),
        "keeper": ("keep",),
        "kinds": ("Target", "as_target"),
        "source": ("TokenSource",),
        "targets": ("Targets",),
        "for_aiohttp": ("AiohttpMiddleware",),
        "for_anthropic": ("AnthropicCredentials", "AsyncAnthropicCredentials"),
        "for_requests": ("RequestsAuth",),
        "for_websockets": ("WebsocketAuth",),
    },
)
