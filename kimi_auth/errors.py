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
    │   ├── WrongIssuer                   the credential belongs to another OAuth host
    │   └── ClientRefused                 the server refuses this program, not this login
    ├── ModelsPending                10   signed in, but the models could not be fetched
    └── LoginCancelled              130   the person cancelled the login

The number is the exit status of the command line; `code` is the stable name for programs. Hooks report expected
failures by *returning* one of these in their context; only `Session` and the command line raise them.
"""

from __future__ import annotations

from typing import ClassVar

from kimi_auth.language import tr

__all__ = [
    "AccessDenied",
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
    """Base of every deliberate error of kimi-auth: one sentence in `message`, the next step in `hint`."""

    code: ClassVar[str] = "unexpected"
    exit_status: ClassVar[int] = 1
    default_hint: ClassVar[str] = tr("look closer: kimi-auth doctor")

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))

    @property
    def line(self) -> str:
        """The message and the next step, on one line for a terminal or a log."""
        return with_hint(self.message, self.hint)


def with_hint(message: str, hint: str) -> str:
    """A message and the next step, on one line."""
    return tr("{message} ({hint})", message=message, hint=hint) if hint else message


def _rebuild(kind: type[KimiAuthError], message: str, hint: str) -> KimiAuthError:
    return kind(message, hint=hint)


class NotSignedIn(KimiAuthError):
    """No credential is stored for this platform."""

    code = "not_signed_in"
    exit_status = 3
    default_hint = tr("sign in: kimi-auth login")


class SignInEnded(KimiAuthError):
    """The server ended or blocks this login; only a new sign-in, or a working network path, helps."""

    code = "sign_in_ended"
    exit_status = 4
    default_hint = SIGN_IN_AGAIN


class Revoked(SignInEnded):
    """The server refused the refresh token with an OAuth error (RFC 6749 §5.2)."""

    code = "revoked"


class Blocked(SignInEnded):
    """The server keeps answering with errors that are not OAuth: a proxy, or the login has ended."""

    code = "blocked"


class InvalidKey(SignInEnded):
    """The platform refuses this API key."""

    code = "invalid_key"
    default_hint = tr("check the key, then: kimi-auth login --api-key-stdin")


class Unreachable(KimiAuthError):
    """The server cannot be reached and no usable token is left; the login itself is kept."""

    code = "unreachable"
    exit_status = 5
    default_hint = tr("check the network and try again")


class AccessDenied(KimiAuthError):
    """The person refused the request on the approval page (RFC 8628 §3.5)."""

    code = "access_denied"
    exit_status = 6
    default_hint = tr("start again when you want to approve: kimi-auth login")


class CodeExpired(KimiAuthError):
    """The codes expired before the person approved (RFC 8628 §3.5)."""

    code = "expired_token"
    exit_status = 7
    default_hint = tr("start again: kimi-auth login")


class StorageError(KimiAuthError):
    """The credential, or a sidecar of it, cannot be read or written."""

    code = "storage"
    exit_status = 8


class CorruptCredential(StorageError):
    """The credential file exists and cannot be parsed; it is never deleted."""

    code = "corrupt"
    default_hint = tr("sign in again, the broken file is set aside: kimi-auth login")


class StoreUnwritable(StorageError):
    """Disk full, read-only, or not permitted."""

    code = "unwritable"
    default_hint = tr("make room or fix the permissions, then try again")


class CredentialLocked(StorageError):
    """Another process held the credential's lock for longer than the caller waits."""

    code = "locked"
    default_hint = tr("wait for that process, or end it, then try again")


class LockLost(StorageError):
    """The credential's lock was taken away while this process worked under it; nothing more was written."""

    code = "lock_lost"
    default_hint = tr("leave *.lock files alone; nothing was written, try again")


class ConfigError(KimiAuthError):
    """A configuration file, a setting or an environment variable is invalid or conflicts; nothing was written."""

    code = "config"
    exit_status = 9
    default_hint = tr("fix it and try again")


class WrongIssuer(ConfigError):
    """The stored credential belongs to another OAuth host; it is sent to its own host only."""

    code = "wrong_issuer"
    default_hint = tr(
        "name the host that it is from: kimi-auth adopt --issuer URL; or sign in: kimi-auth login --force"
    )


class ClientRefused(ConfigError):
    """The server refuses this program (invalid_client and similar, RFC 6749 §5.2), not this login."""

    code = "client_refused"
    default_hint = tr("update kimi-auth, or check its OAuth host and client id: kimi-auth platforms list")


class ModelsPending(KimiAuthError):
    """Signed in and stored, but the models could not be fetched or written; the login stands."""

    code = "models_pending"
    exit_status = 10
    default_hint = tr("fetch them later: kimi-auth models sync")


class LoginCancelled(KimiAuthError):
    """The person cancelled the login before approval."""

    code = "cancelled"
    exit_status = 130
    default_hint = tr("start again: kimi-auth login")
