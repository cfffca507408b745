"""Encryption at rest: the tokens of a row under AES-256-GCM, with keys from two files that the store's address names.

    access-key-file    for access tokens; the only one that a reader has
    refresh-key-file   for refresh tokens and for answers that are not installed yet, in the row or on this host's disk

A key file has a key of 32 bytes in base64 on each line; `#` begins a comment. The first key writes, all of them read. A key's
id is a hash of it, and is stored with each value. A value:

    FF 4B 41 01 · id of the key (4 bytes) · pair (16) · nonce (12) · ciphertext and tag

FF begins no UTF-8 text, so a plain value is known as one. `pair` is a hash of the pair's fingerprint: a reader, which sees no
fingerprint, can still check the rest. All before the nonce is associated data, with the part and the row's key: a value counts
in no other row or column, and beside no other pair. Each row's part has a subkey of its own (HMAC-SHA256): random nonces are
good for 2^32 messages of one key (NIST SP 800-38D), which a million logins send in eighteen days.
"""

from __future__ import annotations

import hmac
import os
import shlex
import stat
from hashlib import sha256
from pathlib import Path
from typing import Literal

from kimi_auth import files
from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.store import medium
from kimi_auth.support.extras import install
from kimi_auth.support.language import tr

from .address import ACCESS_KEYS, REFRESH_KEYS, Address

__all__ = ["MARK", "Cipher", "Part", "is_sealed"]

Part = Literal["access", "refresh", "staged", "spill"]

MARK = b"\xffKA\x01"
ID_BYTES, PAIR_BYTES, NONCE_BYTES, KEY_BYTES = 4, 16, 12, 32
HEAD_BYTES = len(MARK) + ID_BYTES + PAIR_BYTES
FILE_BYTES_MAX = 16_384
A_KEY = tr("a key is 32 random bytes in base64: openssl rand -base64 32")

Keys = dict[bytes, bytes]
"""Keys by their ids, the one that writes first; none: values stay as they are."""


class Cipher:
    """Seals and opens the values of the rows of one database; without keys it writes plain values.

    `reads_only`: for a reader, which has the key of access tokens alone. Raises ConfigError for files that hold no keys, or
    that others may read, and where the package is missing.
    """

    def __init__(self, address: Address, *, reads_only: bool = False) -> None:
        self._address = address
        named = address.key_files
        if REFRESH_KEYS in named and reads_only:
            raise ConfigError(
                tr("a reader's address names {name}", name=REFRESH_KEYS),
                hint=tr("leave it out: a reader needs {name} alone", name=ACCESS_KEYS),
            )
        if len(named) == 1 and not reads_only:
            raise ConfigError(
                tr("the store's address names one of two key files"),
                hint=tr("name both: {first}=FILE&{second}=FILE", first=ACCESS_KEYS, second=REFRESH_KEYS),
            )
        self._keys = {name: _keys_in(Path(file)) for name, file in named.items()}
        if set(self._of("access")) & set(self._of("refresh")):
            raise ConfigError(
                tr("{first} and {second} have a key in common", first=named[ACCESS_KEYS], second=named[REFRESH_KEYS]),
                hint=tr("a reader could read refresh tokens; make another key: openssl rand -base64 32"),
            )

    def __repr__(self) -> str:
        return f"<Cipher of {self._address}>"

    @property
    def writes(self) -> bool:
        """Whether values are written encrypted."""
        return bool(self._keys)

    def ids(self, part: Part) -> list[str]:
        """The ids of the keys for encryption that are here, the one that writes first."""
        return [one.hex() for one in self._of(part)]

    def seal(self, part: Part, key: str, fp: str, plain: bytes) -> bytes:
        """Encrypts `plain` as it is stored in the row `key` with the pair `fp`. An empty value is no secret and stays empty."""
        keys = self._of(part)
        if not keys or not plain:
            return plain
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        number, master = next(iter(keys.items()))
        head, nonce = MARK + number + _pair(fp), os.urandom(NONCE_BYTES)
        return head + nonce + AESGCM(_subkey(master, part, key)).encrypt(nonce, plain, _associated(head, part, key))

    def open(self, part: Part, key: str, fp: str | None, value: bytes | None) -> bytes:
        """The plain value of one in the row `key` with the pair `fp`, None for a reader, which sees none. Raises StorageError where
        its key is not here, ValueError for a value of another row, column or pair, and for one that was changed."""
        value = bytes(value or b"")
        if not is_sealed(value):
            return value
        head, nonce, sealed = value[:HEAD_BYTES], value[HEAD_BYTES:][:NONCE_BYTES], value[HEAD_BYTES + NONCE_BYTES :]
        number = head[len(MARK) :][:ID_BYTES]
        if (master := self._of(part).get(number)) is None:
            raise self._no_key(part, number)
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if fp is not None and head[-PAIR_BYTES:] != _pair(fp):
            raise ValueError("sealed for another pair")
        try:
            return AESGCM(_subkey(master, part, key)).decrypt(nonce, sealed, _associated(head, part, key))
        except InvalidTag:
            raise ValueError("sealed for another row or column, or changed") from None

    def _of(self, part: Part) -> Keys:
        return self._keys.get(ACCESS_KEYS if part == "access" else REFRESH_KEYS, {})

    def _no_key(self, part: Part, number: bytes) -> StorageError:
        name = ACCESS_KEYS if part == "access" else REFRESH_KEYS
        file = self._address.key_files.get(name)
        where = (
            tr("{path} does not have it", path=file) if file else tr("the store's address names no {name}", name=name)
        )
        return StorageError(
            tr(
                "{location}: a token is encrypted with the key {id}, and {where}",
                location=self._address, id=number.hex(), where=where,
            ),
            hint=tr("see which keys there are: kimi-auth store check"),
        )  # fmt: skip


