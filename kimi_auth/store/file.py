"""The credential in the Kimi CLI's format: one JSON file below the share directory, and kimi-auth's sidecars beside it.

    credentials/kimi-code.json               the record
    credentials/kimi-code.lock               its lock, never removed
    credentials/kimi-code.<fp>.next          the claim on pair <fp>; with the answer, the staged pair
    credentials/kimi-code.<fp>.<nonce>.next  the claim that is replacing claim <nonce>
    credentials/kimi-code.<fp>.met           when each boot first met the claim on pair <fp>
    credentials/kimi-code.<fp>.revoked       the revoked mark: the server ended pair <fp>
    credentials/kimi-code.backoff            when any process may retry
    credentials/kimi-code.issuer             the binding: the OAuth host of the record
    credentials/kimi-code.json.corrupt-*     corrupt records, set aside by a login or a logout

Paths are walked by the rules of `kimi_auth.files`, which enter no link and no directory of another user. A record that
cannot be replaced (only the file is mounted into a container) is read, but its refresh token is not spent.

If the record is a symbolic link, all of this lies beside its target, which is the file that is replaced; both locks are
taken, the link's first. A dangling link is an absent record; a link to a directory or device is a corrupt record.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kimi_auth import files
from kimi_auth.clock import Clock
from kimi_auth.errors import ConfigError, CorruptCredential, StorageError
from kimi_auth.token import RECORD_FILE_MAX_BYTES, Token, fingerprint

from . import claims, formats, lock, medium, owners
from .contract import Backoff, Binding, Claim, RevokedMark, Snapshot, Stamp
from .watch import Watch, stamp_of

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["FileStore"]

log = logging.getLogger("kimi_auth.store")

PROBE_BYTES = claims.ALLOCATE

TAKEN_OVER_MAX = 8
"""Limit of a chain of claims, each replacing the one before. It grows only if a process is killed during a
take-over."""

LOOK_AGAIN_S = 1.0
"""Seconds for which an open descriptor is trusted before the path is checked again."""

_KEY = re.compile(r"oauth/([a-z0-9-]+)")
_FP = re.compile(r"[0-9a-f]{16}")
_KIMI_CLI_TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}\.tmp")


class FileStore:
    """The `CredentialStore` in files. `share_dir` is the Kimi CLI's home; `key` is `oauth/<name>`, the name of the
    file.

    Safe for any number of threads and processes. Raises ConfigError for any other key.
    """

    def __init__(self, share_dir: Path, key: str = "oauth/kimi-code", *, clock: Clock) -> None:
        match = _KEY.fullmatch(key)
        if not match:
            raise ConfigError(f"the credential's key {key!r} is not of the form oauth/<a-z, 0-9, ->")
        self.path = Path(share_dir) / "credentials" / f"{match[1]}.json"
        self._record = os.fspath(self.path)
        self._clock = clock
        self._hold: lock.Hold | None = None
        self._mine: list[Claim] = []  # made or renewed under this hold
        self._watch: Watch | None = None

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    @property
    def place(self) -> str:
        return f"the file {self.path}"

    @property
    def target(self) -> Path:
        """The file that holds the record: `path`, or the target of its link. A link to a directory, in a circle or of
        another user is its own target, so that a login sets aside the link and nothing behind it."""
        try:
            self.path.readlink()
        except OSError:
            return self.path  # no link, the usual case: the path is checked at its use
        try:
            target = files.followed(self.path)
            found = files.stat_at(target)
        except FileNotFoundError:
            return Path(os.path.realpath(self.path))  # its directory is missing, and none is made
        except OSError:
            return self.path
        return target if found is None or stat.S_ISREG(found.st_mode) else self.path

    @property
    def lock_paths(self) -> tuple[Path, ...]:
        """The lock files, in locking order."""
        places = (self.path, self.target)
        return tuple(dict.fromkeys(place.with_name(f"{_name(place)}.lock") for place in places))

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self) -> Snapshot:
        stamp = self.stamp()  # before the read: an unreadable file must not get the stamp of its successor
        target = self.target
        try:
            found = medium.read_bounded(target, RECORD_FILE_MAX_BYTES)
            if found is None:
                return Snapshot("absent")
            stamp = stamp_of(found.stat)
            token = formats.decode_record(found.data, target)
        except StorageError as problem:
            # Traceback frames hold the bytes read, and an error report may print them.
            return Snapshot("corrupt", stamp, problem=self._why_not_followed() or problem.with_traceback(None))
        return Snapshot("present", stamp, token, fingerprint(token), problem=_why_fixed(target))

    def stamp(self) -> Stamp:
        try:
            return stamp_of(os.stat(self._record))  # noqa: PTH116
        except OSError:
            return ()

    def still(self, stamp: Stamp) -> bool:
        now_s = self._clock.boottime_s()
        watch = self._watch
        if watch is not None and stamp == watch.stamp:
            if now_s < watch.until_s:
                if watch.holds():
                    return True
            elif self.stamp() == stamp:
                watch.until_s = now_s + LOOK_AGAIN_S
                return True
        self._watch = watch = None  # closed before the next one opens: descriptor numbers are reused
        try:
            self._watch = watch = Watch(self._record, now_s + LOOK_AGAIN_S)
        except OSError:
            return self.stamp() == stamp
        return watch.stamp == stamp

    def revoked_mark(self, fp: str) -> RevokedMark | None:
        data = _tolerant_read(self._beside(f"{_checked(fp)}.revoked"))
        return None if data is None else formats.decode_revoked(data)

    def peek_claim(self, fp: str) -> Claim:
        chain = self._claims_on(fp)
        if not chain:
            return Claim("none", fp)
        me, boottime_s = self._me(), self._clock.boottime_s()
        return claims.judge(chain[-1][1], self._meetings(fp), me, boottime_s)

    def backoff(self) -> Backoff:
        return formats.decode_backoff(_tolerant_read(self._beside("backoff")) or b"")

    def binding(self) -> Binding | None:
        data = _tolerant_read(self._beside("issuer"))
        return None if data is None else formats.decode_binding(data)

    def leftovers(self) -> tuple[str, ...]:
        target = self.target
        aside = re.compile(re.escape(target.name) + r"\.corrupt-[0-9TZ-]+")
        with suppress(OSError):
            found = [path for path in map(target.with_name, files.names(target.parent)) if not _is_probe(path)]
            return tuple(
                str(path) for path in sorted(found) if aside.fullmatch(path.name) or self._is_temporary(path, target)
            )
        return ()

    def holder(self) -> str:
        pids = lock.holder_pids(self.lock_paths)
        if pids:
            return lock.process(pids[0])
        owner = self._claim_owner()
        # The kernel knows every holder on this host; only the claim can name a holder on another host.
        elsewhere = owner is not None and (pids is None or owner.host != owners.host_name())
        return f"{owner.words} (says its claim)" if owner and elsewhere and owner.words else ""

    # --- taking the lock ---------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        medium.make_directories(self.path.parent)
        found = self.read()
        if found.problem and not isinstance(found.problem, CorruptCredential):
            raise found.problem  # another user's, unreadable or not replaceable
        medium.refuse_fixed(self.target)
        probe = files.temporary(self._beside(files.PROBE))
        try:
            medium.write_durably(probe, bytes(PROBE_BYTES), allocate=PROBE_BYTES)
            with lock.locked([probe], 0.0) as hold:
                if hold:
                    hold.check([probe])
        finally:
            files.remove(probe)
        with lock.locked([path for path in self.lock_paths if os.path.lexists(path)], 0.0):
            pass

    @contextmanager
    def locked(self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None) -> Iterator[bool]:
        files.close(self.path.parent.parent)
        medium.make_directories(self.path.parent)
        for path in (self.path.parent, *self.lock_paths, self.target):  # an old Kimi CLI lets everyone read them
            files.tighten(path)
        with lock.locked(self.lock_paths, patience_s, give_up) as hold:
            if hold is None:
                yield False
                return
            self._hold, self._mine = hold, []
            try:
                yield True
            finally:
                if hold.is_ours:
                    self._close_claims()
                self._hold = None

    # --- under the lock ----------------------------------------------------------------------------------------------

    def claim(self, fp: str) -> Claim:
        path = self._claim_path(fp)
        self._need_lock().check(self.lock_paths)  # again before anything is sent: the lock file may have been removed
        medium.refuse_fixed(self.target)
        self._sweep(fp)
        mine = claims.new(fp, self._me())
        if medium.create_durably(path, claims.unfinished(mine), allocate=claims.ALLOCATE):
            return self._own("made", mine)
        claim = self.peek_claim(fp)
        if claim.state == "none":
            raise StorageError(f"{path} came and went", hint="another process is renewing; try again")
        if claim.state == "in_flight" and path.is_dir():  # not made by any program here, and a rename cannot replace it
            with medium.trouble("make", path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        boot, boottime_s, meetings = mine.owner.boot, self._clock.boottime_s(), self._meetings(fp)
        if claim.state == "in_flight" and meetings.met_at_s(claim.nonce, boot, boottime_s) is None:
            noted = meetings.now_met(claim.nonce, boot, boottime_s)
            medium.write_durably(self._beside(f"{fp}.met"), claims.encode_meetings(noted))
        return claim

    def renew_claim(self, claim: Claim) -> Claim:
        fp = claim.fp
        path, taking = self._claim_path(fp), self._taking_path(claim)
        self._need_lock().check(self.lock_paths)
        mine = claims.new(fp, self._me())
        # O_EXCL on a name that contains the old nonce: exactly one process takes this claim over, even without a lock.
        is_first = medium.create_durably(taking, claims.unfinished(mine), allocate=claims.ALLOCATE)
        try:
            # Between the read and the creation, the old claim may have been staged, withdrawn or taken over.
            nonces = [found.header.nonce for _, found in self._claims_on(fp)]
            if not is_first or nonces[-2:] != [claim.nonce, mine.nonce]:
                raise StorageError(f"{path} was taken over by another process", hint="it is renewing; try again")
            with medium.trouble("replace", path):
                files.rename_durably(taking, path)
        finally:
            if is_first:
                files.remove(taking)
        return self._own("renewed", mine)

    def withdraw_claim(self, claim: Claim) -> None:
        path = self._claim_path(claim.fp)
        self._need_lock()
        if any(found.header.nonce == claim.nonce for place, found in self._claims_on(claim.fp) if place == path):
            medium.remove_durably(path)

    def stage(self, claim: Claim, token: Token) -> None:
        path = self._claim_path(claim.fp)
        self._need_lock()
        formats.encode_record(token)  # raises for a pair that no reader would accept
        answer = claims.answer(token)
        for place, found in self._claims_on(claim.fp):
            # Into the blocks that the claim has allocated: a disk that is full by now cannot lose the answer.
            if found.header.nonce == claim.nonce and medium.overwrite_durably(place, found.line, answer):
                return
        header = claims.new(claim.fp, self._me())
        medium.write_durably(path, claims.start(header) + answer)

    def commit_staged(self, fp: str) -> None:
        path = self._claim_path(fp)
        self._need_lock()
        target = self.target
        staged = _staged(path, fp)
        if staged:
            with medium.trouble("replace", target):
                files.rename_durably(path, target)
        elif staged := _staged(target, fp):
            # A second try: the rename succeeded, the sync of the directory did not.
            with medium.trouble("replace", target):
                files.sync_directory(target.parent)
        else:
            raise StorageError(f"{path} holds no complete answer that could become the credential")
        self._sweep(fingerprint(staged))

    def put(self, token: Token) -> None:
        self._need_lock()
        data = formats.encode_record(token)
        medium.write_durably(self._cleared_target(), data)
        self._sweep(fingerprint(token))

    def sign_out(self, now_s: float) -> None:
        self._need_lock()
        empty = Token("", "", 0.0, 0.0, signed_out_at_s=max(now_s, 1.0))  # 0 would read as "not signed out"
        medium.write_durably(self._cleared_target(), formats.encode_record(empty))
        self._clear_temporaries()

    def tidy(self, now_s: float) -> None:
        self._need_lock()
        found = self.read()
        if formats.has_served(found.token, now_s):
            medium.remove_durably(self.target)
        if found.state != "corrupt":  # the pair of a corrupt record is unknown, and its claim may still count
            self._sweep(found.fp)
        if formats.is_over(found):
            self.bind(None)

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        path = self._beside(f"{_checked(fp)}.revoked")
        self._need_lock()
        medium.write_durably(path, formats.encode_revoked(refusal))

    def set_backoff(self, backoff: Backoff) -> None:
        self._need_lock()
        medium.write_durably(self._beside("backoff"), formats.encode_backoff(backoff))

    def bind(self, binding: Binding | None) -> None:
        path = self._beside("issuer")
        self._need_lock()
        if binding is None:
            medium.remove_durably(path)
        else:
            medium.write_durably(path, formats.encode_binding(binding))

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _beside(self, ending: str) -> Path:
        target = self.target
        return target.with_name(f"{_name(target)}.{ending}")

    def _claim_path(self, fp: str) -> Path:
        return self._beside(f"{_checked(fp)}.next")

    def _need_lock(self) -> lock.Hold:
        if self._hold is None or not self._hold.is_ours:
            raise RuntimeError("a credential is written with its lock held, and with it only")
        return self._hold

    def _me(self) -> owners.Owner:
        return owners.this_process(self._clock.boot_id())

    def _own(self, state: Literal["made", "renewed"], header: claims.Header) -> Claim:
        claim = Claim(state, header.fp, owner=header.owner.words, nonce=header.nonce)
        self._mine.append(claim)
        return claim

    def _close_claims(self) -> None:
        """Closes the unfinished claims of this hold, so that the next process recovers at once. If that fails, it
        waits."""
        for claim in self._mine:
            for place, found in self._claims_on(claim.fp):
                if found.header.nonce == claim.nonce and not found.answer:
                    try:
                        medium.overwrite_durably(place, found.line, claims.CLOSED)
                    except StorageError as problem:
                        log.warning("a claim stays open, the next renewal waits for it: %s", problem.line)

    def _claims_on(self, fp: str) -> list[tuple[Path, claims.Found]]:
        """The claim on pair `fp`, then the one that is replacing it, and so on; the last one counts."""
        path, chain = self._claim_path(fp), list[tuple[Path, claims.Found]]()
        while len(chain) < TAKEN_OVER_MAX and (data := _tolerant_read(path)) is not None:
            found = claims.parse(data, fp)
            chain.append((path, found))
            if found.answer:
                break
            path = self._beside(f"{fp}.{found.header.nonce}.next")
        return chain

    def _taking_path(self, claim: Claim) -> Path:
        return self._beside(f"{_checked(claim.fp)}.{_checked(claim.nonce)}.next")

    def _meetings(self, fp: str) -> claims.Meetings:
        return claims.decode_meetings(_tolerant_read(self._beside(f"{_checked(fp)}.met")) or b"")

    def _claim_owner(self) -> owners.Owner | None:
        fp = self.read().fp
        chain = self._claims_on(fp) if fp else []
        return chain[-1][1].header.owner if chain else None

    def _why_not_followed(self) -> StorageError | None:
        """Why the record's link must not be followed; None if it may be."""
        try:
            files.followed(self.path)
        except files.Unfit as error:
            return medium.explain(error, "read", self.path, StorageError)
        except OSError:
            return None
        return None

    def _cleared_target(self) -> Path:
        """The path for a new record. Sets aside a corrupt one; raises if the old one must not be replaced."""
        target = self.target
        problem = self.read().problem
        if problem:
            problem = self.read().problem  # read twice: a writer without a lock may have been in the middle of a write
        if not problem:
            return target
        if not isinstance(problem, CorruptCredential):
            raise problem
        from datetime import UTC, datetime

        aside = _free(target, datetime.fromtimestamp(self._clock.wall_s(), UTC))
        with medium.trouble("set aside", target), suppress(FileNotFoundError):
            files.rename(target, aside)
        return target

    def _sweep(self, fp: str) -> None:
        """Removes sidecars of other pairs than `fp`, and forgotten temporary files. Best effort: a file that stays is
        void by its name or its age."""
        target = self.target
        bound = re.compile(re.escape(_name(target)) + r"\.([0-9a-f]{16})(?:\.[0-9a-f]{16})?\.(?:next|met|revoked)")
        with suppress(OSError):
            names = files.names(target.parent)
            # Read after the names: a sidecar of a pair that is no longer the record is void for good.
            kept = {fp, self.read().fp}
            for path in map(target.with_name, names):
                match = bound.fullmatch(path.name)
                if (match and match[1] not in kept) or self._is_forgotten(path, target):
                    files.remove(path)

    def _clear_temporaries(self) -> None:
        """Removes our temporary files: every writer of ours holds the lock, so none of them is being written now."""
        target = self.target
        with suppress(OSError):
            for path in map(target.with_name, files.names(target.parent)):
                if _is_our_temporary(path, target) and not _is_probe(path):
                    files.remove(path)

    def _is_temporary(self, path: Path, target: Path) -> bool:
        # A link's target may lie among unrelated files; only in the record's own directory are these the Kimi CLI's.
        theirs = target.parent == self.path.parent and _KIMI_CLI_TEMPORARY.fullmatch(path.name)
        return bool(theirs) or _is_our_temporary(path, target)

    def _is_forgotten(self, path: Path, target: Path) -> bool:
        if not self._is_temporary(path, target):
            return False
        found = files.stat_at(path)
        return (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and self._clock.wall_s() - found.st_mtime > files.FORGOTTEN_S
        )


