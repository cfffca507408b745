"""The claim, the refusal and the pace as files: torn, odd, old, of later versions."""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import Any

import pytest

from kimi_auth.errors import StoreUnwritable
from kimi_auth.store import Binding, FileStore, Pace, Refusal, claims
from kimi_auth.token import Token

FP = "0123456789abcdef"
OTHER_FP = "fedcba9876543210"
GOOD = json.dumps({"access_token": "a", "refresh_token": "r", "expires_at": 5.0, "expires_in": 9}).encode()


# --- claims as files -------------------------------------------------------------------------------------------------


def test_an_unfinished_claim_takes_its_room_and_says_whose_it_is(file_store: FileStore, clock: Any) -> None:
    """16 KiB on disk from the start; boot, process and host in the first line, NULs behind."""
    with file_store.locked(0.0):
        file_store.claim(FP)
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    data = path.read_bytes()
    assert len(data) == claims.ALLOCATE <= path.stat().st_blocks * 512
    about = json.loads(data.rstrip(b"\0"))["claim"]
    assert (about["v"], about["fp"], about["boot"], about["boottime_s"]) == (1, FP, clock.boot, clock.boottime)
    assert (about["pid"], about["host"]) == (os.getpid(), socket.gethostname())


@pytest.mark.parametrize(
    "answer", [Token("a2", "r2", 5.0, 9.0, issuer="https://x"), Token("a" * 20_000, "r", 5.0, 9.0)]
)
def test_an_answer_torn_at_any_byte(file_store: FileStore, monkeypatch: pytest.MonkeyPatch, answer: Token) -> None:
    """Cut off after any number of bytes a claim is still this boot's interrupted one; only the last byte makes the heir."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    states: list[bytes] = []
    original = os.pwrite

    def by_bytes(descriptor: int, data: memoryview, offset: int) -> int:
        step = 1 if len(data) < 600 else 997
        states.append(path.read_bytes())
        return original(descriptor, data[:step], offset)

    with file_store.locked(0.0):
        file_store.claim(FP)
        monkeypatch.setattr(os, "pwrite", by_bytes)
        file_store.save_heir(FP, answer)
        monkeypatch.undo()
        assert len(states) > 100
        assert file_store.peek_claim(FP).heir == answer
        whole = path.read_bytes()
        for state in states:
            path.write_bytes(state)
            assert file_store.peek_claim(FP).state == "interrupted"
        for state in states[:: len(states) // 7]:
            path.write_bytes(state)
            assert file_store.claim(FP).state == "interrupted"
            file_store.save_heir(FP, answer)
            assert path.read_bytes() == whole


def test_an_answer_with_one_wrong_byte_is_none(file_store: FileStore) -> None:
    """The checksum covers every key of the record."""
    with file_store.locked(0.0):
        file_store.claim(FP)
        file_store.save_heir(FP, Token("aaaa", "rrrr", 5.0, 9.0, "ssss", issuer="https://iiii"))
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    whole = path.read_bytes()
    for part in (b"aaaa", b"rrrr", b"5.0", b"9.0", b"ssss", b"iiii", b"Bearer"):
        path.write_bytes(whole.replace(part, part[:-1] + b"7"))
        assert file_store.peek_claim(FP).state == "interrupted", part
    path.write_bytes(whole)
    assert file_store.peek_claim(FP).state == "heir"


def test_an_answer_that_is_no_credential_is_none(file_store: FileStore) -> None:
    """A sound checksum over a record that nobody would take makes no heir."""
    with file_store.locked(0.0):
        file_store.claim(FP)
        file_store.save_heir(FP, Token("a b", "r", 5.0, 9.0))
    assert file_store.peek_claim(FP).state == "interrupted"


def test_an_answer_of_another_pair_is_none(file_store: FileStore, pair: Any) -> None:
    """A claim under another pair's name proves nothing."""
    with file_store.locked(0.0):
        file_store.claim(FP)
        file_store.save_heir(FP, pair(2))
        path = file_store.path.with_name(f"kimi-code.{FP}.next")
        path.rename(path.with_name(f"kimi-code.{OTHER_FP}.next"))
        assert file_store.claim(OTHER_FP).state == "elsewhere"


GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "NULs": bytes(16_384),
    "HTML": b"<html>\n</html>",
    "no line": b'{"claim": {"fp": "0123456789abcdef"}',
    "a list": b"[\n]",
    "claim is no object": b'{"claim": 7\n}',
    "not UTF-8": b'{"claim": "\xff"\n}',
    "nested": b"[" * 50_000 + b"\n",
    "too large": b"x" * 70_000,
    "a record": GOOD,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_a_claim_s_place(file_store: FileStore, clock: Any, data: bytes) -> None:
    """Its owner cannot be told, so it is one of another boot: dated on the first meeting, waited for, then interrupted."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    path.write_bytes(data)
    assert file_store.peek_claim(FP).state == "elsewhere"
    with file_store.locked(0.0):
        assert file_store.claim(FP).wait_s == 75.0
        clock.boottime += 75.0
        assert file_store.claim(FP).state == "interrupted"


def test_odd_values_in_a_claim_are_unknown(file_store: FileStore, clock: Any) -> None:
    """Kinds that do not fit are no reason to fail, nor unknown keys of a later version."""
    about = {"v": 9, "fp": FP, "boot": 7, "boottime_s": "x", "pid": "y", "host": 3, "met": {"boot-a": "z"}, "new": []}
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    path.write_bytes(json.dumps({"claim": about})[:-1].encode() + b"\n}")
    assert (file_store.peek_claim(FP).state, file_store.peek_claim(FP).owner) == ("elsewhere", "")
    about |= {"boot": clock.boot, "met": [], "pid": 7, "host": "h\x1bost"}
    path.write_bytes(json.dumps({"claim": about})[:-1].encode() + b"\n}")
    assert (file_store.peek_claim(FP).state, file_store.peek_claim(FP).owner) == ("interrupted", "pid 7 on host")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_in_a_claim_s_place(file_store: FileStore, clock: Any, make: Any) -> None:
    """It is waited for like garbage and then replaced; it is never opened for ever and never taken for a claim of ours."""
    make(file_store.path.with_name(f"kimi-code.{FP}.next"))
    assert file_store.peek_claim(FP).state == "elsewhere"
    with file_store.locked(0.0):
        assert file_store.claim(FP).state == "elsewhere"
        clock.boottime += 75.0
        assert file_store.claim(FP).state == "interrupted"


def test_a_directory_in_a_claim_s_place(file_store: FileStore) -> None:
    """It cannot be replaced, so nothing is sent and it is named."""
    file_store.path.with_name(f"kimi-code.{FP}.next").mkdir()
    with file_store.locked(0.0), pytest.raises(StoreUnwritable, match="it is a directory"):
        file_store.claim(FP)


def test_without_free_descriptors_nothing_is_made_up(file_store: FileStore, refuse_open: Any) -> None:
    """A refusal or claim that is not there is not taken for one that cannot be read."""
    refuse_open(errno.EMFILE, "")
    assert file_store.refusal(FP) is None
    assert file_store.peek_claim(FP).state == "none"


# --- refusals and pace as files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"at_s": "x", "words": 7}', b"\xff"])
def test_an_unreadable_refusal_is_one(file_store: FileStore, data: bytes) -> None:
    """That the file is there is what counts."""
    file_store.path.with_name(f"kimi-code.{FP}.refused").write_bytes(data)
    assert file_store.refusal(FP) == Refusal(0.0, "")


def test_a_refusal_of_a_later_version(file_store: FileStore) -> None:
    """Unknown keys and versions are tolerated, and words are cleaned on reading too."""
    path = file_store.path.with_name(f"kimi-code.{FP}.refused")
    path.write_text(json.dumps({"v": 9, "at_s": 5, "words": "no\x1b[0m", "more": {}}))
    assert file_store.refusal(FP) == Refusal(5.0, "no[0m")


@pytest.mark.parametrize(
    ("data", "pace"),
    [
        (b"", Pace()),
        (b"{", Pace()),
        (b"[1]", Pace()),
        (b"\xff", Pace()),
        (b'{"v": 9, "not_before_s": 5, "more": 1}', Pace(not_before_s=5.0)),
        (b'{"not_before_s": NaN, "failures": 2}', Pace(failures=2)),
        (b'{"not_before_s": "5", "failures": 2.5, "code": 7}', Pace()),
        (b'{"failures": -1, "forced": true, "unclear_count": 99999999999999999999}', Pace()),
        (b'{"words": "a\\u0007b\\nc", "renewed_at_s": 1e999}', Pace(words="ab c")),
    ],
)
def test_a_pace_that_is_half_right(file_store: FileStore, data: bytes, pace: Pace) -> None:
    """What can be read counts, the rest has its default."""
    file_store.path.with_name("kimi-code.pace.json").write_bytes(data)
    assert file_store.pace() == pace


# --- the binding as a file -------------------------------------------------------------------------------------------


def test_the_binding_lies_beside_the_record(file_store: FileStore, linked: Any) -> None:
    """One small JSON file, private, beside the record that a link leads to."""
    with file_store.locked(0.0):
        file_store.bind(Binding("https://auth.kimi.com", ("https://tokens.example",)))
    path = linked.with_name("team.issuer")
    assert json.loads(path.read_bytes()) == {
        "v": 1,
        "issuer": "https://auth.kimi.com",
        "origins": ["https://tokens.example"],
    }
    assert path.stat().st_mode & 0o777 == 0o600


NO_BINDINGS: dict[str, bytes] = {
    "empty": b"",
    "torn": b'{"v": 1, "issuer": "https://auth.ki',
    "not JSON": b"https://auth.kimi.com\n",
    "no object": b'["https://auth.kimi.com"]',
    "no issuer": b'{"v": 1}',
    "an issuer that is no text": b'{"v": 1, "issuer": 5}',
    "an issuer that is no URL": b'{"v": 1, "issuer": "auth.kimi.com"}',
    "an issuer with an escape": b'{"v": 1, "issuer": "https://\\u001b[31m"}',
    "an issuer too long": b'{"v": 1, "issuer": "https://' + b"a" * 3000 + b'"}',
    "origins that are no list": b'{"v": 1, "issuer": "https://auth.kimi.com", "origins": "https://x"}',
    "an origin that is no URL": b'{"v": 1, "issuer": "https://auth.kimi.com", "origins": [null]}',
    "too large": b'{"v": 1, "issuer": "https://auth.kimi.com"}' + b" " * 70_000,
}


@pytest.mark.parametrize("data", NO_BINDINGS.values(), ids=NO_BINDINGS)
def test_a_binding_that_cannot_be_read_fits_no_host(file_store: FileStore, data: bytes) -> None:
    """It never counts as none: a token would go to whatever host the environment names."""
    path = file_store.path.with_name("kimi-code.issuer")
    path.write_bytes(data)
    assert file_store.binding() == Binding("")
    with file_store.locked(0.0):
        file_store.bind(Binding("https://auth.kimi.com"))
    assert file_store.binding() == Binding("https://auth.kimi.com")


@pytest.mark.parametrize("kind", ["link", "FIFO", "directory"])
def test_a_binding_that_is_no_file_fits_no_host(file_store: FileStore, tmp_path: Any, kind: str) -> None:
    """Nor is it followed or waited for."""
    path = file_store.path.with_name("kimi-code.issuer")
    (tmp_path / "real").write_text('{"v": 1, "issuer": "https://auth.kimi.com"}')
    {"link": lambda: path.symlink_to(tmp_path / "real"), "FIFO": lambda: os.mkfifo(path), "directory": path.mkdir}[
        kind
    ]()
    assert file_store.binding() == Binding("")


def test_a_binding_of_a_later_version(file_store: FileStore) -> None:
    """Unknown keys are ignored."""
    file_store.path.with_name("kimi-code.issuer").write_text('{"v": 9, "issuer": "https://a.example", "more": {}}')
    assert file_store.binding() == Binding("https://a.example")