def is_sealed(value: bytes) -> bool:
    """Whether a value of a row is encrypted."""
    return value.startswith(MARK)


def _pair(fp: str) -> bytes:
    return sha256(f"kimi-auth pair\0{fp}".encode()).digest()[:PAIR_BYTES]


def _subkey(master: bytes, part: Part, key: str) -> bytes:
    return hmac.digest(master, f"kimi-auth subkey\0{part}\0{key}".encode(), "sha256")


def _associated(head: bytes, part: Part, key: str) -> bytes:
    return head + f"{part}\0{key}".encode()


def _keys_in(path: Path) -> Keys:
    """The keys for encryption in a file that only its owner may read, or root's group: so a service is given one (libpq
    has the same rule for `sslkey`). Raises ConfigError, without anything of the content."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        words = tr("encryption needs a package that is not installed")
        raise ConfigError(words, hint=install("encryption")) from None
    try:
        found = files.read_bounded(path, FILE_BYTES_MAX, follow=True)
    except OSError as error:
        problem = medium.explain(error, tr("cannot read {path}"), path, StorageError)
        raise ConfigError(problem.message, hint=problem.hint) from None
    if found is None:
        raise ConfigError(tr("{path} is not there", path=path), hint=A_KEY)
    mode = stat.S_IMODE(found.stat.st_mode)
    if mode & (0o037 if found.stat.st_uid == 0 else 0o077) and files.keeps_modes(found.stat.st_dev):
        raise ConfigError(
            tr("{path} holds keys and has mode {mode:04o}: others may read or write it", path=path, mode=mode),
            hint=f"chmod 600 {shlex.quote(str(path))}",
        )
    return _parsed(found.data, path)


def _parsed(data: bytes, path: Path) -> Keys:
    from base64 import b64decode

    keys: Keys = {}
    for number, line in enumerate(data.splitlines(), 1):
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        try:
            master = b64decode(text, validate=True)
        except ValueError:
            master = b""
        if len(master) != KEY_BYTES:
            raise ConfigError(tr("{path}: line {number} is no key", path=path, number=number), hint=A_KEY)
        keys[sha256(b"kimi-auth key id\0" + master).digest()[:ID_BYTES]] = master
    if not keys:
        raise ConfigError(tr("{path} holds no key", path=path), hint=A_KEY)
    return keys
