"""A claim survives any name: the written bytes are overwritten, byte for byte."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_auth.store import FileStore, claims, owners
from kimi_auth.store.owners import Owner
from kimi_auth.token import RECORD_FILE_MAX_BYTES, RECORD_MAX_BYTES, Token, parse_record

FP = "0123456789abcdef"
NAMES = st.text(max_size=300) | st.sampled_from(
    ["lap\u200dtop", "a\u00a0b", "tab\there", "line\nend", "\ud800", "\0", "\x1b[0m"]
)
ANSWER = Token("a2", "r2", 5.0, 9.0, issuer="https://x")


@settings(max_examples=25, deadline=None)
@given(host=NAMES, boot=NAMES)
def test_any_host_name_and_boot_id(host: str, boot: str) -> None:
    """Made, closed, taken over, answered and installed: on a host and a boot of any name."""
    clock = mock.Mock(boot_id=lambda: boot, boottime_s=lambda: 5.0, wall_s=lambda: 5.0)
    with tempfile.TemporaryDirectory() as share, mock.patch.object(owners, "_node_name", return_value=host):
        store = FileStore(Path(share), clock=clock)
        with store.locked(0.0):
            store.put(Token("a", "r", 5.0, 9.0))
            fp = store.read().fp
            made = store.claim(fp)
            assert store.peek_claim(fp).state == "in_flight"
            assert store.claim(fp).nonce == made.nonce
        assert store.peek_claim(fp).state == "interrupted"
        with store.locked(0.0):
            store.stage(store.renew_claim(store.claim(fp)), ANSWER)
            assert store.peek_claim(fp).staged == ANSWER
            store.commit(store.peek_claim(fp), ANSWER)
        assert store.read().token == ANSWER


@given(owner=st.builds(Owner, NAMES, NAMES, st.integers(1, 2**31 - 1), NAMES, NAMES))
def test_a_header_comes_back_and_leaves_room(owner: Owner) -> None:
    """Whatever a system calls itself, the header is read as it was written, and the largest record fits behind it."""
    with (
        mock.patch.object(owners, "_node_name", return_value=owner.host),
        mock.patch.object(owners, "_system") as system,
    ):
        system().namespace, system().started = lambda: owner.namespace, lambda _pid: owner.started
        header = claims.new(FP, owners.this_process(owner.boot))
    found = claims.parse(claims.unfinished(header), FP)
    assert (found.header, found.line) == (header, claims.start(header))
    assert len(found.line) + len(claims.answer(largest())) <= RECORD_FILE_MAX_BYTES == claims.ALLOCATE


def largest() -> Token:
    """A pair whose record is as large as a record may be."""
    spare = RECORD_MAX_BYTES - 1 - len(json.dumps(Token("a", "", 1.8e9, 900.0, issuer="https://x").record()))
    token = Token("a", "r" * spare, 1.8e9, 900.0, issuer="https://x")
    assert len(json.dumps(token.record())) + 1 == RECORD_MAX_BYTES
    return token


def test_the_largest_record_is_kept(file_store: FileStore, monkeypatch: Any) -> None:
    """A pair of 64 KiB becomes the record, by way of the claim and by a login, and is read again; on a disk that was full by
    then too, for the claim has taken its room before anything was sent."""
    with file_store.locked(0.0):
        file_store.put(Token("a", "r", 1.0, 1.0))
        fp = file_store.read().fp
        claim = file_store.claim(fp)
        path = file_store.path.with_name(f"kimi-code.{fp}.next")
        taken = path.stat().st_blocks
        file_store.stage(claim, largest())
        assert path.stat().st_blocks <= taken
        file_store.commit(claim, largest())
        assert file_store.read().token == largest()
        assert parse_record(json.loads(file_store.path.read_bytes())) == largest()
        file_store.put(largest())
    assert file_store.read().token == largest()
