"""The browsers that visit the approval page: each has its own forms and its own wrong guesses.

A cookie is only a name for an entry that is kept here, so a value that this page did not give means nothing. It does not say which page
sent a form: cookies know no ports, and every program on this machine can have one. `approval` asks the browser for that.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

GUESSES_PER_MINUTE: Final = 20
VISITORS_MAX: Final = 1_000
"""More than these, and the one that was seen longest ago is forgotten; it sees its form again."""

FORMS_MAX: Final = 100


@dataclass
class Visitor:
    """One browser. `forms`: the token of the form that it was given, by user code."""

    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    forms: OrderedDict[str, str] = field(default_factory=OrderedDict)
    missed_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=GUESSES_PER_MINUTE))

    def form_for(self, user_code: str) -> str:
        """The token of this visitor's form for a code, the same in every tab."""
        token = self.forms.setdefault(user_code, secrets.token_urlsafe(32))
        while len(self.forms) > FORMS_MAX:
            self.forms.popitem(last=False)
        return token

    def has_form(self, user_code: str, token: str) -> bool:
        """True for the form that this visitor was given for this code. A double click sends it twice, and decides once."""
        given = self.forms.get(user_code, "")
        return bool(given) and hmac.compare_digest(given.encode(), token.encode())

    def must_wait(self, now_s: float) -> bool:
        """True after `GUESSES_PER_MINUTE` wrong codes within a minute.

        The limit is the visitor's own: one that all share would lock everyone out of their own codes. A program without cookies is
        a new visitor each time; what it may guess at is one of 20^8 codes.
        """
        missed = self.missed_at_s
        return len(missed) == GUESSES_PER_MINUTE and now_s - missed[0] < 60


class Visitors:
    """Every browser that has seen a form."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Visitor] = OrderedDict()

    def find(self, cookie: str) -> Visitor | None:
        """The visitor whose browser got that cookie from this page."""
        visitor = self._known.get(cookie)
        if visitor is not None:
            self._known.move_to_end(cookie)
        return visitor

    def admit(self) -> Visitor:
        """A new visitor: a browser that was not here before."""
        visitor = Visitor()
        self._known[visitor.cookie] = visitor
        while len(self._known) > VISITORS_MAX:
            self._known.popitem(last=False)
        return visitor
