"""Running clients, and how each kind takes a token: assignment, the fallback where `BearerAuth` cannot be built in.

A **target** is a callable that takes the access token, or "" after a sign-out. `KINDS` is how an object becomes
one: the first row that fits. A client that had a static key when it was attached gets it back on "", any other client the
one that `Targets` knows, if there is one.

Tokens are meant for one origin. A client of httpx or httpx2 signs each request by its own address, redirects included; a client that
says where it sends (`base_url`) is served only if that is there; a callable, and a client that does not say, is its owner's
to point at the right host.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any

from kimi_auth.support.http_libraries import is_client
from kimi_auth.support.loops import running_loop

from .origins import bearer_origin
from .refusals import refusal_of
from .signer import put_signer

if TYPE_CHECKING:
    import asyncio

__all__ = ["Target", "Targets", "as_target"]

Target = Callable[[str], None]
"""Takes the access token of now, "" for none. Must be quick and must not block: it runs in whichever thread renewed."""

TOKENS_REMEMBERED = 256

_log = logging.getLogger("kimi_auth.clients")


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
    """Whether it can be called with one string, and has then done its work."""
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


def _kind_of(target: object) -> Kind:
    if refusal := refusal_of(target):
        raise TypeError(f"a token cannot be put into {_name_of(target)}: {refusal.why}; {refusal.instead}")
    kind = next((kind for kind in KINDS if kind.fits(target)), None)
    if kind is not None and not isinstance(target, type):
        return kind
    raise TypeError(
        f"a token cannot be put into {_name_of(target)}: give a callable that takes one str and is not async, "
        "an object whose `api_key` or `client.api_key` is a str, or a client of httpx or httpx2"
    )


def _name_of(target: object) -> str:
    """What to call it in a sentence: never its repr, which may hold a key."""
    named: Any = target if hasattr(target, "__qualname__") else type(target)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"


def as_target(target: object, *, origin: str | None = None) -> Target:
    """The callable that puts a token into `target`, and on "" the static key that is there now.

    `origin`: a URL at the only origin that gets the tokens; an httpx client cannot do without. It keeps `target` alive.
    Raises TypeError for an object of none of the `KINDS` and for one of the `REFUSALS`, ValueError for a client that sends to another origin.
    """
    kind, home = _kind_of(target), _home_of(origin)
    _refuse_elsewhere(kind, target, home)
    static = kind.read(target)
    return lambda token: kind.put(target, token if _goes_to(home, kind, target) else "", static, home)


def _home_of(origin: str | None) -> str:
    return bearer_origin(origin) if origin is not None else ""


def _goes_to(home: str, kind: Kind, target: object) -> bool:
    """Whether the client sends to this origin, as far as it says where it sends; with home "", to any that may get bearers."""
    base = kind.base(target)
    if base is None:
        return True
    try:
        there = bearer_origin(str(base))
    except ValueError:
        return False
    return not home or there == home


def _refuse_elsewhere(kind: Kind, target: object, home: str) -> None:
    if not home and is_client(target):
        raise ValueError(f"where may {_name_of(target)} send the token? Name the only origin with origin=")
    if not _goes_to(home, kind, target):
        raise ValueError(
            f"{_name_of(target)} does not send to {home or 'https'}, so it gets no token: give it the platform's base_url"
        )


@dataclass(slots=True, eq=False)
class _Attached:
    """One attached object: its number of attachments, its own key, the last token given, and its event loop."""

    ref: Callable[[], object | None]
    kind: Kind
    name: str
    static: str | None = field(default=None, repr=False)
    times: int = 0
    has: str | None = field(default=None, repr=False)
    loop: asyncio.AbstractEventLoop | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)


class Targets:
    """The running clients that a token is injected into. Thread-safe.

    Clients are held weakly: attaching one keeps nothing alive, so attach the one that you keep (a kosong provider's
    `with_thinking` copy is another one). A callable is held until it is detached, for a lambda or a bound method lives
    nowhere else. A target attached inside a running event loop is served on that loop, soon, when the
    token comes from another thread; everything else is served in the thread that injects.

    `static_key` gives the API key for clients that have none of their own after a sign-out, "" for none. `origin`
    is a URL at the only origin that gets tokens and that key.
    """

    def __init__(self, static_key: Callable[[], str] = lambda: "", *, origin: str | None = None) -> None:
        self._static_key = static_key
        self._home = _home_of(origin)
        self._lock = threading.RLock()  # a finalizer that detaches may run at any allocation
        self._attached: list[_Attached] = []
        self._token: str | None = None
        self._given: deque[bytes] = deque(maxlen=TOKENS_REMEMBERED)

    def __len__(self) -> int:
        """How many are attached and alive."""
        return len(self._living())

    def attach(self, target: object) -> Callable[[], None]:
        """Serves `target` from the next `inject` on; returns how to detach it, which leaves its current token in it.

        Attached twice, it is served once, until it is detached twice. Raises as `as_target`.
        """
        _refuse_elsewhere(_kind_of(target), target, self._home)
        with self._lock:
            entry = next((known for known in self._attached if known.ref() is target), None)
            if entry is None:
                entry = _attached(target)
                self._attached.append(entry)
            key = entry.kind.read(target)
            if not self._is_token(key):
                entry.static = key
            entry.times += 1
            entry.has, entry.loop = None, running_loop()
        held = [entry]

        def detach() -> None:
            with self._lock:
                if not held:
                    return
                entry = held.pop()
                entry.times -= 1
                if not entry.times and not isinstance(entry.ref, weakref.ref):
                    self._attached.remove(entry)

        return detach

    def inject(self, token: str) -> list[str]:
        """Gives every target this access token, or takes it away with "" (signed out): static keys come back.

        Returns the problems, one sentence each and logged as well; a target that fails costs the others nothing and gets
        the token again next time. A target that has this token already is left alone.
        """
        with self._lock:
            if token and token != self._token:
                self._given.append(_digest(token))
            self._token = token
        here = running_loop()
        return [problem for entry in self._living() if (problem := self._serve(entry, here))]

    def _living(self) -> list[_Attached]:
        with self._lock:
            self._attached = [entry for entry in self._attached if entry.ref() is not None]
            return [entry for entry in self._attached if entry.times]

    def _serve(self, entry: _Attached, here: asyncio.AbstractEventLoop | None) -> str:
        """Delivers here, or on the target's own loop; a loop that is closed runs nothing that could be disturbed."""
        if entry.loop is not None and entry.loop is not here:
            try:
                entry.loop.call_soon_threadsafe(self._deliver, entry)
            except RuntimeError:
                entry.loop = None
            else:
                return ""
        return self._deliver(entry)

    def _deliver(self, entry: _Attached) -> str:
        """Puts the newest token in, whichever call brought it: of two deliveries the later never puts an older one."""
        with entry.lock:
            token, target = self._token, entry.ref()
            if token is None or target is None or not entry.times or entry.has == token:
                return ""
            entry.has = token  # before the call, which may inject again
            try:
                # A key that was an access token ends with the login that it came from.
                own = "" if self._is_token(entry.static) else entry.static
                needs_key = not token and not own and entry.kind.is_client
                secret = self._static_key() if needs_key else token
                if not _goes_to(self._home, entry.kind, target):
                    _log.warning("%s sends to another origin now, so it gets no token", entry.name)
                    secret = ""
                entry.kind.put(target, secret, own, self._home)
            except Exception as error:  # noqa: BLE001  # the user's code; other targets still get their token
                entry.has = None
                problem = f"{entry.name} did not take the new token: {_where(error)}"
                _log.warning("%s", problem)
                return problem
            return ""

    def _is_token(self, key: str | None) -> bool:
        """Whether this was injected at some time, so it is not the client's static key; a header counts as what it
        bears."""
        return key is not None and _digest(key.removeprefix("Bearer ")) in self._given


def _attached(target: object) -> _Attached:
    kind = _kind_of(target)
    ref: Callable[[], object | None] = lambda: target  # noqa: E731
    if kind.is_client:
        with contextlib.suppress(TypeError):  # a class with __slots__ and without __weakref__ is held, too
            ref = weakref.ref(target)
    return _Attached(ref, kind, f"{kind.name} {_name_of(target)}")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _where(error: Exception) -> str:
    """Which error and where it was raised; its message may quote the token."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"
