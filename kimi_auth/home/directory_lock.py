"""kimi-code's lock around a renewal: the directory that proper-lockfile 4.1.2 makes at `<home>/oauth/<slot>.lock`.

What it does there, and what therefore never happens here:

- Its holder stamps the directory's time every 2.5 s, by path, and *dies of an uncaught exception* when it finds another
  time than its own, another directory, or none. So a lock that is not ours is never stamped, filled or removed while its
  time moves; "moves" is watched for 30 s by our own clock, because clocks of two hosts cannot be compared.
- It takes a lock over whose time is more than 5 s behind its own clock. So ours is stamped 15 s ahead, every 2 s, from a
  thread: that survives some 20 s of a stopped process, and after a kill its peers wait at most 20 s of their 60.
- It may take ours over while this process is stopped. So ours is stamped through a descriptor, which touches no thief's
  directory, and `check` compares the path with the descriptor before anything is sent or written.

A directory that a killed process of ours left goes at once: beside it lies a note with its owner, its inode, and the
last six digits of every stamp, in nanoseconds. The digits tell it from a peer's directory that has got the same inode.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from kimi_auth import files
from kimi_auth.clock import Clock
from kimi_auth.errors import LockLost, StorageError
from kimi_auth.store import medium, owners
from kimi_auth.store.owners import Owner
from kimi_auth.support.language import tr

__all__ = ["AHEAD_S", "EVERY_S", "STILL_S", "DirectoryHold", "DirectoryLock"]

AHEAD_S = 15.0
EVERY_S = 2.0
ALONE_AHEAD_S = 59.0
"""The one stamp of a process that can start no thread (it is ending). More would make every peer's request fail: a peer
waits for 60 s."""

STILL_S = 30.0
GAP_S = 5.0
"""A watch with a longer gap between two looks starts again: this process may have been stopped together with the
holder."""

OPENED_WITHIN_S = 3.0
"""A directory that is opened later than this after it was made may be a thief's, who waits for 5 s."""

DIGITS = 1_000_000
NOTE_BYTES_MAX = 4096
TAKES_MAX = 3

Seen = tuple[int, int, int]
"""Device, inode and time (ns) of a directory."""


class DirectoryLock:
    """The lock of `sentinel`, an empty file that must exist; the lock is the directory beside it."""

    def __init__(self, sentinel: Path, clock: Clock) -> None:
        self.path: Path = sentinel.with_name(f"{sentinel.name}.lock")
        self._sentinel = sentinel
        self._clock = clock
        self._watched: Seen | None = None
        self._since_s = 0.0
        self._looked_s = 0.0

    def prepare(self) -> None:
        medium.make_directories(self.path.parent)
        files.close(self.path.parent)
        medium.touch(self._sentinel)
        with suppress(FileNotFoundError):
            self._refuse_file(self.path.lstat())

    def take(self) -> DirectoryHold | None:
        self.prepare()
        with medium.doing(tr("cannot lock {path}"), self.path), files.reached(self.path) as place:
            for _ in range(TAKES_MAX):
                began_s = self._clock.monotonic_s()
                try:
                    os.mkdir(place.name, files.PRIVATE_DIRECTORY, dir_fd=place.directory)
                except FileExistsError:
                    if not self._is_cleared(place):
                        return None
                    continue
                self._watched = None
                return self._opened(place, began_s)
        return None

    def holder(self) -> str:
        try:
            found = self.path.lstat()
        except OSError:
            return ""
        owner = self._owner_of(found)
        return owner.text if owner and owner.text else tr("kimi-code (it has made {path})", path=self.path)

    def _opened(self, place: files.Location, began_s: float) -> DirectoryHold | None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(place.name, flags, dir_fd=place.directory)
        except FileNotFoundError:
            return None  # a thief was faster than we
        if self._clock.monotonic_s() - began_s > OPENED_WITHIN_S:
            os.close(descriptor)
            return None
        import secrets  # with hashlib and OpenSSL: reading a login does without

        hold = DirectoryHold(descriptor, self.path, self._clock, secrets.randbelow(DIGITS - 1) + 1)
        try:
            self._write_note(hold)
            hold.keep_alive()
        except BaseException:
            hold.release()
            raise
        return hold

    # --- a lock that is there ----------------------------------------------------------------------------------------

    def _is_cleared(self, place: files.Location) -> bool:
        """True if kimi-code's lock directory has gone, or was left behind and is removed now. Our own lock is held, so
        no other process of ours does the same."""
        found = _stat(place)
        if found is None:
            return True
        self._refuse_file(found)
        if not self._is_left_behind(found):
            return False
        again = _stat(place)
        if again is None or _seen(again) != _seen(found):
            return again is None
        with suppress(FileNotFoundError):
            os.rmdir(place.name, dir_fd=place.directory)
        return True

    def _is_left_behind(self, found: os.stat_result) -> bool:
        owner = self._owner_of(found)
        if owner is not None and owners.is_certainly_dead(owner, self._me()):
            return True
        now_s, gap_s = self._clock.monotonic_s(), self._clock.monotonic_s() - self._looked_s
        self._looked_s = now_s
        if self._watched != _seen(found) or gap_s > GAP_S:
            self._watched, self._since_s = _seen(found), now_s
        return now_s - self._since_s >= STILL_S

    def _refuse_file(self, found: os.stat_result) -> None:
        if not stat.S_ISDIR(found.st_mode):
            words = tr("{path} is no directory, so kimi-code cannot renew any more", path=self.path)
            raise StorageError(words, hint=tr("remove it: rm {path}", path=self.path))

    # --- the note beside it ------------------------------------------------------------------------------------------

    @property
    def note(self) -> Path:
        """Whose directory it is, where that is a process of ours."""
        return self._sentinel.with_name(f"{self._sentinel.name}.holder")

    def _write_note(self, hold: DirectoryHold) -> None:
        device, inode = hold.identity
        about = {"owner": self._me()._asdict(), "dev": device, "ino": inode, "digits": hold.digits}
        new = files.temporary(self.note)
        files.create(new, json.dumps(about).encode())
        files.rename(new, self.note)

    def _owner_of(self, found: os.stat_result) -> Owner | None:
        """The process of ours that made the lock directory `found`; None for a peer's, or where that is not certain."""
        try:
            data = files.read_bounded(self.note, NOTE_BYTES_MAX)
            about: dict[str, Any] = json.loads(data.data) if data else {}
            if (about["dev"], about["ino"], about["digits"]) != (*_seen(found)[:2], found.st_mtime_ns % DIGITS):
                return None
            owner = Owner(**about["owner"])
            return owner if list(map(type, owner)) == list(map(type, Owner())) else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def _me(self) -> Owner:
        return owners.this_process(self._clock.boot_id())


