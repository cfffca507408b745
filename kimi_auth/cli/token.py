"""`kimi-auth token`: prints a token that works, and nothing else. The fast lane is in `kimi_auth.__main__`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kimi_auth.cli.declared import Format
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.helpers import (
    NOT_FOUND,
    OPERATIONS,
    USERNAME,
    Request,
    cluster_of,
    docker_answer,
    git_answer,
    is_for,
    kubectl_answer,
    read_request,
)
from kimi_auth.cli.opening import components_of, open_default, supply_of
from kimi_auth.cli.renewing import handed_out
from kimi_auth.cli.terminal import Terminal, one_line
from kimi_auth.errors import ConfigError
from kimi_auth.selection import DEFAULT_PLATFORM, UNLABELLED
from kimi_auth.support.language import tr
from kimi_auth.support.urls import origin_of
from kimi_auth.token import described, left_s, phase

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["token"]


def token(
    out: Terminal,
    *,
    platform: str | None,
    account: str | None,
    home: str | None,
    min_ttl: float,
    refresh: bool,
    json: bool,
    form: Format,
    operation: str | None,
) -> int:
    """Runs `kimi-auth token` and returns its exit status; raises what the session raises, Usage, and
    ConfigError for a cluster of kubectl's that is not the platform's or is not understood."""
    form = _form(form, operation, json=json)
    request = read_request(form) if form in OPERATIONS and operation != "list" else Request()
    session = open_default(platform, home=home, account=account)
    if form in OPERATIONS:
        status = _done_without_token(out, session, form, operation or "get", request)
        if status is not None:
            return status
    if form == "kubectl":
        _refuse_other_cluster(session)
    with out.signals.held():
        pair = handed_out(session, supply_of(session).token_sync(min_ttl_s=min_ttl, refresh=refresh))
    now_s, ends = components_of(session).age_clock.now_s(), session.platform.oauth is not None  # an API key has no end
    if form == "git":
        out.block("\n".join(git_answer(pair, request, ends=ends)))
    elif form in {"plain", "claude"}:
        out.line(pair.access_token)
    else:
        objects: dict[str, dict[str, Any]] = {
            "json": described(pair, session.platform.id, now_s, ends=ends),
            "docker": {**docker_answer(pair, request)},
            "kubectl": kubectl_answer(pair, os.environ, ends=ends),
        }
        out.record(objects[form])
    is_chosen = platform is not None or components_of(session).given is not None
    if not is_chosen and session.platform.id != DEFAULT_PLATFORM:
        out.say(
            tr(
                "this is {platform}'s, for {api} (choose: --platform {id})",
                platform=session.platform.name,
                api=session.platform.api_base,
                id=session.platform.id,
            )
        )
    parts = components_of(session)
    if parts.account not in {"", UNLABELLED} and account is None and parts.given is None:
        out.say(
            tr("this token is of the account {name} ({source})", name=parts.account, source=parts.source_of_account)
        )
    if left_s(pair, now_s) < min_ttl and phase(pair, now_s) != "fresh":  # else the session has said why
        out.say(
            tr(
                "this token lives {left:.0f} s, less than --min-ttl: it could not be renewed now",
                left=left_s(pair, now_s),
            )
        )
    return 0


def _form(form: Format, operation: str | None, *, json: bool) -> Format:
    """The format in which `kimi-auth token` prints, from options and operation. Raises Usage where they contradict each other."""
    if json and form not in {"plain", "json"}:
        raise Usage(tr("--json and --format {form} cannot be used together", form=form))
    if operation is not None and form not in OPERATIONS:
        raise Usage(
            tr("token takes no argument {argument}", argument=ascii(operation)[:80]),
            hint=tr("for a helper: --format git, or docker"),
        )
    return "json" if json else form


def _refuse_other_cluster(session: Session) -> None:
    cluster = cluster_of(os.environ)
    if cluster is not None and not is_for(Request(cluster, origin_of(cluster)), session.api_origin):
        words = tr(
            "this token is for {api}, and kubectl asks for the cluster at {cluster}",
            api=session.api_origin,
            cluster=cluster[:200],
        )
        raise ConfigError(words, hint=tr("name that cluster's platform in the kubeconfig: --platform ID"))


def _done_without_token(out: Terminal, session: Session, form: str, operation: str, request: Request) -> int | None:
    """Does what `kimi-auth token` is asked for by git or docker, where that is no token of this platform's server, and returns
    the exit status; None where a token is to be printed.

    kimi-auth signs in by itself, so nothing is stored. What git erases, its server has refused: that token is replaced, if
    it is the stored one, as after any 401. An unknown operation is ignored, as git asks of helpers.
    """
    if operation == "get" and is_for(request, session.api_origin):
        return None
    if operation == "get":
        out.say(
            tr(
                "no token for {server}: this platform's is for {api}",
                server=one_line(request.server)[:200],
                api=session.api_origin,
            )
        )
        if form == "docker":
            out.line(NOT_FOUND)
            return 1
    elif operation == "list":
        out.record({origin_of(session.api_origin): USERNAME})
    elif operation == "store" and form == "docker":
        raise Usage(tr("docker login stores nothing in kimi-auth"), hint=tr("sign in: kimi-auth login"))
    elif operation == "erase" and form == "git" and request.password and is_for(request, session.api_origin):
        with out.signals.held():
            session.rejected_sync(request.password)
    return 0
