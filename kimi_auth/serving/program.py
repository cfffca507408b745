"""The server as a program: its sockets, one for each grant that stands, and its start and end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.routing import BaseRoute

from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.files import make_directories, reason
from kimi_auth.session import Session, components_of
from kimi_auth.support.language import tr
from kimi_auth.support.logs import logger

from .app import build_app
from .ending import ended_by_signals
from .grant_life import ENDED
from .listening import listen, listen_unix, unsafe_address, url_of
from .places import OWNER, Places
from .server import Door, LoopbackServer
from .service import Service

__all__ = ["Options", "Program", "inherited", "serve"]

log = logger("serving")

SCAN_S = 0.25
"""So often a new, ended or expired grant is looked for, in seconds. A request is checked against its files itself."""

DESCRIPTORS_MAX = 65_536

FIRST_INHERITED = 3
"""The first descriptor that systemd hands over (sd_listen_fds)."""


@dataclass(frozen=True)
class Options:
    """How to serve. `listen`: HOST and port for TCP, None for none. `allow_remote`: an address that others reach is meant.
    `certificate`, `key`: files for TLS. `hosts`: names by which clients may call it. `drain_s`: how long requests may go on
    after the end was asked for. `inherited`: sockets that the service manager listens on already."""

    listen: tuple[str, int] | None = None
    allow_remote: bool = False
    certificate: Path | None = None
    key: Path | None = None
    hosts: tuple[str, ...] = ()
    drain_s: float = 10.0
    inherited: Sequence[socket.socket] = field(default_factory=tuple)


def serve(
    session: Session,
    places: Places,
    options: Options,
    ready: Callable[[dict[str, object]], None],
    *,
    more: Callable[[Service], Sequence[BaseRoute]] = lambda _: (),
) -> None:
    """Runs the server until SIGINT, SIGTERM or SIGHUP, then drains. `ready` is told the addresses once requests are
    accepted; `more`: routes beside ours. Raises ConfigError, StorageError or OSError where it cannot begin."""
    tls = _tls(options)
    if options.listen is not None:
        _refuse_exposed(*options.listen, options, tls, hint=tr("--allow-remote, with --certificate and --key"))
    for listener in options.inherited:  # a service manager opened them
        if listener.family != socket.AF_UNIX:
            host, port = listener.getsockname()[:2]
            _refuse_exposed(host, port, options, tls)
    _allow_descriptors()
    with _alone(
        places.folder,
        tr("another kimi-auth serve has this login"),
        tr("end it first, or name another login: --platform"),
    ):
        program = Program(session, places, options, tls)
        with _alone_at(places), ended_by_signals(program.stop):
            program.run(ready, more)


def _refuse_exposed(host: str, port: int, options: Options, tls: ssl.SSLContext | None, hint: str = "") -> None:
    """Raises ConfigError, before the server starts, for an address on which it must not listen."""
    if why := unsafe_address(host, has_tls=tls is not None, allow_remote=options.allow_remote):
        raise ConfigError(tr("{host}, port {port}: {reason}", host=host, port=port, reason=why), hint=hint)


class Program:
    """One run of the server."""

    def __init__(self, session: Session, places: Places, options: Options, tls: ssl.SSLContext | None) -> None:
        components = components_of(session)
        if components.platform.oauth is None:
            message = tr("{platform} takes an API key, and serve needs a login", platform=components.platform.name)
            raise ConfigError(message)
        self._places = places
        self._options = options
        self._tls = tls
        self._files = places.grants()
        self._service = Service.of(session, places, lambda: self.server is not None and self.server.is_stopping)
        self._clock = components.clock
        self._doors: dict[str, Door] = {}
        self._unopened: set[str] = set()
        self._url = ""
        self.server: LoopbackServer | None = None

    def run(self, ready: Callable[[dict[str, object]], None], more: Callable[[Service], Sequence[BaseRoute]]) -> None:
        """Until the end."""
        app = build_app(self._service, hosts=self._options.hosts, more=more(self._service))

        async def beside() -> None:
            async with self._service.login.kept_fresh():
                await self._open_first(server)
                ready({"ready": True, "socket": str(self._places.socket(OWNER)), "url": self._url, "pid": os.getpid()})
                _tell_manager("READY=1")
                await self._keep_doors(server)

        server = self.server = LoopbackServer(app, drain_s=self._options.drain_s, beside=beside, tls=self._tls)
        try:
            server.run_to_end()
        finally:
            _tell_manager("STOPPING=1")
            self._service.audit.close()

    def stop(self) -> None:
        """Ends the server that this program runs, in order: from any thread or signal handler."""
        if self.server is not None:
            self.server.stop()

    async def _open_first(self, server: LoopbackServer) -> None:
        """The program's first sockets: the owner's, TCP, and those that were inherited."""
        me = frozenset({os.geteuid()})
        await self._open(server, OWNER, Door("owner", me))
        for listener in self._options.inherited:
            is_unix = listener.family == socket.AF_UNIX
            await server.open(listener, Door("owner", me) if is_unix else Door("tcp"))
            self._url = self._url if is_unix else url_of(listener)
        if self._options.listen is not None:
            listener, self._url = listen(*self._options.listen)
            if self._tls is not None:
                self._url = self._url.replace("http:", "https:", 1)
            await server.open(listener, Door("tcp"))

    async def _open(self, server: LoopbackServer, name: str, door: Door) -> None:
        path = self._places.socket(name)
        is_shared = door.uids != frozenset({os.geteuid()})
        self._places.prepare(name, is_shared=is_shared)
        mode = 0o666 if is_shared else 0o600  # who may use it is asked of the kernel, at each connection
        await server.open(listen_unix(path, mode, staging=self._places.sockets), door)

    async def _keep_doors(self, server: LoopbackServer) -> None:
        """Opens a socket for each grant that stands, and closes it when the grant ends."""
        seen, checked_s = -1, 0.0
        while True:
            changed, now_s = self._files.changed_at(), self._clock.monotonic_s()
            if changed != seen or now_s - checked_s >= 1.0:
                await self._match_doors(server)
                seen, checked_s = changed, now_s
            await asyncio.sleep(SCAN_S)

    async def _match_doors(self, server: LoopbackServer) -> None:
        found = self._files.all(self._clock.wall_s())
        standing = {one.grant.id: one.grant for one in found if one.grant is not None and one.phase not in ENDED}
        for grant_id in [grant_id for grant_id in self._doors if grant_id not in standing]:
            door = self._doors.pop(grant_id)
            server.close(door)
            if door.name not in {one.name for one in self._doors.values()}:
                with suppress(OSError):  # the sandbox may have put something else there
                    self._places.socket(door.name.removeprefix("grant ")).unlink()
        self._unopened &= set(standing)
        for grant_id, grant in standing.items():
            if grant_id not in self._doors:
                door = Door(f"grant {grant.name}", frozenset(grant.uids), grant_id)
                try:
                    await self._open(server, grant.name, door)
                except OSError as error:  # one sandbox that spoils its own directory takes no other one's socket away
                    if grant_id not in self._unopened:
                        log.warning(
                            "the grant %s is not served: %s", grant.name, _why(error, self._places.socket(grant.name))
                        )
                    self._unopened.add(grant_id)
                    continue
                self._unopened.discard(grant_id)
                self._doors[grant_id] = door


def _why(error: OSError, path: Path) -> str:
    if "too long" in str(error):
        hint = tr("--sockets DIR, with a short name")
        return StorageError(tr("{path}: the path is too long for a socket", path=path), hint=hint).line
    if isinstance(error, FileExistsError):
        return tr("{path}: there is something else than a socket", path=path)
    words, advice = reason(error, path)
    return StorageError(tr("{path}: {reason}", path=path, reason=words), hint=advice).line


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.certificate, options.key)
    except (OSError, ssl.SSLError) as error:
        said = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(tr("{path}: {reason}", path=options.certificate, reason=str(said))) from None
    return context


def _allow_descriptors() -> None:
    """Each grant has a socket and each of its clients a connection: as many as the system allows, instead of the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _alone_at(places: Places) -> AbstractContextManager[None]:
    """Servers of two accounts with one `--sockets` would take each other's sockets."""
    if places.sockets.is_relative_to(places.folder):
        return nullcontext()
    hint = tr("give each its own directory: --sockets DIR")
    return _alone(places.sockets, tr("another kimi-auth serve has these sockets: {path}", path=places.sockets), hint)


@contextmanager
def _alone(folder: Path, message: str, hint: str) -> Iterator[None]:
    """Holds the lock on a server's folder from its start to its end. Raises ConfigError where another server has it;
    the kernel frees the lock of one that was killed."""
    make_directories(folder)
    place = folder / "server.lock"
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(message, hint=hint) from None
        yield
    finally:
        os.close(descriptor)


def inherited() -> tuple[socket.socket, ...]:
    """The sockets with which systemd starts the server's program (sd_listen_fds(3)); empty without it."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    count = os.environ.get("LISTEN_FDS", "")
    numbers = range(FIRST_INHERITED, FIRST_INHERITED + int(count)) if count.isdigit() and len(count) < 4 else ()
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    return tuple(socket.socket(fileno=number) for number in numbers)


def _tell_manager(state: str) -> None:
    """sd_notify(3): tells the service manager, where there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
