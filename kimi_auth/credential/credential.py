"""One credential in this process: its current state, renewals in flight, and the walks of its machines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Hashable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth.credential.backoff import attainable
from kimi_auth.credential.classify import error_of
from kimi_auth.credential.context import SERVES, CredentialContext, Need
from kimi_auth.credential.history import WalkHistory
from kimi_auth.credential.single_flight import SingleFlight, Waiter, is_ending, untorn
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.errors import KimiAuthError, Unreachable
from kimi_auth.machine.observer import NO_OBSERVER, Observer
from kimi_auth.store import lock
from kimi_auth.support.language import tr
from kimi_auth.token import Token, left_s

if TYPE_CHECKING:  # a look at a stored token needs neither the machines nor the engine
    from kimi_auth.machine import Machine

__all__ = ["Ask", "Credential", "CredentialState", "addressed"]

log: logging.Logger = logging.getLogger("kimi_auth.credential")

PATIENCE_S = 31.0
"""Default patience of a caller without a usable token, in seconds: for the lock, the backoff and the server
together."""

LAST_WORD_S = 1.0
"""A walk ends this many seconds before its caller's patience, so that the caller receives the reason."""

ROUNDS_MAX = 3
"""Limit of walks for one need when another program writes a new pair during each of them."""

RENEWABLE = {"fresh", "expiring", "expired", "usable", "in_doubt", "blocked"}
"""Rest states that take the event `renew`."""

SIGN_IN = "kimi-auth login"
ADOPT = "kimi-auth adopt"
"""The commands in hints; for another platform than the default, `addressed` adds its name."""


def addressed(error: KimiAuthError, sign_in: str) -> KimiAuthError:
    """An error of this credential, copied with a hint that names the platform of the command `sign_in`."""
    hint = error.hint
    if "--platform" not in hint:
        hint = hint.replace(SIGN_IN, sign_in).replace(ADOPT, ADOPT + sign_in.removeprefix(SIGN_IN))
    return error.reworded(hint=hint)


class CredentialState(NamedTuple):
    """The rest state that a walk of token_lifecycle reached, and its context."""

    state: str
    ctx: CredentialContext
    sign_in: str = SIGN_IN

    @property
    def token(self) -> Token | None:
        """The usable token, None if there is none."""
        return self.ctx.snapshot.token if self.state in SERVES else None

    @property
    def error(self) -> KimiAuthError:
        """Why no token is usable: one sentence, with a next step for this platform."""
        return addressed(self.ctx.error or error_of(self.state), self.sign_in)


