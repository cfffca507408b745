"""Listening sockets, and on which addresses a server may have one. Needs no extra, so that a command line is refused
before anything is loaded."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from pathlib import Path

from kimi_auth.support.language import tr

__all__ = ["listen", "listen_unix", "names_loopback", "unsafe_address", "url_of"]


def names_loopback(host: str) -> bool:
    """True if a server that listens on `host` is reached by loopback addresses only."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


def unsafe_address(host: str, *, has_tls: bool, allow_remote: bool) -> str:
    """Why a server with secrets must not listen on `host`; "" if it may. On an address that others can reach it needs TLS
    and the word of the person who starts it."""
    if names_loopback(host):
        return ""
    if not allow_remote:
        return tr("it is not a loopback address")
    return "" if has_tls else tr("other machines can reach it, and there is no TLS")


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A TCP socket that listens (port 0: any free one) and the base URL that reaches it. Raises OSError.

    The URL of a wildcard address names the loopback address of its family.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
    except OSError:
        listener.close()
        raise
    return listener, url_of(listener)


def url_of(listener: socket.socket) -> str:
    """The base URL that reaches a TCP socket that listens."""
    bound, bound_port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(bound)
    if ip.is_unspecified:
        ip = ipaddress.ip_address("::1" if ip.version == 6 else "127.0.0.1")
    return f"http://{f'[{ip}]' if ip.version == 6 else ip}:{bound_port}"


def listen_unix(path: Path, mode: int = 0o600, *, staging: Path | None = None) -> socket.socket:
    """A listening UNIX socket at `path`, which replaces a socket of an earlier run in one step: a client finds the old one
    or the new one, never none. Raises OSError, also where something that is no socket is at `path`.

    `mode` are the permissions of the socket's file. It is made in `staging`, a directory of the same file system that no other user
    and no sandbox can write to: one that could, in the directory of `path`, would put a link there and have its target's modes
    changed.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(17, "there is something else than a socket", str(path))
    new = (staging or path.parent) / f".{path.name}.{os.getpid()}"
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(new))
        new.chmod(mode)
        listener.listen(socket.SOMAXCONN)
        new.rename(path)
    except OSError:
        listener.close()
        new.unlink(missing_ok=True)
        raise
    return listener
