"""`kimi-auth serve grant` and `serve grants`: lets a sandbox in, lists the grants, and ends one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import supply_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.support.language import listed, tr

if TYPE_CHECKING:
    from kimi_auth.serving.grant_life import GrantLife
    from kimi_auth.serving.places import Places
    from kimi_auth.serving.records import Grant, GrantFiles, Standing
    from kimi_auth.session import Session

__all__ = ["grants", "make_grant", "no_words"]


def make_grant(
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
    """Makes a grant for one sandbox, and shows how it is used there. Raises Usage, KimiAuthError."""
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


def grants(out: Terminal, places: Places, words: list[str]) -> None:
    """Lists the grants, or revokes one. Raises Usage for anything else, and KimiAuthError where a grant is left."""
    files = places.grants()
    if words[:1] in ([], ["list"]):
        no_words(words[1:])
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
        rows += [(tr("id"), one.grant.id), (tr("users"), listed(map(str, one.grant.uids)))]
        if one.grant.expires_at_s:
            rows.append((tr("ends"), time.strftime("%Y-%m-%d %H:%M", time.localtime(one.grant.expires_at_s))))
    return rows


def _one_word(words: list[str], usage: str) -> str:
    if len(words) != 1:
        raise Usage(tr("a name is missing, or there are several"), hint=usage)
    return words[0]


def no_words(words: list[str]) -> None:
    """Raises Usage for an argument to `serve grants`, or to `serve`, where none is taken."""
    if words:
        raise Usage(tr("{word} is not understood", word=ascii(words[0])[:80]), hint=tr("see: kimi-auth serve --help"))