def _name(path: Path) -> str:
    return path.name.removesuffix(".json")


def _is_our_temporary(path: Path, target: Path) -> bool:
    return path.name.startswith(f"{_name(target)}.") and path.suffix == ".tmp"


def _is_probe(path: Path) -> bool:
    """True for a probe, which is written without the lock and holds only zeros."""
    return f".{files.PROBE}." in path.name


def _why_fixed(target: Path) -> StorageError | None:
    """Why the record at `target` cannot be replaced, so that its refresh token must not be spent; None if it can."""
    try:
        medium.refuse_fixed(target)
    except StorageError as problem:
        return problem.with_traceback(None)
    return None


def _checked(fp: str) -> str:
    if not _FP.fullmatch(fp):
        raise ValueError(f"{fp!r} is no fingerprint")
    return fp


def _tolerant_read(path: Path) -> bytes | None:
    """The content of `path`, None if it does not exist, b"" if it cannot be read."""
    try:
        found = medium.read_bounded(path, RECORD_FILE_MAX_BYTES)
    except StorageError:
        return b"" if os.path.lexists(path) else None  # without a free descriptor no path opens, not even a missing one
    return found.data if found else None


def _staged(path: Path, fp: str) -> Token | None:
    return claims.parse(_tolerant_read(path) or b"", fp).answer


def _free(target: Path, at: datetime) -> Path:
    """A free name beside `target` for a record that is set aside now."""
    wanted = f"{target.name}.corrupt-{at:%Y%m%dT%H%M%SZ}"
    names = [wanted, *(f"{wanted}-{n}" for n in range(2, 100))]
    return next(path for name in names if not os.path.lexists(path := target.with_name(name)))
