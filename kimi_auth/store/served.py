"""Asks `kimi-auth serve` at its UNIX socket: `KIMI_AUTH_STORE=unix:///run/user/1000/kimi.sock`, in a sandbox with
`?secret-file=PATH` behind it.

`kimi-auth token` answers from here without loading anything else, so this module imports nothing that costs start-up time.
"""

from __future__ import annotations

import os

from kimi_auth.token import RecordError, Token, key_fingerprint, parse_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

__all__ = ["MARK", "SCHEME", "SECRET_FILE", "Address", "ask", "parsed", "token_in"]

SCHEME = "unix://"
MARK = "served."
"""Stands for the refresh token, followed by the fingerprint of the access token; worth nothing elsewhere."""

SECRET_FILE = "?secret-file="
ANSWER_BYTES_MAX = 1 << 20
SECRET_BYTES_MAX = 512


class Address:
    """Where a server listens, and the file with the secret of the grant, "" where none is needed."""

    __slots__ = ("path", "secret_file")

    def __init__(self, path: str, secret_file: str = "") -> None:
        self.path: str = path
        self.secret_file: str = secret_file

    def secret(self) -> str:
        """The secret with which `kimi-auth serve` is asked, "" for none. Raises OSError, ValueError for a file that holds none."""
        if not self.secret_file:
            return ""
        descriptor = os.open(self.secret_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            secret = os.read(descriptor, SECRET_BYTES_MAX).decode("ascii").strip()
        finally:
            os.close(descriptor)
        if not secret or not secret.isprintable() or " " in secret:
            raise ValueError("no secret")
        return secret


def parsed(url: str) -> Address:
    """The address of `kimi-auth serve` in a `unix://` URL. Raises ValueError for any other text."""
    rest = url.removeprefix(SCHEME)
    path, _, secret_file = rest.partition(SECRET_FILE)
    if (
        rest == url
        or not path.startswith("/")
        or "?" in path + secret_file
        or "#" in rest
        or "%" in rest
        or "\0" in rest
    ):
        raise ValueError("unix:///PATH, or unix:///PATH?secret-file=/PATH")
    if secret_file and not secret_file.startswith("/"):
        raise ValueError("the path of the secret must be absolute")
    return Address(path, secret_file)


def ask(address: Address, target: str, body: str | None = None, *, timeout_s: float = 40.0) -> tuple[int, bytes]:
    """Sends one request: GET, or POST where there is a JSON `body`; returns the status and the body of the answer.

    Blocks for `timeout_s` at each step. Raises OSError where the server cannot be reached, ValueError for an answer that is
    not HTTP or too large.
    """
    from _socket import AF_UNIX, SOCK_STREAM, socket

    lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    if secret := address.secret():
        lines.append(f"Authorization: Bearer {secret}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(address.path)
        connection.sendall("\r\n".join([*lines, "", body or ""]).encode("ascii"))
        return _answer(connection)
    finally:
        connection.close()


def token_in(told: object, now_s: float, issuer: str = "") -> Token:
    """The token in `kimi-auth serve`'s decoded answer, dated by this machine's clock (`now_s`, unix seconds): the
    server may be outside of a virtual one. Raises RecordError."""
    given = parse_record(told)
    left_s = told.get("expires_in") if isinstance(told, dict) else None
    if (
        not given.access_token
        or isinstance(left_s, bool)
        or not isinstance(left_s, int | float)
        or not 0 < left_s < 1e9
    ):
        raise RecordError("no token, or no end")
    mark = MARK + key_fingerprint(given.access_token)
    return Token(given.access_token, mark, now_s + left_s, float(left_s), given.scope, issuer=issuer)


def _answer(connection: socket) -> tuple[int, bytes]:
    raw = b""
    while part := connection.recv(65_536):
        raw += part
        if len(raw) > ANSWER_BYTES_MAX:
            raise ValueError("the answer is too large")
    head, found, body = raw.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    headers = head.lower()
    if not found or not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    length = headers.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
    if not length.isdigit() or int(length) != len(body):
        raise ValueError("the answer is not complete")
    return int(words[1]), body
