"""config.toml as a transaction: lock, read, plan, edit, check, remember how to undo it, replace.

The plan is a function of the config, computed under the lock on what the file says then, so a change made
meanwhile is kept. A file that cannot be read as TOML is never written; nor is a text that does not say exactly what the
plan says. The Kimi CLI takes no lock: what it writes meanwhile is noticed just before the replacement, and planned anew.
"""

from __future__ import annotations

import math
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth import files
from kimi_auth.errors import ConfigError
from kimi_auth.models.configtext import CONFIG_BYTES_MAX, Content, parse, rendered, toml_of_json
from kimi_auth.support.language import tr
from kimi_auth.support.once import once

if TYPE_CHECKING:  # every command reads config.toml; the few that write it load what that takes
    from kimi_auth.models.planning import Change
    from kimi_auth.models.undo import Undo, UndoFile
    from kimi_auth.platforms.spec import Platform

__all__ = ["ConfigFile", "Planner", "default_location"]

Planner = Callable[[Mapping[str, Any]], "Change"]
"""From the current config to the changes in it."""

_Step = tuple["Change", Content, "Undo"]
"""A change, the content after it, and the undo after it."""

_ATTEMPTS = 5
_ROOM_BYTES = 64 << 10
"""Kept free before an approval, when it is not known yet how many models there are to write."""


def default_location(share_dir: Path, given: Path | None) -> Path:
    """Where config.toml is. Raises `ConfigError` when another file is `given`: the Kimi CLI reads OAuth from this one only."""
    path = share_dir / "config.toml"
    if given is not None and os.path.realpath(files.expanded(given)) != os.path.realpath(path):
        raise ConfigError(
            tr(
                "{given}: sign-in works with the default config file only, {path}, because the Kimi CLI reads it from there",
                given=given,
                path=path,
            ),
            hint=tr("leave out --config-file, or set KIMI_SHARE_DIR to the directory of that file"),
        )
    return path


