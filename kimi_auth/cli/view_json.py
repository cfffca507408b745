"""The sign-in as events for programs: one JSON object a line, in the form that the Kimi CLI's `login --json` has.

`{"type", "message", "data"}` with the types info, verification_url, waiting, success and error; `data` may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kimi_auth.cli.view_state import FoldingView, finish, fold
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import NOT_YET, Notice, NoticeKind

__all__ = ["JsonView"]


class Emit(Protocol):
    """Writes one event."""

    def __call__(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None: ...


class JsonView(FoldingView):
    """A `LoginView` that writes with `emit`; "not yet" is said once, until it changes."""

    def __init__(self, emit: Emit, platform: str) -> None:
        super().__init__(platform)
        self._emit = emit
        self._last: NoticeKind | None = None

    def tell(self, notice: Notice) -> None:
        self._state = fold(self._state, notice, 0.0)
        last, self._last = self._last, notice.kind
        if notice.kind == "code" and notice.code is not None:
            self._emit("info", "Open the link and approve the sign-in there, only if you started it.")
            self._emit(
                "verification_url",
                f"Verification link: {self._state.url}",
                {
                    "verification_url": self._state.url,
                    "user_code": self._state.user_code,
                    "verification_uri": self._state.typed_url,
                    "expires_in": round(notice.left_s),
                },
            )
        elif notice.kind in NOT_YET:
            if notice.kind != last:
                data = {"error": NOT_YET[notice.kind], "error_description": "", "wait_s": round(notice.wait_s, 3)}
                self._emit("waiting", notice.message, data)
        else:
            count = {"count": notice.count} if notice.kind == "models" else {}
            self._emit("info", notice.message, {"step": notice.kind, **count})

    def finish(self, report: LoginReport) -> None:
        """Writes the last event of a sign-in that stands; why another one ended is an error event, which is not ours to write."""
        if report.state == "signed_in":
            data = (
                {"already": True, "account": report.account or None}
                if report.already
                else {
                    "already": False,
                    "account": report.account or None,
                    "models": report.models,
                    "notes": list(report.notes),
                }
            )
            self._emit("success", finish(self._state, report).message, data)
