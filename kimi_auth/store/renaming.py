"""A login in files gets another name: one rename of its record, which is the moment at which the new name has the login.

Killed at any moment, exactly one of the two names has the pair: what belongs to it (binding, backoff, refusal) is copied
beside the new name first, and taken away from the old one last.
"""

from __future__ import annotations

from kimi_auth import files
from kimi_auth.errors import ConfigError, NotSignedIn, StorageError
from kimi_auth.support.language import tr
from kimi_auth.token import RECORD_FILE_MAX_BYTES

from . import medium
from .all_locked import all_locked
from .credential_files import CredentialFiles
from .file import FileStore

__all__ = ["rename"]

PATIENCE_S = 31.0


def rename(source: FileStore, target: FileStore) -> str:
    """Renames a login in files: that of `source` is that of `target` from now on; returns the fingerprint of its pair.

    Both lie in one directory. Nothing is sent, and no pair is read by a renewal meanwhile: both locks are held. Raises
    NotSignedIn, ConfigError for a target with a login, CredentialLocked, and StorageError, also where a renewal has been begun
    and not finished: its answer belongs beside the pair that it was asked for.
    """
    in_order = sorted((source, target), key=lambda one: one.path)
    with all_locked(in_order, PATIENCE_S) as holds:
        found, there = source.read(), target.read()
        if problem := found.problem or there.problem:
            raise problem
        if found.token is None or found.token.is_empty:
            raise NotSignedIn(tr("there is no login in {location}", location=source.location))
        if there.token is not None and not there.token.is_empty:
            raise ConfigError(
                tr("{location} holds another login", location=target.location), hint=tr("give it another name")
            )
        for path in (source.path, target.path):
            if path.is_symlink():
                raise StorageError(
                    tr("{path} is a symbolic link", path=path), hint=tr("put the file itself there, then try again")
                )
        with (
            medium.doing(tr("cannot rename {path}"), source.path),
            files.reached(source.path) as old,
            files.reached(target.path) as new,
        ):
            for hold in holds:
                hold.check()
            _move(CredentialFiles(old), CredentialFiles(new), found.fp)
    return found.fp


def _move(old: CredentialFiles, new: CredentialFiles, fp: str) -> None:
    if old.claims_on(fp) or old.staged() or new.staged():
        raise StorageError(
            tr("{path}: a renewal was begun and is not finished", path=old.record.path),
            hint=tr("finish it with kimi-auth token, then try again"),
        )
    medium.refuse_fixed(old.record)
    medium.refuse_fixed(new.record)
    beside = ("issuer", "backoff", f"{fp}.revoked")
    for ending in beside:
        kept = medium.read_bounded(old.beside(ending), RECORD_FILE_MAX_BYTES)
        if kept is None:
            medium.remove_durably(new.beside(ending))
        else:
            medium.write_durably(new.beside(ending), kept.data)
    files.rename_durably(old.record, new.record)
    for ending in (*beside, f"{fp}.met"):
        files.remove(old.beside(ending))