class Credential:
    """Walks the machines of one credential. Thread-safe; `one_shot` processes start no renewal in the background."""

    def __init__(
        self,
        work: CredentialHooks,
        *,
        observe: Observer = NO_OBSERVER,
        one_shot: bool = False,
        walks: WalkHistory | None = None,
        sign_in: str = SIGN_IN,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`patience_s`: of a caller that names none."""
        self.work = work
        self.observe = observe
        self.one_shot = one_shot
        self.walks: WalkHistory = walks or WalkHistory(None)
        self.flights: SingleFlight[CredentialState] = SingleFlight()
        self.sign_in = sign_in
        self.patience_s = patience_s

    def inspect(self) -> CredentialState:
        """This credential's current state in this process: its pair, read and classified. No network, no lock, no write.

        That is the first step of token_lifecycle, whose outcomes are the rest states they lead to; it is walked only for an
        observer. Engine, tables and machine files would cost a `status` as much as all the rest.
        """
        if self.observe is NO_OBSERVER:
            return self._landed(*self.work.inspect(CredentialContext()))
        from kimi_auth.machine import walk_sync

        return self._landed(*walk_sync(_lifecycle(), self.work, CredentialContext(), observe=self.observe))

    def obtain(
        self, need: Need, now_s: float, timeout_s: float | None = None
    ) -> CredentialState | Waiter[CredentialState]:
        """The state that serves `need` now, or a waiter for the renewal. Raises if a renewal cannot help.

        `timeout_s`: the caller's patience. The call's own is at least `PATIENCE_S`, because it goes on without this
        caller.
        """
        landing = self.inspect()
        token = landing.token
        asked = attainable(need, landing.ctx.view.backoff)
        if token is not None and _serves(token, landing.ctx.snapshot.fp, asked, now_s):
            if landing.state == "expiring" and not self.one_shot:
                self.renew_in_background(landing)
            return landing
        if landing.state not in RENEWABLE:
            if landing.state == "absent":
                self.work.remove_old_logout(landing.ctx.snapshot)
            raise landing.error
        patience_s = max(self.patience_s, timeout_s or 0.0) - LAST_WORD_S
        walk = partial(self._walk, landing, need, patience_s, _event(need))
        return self._join(("mandatory", need, patience_s), walk)

    async def wait(self, ask: Ask, timeout_s: float | None = None) -> CredentialState:
        """Awaits this credential's state from `ask` (an `obtain`) within the caller's patience: `timeout_s`, by default
        PATIENCE_S. A call that an earlier caller started may end with that caller's patience; then `ask` is called again.

        Raises Unreachable when the patience is over, and the errors of `ask`.
        """
        steps, landing = self._waiting(ask, timeout_s), None
        try:
            while True:
                waiter, left_s = steps.send(landing)
                landing = await waiter.wait_async(left_s)
        except StopIteration as end:
            found: CredentialState = end.value
            return found
        except TimeoutError:
            return self._patience_over(timeout_s)

    def wait_sync(self, ask: Ask, timeout_s: float | None = None) -> CredentialState:
        """`wait` for a renewal in flight, for code without an event loop."""
        steps, landing = self._waiting(ask, timeout_s), None
        try:
            while True:
                waiter, left_s = steps.send(landing)
                landing = waiter.result(left_s)
        except StopIteration as end:
            found: CredentialState = end.value
            return found
        except TimeoutError:
            return self._patience_over(timeout_s)

    def _waiting(
        self, ask: Ask, timeout_s: float | None
    ) -> Generator[tuple[Waiter[CredentialState], float], CredentialState | None, CredentialState]:
        """Yields each call to wait for, and for how many seconds; takes its result; returns the last one."""
        deadline_s = self.work.deadline_s(self._patience_of(timeout_s))
        while not isinstance(start := ask(), CredentialState):
            landing = yield start, min(self.work.left_s(deadline_s), threading.TIMEOUT_MAX)
            assert landing is not None
            if landing.token is not None or not self.work.can_wait(landing.ctx, deadline_s - LAST_WORD_S):
                return landing
        return start

    def renew_in_background(self, landing: CredentialState) -> None:
        """Starts a walk of an advisory renewal in a call: one try for the lock; failures are logged and change nothing.
        A program that is ending starts none."""
        if not is_ending():
            self._join("advisory", partial(self._walk, landing, Need(), 0.0, "renew"))

    def renew_now(self, landing: CredentialState) -> CredentialState:
        """Walks an advisory renewal of this credential in the calling thread, for a process that has no other task."""
        with untorn():
            return self._walk(landing, Need(), 0.0, "renew")

    def sign_out(self) -> Waiter[CredentialState]:
        """Walks a logout in a call of its own; the result's state is `absent` after a complete one."""
        return self._join("logout", lambda: self._walk(self.inspect(), Need(), self.patience_s, "logout"))

    def _join(self, key: Hashable, walk: Callable[[], CredentialState]) -> Waiter[CredentialState]:
        lock.load()
        return self.flights.join(key, walk)

    def _patience_over(self, timeout_s: float | None) -> CredentialState:
        """The renewal in flight goes on without this caller, whose patience is over. Returns the state of a stored token that
        still works, else raises Unreachable."""
        landing = self.inspect()
        if landing.token is not None:
            return landing
        if landing.state not in RENEWABLE:
            raise landing.error
        holder = self.work.other_holder()
        unsaid = tr("{holder} holds the lock", holder=holder) if holder else tr("no answer from the server")
        why = landing.ctx.error.message if landing.ctx.error else unsaid
        raise Unreachable(
            tr(
                "{why}; no token within {seconds:g} s, and the renewal goes on",
                why=why,
                seconds=self._patience_of(timeout_s),
            )
        )

    def _patience_of(self, timeout_s: float | None) -> float:
        """A caller's patience in seconds, given its `timeout_s`."""
        return self.patience_s if timeout_s is None else timeout_s

    def _landed(self, state: str, ctx: CredentialContext) -> CredentialState:
        return CredentialState(state, ctx, self.sign_in)

    def _walk(self, start: CredentialState, need: Need, patience_s: float, event: str) -> CredentialState:
        from kimi_auth.machine import walk_sync

        machine = _lifecycle()
        deadline_s = self.work.deadline_s(patience_s)
        for _ in range(ROUNDS_MAX):
            ctx = CredentialContext(need, patience_s, deadline_s, start.ctx.view)
            with self.walks.recording(machine, self.observe) as observe:
                landing = self._landed(
                    *walk_sync(machine, self.work, ctx, at=start.state, event=event, observe=observe)
                )
            if landing.ctx.error is not None:
                log.info("%s ended %s: %s", event, landing.state, landing.ctx.error.message)
            somebody_wrote = landing.ctx.snapshot.stamp != start.ctx.snapshot.stamp
            if patience_s == 0 or landing.state not in {"expired", "in_doubt"} or not somebody_wrote:
                break
            start = landing  # another program wrote a pair that has expired meanwhile: renew that one
        return landing


Ask = Callable[[], CredentialState | Waiter[CredentialState]]
"""An `obtain` with its arguments."""


def _lifecycle() -> Machine:
    from kimi_auth.machine import Library

    return Library.load()["token_lifecycle"]


def _event(need: Need) -> str:
    return "rejected" if need.not_bearer else "renew"


def _serves(token: Token, fp: str, need: Need, now_s: float) -> bool:
    """True if a working token meets every other condition of `need`."""
    return left_s(token, now_s) >= need.min_ttl_s and token.access_token != need.not_bearer and fp != need.not_fp
