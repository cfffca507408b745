"""One check and its result, in a text that may be shown to anyone."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth import files
from kimi_auth.cli.terminal import one_line
from kimi_auth.credential.status import Status

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["LOGIN", "RENEW", "SYNC", "Check", "Look", "public"]

LOGIN = "kimi-auth login"
RENEW = "kimi-auth token --refresh"
SYNC = "kimi-auth models sync"


class Check(NamedTuple):
    """The subject of a check, the evidence found, and the next step ("" when all is well)."""

    name: str
    evidence: str
    step: str = ""

    @property
    def verdict(self) -> str:
        return "finding" if self.step else "ok"

    @property
    def data(self) -> dict[str, str]:
        return {"check": self.name, "verdict": self.verdict, "evidence": self.evidence, "step": self.step}


Look = Callable[["Session", Status], Iterator[Check]]
"""One step of the runbook: no check where there is nothing to look at."""


def public(text: str) -> str:
    """`text` without the name of the person whose home or directories it mentions: a home becomes `~`, a directory called
    like the user `$USER`, both of which a shell understands."""
    text = one_line(text)
    for home in sorted(_homes(), key=len, reverse=True):
        text = text.replace(f"'{home}/", "~/'")  # in quotes a shell would not know what ~ means
        text = re.sub(rf"(?<![\w./-]){re.escape(home)}(?![\w-]|\.\w)", "~", text)
    for name in _user_names():
        text = re.sub(rf"(?<=/){re.escape(name)}(?=[/\s,:;)'\"]|$)", "$USER", text)
    return text


def _homes() -> set[str]:
    try:
        home = str(files.expanded("~"))
    except RuntimeError:  # a uid without a name, without HOME
        return set()
    return {home, os.path.realpath(home)} - {"/"}


def _user_names() -> set[str]:
    names = {os.environ.get("USER", ""), os.environ.get("LOGNAME", "")}
    with suppress(KeyError):  # a container may run a uid without a name
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    return names - {""}
