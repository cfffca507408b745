"""On which addresses a server may listen. Needs no extra, so that a command line is refused before anything is loaded."""

from __future__ import annotations

import ipaddress
import socket

from kimi_auth.support.language import tr

__all__ = ["names_loopback", "unsafe_address"]


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
