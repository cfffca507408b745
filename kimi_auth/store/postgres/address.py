"""Where a database is: a `postgresql://` address, checked before anything is sent, and shown without its password."""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import ip_address
from itertools import zip_longest
from typing import Any

from kimi_auth.errors import ConfigError
from kimi_auth.support.extras import install
from kimi_auth.support.language import tr
from kimi_auth.support.text import clean

from .sockets import offered_by

__all__ = ["ACCESS_KEYS", "REFRESH_KEYS", "SCHEMES", "Address", "same_database"]

SCHEMES = ("postgresql://", "postgres://")
ACCESS_KEYS, REFRESH_KEYS = "access-key-file", "refresh-key-file"
"""Parameters of our own: the paths of the files with the keys that tokens are encrypted with (`encryption`)."""

_AS_IS: dict[str, Any] = {
    "application_name": "kimi-auth",
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""For connections that say nothing else: a host that lost its power is noticed in half a minute, not in two hours."""


class Address:
    """A database. `parameters` are libpq's, the password among them; nothing else of this object shows it. `key_files`: the
    files that the address names, by `ACCESS_KEYS` and `REFRESH_KEYS`.

    Raises ConfigError for text that libpq cannot read, where psycopg is missing, and for a database on another host that is
    not asked over TLS with its name checked (`sslmode=verify-full`): everything less sends refresh tokens to whom it meets. The
    same for a UNIX socket that another user of this host may offer, unless `requirepeer` names the server's user.
    """

    def __init__(self, text: str) -> None:
        try:
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict
        except ImportError:
            words = tr("a store in PostgreSQL needs a package that is not installed")
            raise ConfigError(words, hint=install("postgres")) from None
        text, key_files = _without_ours(text)
        self.key_files: dict[str, str] = key_files
        given: dict[str, Any] | None = None
        if text.startswith(SCHEMES):
            with suppress(ProgrammingError, UnicodeError):  # their messages quote the text
                given = dict(conninfo_to_dict(text))
        if given is not None and _may_show_a_password(text, str(given.get("dbname", ""))):
            raise ConfigError(
                tr("the store's address does not say where its password ends"),
                hint=tr(
                    "write @ and / of a password as %40 and %2F, and no address instead of the name of the database"
                ),
            )
        if given is None:
            raise ConfigError(
                tr("the store's address is not of the form postgresql://host/database"),
                hint=tr("PostgreSQL's documentation says how: connection URIs"),
            )
        self._hosts: list[str] = str(given.get("host") or os.environ.get("PGHOST", "")).split(",")
        self._database = str(given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user") or "")
        self._service = str(given.get("service") or os.environ.get("PGSERVICE", ""))
        addresses = str(given.get("hostaddr") or os.environ.get("PGHOSTADDR", "")).split(",")
        is_local = not self._service and all(map(_is_local, self._hosts)) and all(map(_is_local, addresses))
        mode = given.get("sslmode") or os.environ.get("PGSSLMODE") or "verify-full"
        if not is_local:
            if mode != "verify-full":
                raise ConfigError(
                    tr(
                        "{location} is on another host, and sslmode={mode} does not check whose host",
                        location=self,
                        mode=mode,
                    ),
                    hint=tr("write sslmode=verify-full, with sslrootcert=FILE where its authority is your own"),
                )
            given["sslmode"] = mode
        self._checks_peer = bool(given.get("requirepeer") or os.environ.get("PGREQUIREPEER"))
        self.sockets: list[str] = [
            host for host, address in zip_longest(self._hosts, addresses, fillvalue="") if not address
        ]
        if refused := next(filter(None, map(self.refused_socket, self.sockets)), None):
            raise refused
        self.parameters: dict[str, Any] = _AS_IS | given | {"client_encoding": "utf8"}
        self._given = given

    def __str__(self) -> str:
        named = ", ".join(host for host in self._hosts if host and not host.startswith(("/", "@")))
        where = named or (self._service and f"service {self._service}") or "this host"
        if not self._database:
            return tr("the database on {where}", where=clean(where))
        return tr("the database {name} on {where}", name=clean(self._database), where=clean(where))

    def __repr__(self) -> str:
        return f"<Address of {self}>"

    def refused_socket(self, host: str) -> ConfigError | None:
        """Why an address is refused that names a socket's directory as its `host`; None if the socket may be asked, and for a
        host by name."""
        who = offered_by(host) if host.startswith(("/", "@")) and not self._checks_peer else ""
        if not who:
            return None
        return ConfigError(
            tr("{who} may offer a database's socket in {directory}", who=who, directory=host),
            hint=tr("name the server's user in the store's address: requirepeer=postgres"),
        )

    def setting(self, name: str, variable: str) -> str:
        """A parameter of libpq's in an address, or the variable that stands for it; "" for neither. Not for passwords."""
        return str(self.parameters.get(name) or os.environ.get(variable, ""))

    @property
    def without_password(self) -> str:
        """The address as text that may be kept in a file: libpq finds the password elsewhere, or there is none."""
        from urllib.parse import quote, urlencode

        kept = {name: value for name, value in self._given.items() if name not in {"password", "sslpassword"}}
        return f"postgresql:///?{urlencode(kept | self.key_files, quote_via=quote)}"

    @property
    def name(self) -> str:
        """Names an address's database in a file's name: equal for equal hosts and names, whatever the password is."""
        from hashlib import sha256

        ports = str(self.parameters.get("port", ""))
        text = "\0".join((*sorted(self._hosts), ports, self._database, self._service))
        return sha256(text.encode()).hexdigest()[:12]


def same_database(address: Address, text: str) -> bool:
    """Whether `text`, another address, leads to the same database. Raises ConfigError."""
    return Address(text).name == address.name


def _without_ours(text: str) -> tuple[str, dict[str, str]]:
    """The address as libpq takes it, and the parameters of our own in it. Raises ConfigError."""
    from urllib.parse import unquote

    start, _, query = text.partition("?")
    parts = [part.partition("=") for part in query.split("&")]
    ours = {name: unquote(value) for name, _, value in parts if name in {ACCESS_KEYS, REFRESH_KEYS}}
    if not ours:
        return text, {}
    for name, path in ours.items():
        if not path.startswith("/") or "\0" in path:
            raise ConfigError(
                tr("the store's address names no absolute path as {name}", name=name),
                hint=tr("for example: {command}", command=f"{name}=/etc/kimi-auth/keys"),
            )
    rest = "&".join("".join(part) for part in parts if part[0] not in ours)
    return (f"{start}?{rest}" if rest else start), ours


def _may_show_a_password(text: str, database: str) -> bool:
    """Whether a part of a password may have become the name of a host or of a database, which messages show: libpq ends it
    at the first @ or /."""
    authority, _, path = text.partition("://")[2].partition("?")[0].partition("/")
    return authority.count("@") > 1 or "@" in path or "=" in database or "://" in database


def _is_local(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
