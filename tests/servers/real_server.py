"""What every server under test looks like to a test: its addresses, the person at its approval page, its clock."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import ClassVar, Final, Literal
from urllib.parse import urljoin

import httpx
from house.patience import NO_LIMIT_S

CLIENT_ID: Final = "17e5f671-d194-4dfb-9706-5516cb48c098"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
PAGES_MAX: Final = 5  # the longest known way to a decision: code, confirmation, login, consent, and one to spare

Decision = Literal["approve", "deny"]


@dataclass(frozen=True)
class Settings:
    """How a server behaves; the defaults are what auth.kimi.com does. All times are whole seconds."""

    access_ttl_s: int = 900
    refresh_ttl_s: int = 30 * 86_400
    code_ttl_s: int = 1800
    interval_s: int = 5  # 0: no poll is ever too early
    jwt: bool = False  # access tokens are JWTs, which revocation cannot reach, where the server can issue them


class RealServer(ABC):
    """One running server on a loopback port.

    Time passes for the server as in reality, plus what `advance` added: a test ages codes and tokens without sleeping. After
    `stand` it passes by `advance` alone: how long the test's own steps take decides nothing.
    The server's clock has nothing to do with a frozen clock of the test.
    """

    name: ClassVar[str]
    page: ClassVar[str] = "/device"
    answers: ClassVar[Mapping[Decision, Mapping[str, str]]]  # what the person types and presses, by field name
    verdict: ClassVar[Mapping[Decision, str]]  # what the last page says

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.oauth_host = ""  # set by the subclass once it listens: "http://127.0.0.1:PORT"
        self._ahead_s = 0.0
        self._stands_at_s: float | None = None

    def __repr__(self) -> str:
        return f"<{self.name} at {self.oauth_host}>"

    @property
    def api_base(self) -> str:
        """The base URL of the coding API."""
        return f"{self.oauth_host}/coding/v1"

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that point a Kimi CLI, or this project, at the server."""
        return {"KIMI_CODE_OAUTH_HOST": self.oauth_host, "KIMI_CODE_BASE_URL": self.api_base}

    def approve(self, user_code: str) -> None:
        """Walk the approval page as a person who agrees; raises PageError with what the page said instead."""
        self._decide("approve", user_code)

    def deny(self, user_code: str) -> None:
        """Walk the approval page as a person who refuses; raises PageError with what the page said instead."""
        self._decide("deny", user_code)

    def advance(self, seconds: float) -> None:
        """Let time pass for the server only."""
        self._ahead_s += seconds
        self._set_clock(self._ahead_s, self._stands_at_s)

    def stand(self) -> None:
        """No time passes for the server by itself, until its clock is set back."""
        self._stands_at_s = ServerClock().now_s()
        self._set_clock(self._ahead_s, self._stands_at_s)

    def reset_clock(self) -> None:
        """Back to real time."""
        self._ahead_s, self._stands_at_s = 0.0, None
        self._set_clock(0.0, None)

    @property
    @abstractmethod
    def running(self) -> bool: ...

    @abstractmethod
    def stop(self) -> None:
        """End the server and free its port; twice is no error."""

    @abstractmethod
    def _set_clock(self, ahead_s: float, stands_at_s: float | None) -> None: ...

    def _decide(self, decision: Decision, user_code: str) -> None:
        answers = {"user_code": user_code, **self.answers[decision]}
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=NO_LIMIT_S) as browser:
            page = browser.get(self.oauth_host + self.page)
            for _ in range(PAGES_MAX):
                form = Form.on(page.text)
                if self.verdict[decision] in page.text or form is None:
                    break
                page = browser.post(urljoin(str(page.url), form.action), data=form.filled(answers))
        if self.verdict[decision] not in page.text:
            raise PageError(f"{self.name}: the page did not {decision} the code but says: {readable(page.text)}")


class PageError(AssertionError):
    """An approval page did not do what the person wanted."""


class ServerClock:
    """Real seconds, or those at which it stands, plus an advance. It asks the system itself, so freezegun does not stop it."""

    def __init__(self) -> None:
        self.set(0.0, None)

    def set(self, ahead_s: float, stands_at_s: float | None) -> None:
        self._ahead_s, self._stands_at_s = ahead_s, stands_at_s

    def now_s(self) -> float:
        now_s = time.clock_gettime(time.CLOCK_REALTIME) if self._stands_at_s is None else self._stands_at_s
        return now_s + self._ahead_s


@dataclass
class Form:
    """The first form of a page: where it goes, what its fields hold, which buttons the page has."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: set[str] = field(default_factory=set)

    @classmethod
    def on(cls, page: str) -> Form | None:
        reader = _FormReader()
        reader.feed(page)
        return reader.form

    def filled(self, answers: Mapping[str, str]) -> dict[str, str]:
        """The form's data, with the answers to those questions that it asks."""
        return self.fields | {name: answers[name] for name in answers.keys() & (self.fields.keys() | self.buttons)}


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and self.form is None:
            self.form = Form(found.get("action", ""))
        elif tag == "input" and self.form and "name" in found:
            self.form.fields[found["name"]] = found.get("value", "")
        elif tag == "button" and self.form and "name" in found:
            self.form.buttons.add(found["name"])


def readable(page: str) -> str:
    """A page's text, on one line."""
    words = unescape(re.sub(r"(?s)<(style|script|title)\b.*?</\1>|<[^>]*>", " ", page)).split()
    return " ".join(words)[:200]
