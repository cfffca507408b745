"""The logic of the approval page: finds the code that a person typed, and takes the decision once, from its own form
only."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final, Literal

from . import page
from .authorization_server import State
from .call import Answer, Call, read_form
from .records import CodeProblem, OAuthError, Problem

COOKIE: Final = "emulator_form"
PROBLEMS: Final[dict[Problem, tuple[int, str]]] = {
    "unknown": (400, "That code is not known here. Please compare it with your terminal and type it again."),
    "expired": (400, "That code has expired. Your terminal shows a new one, or start the sign-in again there."),
    "decided": (400, "That code was already answered. If you need to, start the sign-in again in your terminal."),
    "too_many_guesses": (429, "Too many wrong codes. Please wait a minute, then try again."),
}
DECISIONS: Final[dict[str, Literal["approved", "denied"]]] = {"approve": "approved", "refuse": "denied"}


def show(state: State, call: Call) -> Answer:
    """GET /device: the form for a code, or with `user_code` the question whether to let that device sign in."""
    typed = call.query.get("user_code", "").strip()
    if not typed:
        return _html(page.entry(), outcome="entry")
    try:
        code = state.look_up(typed, guess=True)
    except CodeProblem as problem:
        return _problem(problem, typed)
    known = call.cookies.get(COOKIE, "")
    cookie = known if re.fullmatch(r"[\w-]{43}", known) else secrets.token_urlsafe(32)
    answer = page.confirm(code, _form_token(state, cookie, code.user_code), state.now_s())
    setting = f"{COOKIE}={cookie}; Path=/device; HttpOnly; SameSite=Strict"
    return _html(answer, outcome="confirm", headers={"Set-Cookie": setting})


def decide(state: State, call: Call) -> Answer:
    """POST /device: approves or refuses, if the form is ours."""
    try:
        form = read_form(call)
    except OAuthError:
        form = {}
    typed, cookie = form.get("user_code", ""), call.cookies.get(COOKIE, "")
    verdict = DECISIONS.get(form.get("decision", ""))
    given, expected = form.get("form_token", ""), _form_token(state, cookie, typed)
    if verdict is None or not hmac.compare_digest(given.encode(), expected.encode()):
        return _html(page.lost_form(typed), 403, outcome="foreign_form")
    try:
        state.decide(typed, verdict, guess=True)
    except CodeProblem as problem:
        return _problem(problem, typed)
    return _html(page.result(approved=verdict == "approved"), outcome=verdict)


def _problem(problem: CodeProblem, typed: str) -> Answer:
    status, text = PROBLEMS[problem.problem]
    return _html(page.entry(typed, text), status, outcome=problem.problem)


def _form_token(state: State, cookie: str, user_code: str) -> str:
    """Binds a form to the browser that got it: only the page knows the key, and only the browser has the cookie."""
    return hmac.new(state.form_key, f"{cookie} {user_code}".encode(), hashlib.sha256).hexdigest()


def _html(text: str, status: int = 200, *, outcome: str, headers: dict[str, str] | None = None) -> Answer:
    all_headers = {**page.SECURITY_HEADERS, **(headers or {})}
    return Answer(status, (text.encode(errors="replace"),), "text/html; charset=utf-8", all_headers, outcome)
