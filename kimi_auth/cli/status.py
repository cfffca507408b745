"""`kimi-auth status`: the stored login and how long it lasts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kimi_auth.cli.errors import Findings, Usage, status_error
from kimi_auth.cli.logins import logins_of, show_logins, when
from kimi_auth.cli.opening import components_of, open_default
from kimi_auth.cli.status_words import (
    VERDICTS,
    claim_of,
    duration,
    lasts,
    login_ends,
    renewal,
    source_words,
    state_words,
    tone,
)
from kimi_auth.cli.terminal import Row, Styled, Terminal
from kimi_auth.credential.credential import addressed
from kimi_auth.credential.status import Status, Verdict
from kimi_auth.errors import ConfigError, KimiAuthError, NotSignedIn
from kimi_auth.models.elsewhere import elsewhere
from kimi_auth.selection import ARGUMENT, DEFAULT, HOME_KIMI_CLI, HOME_KIMI_CODE, UNLABELLED
from kimi_auth.support.language import joined, tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["status"]

CHOSEN = {ARGUMENT: tr("named by --home")}


def status(
    out: Terminal,
    *,
    platform: str | None,
    account: str | None = None,
    home: str | None,
    every: bool = False,
    verify: bool,
    json: bool,
) -> int:
    """Shows the stored login and how long it lasts; returns the exit status, raises an error that is still to be said."""
    if every:
        return _status_of_all(out, platform, account, home=home, verify=verify)
    session = open_default(platform, home=home, account=account)
    found = session.status()
    verdict = out.signals.run(session.models.verify()) if verify else None
    error = status_error(found)
    if error is not None:
        error = addressed(error, components_of(session).sign_in)
    if not json:
        out.rows(_rows(session, found, verdict), title=session.platform.name)
        if error is not None:
            raise error
        if verdict is not None and verdict.says == "invalid":
            raise _refused(session, verdict)
        return 0
    facts = _data(session, found, verdict)
    if error is not None:
        return out.report(error, facts)
    out.record(facts)
    return Findings.exit_status if verdict is not None and verdict.says == "invalid" else 0


def _status_of_all(out: Terminal, platform: str | None, account: str | None, *, home: str | None, verify: bool) -> int:
    """Shows every login here, for `status --all`: whose it is, which is in use. Raises NotSignedIn where there is none."""
    for option, is_given in (("--platform", platform), ("--account", account), ("--verify", verify)):
        if is_given:
            raise Usage(tr("--all and {option} cannot be used together", option=option))
    found = [login for login in logins_of(home) if login.is_listed]
    absent = None if any(login.status.fp for login in found) else NotSignedIn(tr("not signed in"))
    if out.json:
        facts = {"logins": [login.data for login in found]}
        if absent is not None:
            return out.report(absent, facts)
        out.record(facts)
        return 0
    show_logins(out, found)
    if absent is not None:
        raise absent
    return 0


def _refused(session: Session, verdict: Verdict) -> Findings:
    given = components_of(session).given
    words = given.rejected().message if given else tr("the API refuses the stored token")
    return Findings(words, hint=verdict.error.hint if verdict.error else "kimi-auth token --refresh")


class _Configured(NamedTuple):
    """config.toml as far as it is about this platform: the number of its models, the default model, the keys that send its
    login to another API, each with its host, and why the file cannot be read."""

    models: int = 0
    default: str = ""
    elsewhere: tuple[tuple[str, str], ...] = ()
    problem: str = ""


def _configured(session: Session) -> _Configured:
    try:
        config = components_of(session).config.read()
    except ConfigError as error:
        return _Configured(problem=error.message)
    models = config.get("models")
    ours = [
        model
        for model in (models.values() if isinstance(models, dict) else ())
        if isinstance(model, dict) and model.get("provider") == session.platform.provider_key
    ]
    return _Configured(
        len(ours), str(config.get("default_model") or ""), tuple(elsewhere(config, session.platform).items())
    )


def _rows(session: Session, found: Status, verdict: Verdict | None) -> list[Row]:
    now_s = time.time()
    rows: list[Row] = [
        (tr("platform"), found.platform + _named(found, "platform")),
        (tr("state"), Styled(((found.state, tone(found)), ("  " + state_words(found), "")))),
        *_account(session, found),
        (
            tr("credential"),
            found.location
            + (
                ""
                if components_of(session).given
                else _named(found, "store" if "store" in found.sources else "share_dir")
            ),
        ),
    ]
    rows += _home(found)
    if found.fp and session.platform.oauth is None:
        rows += [(tr("key"), tr("an API key, which does not expire")), (tr("print"), found.fp)]
    elif found.fp:
        rows += [
            (tr("token"), lasts(found)),
            (tr("renewal"), renewal(found)),
            *_login_ends(session, found, now_s),
            (tr("pair"), found.fp),
        ]
    if found.renewed_at_s:
        rows.append((tr("renewed"), tr("{time} ago", time=duration(max(0.0, now_s - found.renewed_at_s)))))
    rows += _owner(found)
    rows.append((tr("API"), session.platform.api_base + _named(found, "api_base")))
    rows += _waits(found, now_s)
    if claim := claim_of(found):
        rows.append((tr("claim"), tr("{claim}: a renewal was started", claim=claim)))
    if found.holder:
        rows.append((tr("lock"), tr("held by {holder}", holder=found.holder)))
    rows += [(tr("variable"), tr("{name} {says}", name=name, says=says)) for name, says in found.overridden_by.items()]
    in_config = _configured(session)
    rows += [
        (name, tr("is not at this API: the Kimi CLI sends this login's token to {host}", host=host))
        for name, host in in_config.elsewhere
    ]
    rows += [
        (tr("models"), in_config.problem or tr("{number} in config.toml", number=in_config.models)),
        (tr("default"), in_config.default or tr("none")),
    ]
    if verdict:
        why = tr(": {reason}", reason=verdict.error.line) if verdict.error else ""
        rows.append((tr("API says"), VERDICTS[verdict.says] + why))
    if found.error is not None:
        rows.append((tr("because"), found.error.message))
    return rows


def _account(session: Session, found: Status) -> list[Row]:
    """How `status` names the account: by its label, where there are several, and by the name that the platform gave it."""
    rows: list[Row] = [(tr("who"), tr("{account}  (at sign-in)", account=found.account))] if found.account else []
    if found.signed_in_at_s:
        rows.append((tr("since"), when(found.signed_in_at_s)))
    parts = components_of(session)
    try:
        in_use = parts.accounts.in_use(parts.platform.id) or UNLABELLED if found.label else ""
    except ConfigError as error:
        return [(tr("account"), tr("{name}: {reason}", name=found.label, reason=error.message)), *rows]
    if {found.label, in_use} <= {"", UNLABELLED}:
        return rows
    beside = tr("in use") if found.label == in_use else tr("in use is {other}", other=in_use)
    is_named = found.sources["account"] == ARGUMENT
    source = tr("  ({source})", source=tr("named by --account")) if is_named else _named(found, "account")
    return [(tr("account"), tr("{name}{source}  ({state})", name=found.label, source=source, state=beside)), *rows]


def _home(found: Status) -> list[Row]:
    """How `status` names the home: whose and why, where not plain; the other home, if it holds a login too. A key has
    no home."""
    rows: list[Row] = []
    if found.home not in {"", HOME_KIMI_CLI}:
        chosen = found.home_why or CHOSEN.get(found.sources["share_dir"], found.sources["share_dir"])
        rows.append((tr("home"), tr("{kind}'s, shared with it  ({chosen})", kind=found.home, chosen=chosen)))
    if found.other_home:
        told = tr(
            "{other} holds a login too (kimi-auth status --home {kind})", other=found.other_home, kind=HOME_KIMI_CODE
        )
        rows.append((tr("also"), told))
    return rows


def _owner(found: Status) -> list[Row]:
    """Whose the login is; what its binding says where that is more, or something else."""
    rows: list[Row] = [(tr("issuer"), found.issuer + _named(found, "oauth_host"))] if found.issuer else []
    if (bound := found.binding) and (bound.issuer != found.issuer or bound.origins):
        rows.append((tr("bound to"), joined(tr(", "), (bound.issuer or tr("cannot be read"), *bound.origins))))
    return rows


def _waits(found: Status, now_s: float) -> list[Row]:
    rows: list[Row] = []
    if found.retry_at_s:
        rows.append((tr("next try"), tr("in {time}", time=duration(found.retry_at_s - now_s))))
    if found.rejected_at_s:
        rows.append((tr("rejected"), _rejected(found, now_s)))
    return rows


def _rejected(found: Status, now_s: float) -> str:
    """What a program reported of the stored token; it goes on being handed out, since one URL is not the whole API."""
    ago = duration(max(0.0, now_s - found.rejected_at_s))
    said = tr("the API rejected this token {time} ago, at one URL at least", time=ago)
    if not found.forced_retry_at_s:
        return said
    return said + tr("; no rotation for that reason for {time}", time=duration(found.forced_retry_at_s - now_s))


def _login_ends(session: Session, found: Status, now_s: float) -> list[Row]:
    """A row of `kimi-auth status`: how long the login lasts without a renewal, if known; with the next step when it is not long."""
    if not found.refresh_ends_at_s:
        return []
    said = login_ends(found, now_s)
    if not found.ends_soon:
        return [(tr("login"), said)]
    step = tr("{what}: {command} --force", what=said, command=components_of(session).sign_in)
    return [(tr("login"), Styled(((step, "yellow"),)))]


def _named(found: Status, what: str) -> str:
    """The source of a value, for people; nothing where it is the platform's own or the default."""
    source = found.sources[what]
    return "" if source in {"platform", DEFAULT} else tr("  ({source})", source=source_words(source))


