"""Grants on disk: one small file each, and two notes beside it, each written once and never replaced.

    serving/<platform>/grants/<id>.grant      name, uids, end, rate: written when it is issued
    serving/<platform>/grants/<id>.used       when it was used first
    serving/<platform>/grants/<id>.revoked    when it was ended, and by whom
    serving/<platform>/key                    what handles are made with

Nothing here is read, changed and written back, so no lock is needed: a note that is there stays, whichever process wrote it or
was killed. Any process of the owner may issue and revoke; a running server sees it at the next request.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from kimi_auth import files
from kimi_auth.errors import StorageError
from kimi_auth.support.language import tr

from .api_paths import AllowedPaths
from .handles import KEY_BYTES, Handles

__all__ = ["GRANT_NAME", "Caller", "Grant", "GrantFiles", "Phase"]

GRANT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
FILE_BYTES_MAX = 16 * 1024
UIDS_MAX = PATHS_MAX = 64
PER_MINUTE = 600
Phase = Literal["active", "issued", "expired", "revoked", "corrupt", "absent"]


class Caller(NamedTuple):
    """Who asks, for the audit log: the user and process at the other end of a socket (-1, 0: not known), and the door."""

    uid: int = -1
    pid: int = 0
    door: str = ""


class Grant(NamedTuple):
    """One grant as it was issued. `uids`: the users who may use its socket. `expires_at_s`: unix seconds, 0.0 for no end.
    `per_minute`: how often it may ask. `paths`: of the API that it may ask for through the proxy, as in `AllowedPaths`."""

    id: str
    name: str
    uids: tuple[int, ...]
    made_at_s: float
    expires_at_s: float = 0.0
    per_minute: int = PER_MINUTE
    paths: tuple[str, ...] = ("*",)

    @property
    def allowed(self) -> AllowedPaths:
        """Which paths of the API it covers."""
        return _allowed(self.paths)

    @classmethod
    def new(
        cls,
        name: str,
        uids: tuple[int, ...],
        now_s: float,
        *,
        ttl_s: float = 0.0,
        per_minute: int = PER_MINUTE,
        paths: tuple[str, ...] = ("*",),
    ) -> Grant:
        """A grant with an id of its own. Raises ValueError for a name, users, a time, a rate or paths that none can have."""
        if not GRANT_NAME.fullmatch(name):
            raise ValueError(tr("a grant's name is of a-z, 0-9, dots, dashes and underscores, 63 at most"))
        if not 0 < len(uids) <= UIDS_MAX or any(not 0 <= uid < 2**32 - 1 for uid in uids):
            raise ValueError(tr("a grant is for one user or more, by number"))
        if not 0 <= ttl_s < 1e10 or not 0 < per_minute <= 1_000_000:
            raise ValueError(tr("a grant's time and rate are above zero"))
        if len(paths) > PATHS_MAX:
            raise ValueError(tr("a grant has {most} paths at most", most=PATHS_MAX))
        _allowed(paths)
        return cls(secrets.token_hex(8), name, uids, now_s, now_s + ttl_s if ttl_s else 0.0, per_minute, paths)

    @classmethod
    def parsed(cls, grant_id: str, data: bytes) -> Grant:
        """The grant in its file. Raises ValueError for anything that `new` could not have made."""
        try:
            told = json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(told, dict):
            raise ValueError("not an object")
        name, uids, per_minute = told.get("name"), told.get("uids"), told.get("per_minute")
        if not isinstance(name, str) or not GRANT_NAME.fullmatch(name) or not isinstance(uids, list):
            raise ValueError("no name, or no users")
        if not 0 < len(uids) <= UIDS_MAX or not all(type(uid) is int and 0 <= uid < 2**32 - 1 for uid in uids):
            raise ValueError("users that are none")
        if type(per_minute) is not int or not 0 < per_minute <= 1_000_000:
            raise ValueError("no rate")
        times = _time(told, "made_at"), _time(told, "expires_at")
        return cls(grant_id, name, tuple(uids), *times, per_minute, _paths(told.get("paths")))

    def record(self) -> dict[str, object]:
        """The content of a grant's file, and what `grants list --json` says."""
        return {
            "name": self.name,
            "uids": list(self.uids),
            "made_at": self.made_at_s,
            "expires_at": self.expires_at_s,
            "per_minute": self.per_minute,
            "paths": list(self.paths),
        }


class Standing(NamedTuple):
    """A grant's phase at one moment, and the times of its notes (unix seconds, 0.0 for none)."""

    phase: Phase
    grant: Grant | None = None
    used_at_s: float = 0.0
    revoked_at_s: float = 0.0


