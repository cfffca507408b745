"""The running clients that a token is injected into, and what each of them has.

A client that had a static key when it was attached gets it back on "", any other client the one that `Targets` knows, if
there is one. How each kind of client takes a token is in `kinds`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from kimi_auth.given_tokens import GivenTokens
from kimi_auth.support.loops import running_loop

from .kinds import Kind, goes_to, kind_of, name_of, refuse_elsewhere
from .origins import bearer_origin

if TYPE_CHECKING:
    import asyncio

__all__ = ["Targets"]

_log = logging.getLogger("kimi_auth.clients")


class _Attached:
    """One attached object: its number of attachments, its own key, the last token given, and its event loop."""

    def __init__(self, ref: Callable[[], object | None], kind: Kind, name: str) -> None:
        self.ref = ref
        self.kind = kind
        self.name = name
        self.static: str | None = None
        self.times = 0
        self.has: str | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lock = threading.RLock()


class Targets:
    """The running clients that a token is injected into. Thread-safe.

    Clients are held weakly: attaching one keeps nothing alive, so attach the one that you keep (a kosong provider's
    `with_thinking` copy is another one). A callable is held until it is detached, for a lambda or a bound method lives
    nowhere else. A target attached inside a running event loop is served on that loop, soon, when the
    token comes from another thread; everything else is served in the thread that injects.

    `static_key` gives the API key for clients that have none of their own after a sign-out, "" for none. `origin`
    is a URL at the only origin that gets tokens and that key. `given`: the tokens that were handed out before.
    """

    def __init__(
        self, static_key: Callable[[], str] = lambda: "", *, origin: str | None = None, given: GivenTokens | None = None
    ) -> None:
        self._static_key = static_key
        self._home = bearer_origin(origin) if origin is not None else ""
        self._lock = threading.RLock()  # a finalizer that detaches may run at any allocation
        self._attached: list[_Attached] = []
        self._given = GivenTokens() if given is None else given

    def __len__(self) -> int:
        """How many are attached and alive."""
        return len(self._living())

    def attach(self, target: object) -> Callable[[], None]:
        """Serves `target` from the next `inject` on; returns how to detach it, which leaves its current token in it.

        Attached twice, it is served once, until it is detached twice. Raises as `as_target`.
        """
        kind = kind_of(target)
        refuse_elsewhere(kind, target, self._home)
        with self._lock:
            entry = next((known for known in self._attached if known.ref() is target), None)
            if entry is None:
                entry = _attached(target, kind)
                self._attached.append(entry)
            key = entry.kind.read(target)
            if key not in self._given:
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
        self._given.add(token)
        here = running_loop()
        return [problem for entry in self._living() if (problem := self._serve(entry, here))]

    def _living(self) -> list[_Attached]:
        with self._lock:
            self._attached = [entry for entry in self._attached if entry.ref() is not None]
            return [entry for entry in self._attached if entry.times]

    def _serve(self, entry: _Attached, here: asyncio.AbstractEventLoop | None) -> str:
        """Delivers to the target here, or on its own loop; a loop that is closed runs nothing that could be disturbed."""
        if entry.loop is not None and entry.loop is not here:
            try:
                entry.loop.call_soon_threadsafe(self._deliver, entry)
            except RuntimeError:
                entry.loop = None
            else:
                return ""
        return self._deliver(entry)

    def _deliver(self, entry: _Attached) -> str:
        """Injects the newest token into one running client, whichever call brought it: no later delivery puts an older one."""
        with entry.lock:
            token, target = self._given.newest, entry.ref()
            if token is None or target is None or not entry.times or entry.has == token:
                return ""
            entry.has = token  # before the call, which may inject again
            try:
                # A key that was an access token ends with the login that it came from.
                own = "" if entry.static in self._given else entry.static
                needs_key = not token and not own and entry.kind.is_client
                secret = self._static_key() if needs_key else token
                if not goes_to(self._home, entry.kind, target):
                    _log.warning("%s sends to another origin now, so it gets no token", entry.name)
                    secret = ""
                entry.kind.put(target, secret, own, self._home)
            except Exception as error:  # noqa: BLE001  # the user's code; other targets still get their token
                entry.has = None
                problem = f"{entry.name} did not take the new token: {_where(error)}"
                _log.warning("%s", problem)
                return problem
            return ""


def _attached(target: object, kind: Kind) -> _Attached:
    ref: Callable[[], object | None] = lambda: target  # noqa: E731
    if kind.is_client:
        with contextlib.suppress(TypeError):  # a class with __slots__ and without __weakref__ is held, too
            ref = weakref.ref(target)
    return _Attached(ref, kind, f"{kind.name} {name_of(target)}")


def _where(error: Exception) -> str:
    """Which error and where it was raised; its message may quote the token."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"