def _data(session: Session, found: Status, verdict: Verdict | None) -> dict[str, Any]:
    in_config = _configured(session)
    return {
        "platform": found.platform,
        "state": found.state,
        "label": found.label or None,
        "account": found.account or None,
        "signed_in_at": found.signed_in_at_s or None,
        "location": found.location,
        "home": found.home or None,
        "home_why": found.home_why or None,
        "other_home": found.other_home or None,
        "fp": found.fp,
        "region": session.platform.region,
        "issuer": found.issuer,
        "issuer_from": found.issuer_from or None,
        "binding": {"issuer": found.binding.issuer, "origins": list(found.binding.origins)} if found.binding else None,
        "api_base": session.platform.api_base,
        "expires_at": found.expires_at_s or None,
        "left_s": round(found.left_s, 3) if session.platform.oauth else None,
        "renews_in_s": round(found.renews_in_s, 3) if session.platform.oauth and found.renewable else None,
        "refresh_expires_at": found.refresh_ends_at_s or None,
        "ends_soon": found.ends_soon,
        "renewed_at": found.renewed_at_s or None,
        "retry_at": found.retry_at_s or None,
        "rejected_at": found.rejected_at_s or None,
        "forced_retry_at": found.forced_retry_at_s or None,
        "claim": claim_of(found) or None,
        "lock_holder": found.holder or None,
        "models": in_config.models,
        "default_model": in_config.default or None,
        "config_problem": in_config.problem or None,
        "elsewhere": [{"location": place, "host": host} for place, host in in_config.elsewhere],
        "sources": dict(sorted(found.sources.items())),
        "overridden_by": [{"variable": name, "says": says} for name, says in found.overridden_by.items()],
        "error": _about(found.error),
        **({"verify": verdict.says, "verify_error": _about(verdict.error)} if verdict else {}),
    }


def _about(error: KimiAuthError | None) -> dict[str, str] | None:
    return {"code": error.code, "message": error.message} if error else None
