"""Who else writes the credential, and whether the file system keeps its promises: locks that exclude, room to write."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth import files
from kimi_auth.cli.doctor.check import LOGIN, Check
from kimi_auth.cli.doctor.credential import file_of
from kimi_auth.cli.options import components_of
from kimi_auth.cli.status_words import duration
from kimi_auth.credential.status import Status
from kimi_auth.errors import ConfigError, SignInEnded, StorageError
from kimi_auth.models import ConfigFile
from kimi_auth.models.platform_config import PlatformConfig
from kimi_auth.store.lock import locked, why_shared
from kimi_auth.support.language import counted, joined, tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["locks", "why_locks_are_shared", "writable", "writers"]

CONFIG_PATIENCE_S = 1.0
LOCAL_DISK = tr("move it to a local disk: export KIMI_SHARE_DIR=/a/directory/on/a/local/disk")

_KIMI_CLI_TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}\.tmp")


def writers(session: Session, found: Status) -> Iterator[Check]:
    """Checks for a Kimi CLI that writes the same file: it takes the same lock, so that is fine until something is lost."""
    path = file_of(session)
    if path is None:
        return
    kind = components_of(session).home.kind
    writer = tr("a Kimi CLI") if kind.owns_config else kind.writer
    traces = []
    if found.fp and found.issuer_from in {"binding", "platform"}:
        traces.append(tr("the credential was last written by {writer}", writer=writer))
    if ages := sorted(_ages_s(path.parent)):
        many = counted(len(ages), tr("one unfinished write"), tr("{number} unfinished writes"))
        traces.append(tr("{writes} of a Kimi CLI, the last one {time} ago", writes=many, time=duration(ages[0])))
    lost = found.state in {"corrupt", "blocked"} or isinstance(found.error, SignInEnded)
    program = kind.writer.removeprefix("the ")
    step = tr("close every running {program}, then: {login} --force", program=program, login=LOGIN)
    yield Check(tr("writers"), joined(tr("; "), traces) or tr("kimi-auth alone"), step if traces and lost else "")


def locks(session: Session, _: Status) -> Iterator[Check]:
    """Checks that locks exclude each other: two holders of one would spend one refresh token twice, and end the login."""
    path = file_of(session)
    place = path if path and path.parent.is_dir() else components_of(session).config.path
    if not place.parent.is_dir():
        return
    try:
        why = why_locks_are_shared(place)
    except StorageError as error:
        yield Check(tr("locks"), error.message, error.hint)
        return
    told = tr("a lock in {directory} does not keep others out: {why}", directory=place.parent, why=why)
    yield Check(tr("locks"), told if why else tr("exclude each other"), LOCAL_DISK if why else "")


def writable(session: Session, found: Status) -> Iterator[Check]:
    """Checks that a renewal and a change of config.toml could be written now."""
    path = file_of(session)
    if path is None or not path.parent.is_dir() or found.state == "corrupt":
        return
    try:
        components_of(session).store.check_writable()
        components_of(session).config.read()
    except StorageError as error:
        yield Check(tr("writing"), error.message, error.hint)
        return
    except ConfigError:
        return  # said where models are looked at
    try:
        PlatformConfig(
            ConfigFile(components_of(session).share_dir, lock_wait_s=CONFIG_PATIENCE_S), session.platform
        ).check()
    except ConfigError as error:
        yield Check(tr("writing"), error.message, error.hint)
        return
    yield Check(tr("writing"), tr("credential and config.toml can be written"))


def why_locks_are_shared(path: Path) -> str:
    """Tries a lock beside `path` for doctor's check of the disk, and tells why it could have two holders, "" if it
    could not. Raises StorageError where there is no lock."""
    probe = files.temporary(path)
    try:
        with locked([probe], 0.0):
            return why_shared(probe)
    finally:
        files.remove(probe)


def _ages_s(directory: Path) -> Iterator[float]:
    """How long ago each temporary file of a Kimi CLI, another writer on the disk, was written, in seconds."""
    try:
        for path in directory.iterdir():
            if _KIMI_CLI_TEMPORARY.fullmatch(path.name):
                yield time.time() - path.lstat().st_mtime
    except OSError:
        return
