"""The way from this host to a database, as `store check` and `doctor` show it: encrypted, checked against what, how far."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kimi_auth.store.contract import Finding
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    import psycopg

    from .address import Address

__all__ = ["APART_S", "FAR_S", "Peer", "certificate_end_s", "clock", "peer_of", "round_trip", "transport"]

APART_S = 5.0
"""Clocks of host and database that differ by more are a finding: the database's counts, and this host's log and its
checks of certificates go by another one."""

FAR_S = 0.25
"""A renewal takes seven round trips, and a waiter's token four: beyond this they are most of it."""

CERTIFICATE_LEFT_S = 14 * 86_400.0
PATIENCE_S = 3.0
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's protocol, "SSL Session Encryption"


class Peer(NamedTuple):
    """The other end of a connection. `host`: a name, an address or the directory of a socket."""

    host: str
    address: str
    port: int
    is_encrypted: bool


def peer_of(connection: psycopg.Connection[Any]) -> Peer:
    """The other end of the way that a connection takes."""
    info = connection.info
    return Peer(info.host, info.hostaddr, info.port, bool(connection.pgconn.ssl_in_use))


def transport(address: Address, peer: Peer) -> Iterator[Finding]:
    """Whether others can read along on the way, what the database was checked against, and until when that holds."""
    if peer.host.startswith(("/", "@")):
        if user := address.setting("requirepeer", "PGREQUIREPEER"):
            yield Finding(tr("TLS"), tr("a socket of this host; its server is the user {user}", user=user))
        else:
            yield Finding(tr("TLS"), tr("a socket of this host, which no other user may offer"))
        return
    mode = address.setting("sslmode", "PGSSLMODE") or "prefer"
    if not peer.is_encrypted:
        yield Finding(tr("TLS"), tr("not encrypted, within this host"))
        return
    if not mode.startswith("verify"):
        yield Finding(tr("TLS"), tr("encrypted and not verified (sslmode={mode}), within this host", mode=mode))
        return
    authority = address.setting("sslrootcert", "PGSSLROOTCERT") or "~/.postgresql/root.crt"
    known = tr("the system's authorities") if authority == "system" else authority
    told = tr("encrypted, {mode} of {host} against {authority}", mode=mode, host=peer.host, authority=known)
    try:
        left_s = certificate_end_s(peer, authority) - time.time()
    except (OSError, ValueError) as error:  # libpq is content with it, so this is no finding
        why = getattr(error, "verify_message", "") or type(error).__name__
        yield Finding(tr("TLS"), tr("{told}; its certificate's end is not known: {reason}", told=told, reason=why))
        return
    words = tr("{told}; its certificate ends in {days} days", told=told, days=int(left_s // 86_400))
    yield Finding(tr("TLS"), words, tr("renew the server's certificate") if left_s < CERTIFICATE_LEFT_S else "")


def certificate_end_s(peer: Peer, authority: str) -> float:
    """When the certificate of the database at the end of the way ends, unix seconds: libpq does not say it, so the
    handshake is made once more. Raises OSError, ValueError."""
    file = None if authority == "system" else str(Path(authority).expanduser())
    context = ssl.create_default_context(cafile=file)
    context.check_hostname = False  # libpq has checked it, by rules of its own
    with socket.create_connection((peer.address or peer.host, peer.port), PATIENCE_S) as plain:
        plain.sendall(SSL_REQUEST)
        if plain.recv(1) != b"S":
            raise ConnectionError
        with context.wrap_socket(plain, server_hostname=peer.host) as encrypted:
            found = encrypted.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(found["notAfter"])))


def round_trip(seconds: float, count: int) -> Finding:
    """How far the database is."""
    told = tr("{ms:.1f} ms, the best of {count}", ms=seconds * 1000, count=count)
    step = tr("renew on a host that is nearer to it: a renewal takes seven round trips")
    return Finding(tr("round trip"), told, step if seconds > FAR_S else "")


def clock(ahead_s: float) -> Finding:
    """How far the clock of the database, at the other end of the way, is from this host's."""
    told = tr("the database's is {seconds:+.1f} s from this host's, and counts", seconds=ahead_s)
    return Finding(tr("clock"), told, tr("set both clocks by NTP") if abs(ahead_s) > APART_S else "")
