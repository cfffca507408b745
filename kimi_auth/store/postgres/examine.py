"""What a database says of itself: reachable and how fast, private, durable, with room; and what this host keeps beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import StorageError
from kimi_auth.store.contract import Finding
from kimi_auth.support.language import joined, listed, tr

from . import sql
from .way import clock, round_trip, transport

if TYPE_CHECKING:
    from .encryption import Cipher
    from .line import Line
    from .spill import Spill

__all__ = ["examine"]

IDS_MAX = 4
"""Missing keys that are named; the rest is named once these are there."""

LIMITS = (
    tr("raise max_connections, or put a pooler in between"),
    tr("raise the role's limit: ALTER ROLE ... CONNECTION LIMIT"),
    tr("raise the database's limit: ALTER DATABASE ... CONNECTION LIMIT"),
)
"""The next step for each limit of connections."""

ROUND_TRIPS = 5
FEW_LEFT = 3
"""Fewer connections than this are left: the next herd waits for each other's."""


def examine(line: Line, key: str, spill: Spill, cipher: Cipher, keys_used: str) -> Iterator[Finding]:
    """What the database says: each finding with its next step. Asks the database; one that cannot be asked is the only finding."""
    try:
        (found,) = line.ask(sql.EXAMINE, {})
        line.look(key)
        used = line.ask(keys_used, {})
        far_s, ahead_s = _measured(line)
    except StorageError as error:
        away = tr("see that it runs, and that the address is right")
        is_circular = "kimi-auth store check" in error.hint  # that is where this is said
        yield Finding(tr("database"), error.message, away if is_circular else error.hint)
        return
    yield Finding(
        tr("database"), tr("{location}, PostgreSQL {version}", location=line.address, version=found["version"])
    )
    if line.newest is not None:
        yield from transport(line.address, line.newest.peer)
    yield round_trip(far_s, ROUND_TRIPS)
    yield clock(ahead_s)
    yield from _writing(found)
    yield from _incarnation(found)
    yield from _generation(line, key, spill)
    yield from _durable(found)
    yield from _room(line, found)
    yield from _secrets(found)
    yield _encryption(cipher, used)
    if kept := spill.kept():
        words = tr("{number} renewed logins wait on this host for the database", number=len(kept))
        yield Finding(tr("answers"), words, "kimi-auth token")


def _measured(line: Line) -> tuple[float, float]:
    """How fast the database answers: the shortest of some round trips, and how far its clock is ahead of this host's,
    by that one. Raises StorageError."""
    trips = []
    for _ in range(ROUND_TRIPS):
        began_s, wall_s = time.monotonic(), time.time()
        (said,) = line.ask(sql.NOW, {})
        took_s = time.monotonic() - began_s
        trips.append((took_s, said["now_s"] - wall_s - took_s / 2))
    return min(trips)


def _incarnation(found: dict[str, Any]) -> Iterator[Finding]:
    """The finding on which life of the database this is: after a restart or a failover, waits of before count no more."""
    _, timeline, began = (*str(found["incarnation"]).split("/"), "", "")[:3]
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(float(began or 0)))
    if timeline == "standby":
        yield Finding(tr("incarnation"), tr("a standby, up since {time}", time=since))
    else:
        number = int(timeline or "0", 16)
        yield Finding(tr("incarnation"), tr("timeline {timeline}, up since {time}", timeline=number, time=since))


def _generation(line: Line, key: str, spill: Spill) -> Iterator[Finding]:
    """The finding on whether the row is the newest that this host has seen: after a restored backup or a failover it
    may not be."""
    place = line.place(key)
    row = place.row
    if row is None or not row.seen.generation:
        return
    newest = place.newest.then(spill.newest())
    if newest.forbids(row.seen):
        told = tr(
            "it has gone back: it has generation {found}, this host has seen {newest} (pair {fp})",
            found=row.seen.generation, newest=newest.generation, fp=newest.fp,
        )  # fmt: skip
        step = tr("ask who restored it; then sign in again: kimi-auth login --force")
        yield Finding(tr("generation"), told, step)
    else:
        yield Finding(tr("generation"), tr("{number}, the newest that this host has seen", number=row.seen.generation))


def _writing(found: dict[str, Any]) -> Iterator[Finding]:
    if found["is_replica"]:
        yield Finding(
            tr("primary"), tr("this is a replica: nothing can be renewed"), tr("name the primary in the address")
        )
    elif not found["may_write"]:
        step = f"GRANT kimi_auth_renewer TO {found['role']}"
        yield Finding(tr("rights"), tr("{role} may only read", role=found["role"]), step)
    elif found["is_superuser"]:
        words = tr("{role} may renew, and is a superuser; a member of kimi_auth_renewer is enough", role=found["role"])
        yield Finding(tr("rights"), words)
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
    left = _left(found)
    told = tr(
        "{left} are left, of {most} and of the limits of role and database",
        left=min(left), most=found["connections_max"],
    )  # fmt: skip
    yield Finding(tr("connections"), told, LIMITS[left.index(min(left))] if min(left) < FEW_LEFT else "")
    if line.newest is not None and line.newest.is_pooled:
        words = tr("a pooler gives each transaction another session: changes are noticed by asking once a second")
        yield Finding(tr("notifications"), words)
    else:
        yield Finding(tr("notifications"), tr("are listened to") if line.is_listening() else tr("are asked for"))


def _left(found: dict[str, Any]) -> list[int]:
    """The findings on how many connections each limit leaves, in the order of `LIMITS`. A limit of -1 is none."""
    limits = (
        (found["connections_max"], found["connections"]),
        (found["role_limit"], found["role_connections"]),
        (found["database_limit"], found["database_connections"]),
    )
    return [most - used if most >= 0 else found["connections_max"] for most, used in limits]


def _secrets(found: dict[str, Any]) -> Iterator[Finding]:
    is_logged = found["log_statement"] in {"all", "mod"} or found["log_min_duration"] >= 0
    if is_logged and found["log_parameters"] != 0:
        words = tr("its log has the values of statements, and so tokens")
        yield Finding(tr("log"), words, "ALTER SYSTEM SET log_parameter_max_length = 0")
    else:
        yield Finding(tr("log"), tr("has no values of statements"))


def _encryption(cipher: Cipher, used: list[dict[str, Any]]) -> Finding:
    """The finding on which keys write, how many tokens of the table they have not written, and whether each that is
    needed is here."""
    here = {"access": cipher.ids("access"), "refresh": cipher.ids("refresh")}
    missing = sorted({one["id"] for one in used if one["id"] and one["id"] not in here[one["part"]]})
    if missing:
        words = tr("there are tokens under keys that are not here: {ids}", ids=listed(missing[:IDS_MAX]))
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
    return Finding(tr("encryption"), joined(tr(", "), told))