class ConfigFile:
    """The config.toml of one share dir. `lock_wait_s`: how long a writer waits for another one, in seconds."""

    def __init__(self, share_dir: Path, *, lock_wait_s: float = 10.0) -> None:
        self.share_dir = share_dir
        self.path: Path = share_dir / "config.toml"
        self.lock_path: Path = share_dir / "config.lock"
        self._legacy_path = share_dir / "config.json"
        self._lock_wait_s = lock_wait_s

    @once
    def _undo(self) -> UndoFile:
        from kimi_auth.models.undo import UndoFile

        return UndoFile(self.share_dir)

    def read(self) -> dict[str, Any]:
        """The config as plain data, {} if there is none; a legacy config.json counts until it has become a config.toml.

        Raises `ConfigError` with the line and column if the file cannot be read.
        """
        with _errors_at(self.path):
            return parse(self.path, self._current()[0])

    def stamp(self) -> tuple[int, ...]:
        """Identity of config.toml as it is now, () if there is none: two equal stamps mean that nothing was written between."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def writable(self, planner: Planner | None = None) -> None:
        """Raises `ConfigError` now for what would stop a later `apply`; the config stays as it is. `planner` is tried on a
        copy: where it has nothing to change, the file need not be writable."""
        with _errors_at(self.path), self._locked() if self.share_dir.is_dir() else nullcontext():
            content, _ = self._current()
            config = parse(self.path, content)
            if planner is not None:
                if not (change := planner(config)):
                    return
                rendered(self.path, content, change, bytes_max=CONFIG_BYTES_MAX - _ROOM_BYTES)
            self._refuse_target()
            files.probe(_nearest(self._undo.path.parent))
            files.probe(self._target().parent if self._is_link() else _nearest(self.share_dir))

    def apply(self, planner: Planner) -> Change:
        """Does what `planner` says of the config as it is under the lock; returns that change, false if there was none.

        Raises `ConfigError`, with nothing written, when the file cannot be locked, read, edited or replaced.
        """

        from kimi_auth.models.logins import after_login, after_sync, current

        def step(old: Content, undo: Undo) -> _Step:
            change = planner(parse(self.path, old))
            new = rendered(self.path, old, change)
            if new == old and self._is_declared():
                return change, new, undo
            remembered = current(undo, change.before)
            if change.reason == "login":
                return change, new, after_login(self.path, remembered, change, old, new)
            return change, new, after_sync(remembered, change.owner, old, new, again)

        def again(remembered: Content) -> Content:
            return rendered(self.path, remembered, planner(parse(self.path, remembered)))

        return self._transact(step)

    def revert(self, platform: Platform) -> Change:
        """In one transaction, takes out what login to the platform put in: the very bytes from before if the file is
        unchanged since, else the platform's tables and nothing more. A file that cannot be written, with a text that is not
        ours, was declared by its owner: it stays as it is, unless it holds the platform's API key. Returns the change, false
        if there was none; raises as `apply`."""

        from kimi_auth.models.contents import account_of
        from kimi_auth.models.logins import after_logout, current, without
        from kimi_auth.models.planning import Change

        def step(old: Content, undo: Undo) -> _Step:
            config = parse(self.path, old)
            if account_of(config, platform) not in {None, platform.account}:  # another account owns it, and its undo
                return Change.between(platform, "use", config, config), old, undo
            remembered = current(undo, config)
            goes = platform.oauth is None or remembered.wrote(old) or not self._is_declared()
            new = without(self.path, old, platform, remembered) if goes else old
            change = Change.between(platform, "logout", config, parse(self.path, new))
            return change, new, after_logout(self.path, remembered, platform, old, new)

        return self._transact(step)

    def _transact(self, step: Callable[[Content, Undo], _Step]) -> Change:
        files.close(self.share_dir)
        files.tighten(self.lock_path)
        with _errors_at(self.path), self._locked():
            for _ in range(_ATTEMPTS):
                old, is_legacy = self._current()
                undo = self._undo.read()
                change, new, remembered = step(old, undo)
                if is_legacy and new != old:
                    self._migrate(old)
                    continue
                # The undo first: after a crash between the two it speaks of a file that is not there, and is not used.
                if remembered != undo:
                    self._undo.keep(remembered)
                if new == old or self._replace(old, new, change.after):
                    if change.reason == "logout" and change.platform in remembered.logins:
                        self._undo.keep(remembered.less(change.platform))
                    return change
        raise ConfigError(
            tr("{path}: another program keeps writing it; nothing was changed", path=self.path), hint=tr("try again")
        )

    # -- the file --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        files.make_directories(self.share_dir)
        files.touch(self.lock_path)
        lock = FileLock(self.lock_path, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
        try:
            held = lock.acquire(timeout=self._lock_wait_s)
        except Timeout:
            raise ConfigError(
                tr(
                    "{path}: locked: another process has held {lock} for more than {seconds:g} s",
                    path=self.path,
                    lock=self.lock_path,
                    seconds=self._lock_wait_s,
                ),
                hint=tr("wait for that process, or end it, then try again"),
            ) from None
        with held:
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Removes the files that killed writers left, however young: no other process writes while we hold the lock."""
        for path in (self.path, self._undo.path):
            for left in (path, path.with_name(files.PROBE)):
                files.remove_forgotten(left, math.inf)

    def _current(self) -> tuple[Content, bool]:
        """The config as TOML, and whether that is a legacy config.json which is still to become a config.toml."""
        content = _content_of(self.path)
        if content is not None:
            return content, False
        legacy = _content_of(self._legacy_path)
        return (None, False) if legacy is None else (toml_of_json(self._legacy_path, legacy), True)

    def _target(self) -> Path:
        """The file to replace where config.toml is a symlink: the link is the user's and stays."""
        try:
            return files.followed(self.path) if self._is_link() else self.path
        except FileNotFoundError:
            target = os.path.realpath(self.path)
            raise ConfigError(
                tr(
                    "{path}: it leads to {target}, whose directory does not exist; nothing was changed",
                    path=self.path,
                    target=target,
                ),
                hint=tr("make that directory: mkdir -p {directory}", directory=shlex.quote(os.path.dirname(target))),  # noqa: PTH120
            ) from None

    def _is_link(self) -> bool:
        found = files.stat_at(self.path)
        return found is not None and stat.S_ISLNK(found.st_mode)

    def _refuse_target(self) -> None:
        target = self._target()
        if files.stat_at(target) and not os.access(target, os.W_OK):
            raise ConfigError(
                tr("{target}: read-only; nothing was changed", target=target),
                hint=tr("make it writable: chmod u+w {target}", target=target),
            )
        files.refuse_fixed(target)

    def _is_declared(self) -> bool:
        """Whether the file is there and cannot be written: its owner has made it elsewhere, and changes it there."""
        try:
            self._refuse_target()
            target = self._target()
        except (ConfigError, files.Unfit):
            return True
        return files.stat_at(target) is not None and not os.access(target.parent, os.W_OK)

    def _replace(self, old: Content, new: Content, config: Mapping[str, Any]) -> bool:
        """Replaces config.toml: False, with nothing changed, if the file is no longer `old`. `config` is what `new` says."""
        from kimi_auth.models.contents import holds_secret

        self._refuse_target()
        target = self._target()
        if new is None:
            is_same = _content_of(self.path) == old
            if is_same:
                files.remove_durably(target)
            return is_same
        found = files.stat_at(target)
        mode = stat.S_IMODE(found.st_mode) & 0o777 if found else 0o600
        if holds_secret(config):
            mode = 0o600
        written = files.write_durably(target, new, mode=mode, still=lambda: _content_of(self.path) == old)
        if written:
            now = files.stat_at(target)
            files.remove_forgotten(target, now.st_mtime if now else 0.0)
        return written

    def _migrate(self, content: Content) -> None:
        """A legacy config.json becomes config.toml once, and is kept as config.json.bak."""
        if self._replace(None, content, parse(self.path, content)):
            kept = self._legacy_path.with_suffix(".json.bak")
            files.rename(self._legacy_path, kept)
            files.tighten(kept)


@contextmanager
def _errors_at(path: Path) -> Iterator[None]:
    """What the operating system refuses inside becomes a `ConfigError` about the file that it was about, else `path`."""
    try:
        yield
    except files.Unfit as exc:
        raise ConfigError(tr("{error}; nothing was changed", error=exc), hint=exc.hint) from exc
    except OSError as exc:
        where = Path(exc.filename) if isinstance(exc.filename, str) else path
        words, hint = files.reason(exc, where)
        raise ConfigError(tr("{where}: {reason}; nothing was changed", where=where, reason=words), hint=hint) from exc


def _content_of(path: Path) -> Content:
    found = files.read_bounded(path, CONFIG_BYTES_MAX, follow=True)
    return found.data if found else None


def _nearest(directory: Path) -> Path:
    """The directory, or the one above it in which it is still to be made."""
    while not os.path.lexists(directory):
        directory = directory.parent
    return directory
