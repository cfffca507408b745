"""accounts.toml of a home: which account of each platform is in use; and the labels of all accounts that have a record there.

An account has a label, chosen by its user; the login without a label is called `default`. `kimi-auth/accounts.toml` names
the one that is in use where neither an option nor a variable names another:

    [use]
    kimi-code = "work"

It must be a plain file of the user's (or root's) that no one else may write to. Anything else in it or about it is an error:
a guess would hand out the token of an account that its user did not mean.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kimi_auth import files
from kimi_auth.errors import ConfigError, CredentialLocked, NoSuchAccount, StorageError
from kimi_auth.selection import ACCOUNTS, LABEL_MAX, UNLABELLED, accounts_written, is_label
from kimi_auth.store import lock, medium
from kimi_auth.support.language import said_by, tr

__all__ = ["Accounts", "accounts_text", "checked_label"]

BYTES_MAX = 1 << 16
LABELS_MAX = 1000
"""More records than this are not listed."""

LOCK_PATIENCE_S = 10.0
OTHERS_WRITE = 0o022


def checked_label(name: str) -> str:
    """The label `name`; raises NoSuchAccount for one that can name no account."""
    if not is_label(name):
        raise NoSuchAccount(
            tr("{name} cannot be the name of an account", name=ascii(name)[:80]),
            hint=tr("a-z, 0-9 and -, at most {number} characters", number=LABEL_MAX),
        )
    return name


def accounts_text(in_use: Mapping[str, str]) -> str:
    """The text of accounts.toml: the account in use of each platform."""
    lines = [f'{platform} = "{label}"' for platform, label in sorted(in_use.items())]
    return "\n".join(
        ("# The account in use where none is named. Written by: kimi-auth accounts use NAME", "[use]", *lines, "")
    )


class Accounts:
    """The accounts of one home, which is none of kimi-code's."""

    def __init__(self, home: Path) -> None:
        self.path: Path = home / "kimi-auth" / ACCOUNTS
        self._credentials = home / "credentials"

    def in_use(self, platform: str) -> str:
        """The label that accounts.toml has in use for a platform, "" where the file says nothing. Raises ConfigError."""
        return self.read().get(platform, "")

    def is_in_use(self, platform: str, label: str) -> bool:
        """Whether accounts.toml has the account `label` ("" or `default` for the one without) in use. Raises ConfigError."""
        return (self.in_use(platform) or UNLABELLED) == (label or UNLABELLED)

    def read(self) -> dict[str, str]:
        """The label in use of each platform that accounts.toml names. Raises ConfigError for a file that cannot be
        trusted or understood."""
        try:
            found = files.read_bounded(self.path, BYTES_MAX)
        except files.Unfit as error:
            if self._is_out_of_reach(error):
                return {}
            raise self._refused(said_by(error)) from None
        except OSError as error:
            if self._is_out_of_reach(error):
                return {}
            is_link = os.path.islink(self.path)  # noqa: PTH114 - pathlib's raises in a directory that is closed to us
            words = tr("a symbolic link, not a file") if is_link else files.reason(error, self.path)[0]
            raise self._refused(tr("{path}: {reason}", path=self.path, reason=words)) from None
        if found is None:
            return {}
        if found.stat.st_mode & OTHERS_WRITE and files.keeps_modes(found.stat.st_dev):
            raise self._refused(tr("{path}: others may write to it", path=self.path))
        try:
            text = found.data.decode()
        except UnicodeDecodeError:
            raise self._refused(tr("{path}: not UTF-8", path=self.path)) from None
        written = accounts_written(text)
        return self._parsed(text) if written is None else written

    def _is_out_of_reach(self, error: OSError) -> bool:
        """Whether accounts.toml cannot be read because the home refuses: no login can be used there, and its store says why."""
        if isinstance(error, files.Unfit):
            return error.path not in {self.path, self.path.parent}
        try:
            os.lstat(self.path.parent)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return error.errno == errno.ENAMETOOLONG

    def _parsed(self, text: str) -> dict[str, str]:
        """As `read`, for an accounts.toml that a person wrote."""
        import tomllib

        try:
            use = tomllib.loads(text).get("use", {})
        except (ValueError, RecursionError):
            raise self._refused(tr("{path}: not TOML", path=self.path)) from None
        if not isinstance(use, dict):
            raise self._refused(tr("{path}: use is not a table", path=self.path))
        for platform, label in use.items():
            if not isinstance(label, str) or not is_label(label):
                words = tr("{path}: no account can be called so: {name}", path=self.path, name=ascii(label)[:80])
                raise self._refused(tr("{message} (use.{platform})", message=words, platform=ascii(platform)[1:41]))
        return use

    def _refused(self, words: str) -> ConfigError:
        return ConfigError(
            words, hint=tr("correct it, or remove it: rm {path}; then: kimi-auth accounts use NAME", path=self.path)
        )

    def use(self, platform: str, label: str) -> None:
        """Writes accounts.toml: from now on `label` is in use, durably. Called with `locked`. Raises ConfigError, StorageError."""
        in_use: Mapping[str, str] = {**self.read(), platform: checked_label(label)}
        medium.make_directories(self.path.parent)
        medium.write_durably(self.path, accounts_text(in_use).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of the home's accounts.toml: one change at a time. Raises CredentialLocked, StorageError."""
        medium.make_directories(self.path.parent)
        with lock.locked([self.path.with_suffix(".lock")], LOCK_PATIENCE_S) as hold:
            if hold is None:
                raise CredentialLocked(
                    tr("another process is changing the accounts of {path}", path=self.path.parent),
                    hint=tr("wait for that process, or end it, then try again"),
                )
            yield

    def labels(self, platform: str) -> list[str]:
        """The accounts of the platform that have a record here, signed in or not, `default` first. Raises StorageError."""
        record = re.compile(rf"{re.escape(platform)}(?:@([a-z0-9-]{{1,{LABEL_MAX}}}))?\.json")
        try:
            names = files.names(self._credentials)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise medium.explain(error, tr("cannot read {path}"), self._credentials, StorageError) from None
        found = [match[1] or UNLABELLED for name in names if (match := record.fullmatch(name))]
        return sorted(set(found), key=lambda label: (label != UNLABELLED, label))[:LABELS_MAX]
