"""A view is several files: what makes it one moment, and what it costs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.store import Backoff, Binding, FileStore, RevokedMark
from kimi_auth.store.credential_files import CredentialFiles
from kimi_auth.store.file_reading import VIEWS_MAX
from kimi_auth.token import fingerprint


@pytest.fixture
def while_viewed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], list[int]]:
    """Lets another program act each time a view has read the record and has not read the backoff yet."""

    def act(what: Callable[[], None]) -> list[int]:
        original, reads = CredentialFiles.backoff, list[int]()

        def backoff(self: CredentialFiles) -> Backoff:
            reads.append(len(reads))
            what()
            return original(self)

        monkeypatch.setattr(CredentialFiles, "backoff", backoff)
        return reads

    return act


def test_a_renewal_in_the_middle_of_a_view(file_store: FileStore, pair: Any, clock: Any, while_viewed: Any) -> None:
    """The sidecars in a view are those of its pair, even if another process renews while they are read."""
    other = FileStore(file_store.path.parent.parent, clock=clock)
    with other.locked(0.0):
        other.put(pair(1))
        other.mark_revoked(fingerprint(pair(1)), RevokedMark(1.0, "no"))

    def renew() -> None:
        if other.read().token == pair(1):
            with other.locked(0.0):
                other.put(pair(2))
                other.set_backoff(Backoff(renewed_at_s=5.0))

    reads = while_viewed(renew)
    view = file_store.view()
    assert (view.snapshot.token, view.mark, view.backoff.renewed_at_s) == (pair(2), None, 5.0)
    assert len(reads) == 2


def test_a_login_in_the_middle_of_a_view_of_nothing(
    file_store: FileStore, pair: Any, clock: Any, while_viewed: Any
) -> None:
    """A record that appears while the view is taken is in it."""
    other = FileStore(file_store.path.parent.parent, clock=clock)

    def sign_in() -> None:
        if other.read().state == "absent":
            with other.locked(0.0):
                other.put(pair(1))

    while_viewed(sign_in)
    assert file_store.view().snapshot.token == pair(1)


def test_a_record_that_never_rests(file_store: FileStore, pair: Any, clock: Any, while_viewed: Any) -> None:
    """A view ends while other programs go on writing: the last of its tries is the answer."""
    other = FileStore(file_store.path.parent.parent, clock=clock)
    numbers = iter(range(2, 100))
    with other.locked(0.0):
        other.put(pair(1))

    def write() -> None:
        with other.locked(0.0):
            other.put(pair(next(numbers)))

    reads = while_viewed(write)
    assert file_store.view().snapshot.token == pair(VIEWS_MAX)
    assert len(reads) == VIEWS_MAX


def test_a_view_walks_to_its_directory_once(file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One view opens each directory of the path once and each file once, and asks once whether the record is a link."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        file_store.claim(fingerprint(pair(1)))
        file_store.mark_revoked(fingerprint(pair(1)), RevokedMark(1.0, "no"))
        file_store.set_backoff(Backoff(failures=1))
        file_store.bind(Binding("https://a.example"))
    opened, links, original, readlink = Counter[str](), list[str](), os.open, os.readlink

    def count(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        is_read = flags & (os.O_DIRECTORY | getattr(os, "O_PATH", 0)) == 0 or flags & os.O_DIRECTORY
        name = re.sub(r"[0-9a-f]{16}", "FP", str(path))
        if is_read and not name.startswith("/proc"):
            opened[name] += 1
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", count)
    monkeypatch.setattr(os, "readlink", lambda path, **options: links.append(str(path)) or readlink(path, **options))
    file_store.view()
    directories = [*file_store.path.parts[1:-1], "/"]
    assert {name: opened[name] for name in directories} == dict.fromkeys(directories, 1)
    sidecars = (
        "kimi-code.FP.next",
        "kimi-code.FP.revoked",
        "kimi-code.FP.met",
        "kimi-code.backoff",
        "kimi-code.issuer",
    )
    assert {name: opened[name] for name in sidecars} == dict.fromkeys(sidecars, 1)
    assert links == [str(file_store.path)]
