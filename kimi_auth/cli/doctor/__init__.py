"""`kimi-auth doctor`: the runbook, with evidence and the next step for each finding. Safe to paste in public."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth.cli.doctor import credential, disk, environment, history, homes, renewal
from kimi_auth.cli.doctor.check import LOGIN, RENEW, Check, Look, public
from kimi_auth.cli.errors import Findings
from kimi_auth.cli.hints import for_login
from kimi_auth.cli.options import (
    AccountName,
    HomeName,
    Json,
    PlatformId,
    components_of,
    concluded,
    open_session,
    terminal_of,
)
from kimi_auth.cli.status_words import VERDICTS
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import ConfigError, NoSuchAccount
from kimi_auth.platforms.server import sign_in_command
from kimi_auth.selection import ARGUMENT, DEFAULT_PLATFORM
from kimi_auth.support.language import counted, listed, tr
from kimi_auth.support.text import cells

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["RUNBOOK", "doctor", "report"]

RUNBOOK: tuple[Look, ...] = (
    environment.location,
    homes.home,
    homes.pairs,
    environment.variables,
    credential.stored,
    credential.bound,
    credential.told,
    credential.keyring,
    environment.account,
    environment.models,
    renewal.lately,
    renewal.lock,
    homes.peer_lock,
    homes.leftovers,
    homes.skew,
    homes.remote_control,
    renewal.claim,
    renewal.backoff,
    history.walks,
    disk.writers,
    disk.locks,
    disk.writable,
    environment.platforms,
)
"""The checks, in this order."""

MARKS = {"ok": tr("ok"), "finding": tr("finding"), "next": tr("next")}
ALL_WELL = tr("No problems found: this login works.")


def doctor(
    ctx: typer.Context,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    verify: Annotated[bool, typer.Option("--verify", help="Ask the API whether it accepts the token.")] = False,
    json: Json = False,
) -> None:
    """Look at everything that a sign-in depends on."""
    out = terminal_of(ctx)
    checks = _examine(out, platform, account, home=home, verify=verify)
    report(out, checks, json=json)


def report(out: Terminal, checks: Sequence[Check], *, json: bool) -> None:
    """Shows the checks of doctor. Raises what ends the command where one of them is a finding."""
    names = list(dict.fromkeys(check.name for check in checks if check.step))
    count = sum(bool(check.step) for check in checks)
    if json:
        out.record({"ok": not count, "checks": [check.data for check in checks]})
    else:
        _show(out, checks)
    if count:
        many = counted(count, tr("one finding"), tr("{number} findings"))
        found = tr("{findings}: {names}", findings=many, names=listed(names))
        raise concluded(out, Findings(found, hint=tr("the next step is listed with each")))


def _examine(
    out: Terminal, platform: str | None, account: str | None, *, home: str | None, verify: bool
) -> list[Check]:
    text = str if out.json else out.text
    try:
        session = open_session(platform, home=home, account=account)
    except NoSuchAccount:
        raise
    except ConfigError as error:
        return [Check(tr("environment"), public(text(error.message)), public(text(error.hint)))]
    found = session.status()
    looks = RUNBOOK[:1] if environment.is_blocked(session) else RUNBOOK  # the other checks would report the same again
    checks = [check for look in looks for check in look(session, found)]
    if verify and found.fp:
        checks.append(_asked(out, session))
    return [
        Check(check.name, public(text(check.evidence)), public(_step(session, text(check.step)))) for check in checks
    ]


def _step(session: Session, step: str) -> str:
    """The next step as `kimi-auth doctor` prints it: its commands name platform and account, where they would mean others."""
    parts = components_of(session)
    account = parts.account if parts.source_of_account == ARGUMENT else ""
    if session.platform.id == DEFAULT_PLATFORM:
        return for_login(step, "", account)
    if "--platform" not in step:
        step = step.replace(LOGIN, sign_in_command(session.platform))
    return for_login(step, session.platform.id, account)


def _asked(out: Terminal, session: Session) -> Check:
    says, error = out.signals.run(session.models.verify())
    steps = {"valid": "", "invalid": RENEW, "unknown": error.hint if error else ""}
    return Check(
        tr("API says"), VERDICTS[says] + (tr(": {reason}", reason=error.message) if error else ""), steps[says]
    )


def _mark(out: Terminal, mark: str) -> str:
    """The first column of a line, in seven cells."""
    text = out.text(MARKS[mark])
    return text + " " * (7 - cells(text))


def _show(out: Terminal, checks: Sequence[Check]) -> None:
    """Shows the checks: three columns on a terminal; a line for each fact, its verdict first, where a program or a file reads."""
    is_well = not any(check.step for check in checks)
    if not out.is_lively:
        for check in checks:
            out.line(
                tr(
                    "{verdict} {check}: {told}",
                    verdict=_mark(out, check.verdict),
                    check=check.name,
                    told=check.evidence,
                )
            )
            if check.step:
                out.line(tr("{verdict} {check}: {told}", verdict=_mark(out, "next"), check=check.name, told=check.step))
        if is_well:
            out.line(ALL_WELL)
        return
    from rich.padding import Padding  # a program that reads waits for no drawing
    from rich.table import Table
    from rich.text import Text

    from kimi_auth.cli.drawing import MARGIN, Prose

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in checks:
        mark = Text("✗", "bold red") if check.step else Text("✓", "green")
        grid.add_row(out.text(check.name), mark, Prose(check.evidence))
        if check.step:
            grid.add_row("", Text("→", "bold"), Prose(check.step, "bold"))
    title = Text(out.text(tr("Checks of this login")), "bold")
    for part in ("", Padding(title, (0, MARGIN)), "", Padding(grid, (0, MARGIN)), ""):
        out.picture(part)
    if is_well:
        out.picture(Padding(Prose(out.text(ALL_WELL), "green"), (0, MARGIN, 1, MARGIN)))
