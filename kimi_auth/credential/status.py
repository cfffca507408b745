"""The state of a credential as the disk tells it, without a request: for `kimi-auth status` and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from kimi_auth.errors import KimiAuthError

if TYPE_CHECKING:  # the store brings the lock, for which --version does not wait
    from kimi_auth.store import Binding

__all__ = ["LoginReport", "LogoutReport", "Status", "Verdict"]

_NOTHING: Mapping[str, str] = {}


class Status(NamedTuple):
    """`state` is the rest state of token_lifecycle. Times are unix seconds and 0.0 when unknown; durations are seconds.

    `location` names the credential's file or keyring, `issuer` its OAuth host ("" unknown): from the record, else from the
    `binding` beside it, else from the platform (`issuer_from`). `left_s` is the access token's life, `lifetime_s` the
    life that the server granted, `renews_in_s` the time until renewal becomes advisory; `renewable` is False for a record
    without a refresh token. `refresh_ends_at_s`: when the refresh token ends, and with it a login that no program renews, as
    far as the server or the token says it; `ends_soon`: it has, or it has a few days left. `rejected_at_s`: when a program
    reported that the API rejected this access token; before `forced_retry_at_s` such a report causes no rotation. `claim`: the state of a rotation in flight (""
    for none). `holder`: the process that holds the lock. `error`: why it is not fresh. `sources`: the origin of each
    value: `credential` is "file", "keyring" or "config.toml"; `oauth_host` and `api_base` the variable that overrides
    the platform, else "platform"; `share_dir`, `platform` and `account` (the label) as in `kimi_auth.selection`: "argument", a variable,
    "config.toml", "accounts.toml", "default" or "login" (the only home that holds one). `overridden_by`: variables that the Kimi
    CLI prefers to this login, and how. `account`: the name that the platform had for it at sign-in, "" unknown. `label`: the account as its user calls
    it, "default" for the login without a label, "" where there are no accounts; `signed_in_at_s`: when that login was made. `home`: the
    kind of home, `home_why`: more about its choice; `other_home`: the other home's directory, if that holds a login too. No
    field holds a secret. `store_error`: why the store cannot be asked, or cannot take another pair; None where it can.
    """

    platform: str
    platform_name: str
    state: str
    location: str
    fp: str = ""
    issuer: str = ""
    issuer_from: Literal["", "record", "binding", "platform"] = ""
    binding: Binding | None = None
    expires_at_s: float = 0.0
    left_s: float = 0.0
    lifetime_s: float = 0.0
    renewable: bool = True
    renews_in_s: float = 0.0
    refresh_ends_at_s: float = 0.0
    ends_soon: bool = False
    renewed_at_s: float = 0.0
    retry_at_s: float = 0.0
    rejected_at_s: float = 0.0
    forced_retry_at_s: float = 0.0
    claim: str = ""
    holder: str = ""
    error: KimiAuthError | None = None
    sources: Mapping[str, str] = _NOTHING
    overridden_by: Mapping[str, str] = _NOTHING
    account: str = ""
    home: str = ""
    home_why: str = ""
    other_home: str = ""
    label: str = ""
    signed_in_at_s: float = 0.0
    store_error: KimiAuthError | None = None


class Verdict(NamedTuple):
    """The platform's answer about the stored access token: accepted, rejected, or unknown because of `error`."""

    says: Literal["valid", "invalid", "unknown"]
    error: KimiAuthError | None = None


class LoginReport(NamedTuple):
    """How a login ended: the rest state of device_login, the pair's fingerprint, models found, the error, if any, and
    notes on models and fields that were left out of the platform's list. `account`: the name of the account that is signed
    in, "" where the platform did not say it."""

    state: str
    fp: str = ""
    models: int = 0
    already: bool = False
    error: KimiAuthError | None = None
    notes: tuple[str, ...] = ()
    account: str = ""


class LogoutReport(NamedTuple):
    """How a logout ended: the rest state of token_lifecycle, the server's revocation (`revoked`, `unsupported`,
    `failed`, `unread`, "" for none), the result for config.toml (`restored`, `kept`, ""), and the files `left` that may
    hold a pair: a person should inspect and delete them."""

    state: str
    revocation: str = ""
    config: str = ""
    error: KimiAuthError | None = None
    left: tuple[str, ...] = ()
