"""What is known about a credential without asking anybody: for `kimi-auth status` and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from kimi_auth.errors import Blocked, CorruptCredential, KimiAuthError, NotSignedIn, Revoked

if TYPE_CHECKING:  # the store brings the lock, for which --version does not wait
    from kimi_auth.store import Binding

__all__ = ["NO_TOKEN", "LoginReport", "LogoutReport", "Status", "Verdict"]

NO_TOKEN: dict[str, KimiAuthError] = {
    "absent": NotSignedIn("not signed in"),
    "revoked": Revoked("the server ended this login"),
    "corrupt": CorruptCredential("the credential cannot be read"),
    "blocked": Blocked("the server keeps refusing to renew this login"),
}
"""The rest states in which no token can be had, not even by a renewal, and what to say where nobody has better words."""


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is the rest state of token_lifecycle. Times are unix seconds and 0.0 when unknown; durations are seconds.

    `place` names where the credential rests, `issuer` the OAuth host it belongs to ("" unknown): what the record says, else
    the `binding` beside it, else the platform (`issuer_from`). `left_s` is the access token's life, `renews_in_s` the time
    until renewal becomes advisory. `rejected_at_s`: when the API rejected this access token, as a program reported it, and
    `forced_retry_at_s`: before when no such report leads to a rotation. `claim`: the state of a rotation in flight ("" for
    none), `holder`: who holds the lock. `trouble` says in one sentence why it is not fresh. `sources` says where
    values come from: `credential` is "file", "keyring" or "config.toml"; `oauth_host` and `api_base` the variable that
    overrides the platform, else "platform"; `share_dir` the variable, else "default". `overridden_by`: variables that the Kimi CLI
    prefers to this login, and how. No field holds a secret.
    """

    platform: str
    platform_name: str
    state: str
    place: str
    fp: str = ""
    issuer: str = ""
    issuer_from: Literal["", "record", "binding", "platform"] = ""
    binding: Binding | None = None
    expires_at_s: float = 0.0
    left_s: float = 0.0
    renews_in_s: float = 0.0
    renewed_at_s: float = 0.0
    retry_at_s: float = 0.0
    rejected_at_s: float = 0.0
    forced_retry_at_s: float = 0.0
    claim: str = ""
    holder: str = ""
    trouble: KimiAuthError | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    overridden_by: Mapping[str, str] = field(default_factory=dict)


class Verdict(NamedTuple):
    """What the platform says of the stored access token: it takes it, refuses it, or cannot be asked, and then why."""

    says: Literal["valid", "invalid", "unknown"]
    trouble: KimiAuthError | None = None


@dataclass(frozen=True, slots=True)
class LoginReport:
    """How a login ended: the rest state of device_login, the pair's fingerprint, models found, and what went wrong."""

    state: str
    fp: str = ""
    models: int = 0
    already: bool = False
    trouble: KimiAuthError | None = None


@dataclass(frozen=True, slots=True)
class LogoutReport:
    """How a logout ended: the rest state of token_lifecycle, what the server said (`revoked`, `unsupported`, `failed`, `unread`, ""
    when it was not asked), what became of config.toml (`restored`, `kept`, ""), and which files are `left` that may hold a
    pair: a person should look at them and delete them."""

    state: str
    revocation: str = ""
    config: str = ""
    trouble: KimiAuthError | None = None
    left: tuple[str, ...] = ()
