"""The errors of kimi-auth. Every deliberate error is a `KimiAuthError`.

    KimiAuthError                     1   something unexpected
    ├── NotSignedIn                   3   no credential is stored
    ├── SignInEnded                   4   the server ended the login; sign in again
    │   ├── Revoked                       an OAuth error ended it (RFC 6749 §5.2 invalid_grant)
    │   ├── Blocked                       repeated answers that are not OAuth: a proxy, or the login has ended
    │   └── InvalidKey                    the platform refuses this API key
    ├── Unreachable                   5   the server cannot be reached and no usable token is left
    ├── AccessDenied                  6   the person refused (RFC 8628 §3.5 access_denied)
    ├── CodeExpired                   7   the code expired before approval (RFC 8628 §3.5 expired_token)
    ├── StorageError                  8   the credential cannot be read or written
    │   ├── CorruptCredential             it exists and cannot be parsed
    │   ├── StoreUnwritable               disk full, read-only, not permitted
    │   ├── CredentialLocked              another process held its lock for longer than the caller waits
    │   └── LockLost                      its lock was taken away while this process worked under it
    ├── ConfigError                   9   a configuration error
    │   ├── AmbiguousHome             2   two variables name two homes
    │   ├── NoSuchAccount             2   an account is named where there can be none of that name
    │   ├── WrongIssuer                   the credential belongs to another OAuth host
    │   └── ClientRefused                 the server refuses this program, not this login
    ├── ModelsPending                10   signed in, but the models could not be fetched
    └── LoginCancelled              130   the person cancelled the login

The number is the exit status of the command line; `code` is the stable name for programs. `is_transient` says whether the
same call may succeed later by itself, `retry_after_s` when. Hooks report expected
failures by *returning* one of these in their context; only `Session` and the command line raise them.
"""

from __future__ import annotations

from typing import ClassVar, Self

from kimi_auth.support.language import tr

__all__ = [
    "AccessDenied",
    "AmbiguousHome",
    "Blocked",
    "ClientRefused",
    "CodeExpired",
    "ConfigError",
    "CorruptCredential",
    "CredentialLocked",
    "InvalidKey",
    "KimiAuthError",
    "LockLost",
    "LoginCancelled",
    "ModelsPending",
    "NoSuchAccount",
    "NotSignedIn",
    "Revoked",
    "SignInEnded",
    "StorageError",
    "StoreUnwritable",
    "Unreachable",
    "WrongIssuer",
]

SIGN_IN_AGAIN = tr("sign in again: kimi-auth login")


class KimiAuthError(Exception):
    """Base of every deliberate error of kimi-auth: one sentence in `message`, the next step in `hint`.

    `is_transient`: the same call may succeed later without a person's help. `retry_after_s`: seconds from the moment of
    the error after which another try makes sense, because the server asked for the pause (RFC 9110 §10.2.3) or our backoff
    lasts as long; None where nothing says it.
    """

    code: ClassVar[str] = "unexpected"
    exit_status: ClassVar[int] = 1
    default_hint: ClassVar[str] = tr("look closer: kimi-auth doctor")
    usually_transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        is_transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint: str = hint or self.default_hint
        self.retry_after_s = retry_after_s
        self.is_transient: bool = self.usually_transient if is_transient is None else is_transient

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.retry_after_s, self.is_transient))

    def reworded(self, message: str = "", *, hint: str = "", retry_after_s: float | None = None) -> Self:
        """An error of the same kind without this one's traceback. Arguments that are left out stay the same."""
        return type(self)(
            message or self.message,
            hint=hint or self.hint,
            retry_after_s=self.retry_after_s if retry_after_s is None else retry_after_s,
            is_transient=self.is_transient,
        )

    @property
    def line(self) -> str:
        """The message and the next step, on one line for a terminal or a log."""
        return with_hint(self.message, self.hint)


def with_hint(message: str, hint: str) -> str:
    """What an error of kimi-auth says on one line: its message and its hint, the next step."""
    return tr("{message} ({hint})", message=message, hint=hint) if hint else message


def _rebuild(
    kind: type[KimiAuthError],
    message: str,
    hint: str,
    retry_after_s: float | None,
    is_transient: bool,  # noqa: FBT001 - pickle gives arguments by position
) -> KimiAuthError:
    return kind(message, hint=hint, retry_after_s=retry_after_s, is_transient=is_transient)