class DirectoryHold:
    """The held directory, open as `descriptor`, which the hold closes."""

    def __init__(self, descriptor: int, path: Path, clock: Clock, digits: int) -> None:
        self.digits = digits
        self.path: Path = path
        self._descriptor = descriptor
        self._clock = clock
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._is_over = threading.Event()
        self._ahead_s = AHEAD_S
        self._stamp()

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def keep_alive(self) -> None:
        """Stamps kimi-code's lock directory from a thread until the release."""
        keeper = threading.Thread(target=self._keep, name="kimi-auth lock", daemon=True)
        try:
            keeper.start()
        except RuntimeError:
            self._ahead_s = ALONE_AHEAD_S
            self._stamp()

    def check(self) -> None:
        if self._pid != os.getpid() or not self._is_held():
            raise LockLost(
                tr("kimi-code took the lock {path} over: this process was stopped for too long", path=self.path),
                hint=tr("nothing was sent or written, try again"),
            )

    def release(self) -> None:
        if self._pid != os.getpid():
            return  # a child of fork holds nothing, and its copy of `_guard` may never be released
        if self._is_held():
            with suppress(OSError):
                self.path.rmdir()
        with self._guard:
            if not self._is_over.is_set():
                self._is_over.set()
                with suppress(OSError):
                    os.close(self._descriptor)

    def _is_held(self) -> bool:
        # Stamped first: a fresh stamp keeps thieves away for as long as what follows takes.
        with self._guard:
            return not self._is_over.is_set() and self._stamp() and self._is_ours()

    def _keep(self) -> None:
        while not self._is_over.wait(EVERY_S):
            with self._guard:
                if not self._is_over.is_set():
                    self._stamp()

    def _stamp(self) -> bool:
        ns = int((self._clock.wall_s() + self._ahead_s) * 1000) * DIGITS + self.digits
        try:
            os.utime(self._descriptor, ns=(ns, ns))
        except OSError:
            return False
        return True

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._descriptor))
        except OSError:
            return False


def _stat(place: files.Location) -> os.stat_result | None:
    try:
        return os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _seen(found: os.stat_result) -> Seen:
    return found.st_dev, found.st_ino, found.st_mtime_ns
