"""What a sign-in looks like at one moment, as data: notices are folded into it, and every view draws from it.

All times are seconds on one clock of the caller's choice; nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import Notice, NoticeKind, SilentView
from kimi_auth.support.language import Sentence, counted, tr

__all__ = ["STEPS", "FoldingView", "Mood", "ViewState", "finish", "fold", "interrupt"]

Mood = Literal["starting", "waiting", "slowed", "offline", "finishing", "good", "plain", "bad"]
"""The stage of the sign-in; the last three are ends."""

STEPS: dict[NoticeKind, str] = {
    "approved": tr("approved"),
    "stored": tr("stored"),
    "models": tr("models found"),
    "configured": tr("config.toml written"),
    "live": tr("token live"),
}
"""The steps after an approval, in order, as a list shows them."""

_MOODS: dict[NoticeKind, Mood] = {
    "code": "waiting",
    "waiting": "waiting",
    "slowed_down": "slowed",
    "unreachable": "offline",
    "code_expired": "starting",
    "locked": "finishing",
    **dict.fromkeys(STEPS, "finishing"),
}

_ENDS: dict[str, tuple[Mood, Sentence]] = {
    "signed_in": ("good", tr("Signed in to {platform}.")),
    "models_pending": ("plain", tr("Signed in to {platform}; its models are still to be fetched.")),
    "cancelled": ("plain", tr("Cancelled before it was approved; nothing was stored.")),
    "denied": ("bad", tr("Denied; nothing was stored.")),
    "expired": ("bad", tr("Not approved in time; nothing was stored.")),
    "failed": ("bad", tr("The sign-in failed.")),
}
"""The rest states of device_login: how each looks, and its sentence. What to do next is the error line's business."""

_ALREADY = tr("Signed in to {platform} already; nothing was changed. Option --force signs in again.")

_WITH_NAME: dict[Sentence, Sentence] = {
    _ENDS["signed_in"][1]: tr("Signed in to {platform} as {account}."),
    _ENDS["models_pending"][1]: tr("Signed in to {platform} as {account}; its models are still to be fetched."),
    _ALREADY: tr("Signed in to {platform} as {account} already; nothing was changed. Option --force signs in again."),
}
"""The sentences of a sign-in that stands, where the platform says whose it is."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """A sign-in to `platform` (its name). `url` is the best link and `typed_url` the short one that goes with the code.
    `asker`: the program that asks, and its computer.

    `ends_at_s` and `life_s`: when the code dies and how long it had; `next_at_s`: when the next request goes out.
    `message`: the sentence to show now. `done`: steps of `STEPS` with their own texts; `warnings`: sentences.
    """

    platform: str
    mood: Mood = "starting"
    message: str = tr("Requesting a code.")
    user_code: str = ""
    url: str = ""
    typed_url: str = ""
    asker: str = ""
    ends_at_s: float = 0.0
    life_s: float = 0.0
    next_at_s: float = 0.0
    done: tuple[tuple[NoticeKind, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """True once `finish` has spoken."""
        return self.mood in {"good", "plain", "bad"}

    @property
    def is_asking(self) -> bool:
        """True while a code is shown and not yet approved or denied."""
        return bool(self.user_code) and self.mood in {"waiting", "slowed", "offline"}


def fold(state: ViewState, notice: Notice, now_s: float) -> ViewState:
    """The state of a sign-in's view after `notice`, which came at `now_s`."""
    if notice.kind == "warning":
        return replace(state, warnings=(*state.warnings, notice.message))
    state = replace(state, mood=_MOODS[notice.kind], message=notice.message, next_at_s=now_s + notice.wait_s)
    if notice.kind == "code" and (code := notice.code) is not None:
        return replace(
            state,
            message=tr("Waiting for your approval."),
            user_code=code.user_code,
            url=code.verification_uri_complete or code.verification_uri,
            typed_url=code.verification_uri,
            asker=notice.asker,
            ends_at_s=now_s + notice.left_s,
            life_s=max(code.expires_in_s, notice.left_s),
        )
    if notice.kind in STEPS:
        label = STEPS[notice.kind]
        if notice.kind == "models":
            label = counted(notice.count, tr("1 model found"), tr("{number} models found"))
        return replace(state, message=tr("Getting everything ready."), done=(*state.done, (notice.kind, label)))
    return state


def finish(state: ViewState, report: LoginReport) -> ViewState:
    """The state of the sign-in's view after it has ended as `report` says."""
    mood, sentence = _ENDS[report.state]
    if report.already:
        sentence = _ALREADY
    if report.account:
        sentence = _WITH_NAME[sentence]
    return replace(state, mood=mood, message=sentence.format(platform=state.platform, account=report.account))


class FoldingView(SilentView):
    """A `LoginView` that redraws nothing: it keeps the state, and cannot be left."""

    def __init__(self, platform: str) -> None:
        self._state = ViewState(platform)


def interrupt(state: ViewState) -> ViewState:
    """The state of the sign-in's view after one that came to no end of its own."""
    return replace(state, mood="plain", message=tr("Interrupted."))
