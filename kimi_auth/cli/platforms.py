"""`kimi-auth platforms [list|check FILE]`: which platforms there are, and what a platform file says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.options import Json, at_home, components_of, concluded, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal, one_line
from kimi_auth.errors import ConfigError
from kimi_auth.platforms import Platform, registry, resolve
from kimi_auth.support.language import counted, joined, listed, tr

if TYPE_CHECKING:
    from kimi_auth.platforms import Registry

__all__ = ["platforms"]


def platforms(
    ctx: typer.Context,
    action: Annotated[
        Literal["list", "check"],
        typer.Argument(help="list: all that can be used; check: what FILE says, and its errors."),
    ] = "list",
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", callback=at_home, help="With check; default: platforms.toml in the share dir."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the platforms, or check a file of your own."""
    out = terminal_of(ctx)
    known = components_of(open_session(None, reads=False)).registry
    if action == "list":
        if file is not None:
            raise Usage(tr("list takes no file"), hint=tr("check it: kimi-auth platforms check {file}", file=file))
        _list(out, known)
    else:
        _check(out, known, file)


def _list(out: Terminal, known: Registry) -> None:
    """Shows every platform for `platforms list` as requests use it, with its source; errors go to standard error."""
    found, problems = [], list(known.problems)
    for platform in known.all():
        try:
            found.append((resolve(platform, os.environ), known.source_of(platform)))
        except ConfigError as wrong:
            problems.append(wrong)
    if out.json:
        listed = [{**_data(platform), "source": source} for platform, source in found]
        out.record({"platforms": listed, "problems": _problems(problems)})
    elif out.is_lively:
        _table(out, found)
    else:
        for platform, source in found:
            out.line("\t".join((platform.id, platform.auth, platform.api_base, _host(platform), source)))
    for problem in problems:
        out.say(problem.line)
    if problems:
        raise typer.Exit(ConfigError.exit_status)


def _table(out: Terminal, found: Iterable[tuple[Platform, str]]) -> None:
    from rich.table import Column
    from rich.text import Text

    from kimi_auth.cli.drawing import table_of

    titles = (tr("platform"), tr("sign-in"), tr("API"), tr("from"))
    columns = [Column(out.text(title), overflow="fold") for title in titles]
    rows = [
        (
            Text(platform.id, style="bold"),
            Text(_host(platform) or out.text(tr("an API key"))),
            Text(platform.api_base),
            Text(out.text(source)),
        )
        for platform, source in found
    ]
    out.picture(table_of(columns, rows, out.console.width))


def _check(out: Terminal, known: Registry, file: Path | None) -> None:
    """Shows what the file of `platforms check` says, as requests will use it. Raises Findings for mistakes, ConfigError
    for no file."""
    path = file or known.path
    if path is None or (found := registry.read_file(path)) is None:
        raise ConfigError(
            tr("{path}: there is no such file", path=path), hint=tr("see how to write one: docs/your-own-server.md")
        )
    platforms, problems = found
    if out.json:
        out.record({"platforms": [_data(one) for one in platforms], "problems": _problems(problems)})
    else:
        for platform in platforms:
            out.rows(_rows(platform), title=platform.name)
        for problem in problems:
            out.line(problem.line)
    if problems:
        many = counted(len(problems), tr("one problem"), tr("{number} problems"))
        raise concluded(
            out,
            Findings(
                tr("{problems} in {path}", problems=many, path=path),
                hint=tr("each line ends with its fix"),
            ),
        )


def _rows(platform: Platform) -> list[Row]:
    rows: list[Row] = [(tr("platform"), platform.id), (tr("API"), platform.api_base)]
    oauth = platform.oauth
    if oauth is None:
        rows.append((tr("sign-in"), tr("an API key")))
    else:
        metadata = tr("as its metadata says (RFC 8414)")
        revoked = metadata if platform.revocation != "none" else tr("nothing is revoked")
        rows += [
            (tr("issuer"), oauth.host),
            (tr("codes"), oauth.device_authorization_url or metadata),
            (tr("tokens"), oauth.token_url or metadata),
            (tr("revocation"), oauth.revocation_url or revoked),
            (tr("client"), joined(tr(", "), (oauth.client_id, _client(platform)))),
            (tr("scope"), oauth.scope or tr("none is sent")),
        ]
    rows.append((tr("models"), platform.models_url if platform.models is None else _named(platform)))
    return rows


def _named(platform: Platform) -> str:
    return listed(model.id for model in platform.models or ()) or tr("none")


def _client(platform: Platform) -> str:
    oauth = platform.oauth
    if oauth and oauth.client_secret:
        return tr("its secret by {method}", method=oauth.token_endpoint_auth_method)
    return tr("without a secret")


def _host(platform: Platform) -> str:
    return platform.oauth.host if platform.oauth else ""


def _data(platform: Platform) -> dict[str, Any]:
    """What `platforms --json` tells a program of a platform: everything but the secret."""
    oauth = platform.oauth
    described: dict[str, Any] = {
        "id": platform.id,
        "name": platform.name,
        "auth": platform.auth,
        "api_base": platform.api_base,
        "models": None if platform.models is None else [model.id for model in platform.models],
        "revocation": platform.revocation,
    }
    if oauth is None:
        return described
    return described | {
        "issuer": oauth.host,
        "device_authorization_url": oauth.device_authorization_url or None,
        "token_url": oauth.token_url or None,
        "revocation_url": oauth.revocation_url or None,
        "client_id": oauth.client_id,
        "token_endpoint_auth_method": oauth.token_endpoint_auth_method if oauth.client_secret else "none",
        "scope": oauth.scope,
    }


def _problems(problems: Iterable[ConfigError]) -> list[dict[str, str]]:
    return [{"message": one_line(problem.message), "hint": problem.hint} for problem in problems]
