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

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal

from kimi_auth import files
from kimi_auth.clock import Clock
from kimi_auth.errors import ConfigError, CorruptCredential, StorageError
from kimi_auth.support.language import Sentence, tr
from kimi_auth.token import Token, fingerprint

from . import claims, formats, lock, medium
from .contract import Backoff, Binding, Claim, Committed, RevokedMark, Snapshot
from .credential_files import CredentialFiles, checked, name_of
from .file_reading import FileReader
from .layout import Layout
from .two_locks import both
from .watch import stamp_of

__all__ = ["FileStore"]

log: logging.Logger = logging.getLogger("kimi_auth.store")

PROBE_BYTES = claims.ALLOCATE

_KEY = re.compile(r"oauth/([a-z0-9-]+(?:@[a-z0-9-]{1,32})?)")


class FileStore(FileReader):
    """The `CredentialStore` in files. `share_dir` is the home of a Kimi program; `key` is `oauth/<platform>`, or
    `oauth/<platform>@<account>`, and its last part names the file; `layout`: how that home keeps it, the Kimi CLI's way by default.

    Safe for any number of threads and processes. Raises ConfigError for any other key.
    """

    def __init__(
        self, share_dir: Path, key: str = "oauth/kimi-code", *, clock: Clock, layout: Layout | None = None
    ) -> None:
        match = _KEY.fullmatch(key)
        if not match:
            raise ConfigError(
                tr(
                    "the credential's key {key!r} is not of the form oauth/<a-z, 0-9, ->, with an account behind @ where it has one",
                    key=key,
                )
            )
        super().__init__(Path(share_dir) / "credentials" / f"{match[1]}.json", clock, layout or Layout())
        self._hold: lock.Hold | None = None
        self._mine: list[Claim] = []  # made or renewed under this hold, and not staged yet

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"

    # --- taking the lock ---------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        medium.make_directories(self.path.parent)
        found = self.read()
        if found.problem and not isinstance(found.problem, CorruptCredential):
            raise found.problem  # another user's, unreadable or not replaceable
        medium.refuse_fixed(self.target)
        probe = files.temporary(self.target.with_name(f"{name_of(self.target)}.{files.PROBE}"))
        try:
            medium.write_durably(probe, bytes(PROBE_BYTES), allocate=PROBE_BYTES)
            with lock.locked([probe], 0.0) as hold:
                if hold:
                    hold.check()
        finally:
            files.remove(probe)
        with lock.locked([path for path in self.lock_paths if os.path.lexists(path)], 0.0):
            pass
        if self._layout.peer_lock is not None:
            self._layout.peer_lock.prepare()

    @contextmanager
    def locked(
        self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None
    ) -> Iterator[lock.Hold | None]:
        files.close(self.path.parent.parent)
        medium.make_directories(self.path.parent)
        files.tighten(self.path.parent)
        for path in dict.fromkeys((self.path, self.target)):  # an old Kimi CLI lets everyone read them
            with suppress(OSError), files.reached(path, private=False) as place:
                files.tighten(place)
                files.tighten(place.beside(f"{name_of(path)}.lock"))
        with self._all_locks(patience_s, give_up) as hold:
            if hold is None:
                yield None
                return
            self._hold, self._mine = hold, []
            try:
                yield hold
            finally:
                if hold.is_ours and self._mine:
                    self._close_claims()
                self._hold = None

    def _all_locks(
        self, patience_s: float | None, give_up: Callable[[], bool] | None
    ) -> AbstractContextManager[lock.Hold | None]:
        def ours(left_s: float | None) -> AbstractContextManager[lock.Hold | None]:
            return lock.locked(self.lock_paths, left_s, give_up, wanted=lambda: self.lock_paths)

        peer = self._layout.peer_lock
        return ours(patience_s) if peer is None else both(ours, peer, patience_s, give_up)

    # --- under the lock ----------------------------------------------------------------------------------------------

    def claim(self, fp: str) -> Claim:
        self._need_lock().check()  # again before anything is sent: the lock file may have been removed
        with self._opened(tr("cannot make a claim beside {path}")) as folder:
            place = folder.claim(fp)
            medium.refuse_fixed(folder.record)
            if (
                fp == formats.EMPTY_FP
            ):  # a tombstone has nothing to send: the answer to install over it, and no claim on it
                if (staged := folder.staged()) is None:
                    failure = tr("no answer is staged beside {path}", path=place.path.parent)
                    raise StorageError(failure, hint=tr("sign in again: kimi-auth login"))
                return staged
            folder.sweep(fp, self._clock.wall_s())
            mine = claims.new(fp, self._me())
            if medium.create_durably(place, claims.unfinished(mine), allocate=claims.ALLOCATE):
                return self._own("made", mine)
            claim = self._peek(folder, fp)
            if claim.state == "none":
                raise StorageError(
                    tr("{path} came and went", path=place.path), hint=tr("another process is renewing; try again")
                )
            if claim.state == "in_flight":
                folder.meet(claim, mine.owner.boot, self._clock.boottime_s())
            return claim

    def renew_claim(self, claim: Claim) -> Claim:
        self._need_lock().check()
        with self._opened(tr("cannot make a claim beside {path}")) as folder:
            mine = claims.new(claim.fp, self._me())
            folder.take_over(claim, mine)
        return self._own("renewed", mine)

    def withdraw_claim(self, claim: Claim) -> None:
        self._need_lock()
        with self._opened(tr("cannot remove a claim beside {path}")) as folder:
            first = folder.claims_on(claim.fp)[:1]
            if first and first[0][1].header.nonce == claim.nonce:
                medium.remove_durably(first[0][0])

    def stage(self, claim: Claim, token: Token) -> None:
        self._need_lock()
        formats.encode_record(token)  # raises for a pair that no reader would accept
        with self._opened(tr("cannot write {path}")) as folder:
            self._stage(folder, claim, token)

    def _stage(self, folder: CredentialFiles, claim: Claim, token: Token) -> None:
        folder.write_answer(claim, token, self._me)
        self._mine = [mine for mine in self._mine if mine.nonce != claim.nonce]

    def commit(self, claim: Claim, token: Token) -> Committed:
        self._need_lock()
        new = fingerprint(token)
        with self._opened(tr("cannot replace {path}")) as folder:
            found = folder.snapshot()
            if formats.is_over(found):
                return "gone"
            if found.fp == new != claim.fp:  # an earlier try renamed it and failed after that; now it is made durable
                files.sync_directory(folder.record)
            elif found.state == "present" and found.fp != claim.fp and not formats.is_tombstone(found.token):
                return "superseded"
            else:
                found = self._rename(folder, claim, token)
            folder.sweep(new, self._clock.wall_s())
        return found

    def _rename(self, folder: CredentialFiles, claim: Claim, token: Token) -> Snapshot:
        """Renames the sidecar with the staged `token`: it becomes the record's file."""
        chain = folder.claims_on(claim.fp)
        answer = chain[0][1].answer if chain else None
        if answer is None or fingerprint(answer) != fingerprint(token):
            self._stage(folder, claim, token)  # its file is gone: the pair exists in this process only
        staged = folder.claim(claim.fp)
        stamp = stamp_of(os.stat(staged.name, dir_fd=staged.directory, follow_symlinks=False))  # renaming keeps it
        files.rename_durably(staged, folder.record)
        return Snapshot("present", stamp, token, fingerprint(token))

    def put(self, token: Token) -> None:
        self._install(token)
        with self._opened(tr("cannot write {path}")) as folder:
            folder.sweep(fingerprint(token), self._clock.wall_s())

    def sign_out(self, now_s: float) -> None:
        self._install(Token("", "", 0.0, 0.0, signed_out_at_s=max(now_s, 1.0)))  # 0 would read as "not signed out"
        with self._opened(tr("cannot write {path}")) as folder:
            folder.clear_temporaries()

    def tidy(self, now_s: float) -> None:
        self._need_lock()
        found = self.read()
        with self._opened(tr("cannot remove {path}")) as folder:
            if formats.has_served(found.token, now_s) and not self._layout.keeps_sign_out:
                medium.remove_durably(folder.record)
            if found.state != "corrupt":  # the pair of a corrupt record is unknown, and its claim may still count
                folder.sweep(found.fp, self._clock.wall_s())
        if formats.is_over(found):
            self.bind(None)

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        self._write(f"{checked(fp)}.revoked", formats.encode_revoked(refusal))

    def set_backoff(self, backoff: Backoff) -> None:
        self._write("backoff", formats.encode_backoff(backoff))

    def bind(self, binding: Binding | None) -> None:
        self._write("issuer", None if binding is None else formats.encode_binding(binding))

    # --- helpers -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _opened(self, failure: Sentence) -> Iterator[CredentialFiles]:
        """The folder, for one operation under the lock. Raises StorageError, also for an `OSError` of the body."""
        target = self.target
        with medium.doing(failure, target), files.reached(target) as place:
            yield self._folder_at(place)

    def _write(self, ending: str, data: bytes | None) -> None:
        """Replaces kimi-auth's sidecar with that ending, beside the record and under the lock; None removes it."""
        self._need_lock()
        with self._opened(tr("cannot write beside {path}")) as folder:
            if data is None:
                medium.remove_durably(folder.beside(ending))
            else:
                medium.write_durably(folder.beside(ending), data)

    def _install(self, token: Token) -> None:
        """Replaces the record in its file by `token`, whichever it is; a corrupt one is set aside."""
        self._need_lock().check_peer()
        data = self._layout.encode(token)
        problem = self.read().problem
        if problem:
            problem = self.read().problem  # read twice: a writer without a lock may have been in the middle of a write
        if problem and not isinstance(problem, CorruptCredential):
            raise problem
        with self._opened(tr("cannot write {path}")) as folder:
            if problem:
                folder.set_aside(self._clock.wall_s())
            medium.write_durably(folder.record, data)

    def _need_lock(self) -> lock.Hold:
        if self._hold is None or not self._hold.is_ours:
            raise RuntimeError("a credential is written with its lock held, and with it only")
        return self._hold

    def _own(self, state: Literal["made", "renewed"], header: claims.Header) -> Claim:
        claim = Claim(state, header.fp, owner=header.owner.text, nonce=header.nonce)
        self._mine.append(claim)
        return claim

    def _close_claims(self) -> None:
        """Closes the sidecars of the claims that this hold left unfinished, so that the next process recovers at once.
        If that fails, it waits."""
        with self._folder() as folder:
            for claim in self._mine:
                for place, found in folder.claims_on(claim.fp):
                    if found.header.nonce == claim.nonce and not found.answer:
                        try:
                            medium.overwrite_durably(place, found.line, claims.CLOSED)
                        except StorageError as problem:
                            log.warning("a claim stays open, the next renewal waits for it: %s", problem.line)
