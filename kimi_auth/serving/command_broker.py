"""A grant and a socket for one command: issued when it starts, revoked when it ends, served by the process that runs it.

No other server is needed, and one that runs is not disturbed: grants, key and audit log are the same files.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Self

from kimi_auth.errors import StorageError
from kimi_auth.session import Session, components_of
from kimi_auth.store.served import SCHEME, SECRET_FILE
from kimi_auth.support.language import tr

from .app import build_app
from .listening import listen_unix
from .places import SOCKET, Places
from .proxied import routes_of
from .proxy import Proxy
from .records import Caller, Grant
from .server import Door, LoopbackServer
from .service import Service

__all__ = ["CommandBroker"]

LIFE_S = 30 * 86_400.0
"""The end of a grant whose process was killed before it could revoke it; no command is meant to last longer."""


class CommandBroker:
    """Serves `session` to one command, for the length of a `with` block. Raises StorageError where the grant cannot be written,
    OSError where no socket can be made. `name`: of the grant."""

    def __init__(self, session: Session) -> None:
        parts = components_of(session)
        self.name: str = f"run-{secrets.token_hex(4)}"
        self._session = session
        self._clock = parts.clock
        self._places = Places(parts.share_dir, session.platform.login_name)
        self._caller = Caller(os.geteuid(), os.getpid(), "run")
        self._proxy = Proxy(session, session.api_origin)
        self._folder = Path()

    @property
    def socket(self) -> Path:
        """The socket, in a directory of its own that a sandbox may be given whole."""
        return self._folder / SOCKET

    @property
    def url(self) -> str:
        """The value of KIMI_AUTH_STORE for the command."""
        return f"{SCHEME}{self.socket}{SECRET_FILE}{self._folder / 'secret'}"

    def __enter__(self) -> Self:
        grant = Grant.new(self.name, (os.geteuid(),), self._clock.wall_s(), ttl_s=LIFE_S)
        service = self._service = Service.of(self._session, self._places, lambda: self._server.is_stopping)
        self._grant = asyncio.run(service.life.issue(grant, self._caller))
        try:
            self._serve(service, Door(f"grant {self.name}", frozenset(grant.uids), grant.id))
        except BaseException:
            if self._folder != Path():
                shutil.rmtree(self._folder, ignore_errors=True)
            asyncio.run(service.life.revoke(grant.id, self._caller))
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()
        asyncio.run(self._service.life.revoke(self._grant.id, self._caller))
        self._service.audit.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self, service: Service, door: Door) -> None:
        app = build_app(service, more=routes_of(self._session, self._proxy)(service))
        # Of this user only; short, because the path of a socket may have some hundred bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="kimi-", dir=os.environ.get("XDG_RUNTIME_DIR")))
        (self._folder / "secret").touch(0o600)
        (self._folder / "secret").write_text(f"{service.handles.secret(door.grant)}\n", "ascii")
        listener = listen_unix(self.socket)
        ready = threading.Event()

        async def beside() -> None:
            try:
                async with service.login.kept_fresh():
                    await self._server.open(listener, door)
                    ready.set()
                    await asyncio.Event().wait()
            finally:
                await self._proxy.aclose()

        self._server = LoopbackServer(app, beside=beside)
        self._thread = self._server.start("kimi-auth broker")
        while not ready.wait(1.0):
            if not self._thread.is_alive():
                listener.close()
                raise StorageError(tr("the socket of this command could not be served"))
