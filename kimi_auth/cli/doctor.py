"""`kimi-auth doctor`: the runbook, with evidence and the next step for each finding. Safe to paste in public."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import typer
from rich.text import Text

from kimi_auth.cli.errors import Findings
from kimi_auth.cli.options import Json, open_session, terminal_of
from kimi_auth.cli.status import duration
from kimi_auth.cli.terminal import Row
from kimi_auth.errors import ConfigError
from kimi_auth.flows.status import Status
from kimi_auth.session import Session

__all__ = ["CHECKS", "Check", "add_to"]

LOGIN = "kimi-auth login"


class Check(NamedTuple):
    """What was looked at, what was seen there, and what to do about it ("" when all is well)."""

    name: str
    evidence: str
    step: str = ""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(doctor)


def doctor(ctx: typer.Context, json: Json = False) -> None:
    """Look at everything that a sign-in depends on; exit 0 only if all is well."""
    out = terminal_of(ctx)
    session = open_session(None)
    found = session.status()
    checks = [check for look in CHECKS for check in look(session, found)]
    findings = [check for check in checks if check.step]
    if json:
        out.object(
            {"ok": not findings, "checks": [{"check": c.name, "evidence": c.evidence, "step": c.step} for c in checks]}
        )
    else:
        rows: list[Row] = []
        for check in checks:
            mark = Text("✗ ", "bold red") if check.step else Text("✓ ", "green")
            rows.append((check.name, Text.assemble(mark, check.evidence)))
            if check.step:
                rows.append(("", Text.assemble("  → ", (check.step, "bold"))))
        out.rows(rows, title="What a sign-in depends on")
    if findings:
        words = f"{len(findings)} findings" if len(findings) > 1 else "one finding"
        raise Findings(
            f"{words}: {', '.join(check.name for check in findings)}", hint="the next step stands beside each"
        )


def home_free(text: str) -> str:
    """`text` without the name of the person whose home it mentions."""
    return text.replace(str(Path.home()), "~")


def _location(session: Session, _: Status) -> Iterator[Check]:
    given = "KIMI_SHARE_DIR" if os.environ.get("KIMI_SHARE_DIR") else "default"
    yield Check("share dir", f"{home_free(str(session.share_dir))} ({given})")


def _credential(session: Session, found: Status) -> Iterator[Check]:
    place = home_free(found.place)
    steps = {
        "absent": (f"nothing in {place}", LOGIN),
        "corrupt": ("it cannot be understood", LOGIN),
        "revoked": ("the server ended the login", LOGIN),
        "refused": (
            "the server keeps refusing to renew",
            "kimi-auth token --refresh, and if that is refused, too: " + LOGIN,
        ),
    }
    evidence, step = steps.get(found.state, (f"{found.state}, {place}", ""))
    if found.trouble is not None and found.state in {*steps, "expired", "uncertain"}:
        evidence, step = home_free(found.trouble.message), step or home_free(found.trouble.hint)
    yield Check("credential", evidence, step)
    path = session.share_dir / "credentials" / f"{session.platform.id}.json"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    open_to = mode & 0o077
    yield Check(
        "credential's mode",
        f"{mode:04o}" + (", others may read it" if open_to else ""),
        f"chmod 600 {home_free(str(path))}" if open_to else "",
    )


def _config(session: Session, found: Status) -> Iterator[Check]:
    try:
        config = session.config.read()
    except ConfigError as error:
        yield Check("config.toml", home_free(error.message), home_free(error.hint))
        return
    models = config.get("models")
    models = models if isinstance(models, dict) else {}
    ours = [key for key, model in models.items() if _provider(model) == session.platform.provider_key]
    signed_in = found.state not in {"absent", "revoked", "corrupt"}
    yield Check("models", f"{len(ours)} in config.toml", "kimi-auth models sync" if signed_in and not ours else "")
    default = config.get("default_model") or ""
    wrong = bool(default) and default not in models
    step = f"kimi-auth models sync, or name another default_model in {home_free(str(session.config.path))}"
    yield Check("default model", str(default) or "none", step if wrong else "")
    reference = (
        (config.get("providers") or {}).get(session.platform.provider_key, {}) if isinstance(config, dict) else {}
    )
    oauth = reference.get("oauth") if isinstance(reference, dict) else None
    if isinstance(oauth, dict) and oauth.get("storage") == "keyring":
        yield Check("keyring", "config.toml still refers to the system keyring", LOGIN)


def _provider(model: object) -> object:
    return model.get("provider") if isinstance(model, dict) else None


def _renewal(session: Session, found: Status) -> Iterator[Check]:
    now_s = time.time()
    if found.renewed_at_s:
        yield Check("last renewal", f"{duration(now_s - found.renewed_at_s)} ago")
    if found.claim == "interrupted" and not found.holder:
        yield Check("claim", "a renewal was begun and its answer is not known", "kimi-auth token --refresh")
    elif found.claim:
        yield Check("claim", f"{found.claim}: a renewal is under way")
    if found.holder:
        yield Check(
            "lock", f"held by {found.holder}", f"if that goes on for minutes, end it: kill {found.holder.split()[1]}"
        )
    if found.not_before_s:
        why = f": {found.trouble.message}" if found.trouble else ""
        yield Check(
            "pace", f"not tried again for {duration(found.not_before_s - now_s)}{why}", "wait, and check the network"
        )


CHECKS: tuple[Callable[[Session, Status], Iterator[Check]], ...] = (_location, _credential, _config, _renewal)
"""The runbook, in its order."""
