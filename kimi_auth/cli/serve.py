"""`kimi-auth serve`: access tokens for sandboxes and tools; the grants of sandboxes, and the relay inside them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import (
    AccountName,
    HomeName,
    Json,
    PlatformId,
    at_home,
    components_of,
    open_session,
    supply_of,
    terminal_of,
)
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.support.extras import install
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.serving.grant_life import GrantLife
    from kimi_auth.serving.places import Places
    from kimi_auth.serving.records import Grant, GrantFiles, Standing
    from kimi_auth.session import Session

__all__ = ["add_to"]

SOME_ACTIONS = "start: serve until Ctrl-C; grant NAME: let one sandbox in; grants [list|revoke NAME]; relay SOCKET [PORT] [-- CMD]: inside a sandbox."


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(context_settings={"ignore_unknown_options": False})(serve)


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
        _no_words(words)
        _start(out, session, places, listen, allow_remote, certificate, key, host)
    elif action == "grant":
        _grant(out, session, places, words, uid, ttl, per_minute, path, write, form, port, proxied)
    else:
        _grants(out, places, words)
    return 0


OF_ACTION = {
    "start": ("listen", "allow_remote", "certificate", "key", "host", "sockets"),
    "grant": ("uid", "ttl", "per_minute", "path", "write", "form", "port", "sockets"),
    "grants": ("sockets",),
    "relay": (),
}
"""Which of the options that are not every action's an action knows. Another one would be left out without a word: a server that
seems to be limited by `--path`, a grant that seems to be."""


def _refuse_unused(ctx: typer.Context, action: str) -> None:
    """Raises Usage for an option of another action."""
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


def _grant(
    out: Terminal,
    session: Session,
    places: Places,
    words: list[str],
    uids: list[int] | None,
    ttl_s: float,
    per_minute: int,
    paths: list[str] | None,
    home: Path | None,
    form: str,
    port: int,
    is_proxied: bool,
) -> None:
    from kimi_auth.serving.places import OWNER
    from kimi_auth.serving.records import Grant
    from kimi_auth.serving.sandbox import Sandbox

    name = _one_word(words, "kimi-auth serve grant NAME")
    users = tuple(uids or (os.geteuid(),))
    files = places.grants()
    try:
        allowed = tuple(paths or ("*",))
        grant = Grant.new(name, users, time.time(), ttl_s=ttl_s, per_minute=per_minute, paths=allowed)
    except ValueError as error:
        raise Usage(str(error)) from None
    if name == OWNER:
        raise Usage(tr("{name} is your own socket's name", name=name), hint=tr("give the grant another name"))
    if any(one.name == name for one in _standing(files)):
        taken = tr("there is a grant {name} already", name=name)
        raise Usage(taken, hint=tr("end it first: kimi-auth serve grants revoke {name}", name=name))
    token = supply_of(session).token_sync()
    handles = files.handles()
    import asyncio  # the help knows every command, and does without

    grant = asyncio.run(_life(files, places).issue(grant, _caller()))
    places.prepare(name, is_shared=set(users) != {os.geteuid()})  # docker would make what it mounts, as root
    made = Sandbox(
        name,
        grant.id,
        token,
        handles,
        places.socket(name).parent,
        session.platform.api_base,
        session.platform.id,
        port,
        home and home.absolute(),
        is_proxied,
    )
    if home is not None:
        made.write(home, users[0])
    if out.json:
        out.record(
            {
                **_told(files.standing(grant.id, time.time())),
                "record": made.pair.record(),
                "secret": made.secret,
                "socket": str(places.socket(name)),
                "environment": made.environment(),
            }
        )
        return
    if home is None or form != "record":
        out.line(made.printed(form))
    else:
        out.say(
            tr(
                "written to {directory}; mount it, and {sockets}, into the sandbox",
                directory=home,
                sockets=made.socket_dir,
            )
        )


def _grants(out: Terminal, places: Places, words: list[str]) -> None:
    files = places.grants()
    if words[:1] in ([], ["list"]):
        _no_words(words[1:])
        found = files.all(time.time())
        if out.json:
            out.record({"grants": [_told(one) for one in found]})
            return
        if not found:
            out.say(tr("there are no grants (issue one: kimi-auth serve grant NAME)"))
        for one in found:
            out.rows(_rows(one), title=one.grant.name if one.grant else tr("unreadable"))
        return
    if words[0] != "revoke":
        raise Usage(tr("grants is followed by list, or by revoke NAME"), hint=tr("see: kimi-auth serve --help"))
    name = _one_word(words[1:], "kimi-auth serve grants revoke NAME")
    ended = [one for one in _standing(files) if name in {one.name, one.id}]
    if not ended:
        raise Usage(tr("no grant {name} stands", name=name), hint=tr("see: kimi-auth serve grants list"))
    import asyncio

    for grant in ended:
        state, ctx = asyncio.run(_life(files, places).revoke(grant.id, _caller()))
        if state != "revoked":
            raise ctx.error or KimiAuthError(tr("the grant {name} still stands", name=name))
    if out.json:
        out.record({"revoked": [one.id for one in ended]})
    else:
        out.say(tr("{name} is revoked; the login stays", name=name))


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


def _life(files: GrantFiles, places: Places) -> GrantLife:
    from kimi_auth.machine import recorder_from_environ
    from kimi_auth.serving.audit import Audit
    from kimi_auth.serving.grant_life import GrantHooks, GrantLife

    hooks = GrantHooks(files, Audit(places.audit, time.time), None, now_s=time.time, monotonic_s=time.monotonic)
    return GrantLife(hooks, observe=recorder_from_environ())


def _caller() -> Any:
    from kimi_auth.serving.records import Caller

    return Caller(os.geteuid(), os.getpid(), "command")


def _standing(files: GrantFiles) -> list[Grant]:
    return [one.grant for one in files.all(time.time()) if one.grant is not None and one.phase in {"issued", "active"}]


def _told(one: Standing) -> dict[str, object]:
    said: dict[str, object] = {
        "state": one.phase,
        "used_at": one.used_at_s or None,
        "revoked_at": one.revoked_at_s or None,
    }
    return {"id": one.grant.id, **one.grant.record(), **said} if one.grant else said


def _rows(one: Standing) -> list[Row]:
    rows: list[Row] = [(tr("state"), one.phase)]
    if one.grant is not None:
        rows.insert(0, (tr("grant"), one.grant.name))
        rows += [(tr("id"), one.grant.id), (tr("users"), ", ".join(map(str, one.grant.uids)))]
        if one.grant.expires_at_s:
            rows.append((tr("ends"), time.strftime("%Y-%m-%d %H:%M", time.localtime(one.grant.expires_at_s))))
    return rows


def _one_word(words: list[str], usage: str) -> str:
    if len(words) != 1:
        raise Usage(tr("a name is missing, or there are several"), hint=usage)
    return words[0]


def _no_words(words: list[str]) -> None:
    if words:
        raise Usage(tr("{word} is not understood", word=ascii(words[0])[:80]), hint=tr("see: kimi-auth serve --help"))
