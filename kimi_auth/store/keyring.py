"""The system keyring, which old Kimi CLIs used for their login: read and deleted, never written.

Service `kimi-code`, user `oauth/<name>`, the value is the credential file's JSON. A keyring may prompt for a password
or wait for a service that never starts, so every request has its own thread and time limit. The optional package
`keyring` is imported in that thread too, because its import queries services.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from kimi_auth.errors import StorageError
from kimi_auth.support.extras import install
from kimi_auth.support.language import tr
from kimi_auth.token import Token

from . import formats

__all__ = ["Backend", "LegacyKeyring", "NoKeyring", "SystemKeyring"]

SERVICE = "kimi-code"
PATIENCE_S = 3.0

T = TypeVar("T")


class NoKeyring(StorageError):
    """This session has no system keyring, so no login can be in it."""


class LegacyKeyring(Protocol):
    """A keyring, as the migration uses it. Both methods raise NoKeyring if none exists, StorageError if it is locked,
    slow or broken."""

    def read(self, key: str) -> Token | None:
        """The login under `key`, or None. Raises CorruptCredential for an entry that cannot be parsed."""

    def delete(self, key: str) -> None:
        """Deletes the entry; a missing one is no error."""


class Backend(Protocol):
    """The two functions of the package `keyring` that are used."""

    def get_password(self, service_name: str, username: str) -> str | None: ...
    def delete_password(self, service_name: str, username: str) -> None: ...


class SystemKeyring:
    """The `LegacyKeyring` of this system. `patience_s`: how long one request may take, in seconds."""

    def __init__(self, *, patience_s: float = PATIENCE_S, backend: Callable[[], Backend] | None = None) -> None:
        self._patience_s = patience_s
        self._backend = backend or _package

    def read(self, key: str) -> Token | None:
        text = self._ask(lambda keyring: keyring.get_password(SERVICE, key))
        return formats.decode_record(text.encode(), Path(tr("the keyring entry {key}", key=key))) if text else None

    def delete(self, key: str) -> None:
        def gone(keyring: Backend) -> None:
            # Backends raise different errors for a missing entry, so its existence is checked first.
            if keyring.get_password(SERVICE, key) is not None:
                keyring.delete_password(SERVICE, key)

        self._ask(gone)

    def _ask(self, request: Callable[[Backend], T]) -> T:
        answers: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()

        def work() -> None:
            try:
                value = request(self._backend())
            except BaseException as error:  # noqa: BLE001  (the caller gets an error, whatever the service raises)
                failure = _storage_error(error)
                answers.put(lambda: _raise(failure))
            else:
                answers.put(lambda: value)

        # A daemon thread: a keyring that waits for a password must not keep the program from ending.
        threading.Thread(target=work, name="kimi-auth-keyring", daemon=True).start()
        try:
            return answers.get(timeout=self._patience_s)()
        except queue.Empty:
            words = tr("the system keyring did not answer within {seconds:g} s", seconds=self._patience_s)
            raise StorageError(
                words, hint=tr("unlock the keyring and try again, or sign in: kimi-auth login --force")
            ) from None


def _package() -> Backend:
    import keyring

    return keyring


def _storage_error(error: BaseException) -> StorageError:
    """Maps a keyring's exception by its class name: the service's own message may contain anything, even the secret."""
    name = type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        return StorageError(tr("the login is in the system keyring, which needs a package"), hint=install("keyring"))
    if name in {"NoKeyringError", "InitError"}:
        return NoKeyring(
            tr("this session has no system keyring"),
            hint=tr("try again where there is one, or sign in: kimi-auth login --force"),
        )
    if name == "KeyringLocked":
        return StorageError(
            tr("the system keyring is locked"), hint=tr("unlock it and try again, or sign in: kimi-auth login --force")
        )
    return StorageError(
        tr("the system keyring does not work ({name})", name=name), hint=tr("sign in again: kimi-auth login --force")
    )


def _raise(error: StorageError) -> T:  # type: ignore[type-var]
    raise error
