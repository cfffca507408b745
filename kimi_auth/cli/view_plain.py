"""The sign-in as lines of text, one for each thing that happens: for files, pipes and simple terminals."""

from __future__ import annotations

from collections.abc import Callable

from kimi_auth.cli.view_state import FoldingView, finish, fold
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import CAUTION, SENT, Notice
from kimi_auth.support.language import tr

__all__ = ["PlainView"]


class PlainView(FoldingView):
    """A `LoginView` that writes with `line`; the same sentence is not said twice in a row."""

    def __init__(self, line: Callable[[str], None], platform: str) -> None:
        super().__init__(platform)
        self._line = line

    def tell(self, notice: Notice) -> None:
        before, self._state = self._state, fold(self._state, notice, 0.0)
        if notice.kind == "code" and notice.code is not None:
            complete = self._state.url != self._state.typed_url
            if notice.asker:
                asks = tr(
                    "{program} asks for access to your {platform} account.",
                    program=notice.asker,
                    platform=self._state.platform,
                )
                self._line(asks)
            page = tr(
                "Open this page to sign in to {platform}: {url}", platform=self._state.platform, url=self._state.url
            )
            self._line(page)
            asked = tr("It must show or ask for the code: {code}") if complete else tr("Type the code: {code}")
            self._line(asked.format(code=self._state.user_code))
            self._line(CAUTION)
            self._line(SENT)
            self._line(tr("The code is valid for {time}.", time=_minutes(notice.left_s)))
        elif notice.kind == "warning":
            self._line(tr("Warning: {message}", message=notice.message))
        elif notice.message != before.message:
            self._line(notice.message)

    def finish(self, report: LoginReport) -> None:
        """The last line."""
        self._line(finish(self._state, report).message)


def _minutes(seconds: float) -> str:
    """The nearest whole minutes: the answer took its part of the first second, and a person needs no seconds to approve."""
    if seconds >= 120:
        return tr("{minutes} min", minutes=round(seconds / 60))
    return tr("{seconds} s", seconds=round(seconds))
