"""The emulator's authorization server, without HTTP: device codes, token families, faults and the request log.

It follows RFC 8628 (device authorization), RFC 6749 §6 (refresh), RFC 9700 §4.14.2 (rotation and reuse detection) and
RFC 7009 (revocation). Everything lives in one `State` in memory. Time comes from its `now_s`, so a test can run a year
in a second. It refuses by exception: `OAuthError` to a client, `CodeProblem` to a person.

A *family* is every token that descends from one approval. Using a refresh token spends it and adds a new pair; the
`Reuse` policy decides about a spent token that comes back.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

from kimi_auth.wire.answers import Grant

from .catalogue import DEFAULT_MODELS, Model
from .faults import Fault
from .records import (
    SCOPE,
    CodeProblem,
    Device,
    DeviceCode,
    Family,
    Judgement,
    OAuthError,
    Settings,
    Token,
    normalise_user_code,
    random_name,
)
from .visitors import Visitors

LOG_ENTRIES_MAX: Final = 10_000

P = ParamSpec("P")
R = TypeVar("R")


def _atomic(method: Callable[Concatenate[State, P], R]) -> Callable[Concatenate[State, P], R]:
    """Runs one call at a time: a test scripts the state from its own thread while the server works in another."""

    @functools.wraps(method)
    def locked(self: State, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._changed:
            return method(self, *args, **kwargs)

    return locked


class State:
    """The state of one server. All methods are thread-safe; all times are seconds of `now_s`.

    `name` makes the tokens and codes: it gets `access`, `refresh`, `device` or `user_code`, and never repeats itself.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        now_s: Callable[[], float] = time.time,
        name: Callable[[str], str] = random_name,
    ) -> None:
        self.settings: Settings = settings or Settings()
        self.now_s = now_s
        self._name = name
        self.on_record: Callable[[Mapping[str, Any]], None] = lambda entry: None
        self._changed = threading.Condition(threading.RLock())
        self.reset()

    @_atomic
    def reset(self) -> None:
        """The server forgets codes, tokens, faults, counts and the log; it keeps the settings."""
        self.counts: Counter[str] = Counter()
        self.log: deque[Mapping[str, Any]] = deque(maxlen=LOG_ENTRIES_MAX)
        self.membership = True
        self.api_keys: set[str] = set()  # static keys that the API accepts beside its access tokens
        self.models: tuple[Model, ...] = DEFAULT_MODELS
        self.reused: list[str] = []  # spent refresh tokens that came again
        self._codes: dict[str, DeviceCode] = {}
        self.families: list[Family] = []
        self._tokens: dict[str, Token] = {}
        self._faults: list[tuple[Fault, int | None]] = []
        self.visitors: Visitors = Visitors()

    # The client's side

    @_atomic
    def issue_code(self, device: Device | None = None) -> DeviceCode:
        """A new pair of device codes (RFC 8628 §3.2)."""
        now_s = self.now_s()
        code = DeviceCode(
            device_code=self._name("device"),
            user_code=self._name("user_code"),
            device=device or Device(),
            issued_at_s=now_s,
            expires_at_s=now_s + self.settings.code_ttl_s,
            interval_s=self.settings.interval_s,
        )
        self._codes[code.device_code] = code
        self.counts["device_codes"] += 1
        return code

    @_atomic
    def poll(self, device_code: str) -> Grant:
        """One token request with a device code (RFC 8628 §3.4). Raises OAuthError until there is a grant.

        A code gives tokens once; a second request with it revokes them.
        """
        self.counts["polls"] += 1
        now_s, code = self.now_s(), self._codes.get(device_code)
        if code is None:
            raise OAuthError("invalid_grant", "This device code was never issued.")
        if code.family is not None:
            code.family.revoke("device code used twice")
            raise OAuthError("invalid_grant", "This device code was used before; what it gave is now revoked.")
        self._approve_by_itself(code)
        code.poll(now_s)
        code.verdict = "used"
        self.counts["exchanges"] += 1
        grant = self.issue()
        code.family = self.families[-1]
        return grant

    @_atomic
    def issue(self) -> Grant:
        """The first pair of a new token family, for a new login."""
        self.families.append(Family(number=len(self.families) + 1))
        return self._grow(self.families[-1])

    @_atomic
    def refresh(self, refresh_token: str) -> Grant:
        """A new pair for a refresh token (RFC 6749 §6), by the reuse policy. Raises OAuthError `invalid_grant`."""
        self.counts["refreshes"] += 1
        now_s, reuse, token = self.now_s(), self.settings.reuse, self._tokens.get(refresh_token)
        if token is None or token.kind != "refresh":
            raise OAuthError("invalid_grant", "This refresh token was never issued.")
        if token.is_spent:
            self.counts["reuse_seen"] += 1
            self.reused.append(refresh_token)
        if not token.family.is_alive:
            raise OAuthError("invalid_grant", f"The login was revoked: {token.family.revoked_because}.")
        if token.spent_at_s is not None and not now_s < token.spent_at_s + reuse.grace_s:
            if reuse.revokes_family:
                token.family.revoke("refresh token used twice")
            raise OAuthError("invalid_grant", "This refresh token was used before.")
        if now_s >= token.expires_at_s:
            raise OAuthError("invalid_grant", "The refresh token has expired.")
        self.counts["rotations"] += 1
        if reuse.rotates and token.spent_at_s is None:
            token.spent_at_s = now_s
        return self._grow(token.family, keeping=None if reuse.rotates else token)

    @_atomic
    def revoke(self, value: str) -> None:
        """RFC 7009: a refresh token of the emulator ends its whole family, an access token only itself; an unknown one is no error."""
        self.counts["revocations"] += 1
        token = self._tokens.get(value)
        if token is not None and token.kind == "refresh":
            token.family.revoke("signed out")
        elif token is not None:
            token.revoked = True

    @_atomic
    def judge(self, bearer: str) -> Judgement:
        """The authorization server's verdict on an access token, or on a static key, for the API."""
        if bearer in self.api_keys:
            return "ok"
        token = self._tokens.get(bearer)
        return "unknown" if token is None else token.judge(self.now_s())

    @_atomic
    def login_of(self, bearer: str) -> int | None:
        """The number of the token family that an access token is of; None for a static key."""
        token = self._tokens.get(bearer)
        return None if token is None else token.family.number

    # The person's side

    @_atomic
    def look_up(self, typed: str) -> DeviceCode:
        """The authorization server's undecided device code that a person typed. Raises CodeProblem."""
        code = self.find_code(normalise_user_code(typed) or "nonsense")
        self._approve_by_itself(code)
        if code.verdict != "pending":
            raise CodeProblem("decided", is_approved=code.verdict != "denied")
        if self.now_s() >= code.expires_at_s:
            raise CodeProblem("expired")
        return code

    @_atomic
    def find_code(self, user_code: str = "") -> DeviceCode:
        """That device code, or the newest, whatever became of it. Raises CodeProblem if there is none."""
        codes = [code for code in self._codes.values() if user_code in ("", code.user_code)]
        if not codes:
            raise CodeProblem("unknown")
        return codes[-1]

    @_atomic
    def decide(self, typed: str, verdict: Literal["approved", "denied"]) -> DeviceCode:
        """Approves or refuses an undecided device code. Raises CodeProblem."""
        code = self.look_up(typed)
        code.verdict = verdict
        return code

    # The tester's side

    @_atomic
    def expire_code(self, typed: str) -> None:
        """Ends the life of a device code now. Raises CodeProblem if it is unknown or decided."""
        self.look_up(typed).expires_at_s = self.now_s()

    @_atomic
    def expire_access(self, family: int | None = None) -> int:
        """Expires the access tokens of one family, or of all: the API answers 401. Returns how many were valid."""
        now_s = self.now_s()
        alive = [token for each in self._alive(family) for token in each.tokens if token.judge(now_s) == "ok"]
        for token in alive:
            token.expires_at_s = now_s
        return len(alive)

    @_atomic
    def revoke_family(self, family: int | None = None) -> int:
        """Revokes one token family, or all, as if the person had ended it elsewhere. Returns how many were alive."""
        alive = self._alive(family)
        for each in alive:
            each.revoke("ended by the person")
        return len(alive)

    @_atomic
    def inject(self, *faults: Fault) -> None:
        """Has the authorization server give scripted answers. A request gets the first one that fits it."""
        self._faults.extend((fault, fault.times) for fault in faults)

    @_atomic
    def clear_faults(self) -> None:
        self._faults.clear()

    @_atomic
    def take_fault(self, endpoint: str, grant: str | None) -> Fault | None:
        """The fault with which the authorization server meets this request, if any; counts it as used."""
        for at, (fault, left) in enumerate(self._faults):
            if fault.meets(endpoint, grant):
                if left is not None:
                    self._faults[at : at + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        return None

    @_atomic
    def record(self, entry: Mapping[str, Any]) -> None:
        """Appends to the server's request log (the newest 10,000 entries) and wakes the threads that wait for it."""
        self.log.append(entry)
        self.on_record(entry)
        self._changed.notify_all()

    def wait_for(self, condition: Callable[[State], bool], timeout_s: float = 5.0) -> bool:
        """Waits in a test's thread until the authorization server meets `condition`; False after `timeout_s`, real time."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout_s)

    @_atomic
    def snapshot(self) -> dict[str, Any]:
        """The authorization server's state: counts, families by fingerprint, codes and the request log, as JSON data without tokens and device codes."""
        return {
            "now_s": self.now_s(),
            "counts": dict(self.counts),
            "membership": self.membership,
            "faults_left": len(self._faults),
            "families_alive": len(self._alive(None)),
            "families": [family.describe() for family in self.families],
            "codes": [code.describe(self.now_s()) for code in self._codes.values()],
            "log": list(self.log),
        }

    # Within the lock

    def _alive(self, number: int | None) -> list[Family]:
        return [f for f in self.families if f.is_alive and number in (None, f.number)]

    def _approve_by_itself(self, code: DeviceCode) -> None:
        s, due_at_s = self.settings, code.issued_at_s + self.settings.approve_after_s
        if s.approve == "auto" and code.verdict == "pending" and due_at_s <= self.now_s() < code.expires_at_s:
            code.verdict = "approved"

    def _grow(self, family: Family, keeping: Token | None = None) -> Grant:
        now_s, s = self.now_s(), self.settings
        access = self._new(family, "access", now_s + s.access_ttl_s)
        refresh = keeping or self._new(family, "refresh", now_s + s.refresh_ttl_s)
        family.generation += 1
        return Grant(access.value, refresh.value, s.access_ttl_s, SCOPE)

    def _new(self, family: Family, kind: Literal["access", "refresh"], expires_at_s: float) -> Token:
        token = Token(self._name(kind), kind, family, expires_at_s)
        family.tokens.append(token)
        self._tokens[token.value] = token
        return token
