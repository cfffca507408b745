"""`kimi-auth serve`: access tokens for sandboxes and tools; the grants of sandboxes, and the relay inside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.grants import grants, make_grant, no_words
from kimi_auth.cli.options import (
    AccountName,
    HomeName,
    Json,
    PlatformId,
    at_home,
    components_of,
    open_session,
    terminal_of,
)
from kimi_auth.cli.terminal import Terminal
from kimi_auth.support.extras import install
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.serving.places import Places
    from kimi_auth.session import Session

__all__ = ["serve"]

SOME_ACTIONS = "start: serve until Ctrl-C; grant NAME: let one sandbox in; grants [list|revoke NAME]; relay SOCKET [PORT] [-- CMD]: inside a sandbox."


def serve(
    ctx: typer.Context,
    action: Annotated[Literal["start", "grant", "grants", "relay"], typer.Argument(help=SOME_ACTIONS)] = "start",
    words: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="What the action is about.")] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Serve on TCP, too; a client needs a grant's secret."),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="An address that other machines reach is meant; needs TLS.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", callback=at_home, help="For TLS, in PEM.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", callback=at_home, help="Its private key.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="NAME", help="A name by which clients may call the server.")
    ] = None,
    sockets: Annotated[
        Path | None,
        typer.Option(
            "--sockets", metavar="DIR", callback=at_home, help="Where the sockets are; default: in the share dir."
        ),
    ] = None,
    uid: Annotated[
        list[int] | None, typer.Option("--uid", metavar="N", help="With grant: a user of the sandbox; default: you.")
    ] = None,
    ttl: Annotated[
        float, typer.Option("--ttl", metavar="S", min=0, help="With grant: it ends after so many seconds; 0: never.")
    ] = 0.0,
    per_minute: Annotated[
        int, typer.Option("--per-minute", metavar="N", min=1, help="With grant: how often it may ask.")
    ] = 600,
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path", metavar="PATH", help="With grant: a path of the API, /files/* with all below it; default: any."
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", callback=at_home, help="With grant: write the sandbox's home there."),
    ] = None,
    form: Annotated[
        Literal["record", "env", "docker", "devcontainer", "kubernetes"],
        typer.Option("--as", help="With grant: what to print."),
    ] = "record",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65535, help="With grant: the port of the relay inside.")
    ] = 47823,
    proxied: Annotated[
        bool, typer.Option("--proxied", help="With grant: the API, too, is reached through the socket.")
    ] = False,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    json: Json = False,
) -> int:
    """Give sandboxes and tools access tokens, and nothing else."""
    out = terminal_of(ctx)
    words = words or []
    _refuse_unused(ctx, action)
    if key is not None and certificate is None:
        raise Usage(tr("--key needs --certificate, without which there is no TLS"))
    if action == "relay":
        return _relay(out, words)
    session = open_session(platform, home=home, account=account, reads=False)
    from kimi_auth.serving.places import Places

    components = components_of(session)
    places = Places(components.share_dir, session.platform.login_name, sockets)
    if action == "start":
        no_words(words)
        _start(out, session, places, listen, allow_remote, certificate, key, host)
    elif action == "grant":
        make_grant(out, session, places, words, uid, ttl, per_minute, path, write, form, port, proxied)
    else:
        grants(out, places, words)
    return 0


OF_ACTION: dict[str, tuple[str, ...]] = {
    "start": ("listen", "allow_remote", "certificate", "key", "host", "sockets"),
    "grant": ("uid", "ttl", "per_minute", "path", "write", "form", "port", "sockets"),
    "grants": ("sockets",),
    "relay": (),
}
"""Which of the options that are not every action's an action knows. Another one would be left out without a word: a server that
seems to be limited by `--path`, a grant that seems to be."""


def _refuse_unused(ctx: typer.Context, action: str) -> None:
    """Raises Usage for an option of another action of `serve`."""
    known = {name for names in OF_ACTION.values() for name in names}
    for parameter in ctx.command.params:
        name = parameter.name or ""
        is_given = getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
        if is_given and name in known and name not in OF_ACTION[action]:
            words = tr("{option} is not an option of serve {action}", option=parameter.opts[0], action=action)
            raise Usage(words, hint=tr("see: kimi-auth serve --help"))


def _start(
    out: Terminal,
    session: Session,
    places: Places,
    listen: str | None,
    allow_remote: bool,
    certificate: Path | None,
    key: Path | None,
    hosts: list[str] | None,
) -> None:
    try:
        from kimi_auth.serving.program import Options, inherited
        from kimi_auth.serving.program import serve as serve_until_the_end
        from kimi_auth.serving.proxied import routes_of
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"starlette", "uvicorn"}:
            raise
        raise Usage(tr("serve needs {name}", name=missing.name), hint=install("serve")) from None
    from kimi_auth.session import Session

    options = Options(_address(listen), allow_remote, certificate, key, tuple(hosts or ()), inherited=inherited())
    kept = components_of(session)
    lasting = Session(home=kept.home, platform=session.platform.id, account=kept.account or None, observe=kept.observe)

    def ready(told: dict[str, object]) -> None:
        if out.json:
            out.record(told)
            return
        out.say(
            tr("serving {platform} at {socket} until Ctrl-C", platform=session.platform.name, socket=told["socket"])
        )
        if told["url"]:
            out.say(tr("and at {url}", url=told["url"]))

    try:
        serve_until_the_end(lasting, places, options, ready, more=routes_of(lasting))
    except OSError as error:
        what = listen or str(error.filename or places.sockets)
        raise Usage(
            tr("cannot listen on {address}: {reason}", address=what, reason=error.strerror or str(error))
        ) from None


def _address(listen: str | None) -> tuple[str, int] | None:
    if listen is None:
        return None
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or len(port) > 5 or int(port) > 65535 or not host:
        raise Usage(tr("--listen is HOST:PORT"), hint=tr("for example: --listen 127.0.0.1:8000"))
    return host.strip("[]"), int(port)


def _relay(out: Terminal, words: list[str]) -> int:
    from kimi_auth.cli.relaying import relayed
    from kimi_auth.serving import relay

    words = [word for at, word in enumerate(words) if word != "--" or "--" in words[:at]]
    if not words:
        raise Usage(tr("relay needs a socket"), hint="kimi-auth serve relay /run/kimi/kimi.sock 47823")
    socket, rest = words[0], words[1:]
    has_port = bool(rest) and rest[0].isdigit() and len(rest[0]) < 6
    port, command = (int(rest[0]), rest[1:]) if has_port else (relay.PORT, rest)
    return out.signals.run(relayed(out, socket, port, command))
