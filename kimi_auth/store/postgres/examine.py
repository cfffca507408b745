"""What a database says of itself: reachable and how fast, private, durable, with room; and what this host keeps beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import StorageError
from kimi_auth.store.contract import Finding
from kimi_auth.support.language import tr

from . import sql

if TYPE_CHECKING:
    from .encryption import Cipher
    from .line import Line
    from .spill import Spill

__all__ = ["examine"]

IDS_MAX = 4
"""Missing keys that are named; the rest is named once these are there."""

APART_S = 5.0
"""Clocks of host and database that differ by more are worth a word; nothing depends on it."""


def examine(line: Line, key: str, spill: Spill, cipher: Cipher, keys_used: str) -> Iterator[Finding]:
    """Each finding with its next step. Asks the database; one that cannot be asked is the only finding."""
    began_s = time.monotonic()
    try:
        (found,) = line.ask(sql.EXAMINE, {})
        took_ms = (time.monotonic() - began_s) * 1000
        line.look(key)
        used = line.ask(keys_used, {})
    except StorageError as error:
        yield Finding(tr("database"), error.message, error.hint)
        return
    told = tr(
        "{location}, PostgreSQL {version}, in {ms:.0f} ms", location=line.address, version=found["version"], ms=took_ms
    )
    yield Finding(tr("database"), told)
    yield from _writing(found)
    yield from _durable(found)
    yield from _room(line, found)
    yield from _secrets(found)
    yield _encryption(cipher, used)
    yield from _time(found)
    if kept := spill.kept():
        words = tr("{number} renewed logins wait on this host for the database", number=len(kept))
        yield Finding(tr("answers"), words, "kimi-auth token")


def _writing(found: dict[str, Any]) -> Iterator[Finding]:
    if found["is_replica"]:
        yield Finding(
            tr("primary"), tr("this is a replica: nothing can be renewed"), tr("name the primary in the address")
        )
    elif not found["may_write"]:
        step = f"GRANT kimi_auth_renewer TO {found['role']}"
        yield Finding(tr("rights"), tr("{role} may only read", role=found["role"]), step)
    else:
        yield Finding(tr("rights"), tr("{role} may renew", role=found["role"]))


def _durable(found: dict[str, Any]) -> Iterator[Finding]:
    if not found["fsync"]:
        yield Finding(tr("durability"), tr("fsync=off: a crash loses logins"), tr("set fsync=on and restart it"))
    elif found["standbys"] and not found["standby_names"]:
        words = tr("a failover may lose the last renewal: synchronous_standby_names is empty")
        yield Finding(tr("durability"), words, tr("name the standbys that must have a commit"))
    else:
        yield Finding(tr("durability"), tr("commits wait for the disk"))


def _room(line: Line, found: dict[str, Any]) -> Iterator[Finding]:
    used, most = found["connections"], found["connections_max"]
    told = tr("{used} of {most} connections are used", used=used, most=most)
    yield Finding(
        tr("connections"), told, tr("raise max_connections, or put a pooler in between") if used >= most - 2 else ""
    )
    if line.is_pooled:
        words = tr("a pooler gives each transaction another session: changes are noticed by asking once a second")
        yield Finding(tr("notifications"), words)
    else:
        yield Finding(tr("notifications"), tr("are listened to") if line.is_listening() else tr("are asked for"))


def _secrets(found: dict[str, Any]) -> Iterator[Finding]:
    is_logged = found["log_statement"] in {"all", "mod"} or found["log_min_duration"] >= 0
    if is_logged and found["log_parameters"] != 0:
        words = tr("its log has the values of statements, and so tokens")
        yield Finding(tr("log"), words, "ALTER SYSTEM SET log_parameter_max_length = 0")
    else:
        yield Finding(tr("log"), tr("has no values of statements"))


def _encryption(cipher: Cipher, used: list[dict[str, Any]]) -> Finding:
    """Which keys write, how many tokens of the table they have not written, and whether each that is needed is here."""
    here = {"access": cipher.ids("access"), "refresh": cipher.ids("refresh")}
    missing = sorted({one["id"] for one in used if one["id"] and one["id"] not in here[one["part"]]})
    if missing:
        words = tr("there are tokens under keys that are not here: {ids}", ids=", ".join(missing[:IDS_MAX]))
        step = tr("add the key to its file, and name the file in KIMI_AUTH_STORE")
        return Finding(tr("encryption"), words, step)
    if not cipher.writes:
        return Finding(tr("encryption"), tr("no: tokens are stored as they are"))
    told = [tr("access tokens with the key {id}", id=here["access"][0])] if here["access"] else []
    told += [tr("refresh tokens with {id}", id=here["refresh"][0])] if here["refresh"] else []
    if plain := sum(one["number"] for one in used if not one["id"]):
        told.append(tr("{number} tokens are plain until their next renewal", number=plain))
    for one in used:
        if one["id"] and one["id"] != here[one["part"]][0]:
            told.append(tr("{number} under the earlier key {id}", number=one["number"], id=one["id"]))
    return Finding(tr("encryption"), ", ".join(told))


def _time(found: dict[str, Any]) -> Iterator[Finding]:
    apart_s = time.time() - found["now_s"]
    if abs(apart_s) > APART_S:
        yield Finding(
            tr("clock"), tr("this host differs from it by {seconds:+.0f} s; its clock counts", seconds=apart_s)
        )
