"""What one renewal asks the disk: a view before the lock, one under it, and the comparisons of the protocol."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kimi_auth import Session
from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token

READS = {
    # the views before the lock, under it and after the walk; the second look; the comparison of the commit
    "record": 5,
    "backoff": 3,
    "issuer": 3,
    "mark": 4,  # the views, and the second look
    "claim": 5,  # the views, the staging, the comparison of the commit
    "listing": 3,  # the claim and the commit each clear up, and so does the history of walks
    "link": 14,  # once for each operation of the store, for the lock, and before the request
}
"""How often a renewal reads each file of a credential, and asks whether the record is a link."""

KINDS = {
    r"kimi-code\.json": "record",
    r"kimi-code\.backoff": "backoff",
    r"kimi-code\.issuer": "issuer",
    r"kimi-code\.\w+\.revoked": "mark",
    r"kimi-code\.\w+\.next": "claim",
}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts reads of the files of a credential, listings of directories, and questions about links."""
    counts = Counter[str]()
    opened, listed, linked = os.open, os.listdir, os.readlink

    def count_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        is_read = not flags & (os.O_WRONLY | os.O_RDWR) and flags & os.O_NOCTTY  # as `kimi_auth.files` reads
        counts.update(kind for form, kind in KINDS.items() if is_read and re.fullmatch(form, str(path)))
        return opened(path, flags, *args, **kwargs)

    def count_listing(where: Any) -> list[str]:
        counts["listing"] += isinstance(where, int)  # an open directory, and not a part of /proc
        return listed(where)

    def count_link(path: Any, **options: Any) -> str:
        counts["link"] += 1
        return linked(path, **options)

    monkeypatch.setattr(os, "open", count_open)
    monkeypatch.setattr(os, "listdir", count_listing)
    monkeypatch.setattr(os, "readlink", count_link)
    return counts


def test_what_a_renewal_reads(tmp_path: Path, reads: Counter[str]) -> None:
    """One renewal of an ended token in a process that has no other task reads each file this often, and no more."""
    clock = SystemClock()
    server, store = SimulatedServer(clock), FileStore(tmp_path, clock=clock)
    issued = server.issue()
    with store.locked(0.0):
        store.put(
            Token(issued.access_token, issued.refresh_token, clock.wall_s() - 5, 900.0, issuer="https://auth.kimi.com")
        )
    session = Session(tmp_path, server=server, environ={}, one_shot=True)
    reads.clear()
    assert session.access_token_sync() != issued.access_token
    assert reads == Counter(READS)
