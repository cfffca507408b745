"""The logic of the approval page: finds the code that a person typed, and takes the decision once, from its own form
only. A decision leads to a page of its own, which can be loaded again."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import quote, urlsplit

from . import page
from .authorization_server import State
from .call import Answer, Call, read_form
from .records import CodeProblem, DeviceCode, OAuthError, Problem
from .visitors import Visitor

COOKIE: Final = "emulator_form"
PROBLEMS: Final[dict[Problem, tuple[int, str]]] = {
    "unknown": (400, "That code is not known here. Please compare it with your terminal and type it again."),
    "expired": (400, "That code has expired. Your terminal shows a new one, or start the sign-in again there."),
    "too_many_guesses": (429, "Too many wrong codes. Please wait a minute, then try again."),
}
DECISIONS: Final[dict[str, Literal["approved", "denied"]]] = {"approve": "approved", "refuse": "denied"}


def show(state: State, call: Call) -> Answer:
    """GET /device: the form for a code, or with `user_code` the question whether to let that device sign in, or the
    decision."""
    typed = call.query.get("user_code", "").strip()
    if not typed:
        return _html(page.entry(), outcome="entry")
    visitor = state.visitors.find(call.cookies.get(COOKIE, "")) or state.visitors.admit()
    setting = {"Set-Cookie": f"{COOKIE}={visitor.cookie}; Path=/device; HttpOnly; SameSite=Strict"}
    try:
        code = _look_up(state, visitor, typed)
    except CodeProblem as problem:
        return _problem(problem, typed, setting)
    answer = page.confirm(code, visitor.form_for(code.user_code), state.now_s())
    return _html(answer, outcome="confirm", headers=setting)


def decide(state: State, call: Call) -> Answer:
    """POST /device: approves or refuses, if the form is ours."""
    try:
        form = read_form(call)
    except OAuthError:
        form = {}
    typed, verdict = form.get("user_code", ""), DECISIONS.get(form.get("decision", ""))
    visitor = state.visitors.find(call.cookies.get(COOKIE, ""))
    if visitor is None or verdict is None or not _is_from_our_page(call):
        return _foreign(typed)
    if not visitor.has_form(typed, form.get("form_token", "")):
        return _foreign(typed)
    try:
        state.decide(typed, verdict)
    except CodeProblem as problem:
        if problem.problem != "decided":
            return _problem(problem, typed)
        return _shown_again(typed, "decided")
    return _shown_again(typed, verdict)


def _look_up(state: State, visitor: Visitor, typed: str) -> DeviceCode:
    now_s = state.now_s()
    if visitor.must_wait(now_s):
        raise CodeProblem("too_many_guesses")
    try:
        return state.look_up(typed)
    except CodeProblem as problem:
        if problem.problem == "unknown":
            visitor.missed_at_s.append(now_s)
        raise


def _problem(problem: CodeProblem, typed: str, headers: dict[str, str] | None = None) -> Answer:
    if problem.problem == "decided":
        return _html(page.result(approved=problem.is_approved), outcome="decided", headers=headers)
    status, text = PROBLEMS[problem.problem]
    return _html(page.entry(typed, text), status, outcome=problem.problem, headers=headers)


def _is_from_our_page(call: Call) -> bool:
    """False for a form that a browser sends for another page, one on another port of this machine included.

    Browsers say so in headers that no page can change: `Sec-Fetch-Site`, and `Origin` with every POST. A program that is no
    browser sends neither.
    """
    origin = call.headers.get("origin")
    if call.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return origin is None or urlsplit(origin).netloc == call.headers.get("host", "")


def _foreign(typed: str) -> Answer:
    return _html(page.lost_form(typed), 403, outcome="foreign_form")


def _shown_again(typed: str, outcome: str) -> Answer:
    """Redirects to the page that shows the decision: loading that again sends no form."""
    headers = {**page.SECURITY_HEADERS, "Location": f"/device?user_code={quote(typed)}"}
    return Answer(303, headers=headers, outcome=outcome)


def _html(text: str, status: int = 200, *, outcome: str, headers: dict[str, str] | None = None) -> Answer:
    all_headers = {**page.SECURITY_HEADERS, **(headers or {})}
    return Answer(status, (text.encode(errors="replace"),), "text/html; charset=utf-8", all_headers, outcome)
