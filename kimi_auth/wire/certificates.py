"""Which certificates are trusted, and the message about one that is not."""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from kimi_auth.support.language import tr

from .failures import UnsendableError, UntrustedError, error_of_the_system, is_any_of, reason_of
from .proxies import setting
from .sanitize import clean

__all__ = ["VARIABLES", "are_read", "trusted", "untrusted"]

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""The first one that is set names the only trusted certificates. The last two are those of requests and curl, which are
often all that a company's machine sets."""

AUTHORITIES_MIN = 50
"""A system with fewer authorities has none of its own (a slim container), or a company's only. Mozilla's are some 140."""

_NAME_MAX = 45
_UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"
_CLOCK = frozenset({9, 10})
_NAME = frozenset({62, 64})
"""Codes of OpenSSL (X509_V_ERR_...): not yet valid, expired; another host's name, another host's address."""


_Source = tuple[str, str, tuple[int, ...]]
"""The variable that names the certificates, the name that it gives, and the file's inode, size and time of change."""

_read: tuple[_Source, ssl.SSLContext] | None = None
_reading = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A thread that the child does not have may hold it; what it was reading is read again.
    os.register_at_fork(after_in_child=lambda: globals().update(_reading=threading.Lock()))


def trusted() -> ssl.SSLContext:
    """The certificates that are trusted, as the context of every connection of this process. Raises UnsendableError if
    the file that a variable names cannot be used.

    Reading a file of authorities takes some 30 ms, longer than most requests: it is read once, and again when a
    variable names another file or its file has changed. An event loop asks `are_read` first, and has a thread read it.
    """
    global _read  # noqa: PLW0603 - one context for the process
    with _reading:
        source = _source()
        if _read is None or _read[0] != source:
            _read = source, _context()
        return _read[1]


def are_read() -> bool:
    """True if the context of the trusted certificates is made: `trusted` returns at once."""
    known = _read
    return known is not None and known[0] == _source()


def _source() -> _Source:
    name = _variable()
    path = setting(os.environ[name]) if name else ""
    try:
        found = Path(path).stat() if path else None
    except (OSError, ValueError):
        found = None
    return name, path, (found.st_ino, found.st_size, found.st_mtime_ns) if found else ()


def _context() -> ssl.SSLContext:
    # The system's authorities, among which an administrator adds a company's own, and from which one is taken that is no
    # longer trusted. Not `truststore`: on Linux it loads the same store; on macOS it verifies after the handshake through
    # the system's framework, which gives no names to show; and it would be one more package on every machine. Where only
    # the keychain knows a company's authority, SSL_CERT_FILE names it.
    name = _variable()
    if name:
        path = setting(os.environ[name])
        is_directory = name == "SSL_CERT_DIR" or Path(path).is_dir()
        try:
            context = ssl.create_default_context(
                cafile=None if is_directory else path, capath=path if is_directory else None
            )
        except OSError as error:
            raise UnsendableError(
                tr("the certificates in {name} cannot be used ({error})", name=name, error=reason_of(error))
            ) from None
    elif directory := _searched():
        # OpenSSL reads the one that a server's certificate names. All of them, from a file, are a sixth of the
        # instructions of a process that renews once (250 of 1,490 million).
        context = ssl.create_default_context(capath=directory)
    else:
        context = ssl.create_default_context()
        if context.cert_store_stats()["x509_ca"] < AUTHORITIES_MIN and (bundle := _bundle()):
            context.load_verify_locations(bundle)
    context.sslsocket_class, context.sslobject_class = _Socket, _Object
    return context


UNTRUSTED = (
    tr("its certificate is not trusted ({reason}){shown}"),
    tr(": it is for {subject}, issued by {issuer}"),
)
"""What `untrusted` says: why, and whose certificate it is."""