class NotSignedIn(KimiAuthError):
    """No credential is stored for this platform."""

    code = "not_signed_in"
    exit_status = 3
    default_hint: ClassVar[str] = tr("sign in: kimi-auth login")


class SignInEnded(KimiAuthError):
    """The server ended or blocks this login; only a new sign-in, or a working network path, helps."""

    code = "sign_in_ended"
    exit_status = 4
    default_hint: ClassVar[str] = SIGN_IN_AGAIN


class Revoked(SignInEnded):
    """The server refused the refresh token with an OAuth error (RFC 6749 §5.2)."""

    code = "revoked"


class Blocked(SignInEnded):
    """The server keeps answering with errors that are not OAuth: a proxy, or the login has ended."""

    code = "blocked"


class InvalidKey(SignInEnded):
    """The platform refuses this API key."""

    code = "invalid_key"
    default_hint: ClassVar[str] = tr("check the key, then: kimi-auth login --api-key-stdin")


class Unreachable(KimiAuthError):
    """The server cannot be reached and no usable token is left; the login itself is kept."""

    code = "unreachable"
    exit_status = 5
    default_hint: ClassVar[str] = tr("check the network and try again")
    usually_transient = True


class AccessDenied(KimiAuthError):
    """The person refused the request on the approval page (RFC 8628 §3.5)."""

    code = "access_denied"
    exit_status = 6
    default_hint: ClassVar[str] = tr("start again when you want to approve: kimi-auth login")


class CodeExpired(KimiAuthError):
    """The codes expired before the person approved (RFC 8628 §3.5)."""

    code = "expired_token"
    exit_status = 7
    default_hint: ClassVar[str] = tr("start again: kimi-auth login")


class StorageError(KimiAuthError):
    """The credential, or a sidecar of it, cannot be read or written."""

    code = "storage"
    exit_status = 8


class CorruptCredential(StorageError):
    """The credential file exists and cannot be parsed; it is never deleted."""

    code = "corrupt"
    default_hint: ClassVar[str] = tr("sign in again, the broken file is set aside: kimi-auth login")


class StoreUnwritable(StorageError):
    """Disk full, read-only, or not permitted."""

    code = "unwritable"
    default_hint: ClassVar[str] = tr("make room or fix the permissions, then try again")


class CredentialLocked(StorageError):
    """Another process held the credential's lock for longer than the caller waits."""

    code = "locked"
    default_hint: ClassVar[str] = tr("wait for that process, or end it, then try again")
    usually_transient = True


class LockLost(StorageError):
    """The credential's lock was taken away while this process worked under it; nothing more was written."""

    code = "lock_lost"
    default_hint: ClassVar[str] = tr("leave *.lock files alone; nothing was written, try again")
    usually_transient = True


class ConfigError(KimiAuthError):
    """A configuration file, a setting or an environment variable is invalid or conflicts; nothing was written."""

    code = "config"
    exit_status = 9
    default_hint: ClassVar[str] = tr("fix it and try again")


class AmbiguousHome(ConfigError):
    """Two environment variables name two homes, and nothing says which one is meant."""

    code = "ambiguous_home"
    exit_status = 2
    default_hint: ClassVar[str] = tr("name one: --home kimi-cli, or --home kimi-code")


class NoSuchAccount(ConfigError):
    """An account is named that cannot be there: in another program's home, of an API key, or by no possible name."""

    code = "no_such_account"
    exit_status = 2
    default_hint: ClassVar[str] = tr("see which there are: kimi-auth accounts list")


class WrongIssuer(ConfigError):
    """The stored credential belongs to another OAuth host; it is sent to its own host only."""

    code = "wrong_issuer"
    default_hint: ClassVar[str] = tr(
        "name the host that it is from: kimi-auth adopt --issuer URL; or sign in: kimi-auth login --force"
    )


class ClientRefused(ConfigError):
    """The server refuses this program (invalid_client and similar, RFC 6749 §5.2), not this login."""

    code = "client_refused"
    default_hint: ClassVar[str] = tr(
        "update kimi-auth, or check its OAuth host and client id: kimi-auth platforms list"
    )


class ModelsPending(KimiAuthError):
    """Signed in and stored, but the models could not be fetched or written; the login stands."""

    code = "models_pending"
    exit_status = 10
    default_hint: ClassVar[str] = tr("fetch them later: kimi-auth models sync")


class LoginCancelled(KimiAuthError):
    """The person cancelled the login before approval."""

    code = "cancelled"
    exit_status = 130
    default_hint: ClassVar[str] = tr("start again: kimi-auth login")
