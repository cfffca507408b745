"""The files of one credential, in a directory that is walked to once for each operation of the store."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kimi_auth import files
from kimi_auth.errors import StorageError
from kimi_auth.support.language import tr
from kimi_auth.token import RECORD_FILE_MAX_BYTES, Token, fingerprint

from . import claims, formats, medium
from .contract import Backoff, Binding, Claim, RevokedMark, Snapshot, Stamp
from .formats import is_tombstone
from .owners import Owner
from .watch import stamp_of

__all__ = ["CredentialFiles", "checked", "name_of"]

TAKEN_OVER_MAX = 8
"""Limit of a chain of claims, each replacing the one before. It grows only if a process is killed during a
take-over."""

_FP = re.compile(r"[0-9a-f]{16}")
_KIMI_CLI_TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}\.tmp")


def name_of(path: Path) -> str:
    """The name that one credential's files share: the record's own, with which its sidecars' names begin."""
    return path.name.removesuffix(".json")


def checked(fp: str) -> str:
    """`fp`, which becomes part of the name of a credential's file. Raises ValueError if it is no fingerprint."""
    if not _FP.fullmatch(fp):
        raise ValueError(f"{fp!r} is no fingerprint")
    return fp


class CredentialFiles(NamedTuple):
    """`record`: the record, in its open directory. `is_linked`: the record's link leads here, so that other programs'
    files may lie beside it."""

    record: files.Location
    is_linked: bool = False

    def beside(self, ending: str) -> files.Location:
        """The sidecar with that ending."""
        return self.record.beside(f"{name_of(self.record.path)}.{ending}")

    def claim(self, fp: str) -> files.Location:
        return self.beside(f"{checked(fp)}.next")

    # --- reading: bad content is a result ----------------------------------------------------------------------------

    def snapshot(self, stamp: Stamp = ()) -> Snapshot:
        """The record, read from its file among the credential's files. `stamp`: that of a corrupt one, taken before this call."""
        path = self.record.path
        try:
            found = medium.read_bounded(self.record, RECORD_FILE_MAX_BYTES)
            if found is None:
                return Snapshot("absent")
            token = formats.decode_record(found.data, path)
        except StorageError as problem:
            # Traceback frames hold the bytes read, and an error report may print them.
            return Snapshot("corrupt", stamp, problem=problem.with_traceback(None))
        return Snapshot("present", stamp_of(found.stat), token, fingerprint(token))

    def why_fixed(self) -> StorageError | None:
        """Why the record of the credential's files cannot be replaced, so that its refresh token must not be spent;
        None if it can."""
        try:
            medium.refuse_fixed(self.record)
        except StorageError as problem:
            return problem.with_traceback(None)
        return None

    def mark(self, fp: str) -> RevokedMark | None:
        data = self._read(self.beside(f"{checked(fp)}.revoked"))
        return None if data is None else formats.decode_revoked(data)

    def backoff(self) -> Backoff:
        return formats.decode_backoff(self._read(self.beside("backoff")) or b"")

    def binding(self) -> Binding | None:
        data = self._read(self.beside("issuer"))
        return None if data is None else formats.decode_binding(data)

    def meetings(self, fp: str) -> claims.Meetings:
        return claims.decode_meetings(self._read(self.beside(f"{checked(fp)}.met")) or b"")

    def claims_on(self, fp: str) -> list[tuple[files.Location, claims.Found]]:
        """The claim on pair `fp`, read from its file, then the one that is replacing it, and so on; the last one counts."""
        place, chain = self.claim(fp), list[tuple[files.Location, claims.Found]]()
        while len(chain) < TAKEN_OVER_MAX and (data := self._read(place)) is not None:
            found = claims.parse(data, fp)
            chain.append((place, found))
            # A complete answer is the login, even if another process made a claim after it.
            if found.answer:
                break
            place = self.beside(f"{fp}.{found.header.nonce}.next")
        return chain

    def peek(self, fp: str, me: Callable[[], Owner], boottime_s: float) -> Claim:
        """The meaning to the process `me` of the claim on pair `fp`, read from the credential's files."""
        chain = self.claims_on(fp)
        if not chain:
            return Claim("none", fp)
        return claims.classify(chain[-1][1], self.meetings(fp), me(), boottime_s)

    def staged(self) -> Claim | None:
        """The newest complete answer in the files beside the record, for any pair; None if there is none. It is the
        login where the record is another program's tombstone: that program's refusal came of the rotation that brought
        the answer."""
        claim = re.compile(re.escape(name_of(self.record.path)) + r"\.([0-9a-f]{16})\.next")
        with suppress(OSError):
            found = [
                (self.record.beside(name), match[1])
                for name in files.names(self.record)
                if (match := claim.fullmatch(name))
            ]
            chains = [(files.stat_at(place), fp, self.claims_on(fp)) for place, fp in found]
            answers = [
                (at.st_mtime_ns, fp, chain[-1][1]) for at, fp, chain in chains if at and chain and chain[-1][1].answer
            ]
            for _, fp, last in sorted(answers, key=lambda one: one[:2], reverse=True)[:1]:
                return Claim("staged", fp, last.answer, owner=last.header.owner.text, nonce=last.header.nonce)
        return None

    @staticmethod
    def _read(place: files.Location) -> bytes | None:
        """The content of a sidecar in the directory that was walked to; None without one, b"" if it cannot be read."""
        try:
            found = medium.read_bounded(place, RECORD_FILE_MAX_BYTES)
        except StorageError:
            # Without a free descriptor no file opens, not even a missing one.
            return b"" if os.path.lexists(place.path) else None
        return found.data if found else None

    # --- writing claims ----------------------------------------------------------------------------------------------

    def meet(self, claim: Claim, boot: str, boottime_s: float) -> None:
        """Notes in one of the credential's files when `boot` first met `claim`."""
        path = self.claim(claim.fp).path
        if path.is_dir():  # not made by any program here, and a rename cannot replace it
            with medium.doing(tr("cannot make {path}"), path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        meetings = self.meetings(claim.fp)
        if meetings.met_at_s(claim.nonce, boot, boottime_s) is None:
            noted = meetings.now_met(claim.nonce, boot, boottime_s)
            medium.write_durably(self.beside(f"{claim.fp}.met"), claims.encode_meetings(noted))

    def take_over(self, claim: Claim, mine: claims.Header) -> None:
        """Replaces `claim` in its file by `mine`. Raises StorageError in every process but the first, and for another claim."""
        place, taking = self.claim(claim.fp), self.beside(f"{checked(claim.fp)}.{checked(claim.nonce)}.next")
        # O_EXCL on a name that contains the old nonce: exactly one process takes this claim over, even without a lock.
        is_first = medium.create_durably(taking, claims.unfinished(mine), allocate=claims.ALLOCATE)
        try:
            # Between the read and the creation, the old claim may have been staged, withdrawn or taken over.
            nonces = [found.header.nonce for _, found in self.claims_on(claim.fp)]
            if not is_first or nonces[-2:] != [claim.nonce, mine.nonce]:
                words = tr("{path} was taken over by another process", path=place.path)
                raise StorageError(words, hint=tr("it is renewing; try again"))
            with medium.doing(tr("cannot replace {path}"), place.path):
                files.rename_durably(taking, place)
        finally:
            if is_first:
                files.remove(taking)

    def write_answer(self, claim: Claim, token: Token, me: Callable[[], Owner]) -> None:
        """Writes the answer into the credential's file of `claim`, or into a new one of the process `me` where that has vanished
        or was taken over."""
        answer = claims.answer(token)
        for place, found in self.claims_on(claim.fp):
            # Into the blocks that the claim has allocated: a disk that is full by now cannot lose the answer.
            if found.header.nonce == claim.nonce and medium.overwrite_durably(place, found.line, answer):
                return
        header = claims.new(claim.fp, me())
        medium.write_durably(self.claim(claim.fp), claims.start(header) + answer)

    # --- clearing up -------------------------------------------------------------------------------------------------

    def sweep(self, fp: str, wall_s: float) -> None:
        """Removes the files of sidecars of other pairs than `fp`, and forgotten temporary files. Best effort: a file
        that stays is void by its name or its age."""
        bound = re.compile(
            re.escape(name_of(self.record.path)) + r"\.([0-9a-f]{16})(?:\.[0-9a-f]{16})?\.(?:next|met|revoked)"
        )
        with suppress(OSError):
            names = files.names(self.record)
            others = [(match[1], name) for name in names if (match := bound.fullmatch(name)) and match[1] != fp]
            # Read after the names: a sidecar of a pair that is no longer the record is void for good.
            record = self.snapshot() if others else Snapshot("absent")
            kept = ".next" if is_tombstone(record.token) else ()  # see `staged`
            if record.state == "corrupt":  # its pair is unknown, and its claim may still count
                others = []
            void = [name for of, name in others if of != record.fp and not name.endswith(kept)]
            for name in void + [name for name in names if self._is_forgotten(name, wall_s)]:
                files.remove(self.record.beside(name))

    def clear_temporaries(self) -> None:
        """Removes a credential's temporary files: every writer of ours holds the lock, so none of them is being written now."""
        with suppress(OSError):
            for name in files.names(self.record):
                if self._is_our_temporary(name) and not _is_probe(name):
                    files.remove(self.record.beside(name))

    def set_aside(self, wall_s: float) -> None:
        """Renames the record's file, in its directory, out of the way."""
        from datetime import UTC, datetime

        wanted = f"{self.record.name}.corrupt-{datetime.fromtimestamp(wall_s, UTC):%Y%m%dT%H%M%SZ}"
        names = (wanted, *(f"{wanted}-{n}" for n in range(2, 100)))
        free = next(place for place in map(self.record.beside, names) if not os.path.lexists(place.path))
        with medium.doing(tr("cannot set aside {path}"), self.record.path), suppress(FileNotFoundError):
            files.rename(self.record, free)

    def leftovers(self) -> list[str]:
        """The names of a credential's files that were set aside and of temporary ones."""
        aside = re.compile(re.escape(self.record.name) + r"\.corrupt-[0-9TZ-]+")
        names = (name for name in files.names(self.record) if not _is_probe(name))
        return sorted(name for name in names if aside.fullmatch(name) or self._is_temporary(name))

    def _is_our_temporary(self, name: str) -> bool:
        return name.startswith(f"{name_of(self.record.path)}.") and name.endswith(".tmp")

    def _is_temporary(self, name: str) -> bool:
        is_theirs = not self.is_linked and _KIMI_CLI_TEMPORARY.fullmatch(name)
        return bool(is_theirs) or self._is_our_temporary(name)

    def _is_forgotten(self, name: str, wall_s: float) -> bool:
        found = files.stat_at(self.record.beside(name)) if self._is_temporary(name) else None
        return found is not None and stat.S_ISREG(found.st_mode) and wall_s - found.st_mtime > files.FORGOTTEN_S


def _is_probe(name: str) -> bool:
    """True for a probe, which is written without the lock and holds only zeros."""
    return f".{files.PROBE}." in name
