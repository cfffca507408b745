"""The credential: there, readable, private, understood, accepted by the server, and no longer in a keyring."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth.cli.doctor.check import LOGIN, RENEW, Check
from kimi_auth.cli.errors import stuck
from kimi_auth.cli.options import components_of
from kimi_auth.cli.status_words import duration, state_words
from kimi_auth.credential.credential import addressed
from kimi_auth.credential.status import Status
from kimi_auth.errors import CorruptCredential, SignInEnded, WrongIssuer
from kimi_auth.login.keyring_migration import is_waiting
from kimi_auth.platforms.server import sign_in_command
from kimi_auth.support.extras import install
from kimi_auth.support.language import joined, tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["bound", "file_of", "keyring", "stored", "told"]

STEPS: dict[str, str] = {
    "absent": LOGIN,
    "corrupt": LOGIN,
    "revoked": LOGIN,
    "blocked": tr("{renew}; if the server still refuses: {login}", renew=RENEW, login=LOGIN),
    "usable": f"{LOGIN} --force",
}
"""For states that are findings; `usable` is one only where the server ended the login."""


def stored(session: Session, found: Status) -> Iterator[Check]:
    """Checks the credential's state; what a claim or a backoff explains is left to their checks."""
    if found.state == "absent" and is_waiting(components_of(session).config, session.platform):
        return  # said by `keyring`
    error = found.error
    left = tr(", {time} left", time=duration(found.left_s)) if found.left_s else ""
    where = tr("nothing in {location}", location=found.location) if found.state == "absent" else found.location
    evidence: str = tr("{state}{left}: {location}", state=state_words(found), left=left, location=where)
    step = found.store_error.hint if stuck(found) and found.store_error else STEPS.get(found.state, "")
    if isinstance(error, WrongIssuer):
        evidence, step = error.message, addressed(error, sign_in_command(session.platform)).hint
    elif found.state == "usable" and not isinstance(error, SignInEnded):
        step = ""
    elif _says_error(found) and error is not None:
        evidence = (
            error.message
            if found.location.removeprefix("the file ") in error.message
            else tr("{error}, {location}", error=error.message, location=found.location)
        )
        if found.state == "corrupt" and not isinstance(error, CorruptCredential):
            evidence, step = error.message, _readable(session) or error.hint
    yield Check(tr("credential"), evidence, step)


def _says_error(found: Status) -> bool:
    """Whether `stored` gives the error as its evidence, and not the state."""
    if isinstance(found.error, WrongIssuer):
        return True
    is_finding = found.state in STEPS and (found.state != "usable" or isinstance(found.error, SignInEnded))
    return found.error is not None and is_finding and not stuck(found)


def bound(session: Session, found: Status) -> Iterator[Check]:
    """Checks the account of the login, and the source of that name; obstacles to reading it are reported by `stored`."""
    if not found.fp or session.platform.oauth is None or isinstance(found.error, WrongIssuer):
        return
    says = {
        "record": tr("according to the record; the next renewal binds it"),
        "binding": tr("according to its binding; another program wrote the record"),
        "platform": tr("by default; the next renewal binds it"),
    }.get(found.issuer_from, "")
    if found.binding and found.issuer_from == "record":
        says = tr("according to the record and its binding")
    yield Check(tr("issuer"), joined(tr(", "), (found.issuer, says)))


def told(session: Session, found: Status) -> Iterator[Check]:
    """Checks what the store says of itself: that only the owner may read the file."""
    mode = _mode(session)
    if found.state == "corrupt" and mode is not None and not mode & stat.S_IRUSR:
        return  # said by `stored`
    said = found.error.message if found.error is not None and _says_error(found) else ""
    for finding in components_of(session).store.examine():
        if finding.evidence not in said:
            yield Check(*finding)


def keyring(session: Session, _: Status) -> Iterator[Check]:
    """Checks the keyring for an old Kimi CLI's login: it moves into the file with the next command that needs a token."""
    if not is_waiting(components_of(session).config, session.platform):
        yield Check(tr("keyring"), tr("nothing waits there"))
        return
    package = "" if find_spec("keyring") else f"{install('keyring')} && "
    yield Check(
        tr("keyring"),
        tr("config.toml says that the login is in the system keyring")
        + (tr(", which needs a package") if package else ""),
        f"{package}kimi-auth models sync",
    )


def _readable(session: Session) -> str:
    """How to make the file readable again, "" where its mode is not what forbids it."""
    path, mode = file_of(session), _mode(session)
    return f"chmod 600 {shlex.quote(str(path))}" if mode is not None and not mode & stat.S_IRUSR else ""


def _mode(session: Session) -> int | None:
    path = file_of(session)
    try:
        return stat.S_IMODE(path.stat().st_mode) if path else None
    except OSError:
        return None


def file_of(session: Session) -> Path | None:
    """The file that doctor looks at for the credential; None for a store that is no file."""
    return components_of(session).store.file
