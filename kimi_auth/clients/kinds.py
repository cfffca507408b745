"""How each kind of running client takes a token: assignment, the fallback where `BearerAuth` cannot be built in.

A **target** is a callable that takes the access token, or "" after a sign-out. `KINDS` is how an object becomes
one: the first row that fits.

Tokens are meant for one origin. A client of httpx or httpx2 signs each request by its own address, redirects included; a client that
says where it sends (`base_url`) is served only if that is there; a callable, and a client that does not say, is its owner's
to point at the right host.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any

from kimi_auth.support.http_libraries import is_client

from .origins import bearer_origin
from .refusals import refusal_of
from .signer import put_signer

__all__ = ["Kind", "Target", "as_target", "goes_to", "kind_of", "name_of", "refuse_elsewhere"]

Target = Callable[[str], None]
"""Takes the access token of now, "" for none. Must be quick and must not block: it runs in whichever thread renewed."""


def _base_of(client: Any) -> object:
    """Where a client says that it sends; None if it does not."""
    base = getattr(client, "base_url", None)
    return getattr(client, "api_base", None) if base is None else base


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of client. `read` gives its key as it is; `put` sets the token, or the static key where that is "";
    `base` gives the URL that it sends to, None if it does not say or each request is looked at.

    `is_client`: it has a key, and a life of its own, so that it is held weakly; a callable has neither.
    """

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Any], str | None]
    put: Callable[[Any, str, str | None, str], None]
    base: Callable[[Any], object] = _base_of
    is_client: bool = True


def _has_key(client: Any) -> bool:
    return isinstance(getattr(client, "api_key", 0), (str, NoneType))


def _put_key(client: Any, token: str, static: str | None, _origin: str) -> None:
    client.api_key = token or static


def _takes_a_token(target: Any) -> bool:
    """Whether a target can be called with one string, and has then taken the token."""
    if not callable(target) or any(map(inspect.iscoroutinefunction, (target, target.__call__))):
        return False
    try:
        inspect.signature(target).bind("")
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        return True
    return True


KINDS = (
    # The provider makes itself a new client after an error, so its client is looked up each time.
    Kind(
        "kosong provider",
        lambda it: _has_key(getattr(it, "client", None)),
        lambda it: it.client.api_key,
        lambda it, token, static, origin: _put_key(it.client, token, static, origin),
        base=lambda it: _base_of(it.client),
    ),
    Kind("openai style client", _has_key, lambda it: it.api_key, _put_key),
    # `auth=BearerAuth(...)` can renew within a request, too.
    Kind(
        "httpx client",
        is_client,
        lambda it: it.headers.get("Authorization"),
        put_signer,
        base=lambda _: None,
    ),
    # Last: calling a client that happens to be callable would send the token to a model as its prompt.
    Kind(
        "callable",
        _takes_a_token,
        lambda _: None,
        lambda it, token, _, __: it(token),
        base=lambda _: None,
        is_client=False,
    ),
)


def kind_of(target: object) -> Kind:
    """The first of the `KINDS` of clients that fits. Raises TypeError for none of them, and for one of the `REFUSALS`."""
    if refusal := refusal_of(target):
        raise TypeError(f"a token cannot be put into {name_of(target)}: {refusal.why}; {refusal.instead}")
    kind = next((kind for kind in KINDS if kind.fits(target)), None)
    if kind is not None and not isinstance(target, type):
        return kind
    raise TypeError(
        f"a token cannot be put into {name_of(target)}: give a callable that takes one str and is not async, "
        "an object whose `api_key` or `client.api_key` is a str, or a client of httpx or httpx2"
    )


def name_of(target: object) -> str:
    """What to call a client of any kind in a sentence: never its repr, which may hold a key."""
    named: Any = target if hasattr(target, "__qualname__") else type(target)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"


def as_target(target: object, *, origin: str | None = None) -> Target:
    """The callable that puts a token into `target`, and on "" the static key that is there now.

    `origin`: a URL at the only origin that gets the tokens; an httpx client cannot do without. It keeps `target` alive.
    Raises TypeError for an object of none of the `KINDS` and for one of the `REFUSALS`, ValueError for a client that sends to another origin.
    """
    kind, home = kind_of(target), _home_of(origin)
    refuse_elsewhere(kind, target, home)
    static = kind.read(target)
    return lambda token: kind.put(target, token if goes_to(home, kind, target) else "", static, home)


def _home_of(origin: str | None) -> str:
    return bearer_origin(origin) if origin is not None else ""


def goes_to(home: str, kind: Kind, target: object) -> bool:
    """Whether a client of this kind sends to the origin `home`, as far as it says; with "", to any that may get bearers."""
    base = kind.base(target)
    if base is None:
        return True
    try:
        there = bearer_origin(str(base))
    except ValueError:
        return False
    return not home or there == home


def refuse_elsewhere(kind: Kind, target: object, home: str) -> None:
    """Raises ValueError for a client, of its kind, that sends elsewhere than to `home`, and for one of httpx where `home` is ""."""
    if not home and is_client(target):
        raise ValueError(f"where may {name_of(target)} send the token? Name the only origin with origin=")
    if not goes_to(home, kind, target):
        raise ValueError(
            f"{name_of(target)} does not send to {home or 'https'}, so it gets no token: give it the platform's base_url"
        )
