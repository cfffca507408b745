"""What only a command line can say no to, in the same form as every other error."""

from __future__ import annotations

from kimi_auth.credential.status import NO_TOKEN, LoginReport, Status
from kimi_auth.errors import AccessDenied, CodeExpired, KimiAuthError, LoginCancelled, ModelsPending

__all__ = ["CommandNotFound", "CommandNotRunnable", "Findings", "Usage", "login_error", "status_error"]


class Usage(KimiAuthError):
    """The command line names something that does not exist."""

    code = "usage"
    exit_status = 2
    default_hint = "see: kimi-auth --help"


class Findings(KimiAuthError):
    """A check has found something; what, stands in the output."""

    code = "findings"
    exit_status = 1


class CommandNotFound(KimiAuthError):
    """`run` was given a command that is not there (POSIX shells: 127)."""

    code = "command_not_found"
    exit_status = 127
    default_hint = "check its name and PATH"


class CommandNotRunnable(KimiAuthError):
    """`run` was given a file that cannot be run (POSIX shells: 126)."""

    code = "command_not_runnable"
    exit_status = 126
    default_hint = "make it executable: chmod +x"


_LOGIN_ENDS: dict[str, KimiAuthError] = {
    "denied": AccessDenied("the sign-in was denied on the approval page"),
    "expired": CodeExpired("the sign-in was not approved in time"),
    "cancelled": LoginCancelled("the sign-in was left before it was approved"),
    "models_pending": ModelsPending("signed in, but the models are not in config.toml yet"),
    "failed": KimiAuthError("the sign-in failed"),
}


def login_error(report: LoginReport) -> KimiAuthError | None:
    """Why a login's end is no success; the exit status is that of the end, the message is that of the error."""
    end = _LOGIN_ENDS.get(report.state)
    if end is None or report.trouble is None or isinstance(report.trouble, type(end)):
        return report.trouble or end if end else None
    if report.state == "models_pending":
        return ModelsPending(f"signed in, but {report.trouble.message}")
    return type(end)(report.trouble.message)


def status_error(status: Status) -> KimiAuthError | None:
    """Why no token can be had in this state; None where one can, be it after a renewal."""
    return (status.trouble or NO_TOKEN[status.state]) if status.state in NO_TOKEN else None
