"""Reads the small files of a home for the fast lane: with what Python has loaded by itself; falls through where anything is in doubt."""

from __future__ import annotations

import os
import stat

from kimi_auth.selection import ACCOUNTS, CODE_HOME_MARKS, accounts_written
from kimi_auth.token import RECORD_FILE_MAX_BYTES, RecordError, Token, parse_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG_MAX_BYTES = 1 << 20


class FallThrough(Exception):
    """Not certain, or not good: the full program has to look."""


def look_at(folder: str) -> None:
    """Falls through unless both directories, or links to them, are mine, and no one else's to write to; and for a home that
    may be kimi-code's: its logins have other names, and it has a second lock."""
    for name in CODE_HOME_MARKS:
        must_be_missing(f"{folder}/{name}")
    must_be_ours(folder, f"{folder}/credentials")


def must_be_ours(*paths: str) -> None:
    me = os.geteuid()
    for path in paths:
        try:
            found = os.stat(path, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode) and found.st_uid == me:
                found = os.stat(path)
        except OSError:
            raise FallThrough from None
        if found.st_uid != me or found.st_mode & 0o022 or not stat.S_ISDIR(found.st_mode):
            raise FallThrough


def must_be_missing(path: str) -> None:
    """Falls through for a file that is there, or cannot be looked for."""
    try:
        os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError:
        pass
    raise FallThrough


def config_in(folder: str) -> bytes:
    try:
        return read_small(f"{folder}/config.toml", CONFIG_MAX_BYTES, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    except OSError:
        raise FallThrough from None


def names_our_platform(config: bytes) -> bool:
    """True if the fast lane finds that the default model of this config.toml is certainly ours, or there is none; False
    when in doubt."""
    before, found, after = config.partition(b"default_model")
    if not found:
        return True
    value = after.partition(b"\n")[0].rstrip(b"\r")
    is_whole_line = not before or before.endswith(b"\n")
    if not is_whole_line or b"default_model" in after or b"\\" in value:
        return False
    if value in (b' = ""', b" = ''"):
        return True
    model = after.partition(b"\n[models." + value.removeprefix(b" = ") + b"]")[2].partition(b"\n[")[0]
    return value.startswith(b' = "kimi-code/') and b'\nprovider = "managed:kimi-code"' in model


def account_in_use(folder: str, platform: str) -> str:
    """The account in use in accounts.toml, "" for none; raises FallThrough for a file that is not ours."""
    ours = f"{folder}/kimi-auth"
    try:
        text = read_small(f"{ours}/{ACCOUNTS}", RECORD_FILE_MAX_BYTES, os.O_RDONLY | os.O_NOFOLLOW, writers=0).decode()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        raise FallThrough from None
    must_be_ours(ours)
    if (found := accounts_written(text)) is None:
        raise FallThrough
    return found.get(platform, "")


def record_at(path: str) -> Token:
    try:
        return parse_record(_object_at(path))
    except RecordError:
        raise FallThrough from None


def binding_at(path: str) -> str:
    """The OAuth host that this credential is bound to, "" for none; raises FallThrough for a binding that is not certain."""
    if (bound := _object_at(path)) is None:
        return ""
    issuer = bound.get("issuer")
    if not isinstance(issuer, str) or not issuer:
        raise FallThrough
    return issuer


def retry_at_s_in(path: str) -> float:
    """The end of the backoff in this file, unix seconds, 0.0 for none; raises FallThrough for one that is not certain."""
    at_s = (_object_at(path) or {}).get("retry_at_s", 0.0)
    if not isinstance(at_s, int | float):
        raise FallThrough
    return at_s


def _object_at(path: str) -> dict[str, object] | None:
    """The JSON object in the record or a file beside it, None for no such file; raises FallThrough for anything else."""
    try:
        found = decode(read_small(path, RECORD_FILE_MAX_BYTES, os.O_RDONLY | os.O_NOFOLLOW))
    except FileNotFoundError:
        return None
    except OSError:
        raise FallThrough from None
    if not isinstance(found, dict):
        raise FallThrough
    return found


def read_small(path: str, max_bytes: int, flags: int, *, writers: int = 0o022) -> bytes:
    """The whole of a small regular file that the fast lane trusts: mine or root's, which others may write to as far as
    the mode bits `writers` allow. Opens nothing that could block for longer than a look."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        is_open = found.st_mode & 0o022 & ~writers
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in {os.geteuid(), 0} or is_open:
            raise FallThrough
        parts = []
        left = max_bytes + 1
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise FallThrough
    return b"".join(parts)


def decode(raw: bytes) -> object:
    """`json.loads` of UTF-8 text, without importing json; raises FallThrough for anything else."""
    try:
        text = raw.decode().strip(" \t\n\r")
        value, end = _scanner()(text, 0)
    except (ValueError, StopIteration, RecursionError, SystemError):
        # SystemError: until 3.11 the C scanner looks for JSONDecodeError in `sys.modules`, and sets no exception if
        # json.decoder has not been imported. Importing it would cost every call what the fast lane saves.
        raise FallThrough from None
    if end != len(text):
        raise FallThrough
    return value


def _scanner() -> Callable[[str, int], tuple[object, int]]:
    try:
        from _json import make_scanner
    except ImportError:
        from json import JSONDecoder

        return JSONDecoder().scan_once  # type: ignore[attr-defined, no-any-return]
    return make_scanner(_Settings)  # type: ignore[arg-type]


class _Settings:
    """What `json.JSONDecoder()` hands to its scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012 - the pure-Python scanner's, which this one never touches
