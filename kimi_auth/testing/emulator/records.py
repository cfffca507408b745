"""The records of the emulated server and its error types: settings, codes, families, tokens."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, Literal

SCOPE: Final = "kimi-code"
USER_CODE_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 §6.1: no vowels, and no letter that looks like a digit
SLOW_DOWN_STEP_S: Final = 5.0  # RFC 8628 §3.5
PACE_SLACK_S: Final = 0.001  # tolerance for float clocks: a poll this little too early is on time

Verdict = Literal["pending", "approved", "denied", "used"]
Judgement = Literal["ok", "unknown", "expired", "revoked"]
Problem = Literal["unknown", "expired", "decided", "too_many_guesses"]


class OAuthError(Exception):
    """An error answer for the client: an `error` code of RFC 6749 §5.2 or RFC 8628 §3.5, and a sentence."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class CodeProblem(Exception):
    """The reason why a typed user code cannot be approved or refused; `is_approved`: how it was decided before."""

    def __init__(self, problem: Problem, *, is_approved: bool = False) -> None:
        super().__init__(f"user code: {problem}")
        self.problem: Problem = problem
        self.is_approved = is_approved


@dataclass(frozen=True)
class Reuse:
    """The rotation policy: the effect of a refresh on its token, and of a spent token on its family."""

    rotates: bool = True
    revokes_family: bool = True
    grace_s: float = 0.0  # a spent token works for this time and starts a second branch

    @classmethod
    def parse(cls, text: str) -> Reuse:
        """Parses a setting of the emulated server: `strict`, `lenient`, `none` or `grace:SECONDS`; raises ValueError."""
        named = {"strict": cls(), "lenient": cls(revokes_family=False), "none": cls(rotates=False)}
        if text in named:
            return named[text]
        if match := re.fullmatch(r"grace:(\d+(?:\.\d+)?)", text):
            return cls(grace_s=float(match[1]))
        raise ValueError("reuse is strict, lenient, none or grace:SECONDS")


@dataclass
class Settings:
    """The behaviour of this server. `latency_s` delays the answers of the token endpoint, not their effect."""

    approve: Literal["auto", "page"] = "auto"
    approve_after_s: float = 1.0
    access_ttl_s: float = 900.0
    refresh_ttl_s: float = 30 * 86_400.0
    code_ttl_s: float = 1800.0
    interval_s: float = 5.0
    latency_s: float = 0.0
    reuse: Reuse = Reuse()

    def __post_init__(self) -> None:
        if self.approve not in ("auto", "page"):
            raise ValueError("approve is auto or page")
        for name, value in vars(self).items():
            if name.endswith("_s") and not 0 <= value < math.inf:
                raise ValueError(f"{name} is a number of seconds, zero or more")


@dataclass(frozen=True)
class Device:
    """The requesting program's X-Msh-* headers: shown to the person, never trusted."""

    platform: str = ""
    version: str = ""
    name: str = ""
    model: str = ""
    os_version: str = ""
    device_id: str = ""


@dataclass
class Token:
    value: str = field(repr=False)
    kind: Literal["access", "refresh"]
    family: Family = field(repr=False)
    expires_at_s: float
    spent_at_s: float | None = None
    revoked: bool = False

    @property
    def is_spent(self) -> bool:
        return self.spent_at_s is not None

    def judge(self, now_s: float) -> Judgement:
        """The emulated server's verdict on this token as a bearer: ok, expired, revoked or unknown."""
        if self.kind != "access":
            return "unknown"
        if self.revoked or not self.family.is_alive:
            return "revoked"
        return "ok" if now_s < self.expires_at_s else "expired"


@dataclass
class Family:
    number: int
    generation: int = 0  # how many pairs it has issued
    revoked_because: str | None = None
    tokens: list[Token] = field(default_factory=list, repr=False)

    @property
    def is_alive(self) -> bool:
        return self.revoked_because is None

    def revoke(self, because: str) -> None:
        """Ends every token of the family; the first reason stands."""
        self.revoked_because = self.revoked_because or because

    def describe(self) -> dict[str, Any]:
        """The record of the family as JSON data, with fingerprints for tokens."""
        prints: dict[str, list[str]] = {"refresh": [], "refresh_spent": [], "access": []}
        for token in self.tokens:
            prints[f"{token.kind}_spent" if token.is_spent else token.kind].append(fingerprint(token.value))
        return {
            "family": self.number,
            "alive": self.is_alive,
            "revoked_because": self.revoked_because,
            "generation": self.generation,
            **prints,
        }


@dataclass
class DeviceCode:
    device_code: str = field(repr=False)
    user_code: str
    device: Device
    issued_at_s: float
    expires_at_s: float
    interval_s: float
    verdict: Verdict = "pending"
    polled_at_s: float | None = None
    family: Family | None = None

    def poll(self, now_s: float) -> None:
        """Records a client's poll with this device code (RFC 8628 §3.5). Raises OAuthError unless the code is approved.

        The first end stands: a refusal is answered with `access_denied` even after the code's time. A poll before the interval
        ends adds 5 s to the interval.
        """
        too_early = self.polled_at_s is not None and now_s - self.polled_at_s < self.interval_s - PACE_SLACK_S
        self.polled_at_s = now_s
        if self.verdict == "denied":
            raise OAuthError("access_denied", "The person refused.")
        if now_s >= self.expires_at_s:
            raise OAuthError("expired_token", "The device code has expired.")
        if too_early:
            self.interval_s += SLOW_DOWN_STEP_S
            raise OAuthError("slow_down", f"Polled too early; the interval is now {self.interval_s:g} s.")
        if self.verdict == "pending":
            raise OAuthError("authorization_pending", "The person has not answered yet.")

    def describe(self, now_s: float) -> dict[str, Any]:
        """The record of the device code as JSON data, without the code itself."""
        return {
            "user_code": self.user_code,
            "verdict": self.verdict,
            "interval_s": self.interval_s,
            "expires_in_s": self.expires_at_s - now_s,
        }


def random_name(kind: str) -> str:
    """A token or code of the emulated server that cannot be guessed; a user code is eight letters (RFC 8628 §6.1)."""
    if kind == "user_code":
        letters = "".join(secrets.choice(USER_CODE_ALPHABET) for _ in range(8))
        return f"{letters[:4]}-{letters[4:]}"
    return f"emulated-{kind}-{secrets.token_urlsafe(24)}"


def fingerprint(secret: str) -> str:
    """A token in the emulator's records: the first 16 hex digits of the SHA-256, enough to tell two tokens apart, useless to an eavesdropper."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def normalise_user_code(typed: str) -> str | None:
    """A user code as the emulator records it, `ABCD-EFGH`, from the text that a person typed or pasted (case, blanks and
    dashes are free); None if it cannot be one."""
    letters = re.sub(r"[\s_\-\u00ad\u2010-\u2015\u2212]+", "", typed).upper()
    if len(letters) != 8 or not set(letters) <= set(USER_CODE_ALPHABET):
        return None
    return f"{letters[:4]}-{letters[4:]}"
