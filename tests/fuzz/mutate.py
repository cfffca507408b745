"""Bytes that were good once: seeded mutations of samples, as a bad disk, an attacker or a broken server would make them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

TOKENS = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\x1b[2J", "\u202e".encode(), b"\\ud800", b'"', b"'", b"\\", b"{", b"}",
    b"[", b"]", b"[" * 3_000, b'{"a":' * 3_000, b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"9" * 5_000,
    b"1e-400", b"1" + b"0" * 400, b",", b":", b"=", b"#", b"[[", b"]]", b"A" * 9_000, b"--help", b"file:///etc/passwd",
    b"https://u:p@h/", b"http://127.0.0.1", b"javascript:", b"invalid_grant", b"slow_down", b'"access_token"', b'"error"',
)  # fmt: skip


def mutations(samples: Sequence[bytes], count: int, seed: object) -> Iterator[bytes]:
    """`count` inputs, the same for the same seed: each is a sample after one to six of the changes below."""
    luck = random.Random(f"{seed}")
    for _ in range(count):
        data = bytearray(luck.choice(samples))
        for _ in range(luck.choice((1, 1, 2, 3, 6))):
            luck.choice(CHANGES)(data, samples, luck)
        yield bytes(data)


def _flip(data: bytearray, _: Sequence[bytes], luck: random.Random) -> None:
    if data:
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)


def _insert(data: bytearray, _: Sequence[bytes], luck: random.Random) -> None:
    at = luck.randint(0, len(data))
    data[at:at] = luck.choice(TOKENS)


def _replace(data: bytearray, _: Sequence[bytes], luck: random.Random) -> None:
    start, end = sorted(luck.randint(0, len(data)) for _ in range(2))
    data[start : min(end, start + 20)] = luck.choice(TOKENS)


def _cut(data: bytearray, _: Sequence[bytes], luck: random.Random) -> None:
    start, end = sorted(luck.randint(0, len(data)) for _ in range(2))
    del data[start:end]


def _truncate(data: bytearray, _: Sequence[bytes], luck: random.Random) -> None:
    del data[luck.randint(0, len(data)) :]


def _repeat(data: bytearray, _: Sequence[bytes], luck: random.Random) -> None:
    start, end = sorted(luck.randint(0, len(data)) for _ in range(2))
    data[end:end] = data[start:end]


def _splice(data: bytearray, samples: Sequence[bytes], luck: random.Random) -> None:
    other = luck.choice(samples)
    start, end = sorted(luck.randint(0, len(other)) for _ in range(2))
    at = luck.randint(0, len(data))
    data[at:at] = other[start:end]


CHANGES = (_flip, _insert, _replace, _cut, _truncate, _repeat, _splice)