def untrusted(failure: Exception) -> UntrustedError | None:
    """The failure of a connection whose server presented a certificate that is not trusted; None for any other."""
    cause = _refusal(failure)
    if cause is None:
        return None
    names: tuple[str, str] | None = getattr(cause, "presented", None)
    not_trusted, issued = UNTRUSTED
    shown = issued.format(subject=names[0], issuer=names[1]) if names else ""
    reason = getattr(cause, "verify_message", "") or tr("it cannot be verified")
    return UntrustedError(
        not_trusted.format(reason=clean(reason, 60), shown=shown), hint=_hint(getattr(cause, "verify_code", 0))
    )


def _refusal(failure: Exception) -> ssl.SSLError | None:
    """The refusal of a certificate in the `failure` of a connection; None if it failed of something else. OpenSSL tells no code
    where it could not read an authority's file."""
    if not isinstance(failure, OSError) and not is_any_of(type(failure), "ConnectError"):
        return None
    cause = error_of_the_system(failure)
    return cause if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", "") == _UNVERIFIED else None


def _hint(code: int) -> str:
    if code in _CLOCK:
        return tr("check the clock of this machine; if it is right, the certificate's owner must renew it")
    if code in _NAME:
        return tr("another server answered: check the address, the proxy and the network")
    name = _variable()
    if name:
        return tr("if you trust that issuer, add its certificate to {name}", name=name)
    return tr("if you trust that issuer, set SSL_CERT_FILE (or SSL_CERT_DIR) to its certificate in PEM form")


def _searched() -> str:
    """The directory in which OpenSSL finds the system's authorities by name, if it has what the system's file has (Debian, Alpine);
    else "": one was appended to the file, another file was mounted over it, an authority may not be read."""
    paths = ssl.get_default_verify_paths()
    with suppress(OSError), os.scandir(paths.openssl_capath) as entries:
        # "002c0b4f.0": the hash of a subject, and a number. The file is all of them, one after the other.
        named = [entry for entry in entries if entry.name[8:9] == "." and entry.name[9:].isdecimal()]
        size = sum(entry.stat().st_size for entry in named if os.access(entry.path, os.R_OK))
        if len(named) >= AUTHORITIES_MIN and size == Path(paths.openssl_cafile).stat().st_size:
            return paths.openssl_capath
    return ""


def _bundle() -> str | None:
    """Mozilla's certificates, which httpx brings and httpx2 does not."""
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()


def _variable() -> str:
    return next((name for name in VARIABLES if setting(os.environ.get(name, ""))), "")


class _Socket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of ssl.SSLSocket
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as failure:
            _note_presented(self, failure)
            raise


class _Object(ssl.SSLObject):
    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as failure:
            _note_presented(self, failure)
            raise


def _note_presented(connection: ssl.SSLSocket | ssl.SSLObject, failure: ssl.SSLCertVerificationError) -> None:
    """Notes subject and issuer of the certificate on its failure.

    OpenSSL keeps the chain that it tried to verify, and Python shows it by `_sslobj` only (3.13's public method gives
    undecoded bytes). A second, unverified connection would cost a request and might meet another server.
    """
    try:
        chain: list[Any] = connection._sslobj.get_verified_chain()  # type: ignore[union-attr]  # noqa: SLF001
        info: dict[str, Any] = chain[0].get_info()
    except (AttributeError, IndexError, TypeError, ValueError, ssl.SSLError):
        return
    subject = _name(info.get("subject", ())) or next((value for _, value in info.get("subjectAltName", ())), "")
    failure.presented = (  # type: ignore[attr-defined]
        clean(subject, _NAME_MAX) or tr("no name"),
        clean(_name(info.get("issuer", ())), _NAME_MAX) or tr("no name"),
    )


def _name(parts: Any) -> str:
    """A distinguished name in short: its common name, its organization."""
    found = {key: value for part in parts for key, value in part}
    return ", ".join(str(found[key]) for key in ("commonName", "organizationName") if key in found)
