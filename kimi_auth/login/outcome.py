"""The error of a login that did not succeed, by the rest state of its machine."""

from __future__ import annotations

from kimi_auth.credential.status import LoginReport
from kimi_auth.errors import AccessDenied, CodeExpired, KimiAuthError, LoginCancelled, ModelsPending
from kimi_auth.support.language import tr

__all__ = ["login_error"]

_ENDS: dict[str, tuple[type[KimiAuthError], str]] = {
    "denied": (AccessDenied, tr("the sign-in was denied on the approval page")),
    "expired": (CodeExpired, tr("the sign-in was not approved in time")),
    "cancelled": (LoginCancelled, tr("the sign-in was left before it was approved")),
    "models_pending": (ModelsPending, tr("signed in, but the models are not in config.toml yet")),
    "failed": (KimiAuthError, tr("the sign-in failed")),
}


def login_error(report: LoginReport) -> KimiAuthError | None:
    """Why a login's end is no success, None for one that is. The exit status is that of the end, the message that of the
    error."""
    if report.state not in _ENDS:
        return None
    kind, message = _ENDS[report.state]
    if report.error is None or isinstance(report.error, kind):
        return report.error or kind(message)
    said = report.error.message
    if kind is ModelsPending:
        said = tr("signed in, but {error}", error=said)
    return kind(said, retry_after_s=report.error.retry_after_s, is_transient=report.error.is_transient)
