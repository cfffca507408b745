"""Replaces the stored pair with a granted one, and gives back to the server a pair that no process will hold."""

from __future__ import annotations

import logging
import threading

from kimi_auth.credential.ports import Ports
from kimi_auth.errors import KimiAuthError, LoginCancelled, StorageError
from kimi_auth.store import Backoff, Binding, View
from kimi_auth.support.language import tr
from kimi_auth.token import Token

__all__ = ["Storing"]

log: logging.Logger = logging.getLogger("kimi_auth.login")


class Storing:
    """Synchronous code, which a login runs in a thread: a lock may be waited for, and a server."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._store = ports.store
        self._server = ports.server

    def put(self, token: Token, binding: Binding, give_up: threading.Event) -> View | KimiAuthError:
        """Stores the granted pair under the lock, waiting for it without bound. Returns the view of the credential that
        it replaced, or the error.

        The pair names its host itself, so it goes first: killed before the binding follows, the two disagree or there is
        none, and neither lets a token go anywhere else.
        """
        try:
            with self._store.locked(None, give_up=give_up.is_set) as held:
                if not held:
                    return LoginCancelled(tr("the login was interrupted before it could be stored"))
                before = self._store.view()
                self._store.put(token)
                self._bind(binding)
                self._forget_the_pace()
        except StorageError as error:
            return error
        return before

    def _bind(self, binding: Binding) -> None:
        try:
            self._store.bind(binding)
        except StorageError as error:
            log.warning("the login is not bound to its OAuth host yet: %s", error.line)

    def _forget_the_pace(self) -> None:
        """What slowed the old login down does not concern the new one."""
        try:
            self._store.set_backoff(Backoff())
        except StorageError as error:
            log.warning("the old login's backoff still exists: %s", error)

    def is_ours(self, view: View) -> bool:
        """Whether the stored pair that a login replaces may be given back: its issuer is the one that granted. A token is never
        sent to another one."""
        token = view.snapshot.token
        return token is not None and not token.is_empty and self._ports.not_ours(view) is None

    def give_back(self, token: Token) -> None:
        """Revokes a pair that no process will hold (RFC 7009): the server's message does not matter any more."""
        self._server.revoke(
            token.refresh_token or token.access_token, "refresh_token" if token.refresh_token else "access_token"
        )
