"""The state of a credential as the disk tells it, without a request: for `kimi-auth status` and for programs."""

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
"""Rest states without a usable token, and the default error of each. Only `blocked` may still be renewed."""


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is the rest state of token_lifecycle. Times are unix seconds and 0.0 when unknown; durations are seconds.

    `place` names the credential's location, `issuer` its OAuth host ("" unknown): from the record, else from the
    `binding` beside it, else from the platform (`issuer_from`). `left_s` is the access token's life, `lifetime_s` the
    life that the server granted, `renews_in_s` the time until renewal becomes advisory; `renewable` is False for a record
    without a refresh token. `rejected_at_s`: when a program reported that the API rejected this access
    token; before `forced_retry_at_s` such a report causes no rotation. `claim`: the state of a rotation in flight (""
    for none). `holder`: the process that holds the lock. `trouble`: why it is not fresh. `sources`: the origin of each
    value: `credential` is "file", "keyring" or "config.toml"; `oauth_host` and `api_base` the variable that overrides
    the platform, else "platform"; `share_dir` the variable, else "default". `overridden_by`: variables that the Kimi
    CLI prefers to this login, and how. No field holds a secret.
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
    lifetime_s: float = 0.0
    renewable: bool = True
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
    """The platform's answer about the stored access token: accepted, rejected, or unknown because of `trouble`."""

    says: Literal["valid", "invalid", "unknown"]
    trouble: KimiAuthError | None = None


@dataclass(frozen=True, slots=True)
class LoginReport:
    """How a login ended: the rest state of device_login, the pair's fingerprint, models found, and the error, if
    any."""

    state: str
    fp: str = ""
    models: int = 0
    already: bool = False
    trouble: KimiAuthError | None = None


@dataclass(frozen=True, slots=True)
class LogoutReport:
    """How a logout ended: the rest state of token_lifecycle, the server's revocation (`revoked`, `unsupported`,
    `failed`, `unread`, "" for none), the result for config.toml (`restored`, `kept`, ""), and the files `left` that may
    hold a pair: a person should inspect and delete them."""

    state: str
    revocation: str = ""
    config: str = ""
    trouble: KimiAuthError | None = None
    left: tuple[str, ...] = ()
