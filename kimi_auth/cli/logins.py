"""Every login of a home, for the commands that list them or end them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kimi_auth.cli.opening import components_of, open_session
from kimi_auth.cli.terminal import Terminal
from kimi_auth.credential.status import Status
from kimi_auth.models.kept_account import subject_of
from kimi_auth.selection import UNLABELLED, USUAL_REGION
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["Login", "logins_of", "show_logins", "when"]

SUBJECT_MAX = 24


class Login:
    """One login of a home: its session and its status. `is_in_use`: whether commands without --account take it;
    `is_named`: whether accounts.toml names one of its platform."""

    def __init__(self, session: Session, *, is_in_use: bool, is_named: bool) -> None:
        self.session: Session = session
        self.status: Status = session.status()
        self.is_in_use: bool = is_in_use
        self._is_named = is_named

    @property
    def is_there(self) -> bool:
        return self.status.state != "absent"

    @property
    def is_listed(self) -> bool:
        """Whether there is something to tell of it: a record, or that it is in use by name."""
        return self.is_there or (self.is_in_use and self._is_named)

    @property
    def is_usual(self) -> bool:
        """Whether config.toml may have something of this login of the home for a logout to take out, without a record."""
        platform = self.session.platform
        return self.is_in_use and platform.oauth is not None and platform.region is None

    @property
    def who(self) -> str:
        """Whose login it is: the name that the platform gave at sign-in, else the token's own subject; "" unknown."""
        return self.status.account or self.subject

    @property
    def subject(self) -> str:
        token = components_of(self.session).store.read().token if self.session.platform.oauth else None
        return subject_of(token) if token is not None else ""

    @property
    def region(self) -> str:
        return self.session.platform.region or (USUAL_REGION if self.session.platform.oauth else "")

    @property
    def data(self) -> dict[str, Any]:
        """One of the home's logins, as `status --json` and `accounts --json` list it."""
        found = self.status
        return {
            "platform": found.platform,
            "region": self.region or None,
            "label": found.label or None,
            "in_use": self.is_in_use,
            "state": found.state,
            "account": found.account or None,
            "subject": self.subject or None,
            "fp": found.fp,
            "signed_in_at": found.signed_in_at_s or None,
            "location": found.location,
        }


def logins_of(home: str | None, *, platform: str | None = None, reads: bool = True) -> list[Login]:
    """The logins that a home can hold, of one platform or of all: of each platform its accounts that have a record, and the one
    in use. Raises ConfigError, StorageError."""
    parts = components_of(open_session(platform, home=home, reads=reads))
    named = {} if parts.home.kind.binds_by_slot else parts.accounts.read()
    found = []
    for one in parts.platforms():
        if platform not in {None, one.id}:
            continue
        in_use = named.get(one.id, UNLABELLED)
        labels: list[str | None] = [None]
        if one.oauth is not None and not parts.home.kind.binds_by_slot:
            kept = components_of(open_session(one.id, home=home, reads=reads)).labels(one.id)
            labels = list(dict.fromkeys((*kept, in_use)))
        for label in labels:
            session = open_session(one.id, home=home, account=label, reads=reads)
            found.append(Login(session, is_in_use=label in {None, in_use}, is_named=one.id in named))
    return found


def when(at_s: float) -> str:
    """When a login in a list of a home's logins was made, in the person's own time zone; "" for an unknown time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s)) if at_s else ""


def show_logins(out: Terminal, logins: list[Login]) -> None:
    """A table of logins for people, and a line of columns for each login where a program or a file reads."""
    if not out.is_lively:
        for login in logins:
            found = login.status
            mark, made = "*" if login.is_in_use else "-", when(found.signed_in_at_s)
            columns = [mark, found.platform, login.region, found.label, found.state, login.who, found.fp, made]
            out.line("\t".join(columns))
        return
    from rich.table import Column
    from rich.text import Text

    from kimi_auth.cli.drawing import table_of

    titles = ("", tr("platform"), tr("account"), tr("state"), tr("who"), tr("pair"), tr("since"))
    heads = [Column(out.text(title), overflow="fold", no_wrap=title == "pair") for title in titles]
    rows = [
        (
            Text("*" if login.is_in_use else ""),
            Text(login.status.platform),
            Text(login.status.label, style="bold"),
            Text(out.text(tr("not signed in")) if login.status.state == "absent" else login.status.state),
            Text(login.who[:SUBJECT_MAX]),
            Text(login.status.fp),
            Text(when(login.status.signed_in_at_s)),
        )
        for login in logins
    ]
    out.picture(table_of(heads, rows, out.console.width))
