"""The claim, the refusal and the backoff as files: torn, odd, old, of later versions."""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import Any

import pytest

from kimi_auth.errors import StoreUnwritable
from kimi_auth.store import Backoff, Binding, Claim, FileStore, RevokedMark, claims
from kimi_auth.store.owners import Owner
from kimi_auth.token import Token

FP = "0123456789abcdef"
OTHER_FP = "fedcba9876543210"
GOOD = json.dumps({"access_token": "a", "refresh_token": "r", "expires_at": 5.0, "expires_in": 9}).encode()


# --- claims as files -------------------------------------------------------------------------------------------------


def test_an_unfinished_claim_takes_its_room_and_says_whose_it_is(file_store: FileStore, clock: Any) -> None:
    """Room for the largest answer from the start; boot, process and host in the first line, NULs behind."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    with file_store.locked(0.0):
        made = file_store.claim(FP)
        data = path.read_bytes()
        assert len(data) == claims.ALLOCATE <= path.stat().st_blocks * 512
    about = json.loads(data.rstrip(b"\0"))["claim"]
    assert (about["v"], about["fp"], about["nonce"], about["boot"]) == (1, FP, made.nonce, clock.boot)
    assert (about["pid"], about["host"]) == (os.getpid(), socket.gethostname())
    assert json.loads(path.read_bytes()) == {"claim": about, "closed": True}


@pytest.mark.parametrize("data", [b'{"access_token": ', b""])
def test_a_record_that_cannot_be_read_voids_no_claim(file_store: FileStore, data: bytes) -> None:
    """While another program writes the record, its pair is unknown: an answer beside it may be the answer to that pair. Once the
    record can be read, claims on other pairs go."""
    file_store.path.write_bytes(data)
    with file_store.locked(0.0):
        file_store.stage(Claim("made", OTHER_FP, nonce="0011223344556677"), Token("a2", "r2", 5.0, 9.0))
        file_store.claim(FP)
        assert file_store.peek_claim(OTHER_FP).state == "staged"
        file_store.path.write_bytes(GOOD)
        file_store.claim(FP)
        assert file_store.peek_claim(OTHER_FP).state == "none"


@pytest.mark.parametrize(
    "answer", [Token("a2", "r2", 5.0, 9.0, issuer="https://x"), Token("a" * 20_000, "r", 5.0, 9.0)]
)
def test_an_answer_torn_at_any_byte(file_store: FileStore, monkeypatch: pytest.MonkeyPatch, answer: Token) -> None:
    """Cut off after any number of bytes a claim is still its owner's, without an answer; only the last byte makes it a staged pair."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    states: list[bytes] = []
    original = os.pwrite

    def by_bytes(descriptor: int, data: memoryview, offset: int) -> int:
        step = 1 if len(data) < 600 else 997
        states.append(path.read_bytes())
        return original(descriptor, data[:step], offset)

    with file_store.locked(0.0):
        claim = file_store.claim(FP)
        monkeypatch.setattr(os, "pwrite", by_bytes)
        file_store.stage(claim, answer)
        monkeypatch.undo()
        assert len(states) > 100
        assert file_store.peek_claim(FP).staged == answer
        whole = path.read_bytes()
        for state in states:
            path.write_bytes(state)
            assert file_store.peek_claim(FP) == claim._replace(state="in_flight", wait_s=75.0)
        for state in states[:: len(states) // 7]:
            path.write_bytes(state)
            file_store.stage(claim, answer)
            assert path.read_bytes() == whole
    for state in states:  # whatever the tear has left, who left the lock can close it
        path.write_bytes(state)
        with file_store.locked(0.0):
            file_store._mine = [claim]
        assert file_store.peek_claim(FP) == claim._replace(state="interrupted")


def test_an_answer_with_one_wrong_byte_is_none(file_store: FileStore) -> None:
    """The checksum covers every key of the record."""
    with file_store.locked(0.0):
        file_store.stage(file_store.claim(FP), Token("aaaa", "rrrr", 5.0, 9.0, "ssss", issuer="https://iiii"))
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    whole = path.read_bytes()
    for part in (b"aaaa", b"rrrr", b"5.0", b"9.0", b"ssss", b"iiii", b"Bearer"):
        path.write_bytes(whole.replace(part, part[:-1] + b"7"))
        assert file_store.peek_claim(FP).state == "in_flight", part
    path.write_bytes(whole)
    assert file_store.peek_claim(FP).state == "staged"


def test_an_answer_that_is_no_credential_is_none(file_store: FileStore) -> None:
    """A sound checksum over an invalid record makes no staged pair."""
    with file_store.locked(0.0):
        file_store.stage(file_store.claim(FP), Token("a b", "r", 5.0, 9.0))
        assert file_store.peek_claim(FP).state == "in_flight"


def test_an_answer_of_another_pair_is_none(file_store: FileStore, pair: Any) -> None:
    """A claim under another pair's name proves nothing."""
    with file_store.locked(0.0):
        file_store.stage(file_store.claim(FP), pair(2))
        path = file_store.path.with_name(f"kimi-code.{FP}.next")
        path.rename(path.with_name(f"kimi-code.{OTHER_FP}.next"))
        assert file_store.claim(OTHER_FP).state == "in_flight"


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
    """Its owner cannot be told, so it may be alive: dated on the first meeting, waited for, then taken over."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    path.write_bytes(data)
    assert file_store.peek_claim(FP).state == "in_flight"
    with file_store.locked(0.0):
        assert file_store.claim(FP).wait_s == 75.0
        clock.boottime += 75.0
        found = file_store.claim(FP)
        assert (found.state, found.wait_s) == ("in_flight", 0.0)
        assert file_store.renew_claim(found).state == "renewed"
    assert file_store.peek_claim(FP).state == "interrupted"


def test_odd_values_in_a_claim_are_unknown(file_store: FileStore, clock: Any) -> None:
    """Kinds that do not fit are no reason to fail, nor unknown keys of a later version."""
    about = {"v": 9, "fp": FP, "nonce": FP, "boot": 7, "pid": "y", "host": 3, "started": [], "new": []}
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    path.write_bytes(json.dumps({"claim": about})[:-1].encode() + b"\n}")
    assert file_store.peek_claim(FP) == Claim("in_flight", FP, wait_s=75.0, nonce=FP)
    about |= {"boot": clock.boot, "pid": 7, "host": "h\x1bost"}
    path.write_bytes(json.dumps({"claim": about})[:-1].encode() + b"\n}")
    assert file_store.peek_claim(FP).owner == "pid 7 on host"


ODD_OWNERS = {
    "nonce": ["", 5, None, "../../x", "0" * 15, "0123456789ABCDEF"],
    "pid": [True, 0, -1, 2**31, 2**80, 1.5],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in ODD_OWNERS.items() for value in values])
def test_a_header_that_nobody_of_ours_wrote(file_store: FileStore, key: str, value: object) -> None:
    """A nonce that could lead out of the directory makes it no claim of ours, a process number that is none is unknown."""
    about = {"v": 1, "fp": FP, "nonce": FP, "pid": 7} | {key: value}
    file_store.path.with_name(f"kimi-code.{FP}.next").write_bytes(json.dumps({"claim": about})[:-1].encode() + b"\n}")
    found = file_store.peek_claim(FP)
    assert (found.state, found.owner) == ("in_flight", "")
    with file_store.locked(0.0):
        assert file_store.renew_claim(found).state == "renewed"


ODD_MEETINGS = [
    b"", b"{", b"[]", b'{"nonce": "0123456789abcdef"}', b'{"nonce": 7, "met": {}}', b"\xff", b"[" * 50_000,
    b'{"nonce": "0123456789abcdef", "met": {"boot-a": "x"}}', b'{"nonce": "0123456789abcdef", "met": {"boot-a": true}}',
    b'{"nonce": "0123456789abcdef", "met": {"boot-a": -1}}', b'{"nonce": "0123456789abcdef", "met": {"boot-a": NaN}}',
    b'{"nonce": "0123456789abcdef", "met": {"boot-a": 1e999}}', b'{"nonce": "fedcba9876543210", "met": {"boot-a": 1}}',
]  # fmt: skip


@pytest.mark.parametrize("data", ODD_MEETINGS, ids=range(len(ODD_MEETINGS)))
def test_meetings_that_cannot_be_read_have_not_happened(file_store: FileStore, data: bytes) -> None:
    """The wait begins again, and no time that was made up ends it."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    path.write_bytes(claims.unfinished(claims.Header(FP, FP, Owner())))
    path.with_name(f"kimi-code.{FP}.met").write_bytes(data)
    assert file_store.peek_claim(FP).wait_s == 75.0
    with file_store.locked(0.0):
        assert file_store.claim(FP).wait_s == 75.0
    assert json.loads(path.with_name(f"kimi-code.{FP}.met").read_bytes())["met"] == {"boot-a": 1000.0}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_in_a_claim_s_place(file_store: FileStore, clock: Any, make: Any) -> None:
    """It is waited for like garbage and then replaced; it is never opened for ever and never taken for a claim of ours."""
    make(file_store.path.with_name(f"kimi-code.{FP}.next"))
    assert file_store.peek_claim(FP).state == "in_flight"
    with file_store.locked(0.0):
        assert file_store.claim(FP).state == "in_flight"
        clock.boottime += 75.0
        assert file_store.renew_claim(file_store.claim(FP)).state == "renewed"


def test_a_directory_in_a_claim_s_place(file_store: FileStore) -> None:
    """It cannot be replaced, so nothing is sent and it is named."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    path.mkdir()
    with file_store.locked(0.0), pytest.raises(StoreUnwritable, match="it is a directory"):
        file_store.renew_claim(file_store.claim(FP))
    assert [left.name for left in path.parent.glob("*.next")] == [path.name]


def test_without_free_descriptors_nothing_is_made_up(file_store: FileStore, refuse_open: Any) -> None:
    """A refusal or claim that is not there is not taken for one that cannot be read."""
    refuse_open(errno.EMFILE, "")
    assert file_store.revoked_mark(FP) is None
    assert file_store.peek_claim(FP).state == "none"


# --- refusals and backoff as files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"at_s": "x", "message": 7}', b"\xff"])
def test_an_unreadable_refusal_is_one(file_store: FileStore, data: bytes) -> None:
    """That the file is there is what counts."""
    file_store.path.with_name(f"kimi-code.{FP}.revoked").write_bytes(data)
    assert file_store.revoked_mark(FP) == RevokedMark(0.0, "")


def test_a_refusal_of_a_later_version(file_store: FileStore) -> None:
    """Unknown keys and versions are tolerated, and messages are cleaned on reading too."""
    path = file_store.path.with_name(f"kimi-code.{FP}.revoked")
    path.write_text(json.dumps({"v": 9, "at_s": 5, "message": "no\x1b[0m", "more": {}}))
    assert file_store.revoked_mark(FP) == RevokedMark(5.0, "no[0m")


@pytest.mark.parametrize(
    ("data", "backoff"),
    [
        (b"", Backoff()),
        (b"{", Backoff()),
        (b"[1]", Backoff()),
        (b"\xff", Backoff()),
        (b'{"v": 9, "retry_at_s": 5, "more": 1}', Backoff(retry_at_s=5.0)),
        (b'{"retry_at_s": NaN, "failures": 2}', Backoff(failures=2)),
        (b'{"retry_at_s": "5", "failures": 2.5, "code": 7}', Backoff()),
        (b'{"failures": -1, "forced": true, "unrecognized_count": 99999999999999999999}', Backoff()),
        (b'{"message": "a\\u0007b\\nc", "renewed_at_s": 1e999}', Backoff(message="ab c")),
    ],
)
def test_a_pace_that_is_half_right(file_store: FileStore, data: bytes, backoff: Backoff) -> None:
    """Readable members count, the rest have their defaults."""
    file_store.path.with_name("kimi-code.backoff").write_bytes(data)
    assert file_store.backoff() == backoff


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
