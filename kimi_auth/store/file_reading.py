"""The reading half of `FileStore`: follows the record's link, never blocks, takes no lock, writes nothing; bad content is a result."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kimi_auth import files
from kimi_auth.clock import Clock
from kimi_auth.errors import StorageError
from kimi_auth.support.language import tr

from . import holders, medium, owners
from .contract import Backoff, Binding, Claim, Finding, RevokedMark, Snapshot, Stamp, View
from .credential_files import CredentialFiles, name_of
from .formats import is_tombstone
from .layout import Layout
from .watch import Watch, stamp_of

__all__ = ["FileReader"]

VIEWS_MAX = 4
"""A view is read this often at most, while other programs write the record in between."""

LOOK_AGAIN_S = 1.0
"""Seconds for which an open descriptor is trusted before the path is checked again."""


class FileReader:
    """The reading half of `FileStore`, for the record `path`."""

    def __init__(self, path: Path, clock: Clock, layout: Layout) -> None:
        self.path = path
        self._layout = layout
        self._record = os.fspath(path)
        self._clock = clock
        self._watch: Watch | None = None

    @property
    def location(self) -> str:
        return tr("the file {path}", path=self.path)

    @property
    def file(self) -> Path:
        return self.target

    def clock(self) -> Clock:
        return self._clock

    def is_current(self) -> bool:
        return True

    def look(self, patience_s: float) -> None:
        """A reader of files reads nothing ahead: every read is of the disk."""

    def examine(self) -> Iterator[Finding]:
        """Finds what keeps a reader from the credential's file, and whether only its owner may read it. No record
        yields nothing."""
        path = self.target
        problem = self.read().problem
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            mode = None
        if problem is not None and (mode is None or mode & 0o600 == 0o600):  # else the mode says why
            yield Finding(tr("file"), problem.message, problem.hint or "kimi-auth login")
        if mode is None:
            return
        step = f"chmod 600 {shlex.quote(str(path))}"
        if mode & 0o077:
            yield Finding(tr("file mode"), tr("{mode:04o}: others may read or write it", mode=mode), step)
        elif mode & 0o600 != 0o600:
            yield Finding(tr("file mode"), tr("{mode:04o}: its owner may not read and write it", mode=mode), step)
        else:
            yield Finding(tr("file mode"), tr("{mode:04o}: yours alone", mode=mode))

    @property
    def target(self) -> Path:
        """The file in which the store reads the record: `path`, or the target of its link. A link to a directory, in a
        circle or of another user is its own target, so that a login sets aside the link and nothing behind it."""
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
        """The lock files of the record, in locking order: one beside `path`, and one beside the file that its link leads to."""
        places = (self.path, self.target)
        return tuple(dict.fromkeys(place.with_name(f"{name_of(place)}.lock") for place in places))

    def view(self) -> View:
        for _ in range(VIEWS_MAX):
            view = self._look(self._with_sidecars)
            # A view is several files. With the record unchanged, the sidecars are those of its pair.
            if self.stamp() == view.snapshot.stamp:
                break
        return view

    def read(self) -> Snapshot:
        return self._look(lambda _, snapshot: View(snapshot)).snapshot

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
        with self._folder() as folder:
            return folder.mark(fp)

    def peek_claim(self, fp: str) -> Claim:
        with self._folder() as folder:
            return self._peek(folder, fp)

    def backoff(self) -> Backoff:
        with self._folder() as folder:
            return folder.backoff()

    def binding(self) -> Binding | None:
        with self._folder() as folder:
            return folder.binding()

    def leftovers(self) -> tuple[str, ...]:
        with suppress(OSError), self._folder() as folder:
            return tuple(str(folder.record.path.with_name(name)) for name in folder.leftovers())
        return ()

    def holder(self) -> str:
        pids = holders.holder_pids(self.lock_paths)
        if pids:
            return holders.process(pids[0])
        if (peer := self._layout.peer_lock) is not None and (holder := peer.holder()):
            return holder
        owner = self._claim_owner()
        # The kernel knows every holder on this host; only the claim can name a holder on another host.
        elsewhere = owner is not None and (pids is None or owner.host != owners.host_name())
        return f"{owner.text} (according to its claim)" if owner and elsewhere and owner.text else ""

    def close(self) -> None:
        self._watch = None

    def _look(self, beside: Callable[[CredentialFiles, Snapshot], View]) -> View:
        """Reads the record, and what `beside` makes of it in its open directory."""
        stamp = self.stamp()  # before the read: an unreadable file must not get the stamp of its successor
        target = self.target
        try:
            with medium.reading(target), suppress(FileNotFoundError), files.reached(target) as place:
                folder = self._folder_at(place)
                snapshot = folder.snapshot(stamp)
                if snapshot.state == "present":
                    snapshot = snapshot._replace(problem=folder.why_fixed())
                elif snapshot.state == "corrupt":
                    snapshot = snapshot._replace(problem=self._why_not_followed() or snapshot.problem)
                return beside(folder, snapshot)
        except StorageError as problem:
            problem = self._why_not_followed() or problem.with_traceback(None)
            return View(Snapshot("corrupt", stamp, problem=problem))
        return View()  # its directory is missing

    def _with_sidecars(self, folder: CredentialFiles, snapshot: Snapshot) -> View:
        fp = snapshot.fp
        claim = self._peek(folder, fp) if fp else Claim("none")
        if is_tombstone(snapshot.token):
            claim = folder.staged() or claim
        return View(
            snapshot,
            claim,
            folder.mark(fp) if fp else None,
            folder.backoff(),
            folder.binding(),
        )

    def _peek(self, folder: CredentialFiles, fp: str) -> Claim:
        return folder.peek(fp, self._me, self._clock.boottime_s())

    def _folder_at(self, place: files.Location) -> CredentialFiles:
        return CredentialFiles(place, is_linked=place.path.parent != self.path.parent)

    @contextmanager
    def _folder(self) -> Iterator[CredentialFiles]:
        """The folder to read files from: where its directory must not be entered, its files count as unreadable."""
        target = self.target
        with ExitStack() as held:
            try:
                place = held.enter_context(files.reached(target))
            except OSError:
                place = files.Location(-1, target.name, target)
            yield self._folder_at(place)

    def _me(self) -> owners.Owner:
        return owners.this_process(self._clock.boot_id())

    def _claim_owner(self) -> owners.Owner | None:
        fp = self.read().fp
        with self._folder() as folder:
            chain = folder.claims_on(fp) if fp else []
        return chain[-1][1].header.owner if chain else None

    def _why_not_followed(self) -> StorageError | None:
        """Why a reader must not follow the record's link; None if it may."""
        try:
            files.followed(self.path)
        except files.Unfit as error:
            return medium.explain(error, tr("cannot read {path}"), self.path, StorageError)
        except OSError:
            return None
        return None