class GrantFiles:
    """The grants of one login, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._grants = folder / "grants"
        self._known: dict[str, tuple[int, Grant]] = {}

    def prepare(self) -> None:
        """Makes the directories of grants, for their owner only. Raises OSError."""
        files.make_directories(self._grants)

    def handles(self) -> Handles:
        """The handles of these grants, by the key on disk beside them; the first call makes it, durably. Raises StorageError."""
        place = self.folder / "key"
        try:
            self.prepare()
            found = files.read_bounded(place, FILE_BYTES_MAX)
            if found is None:
                files.link_durably(place, secrets.token_hex(KEY_BYTES).encode())
                found = files.read_bounded(place, FILE_BYTES_MAX)
            return Handles(bytes.fromhex((found.data if found else b"").decode()))
        except OSError as error:
            raise _storage(error, place) from None
        except ValueError:
            message = tr("{path}: the key of the grants is damaged", path=place)
            raise StorageError(message, hint=tr("remove it, and issue every grant again")) from None

    def standing(self, grant_id: str, now_s: float) -> Standing:
        """The phase of a grant, by its file and notes, at `now_s`, unix seconds. Never raises for content."""
        used_at_s, revoked_at_s = self._noted(grant_id, "used"), self._noted(grant_id, "revoked")
        try:
            grant = self._read(grant_id)
        except (OSError, ValueError):
            return Standing("revoked" if revoked_at_s else "corrupt", None, used_at_s, revoked_at_s)
        phase: Phase = "active" if used_at_s else "issued"
        if grant is None:
            phase = "absent"
        elif grant.expires_at_s and now_s >= grant.expires_at_s:
            phase = "expired"
        if revoked_at_s and grant is not None:
            phase = "revoked"
        return Standing(phase, grant, used_at_s, revoked_at_s)

    def all(self, now_s: float) -> list[Standing]:
        """Every grant on disk, the oldest first; one that cannot be read is named by its id. Raises StorageError."""
        found = [self.standing(grant_id, now_s) for grant_id in self.ids()]
        return sorted(found, key=lambda one: (one.grant.made_at_s, one.grant.id) if one.grant else (0.0, ""))

    def ids(self) -> list[str]:
        """The ids of all grants on disk, ended ones too. Raises StorageError."""
        try:
            names = os.listdir(self._grants)  # noqa: PTH208
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _storage(error, self._grants) from None
        return sorted(name.removesuffix(".grant") for name in names if re.fullmatch(r"[0-9a-f]{16}\.grant", name))

    def changed_at(self) -> int:
        """Changes whenever a grant's file or note is written; 0 while there is no directory."""
        with suppress(OSError):
            return self._grants.stat().st_mtime_ns
        return 0

    def issue(self, grant: Grant) -> None:
        """Writes a grant's file, durably. Raises StorageError."""
        self._write(grant.id, "grant", grant.record())

    def note_use(self, grant_id: str, now_s: float) -> None:
        """Writes the note of the first use, durably; one that is there stays. Raises StorageError."""
        self._write(grant_id, "used", {"at": now_s})

    def revoke(self, grant_id: str, now_s: float, by: str) -> None:
        """Writes the note of the end, durably; one that is there stays. Raises StorageError."""
        self._write(grant_id, "revoked", {"at": now_s, "by": by})

    def _write(self, grant_id: str, kind: str, content: Mapping[str, object]) -> None:
        place = self._grants / f"{grant_id}.{kind}"
        try:
            self.prepare()
            files.link_durably(place, json.dumps(content).encode() + b"\n")
        except OSError as error:
            raise _storage(error, place) from None

    def _read(self, grant_id: str) -> Grant | None:
        place = self._grants / f"{grant_id}.grant"
        try:
            inode = place.lstat().st_ino
        except FileNotFoundError:
            return None
        known = self._known.get(grant_id)
        if known is not None and known[0] == inode:  # a grant's file is never replaced, so it is read once
            return known[1]
        found = files.read_bounded(place, FILE_BYTES_MAX)
        if found is None:
            return None
        grant = Grant.parsed(grant_id, found.data)
        self._known[grant_id] = (found.stat.st_ino, grant)
        return grant

    def _noted(self, grant_id: str, kind: str) -> float:
        """The time of a grant's note, 0.0 where there is none. That it is there counts, whatever it holds."""
        try:
            return max((self._grants / f"{grant_id}.{kind}").lstat().st_mtime, 1.0)
        except FileNotFoundError:
            return 0.0
        except OSError:
            return 1.0 if kind == "revoked" else 0.0  # in doubt it has ended


@lru_cache(maxsize=256)
def _allowed(paths: tuple[str, ...]) -> AllowedPaths:
    return AllowedPaths(paths)


def _paths(told: object) -> tuple[str, ...]:
    if not isinstance(told, list) or len(told) > PATHS_MAX or not all(isinstance(path, str) for path in told):
        raise ValueError("no paths")
    _allowed(tuple(told))
    return tuple(told)


def _time(told: Mapping[str, object], key: str) -> float:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ValueError(f"{key} is no time")
    return float(value)


def _storage(error: OSError, place: Path) -> StorageError:
    words, hint = files.reason(error, place)
    return StorageError(tr("{path}: {reason}", path=place, reason=words), hint=hint)
