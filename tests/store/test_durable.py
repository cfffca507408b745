"""The disk's content after a power cut, and a disk that refuses."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.errors import StorageError, StoreUnwritable
from kimi_auth.store import Backoff, Claim, FileStore, RevokedMark, claims, medium, owners
from kimi_auth.token import RECORD_MAX_BYTES, Token

FP = "0123456789abcdef"
OTHER_FP = "fedcba9876543210"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# --- durability ------------------------------------------------------------------------------------------------------


class Recorder:
    """Every step that matters for durability, in order, with the names of the files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, random: str) -> None:
        self.steps: list[str] = []
        self._random = random
        for name in ("open", "fsync", "replace", "rename", "unlink", "ftruncate", "pwrite", "posix_fallocate"):
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))
        token_hex = secrets.token_hex
        # A temporary file's name has six bytes; the nonce of a claim has more, and must not repeat.
        monkeypatch.setattr("secrets.token_hex", lambda size: random if size == 6 else token_hex(size))

    def _wrap(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(first: Any, *args: Any, **kwargs: Any) -> Any:
            if name != "open":
                self._note(name, first, *args[:1])
            elif args[0] & os.O_EXCL:
                self._note("create", first)
            return original(first, *args, **kwargs)

        return step

    def _note(self, name: str, first: Any, second: Any = "") -> None:
        if isinstance(first, int):
            first = Path(f"/proc/self/fd/{first}").readlink()
        words = [name, Path(first).name, Path(second).name if isinstance(second, str) else ""]
        self.steps.append(" ".join(word for word in words if word).replace(f".{self._random}.tmp", "~"))


RENAMED = ["create X~", "pwrite X~", "fsync X~", "replace X~ X", "fsync credentials"]
NEW = Token("a2", "r2", 1.0, 1.0)
ORDERS: dict[str, tuple[str, Callable[[FileStore, Claim], object], list[str]]] = {
    "put": ("kimi-code.json", lambda store, _: store.put(Token("a2", "r2", 1.0, 1.0)), RENAMED),
    "sign_out": ("kimi-code.json", lambda store, _: store.sign_out(5.0), RENAMED),
    "set_backoff": ("kimi-code.backoff", lambda store, _: store.set_backoff(Backoff()), RENAMED),
    "refuse": ("kimi-code.FP.revoked", lambda store, claim: store.mark_revoked(claim.fp, RevokedMark(1.0)), RENAMED),
    "claim": (
        "kimi-code.FP.next",
        lambda store, claim: (store.withdraw_claim(claim), store.claim(claim.fp)),
        ["unlink X", "fsync credentials", "create X", "posix_fallocate X", "pwrite X", "fsync X", "fsync credentials"],
    ),
    "renew_claim": (
        "kimi-code.FP.next",
        lambda store, claim: store.renew_claim(claim),
        [
            "create X+",
            "posix_fallocate X+",
            "pwrite X+",
            "fsync X+",
            "fsync credentials",
            "replace X+ X",
            "fsync credentials",
        ],
    ),
    "stage": (
        "kimi-code.FP.next",
        lambda store, claim: store.stage(claim, NEW),
        ["ftruncate X", "pwrite X", "fsync X"],
    ),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of descriptors come from /proc")
@pytest.mark.parametrize(("name", "write", "steps"), ORDERS.values(), ids=ORDERS)
def test_the_order_of_a_durable_write(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch, name: str, write: Any, steps: list[str]
) -> None:
    """Bytes first, then the name, then the directory: each file after a power cut is whole."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        fp = file_store.read().fp
        claim = file_store.claim(fp)
        recorder = Recorder(monkeypatch, "r" * 12)
        write(file_store, claim)
        monkeypatch.undo()
    taking = f"kimi-code.{fp}.{claim.nonce}.next"
    wanted = [step.replace("X+", taking).replace("X", name.replace("FP", fp)) for step in steps]
    assert recorder.steps[: len(wanted)] == wanted
    assert all(step.startswith("unlink") for step in recorder.steps[len(wanted) :]), "only sweeping may follow"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of descriptors come from /proc")
def test_the_order_of_an_install(file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The staged's own file becomes the credential: one rename, then the directory, and only then the sweeping."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        fp = file_store.read().fp
        claim = file_store.claim(fp)
        file_store.stage(claim, pair(2))
        file_store.mark_revoked(fp, RevokedMark(1.0))
        inode = file_store.path.with_name(f"kimi-code.{fp}.next").stat().st_ino
        recorder = Recorder(monkeypatch, "r" * 12)
        file_store.commit(claim, pair(2))
        monkeypatch.undo()
    rename, sweep = f"replace kimi-code.{fp}.next kimi-code.json", f"unlink kimi-code.{fp}.revoked"
    assert recorder.steps == [rename, "fsync credentials", sweep]
    assert file_store.path.stat().st_ino == inode


def test_an_install_that_was_not_durable_is_tried_again(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch, fail: Any
) -> None:
    """When the rename succeeded and its fsync did not, the second try completes it."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        fp = file_store.read().fp
        claim = file_store.claim(fp)
        file_store.stage(claim, pair(2))
        fail("fsync", errno.EIO)
        with pytest.raises(StoreUnwritable, match="disk reports an error"):
            file_store.commit(claim, pair(2))
        monkeypatch.undo()
        file_store.commit(claim, pair(2))
        assert file_store.read().token == pair(2)
        assert file_store.commit(claim._replace(fp=OTHER_FP), pair(3)) == "superseded"


# --- a medium that refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "number", "words"),
    [
        ("posix_fallocate", errno.ENOSPC, "disk is full"),
        ("posix_fallocate", errno.EFBIG, "larger than this process may write"),
        ("pwrite", errno.EDQUOT, "quota"),
        ("fsync", errno.EIO, "disk reports an error"),
    ],
)
def test_a_claim_that_fails_leaves_nothing(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch, fail: Any, call: str, number: int, words: str
) -> None:
    """A claim that could not be made durable is no claim: nothing was sent, and no process is made to think so."""
    with file_store.locked(0.0):
        before = names(file_store.path.parent)
        fail(call, number)
        with pytest.raises(StoreUnwritable, match=words) as caught:
            file_store.claim(FP)
        monkeypatch.undo()
        assert str(file_store.path.parent) in caught.value.message
        assert names(file_store.path.parent) == before
        assert file_store.claim(FP).state == "made"


def test_a_claim_whose_name_is_not_durable_is_none(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When only the directory cannot be synced the claim goes again too."""
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "no")
        original(descriptor)

    with file_store.locked(0.0):
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(StoreUnwritable, match="disk reports an error"):
            file_store.claim(FP)
        monkeypatch.undo()
        assert file_store.claim(FP).state == "made"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_record_that_cannot_be_replaced_stays(file_store: FileStore, pair: Any, fail: Any, number: int) -> None:
    """A failing rename leaves the old record and no temporary file."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        before = names(file_store.path.parent)
        fail("replace", number)
        with pytest.raises(StoreUnwritable):
            file_store.put(pair(2))
        with pytest.raises(StoreUnwritable):
            file_store.check_writable()
    assert names(file_store.path.parent) == before
    assert file_store.read().token == pair(1)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, None])
def test_where_blocks_cannot_be_reserved_they_are_written(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch, fail: Any, number: int | None
) -> None:
    """A file system, or a system, without allocation gets the same claim by writing it."""
    if number is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        fail("posix_fallocate", number)
    with file_store.locked(0.0):
        file_store.claim(FP)
        found = file_store.path.with_name(f"kimi-code.{FP}.next").stat()
    assert (found.st_size, found.st_blocks * 512 >= claims.ALLOCATE) == (claims.ALLOCATE, True)


def test_a_directory_that_cannot_be_synced_is_left_in_peace(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems know no fsync of a directory; that is no error of ours."""
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with file_store.locked(0.0):
        file_store.put(pair(1))
    assert file_store.read().token == pair(1)


def test_short_writes_are_continued(file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take less than it was given, and a read may return less than it was asked for."""
    write, read = os.pwrite, os.read
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: write(descriptor, data[:7], offset))
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 5)))
    with file_store.locked(0.0):
        file_store.put(pair(1))
        assert file_store.read().token == pair(1)


def test_what_could_never_be_read_is_not_stored(file_store: FileStore, pair: Any) -> None:
    """Tokens beyond the size of a record are refused before they replace anything."""
    huge = Token("a" * RECORD_MAX_BYTES, "r", 1.0, 1.0)
    with file_store.locked(0.0):
        file_store.put(pair(1))
        claim = file_store.claim(FP)
        for write in (lambda: file_store.put(huge), lambda: file_store.stage(claim, huge)):
            with pytest.raises(StoreUnwritable, match="65536"):
                write()
    assert file_store.read().token == pair(1)
    assert file_store.peek_claim(FP).state == "interrupted"


def test_removing_that_fails_is_said(file_store: FileStore, fail: Any) -> None:
    """A claim that cannot be withdrawn is no silent success."""
    with file_store.locked(0.0):
        claim = file_store.claim(FP)
        fail("unlink", errno.EROFS)
        with pytest.raises(StoreUnwritable, match="read-only"):
            file_store.withdraw_claim(claim)


def test_a_claim_that_cannot_be_closed(
    file_store: FileStore, fail: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the next one waits: a living process has left it open."""
    with file_store.locked(0.0):
        file_store.claim(FP)
        fail("ftruncate", errno.EIO)
    monkeypatch.undo()
    assert "a claim stays open" in caplog.text
    assert file_store.peek_claim(FP).state == "in_flight"


def test_a_process_killed_while_it_takes_a_claim_over(file_store: FileStore, clock: Any) -> None:
    """What it has made counts as the claim, its owner as the owner: waited for, and taken over in its turn."""
    me = owners.this_process(clock.boot)
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    first, second = claims.new(FP, me), claims.new(FP, me._replace(namespace="another"))
    path.write_bytes(claims.unfinished(first)[:-2] + claims.CLOSED)
    path.with_name(f"kimi-code.{FP}.{first.nonce}.next").write_bytes(claims.unfinished(second))
    with file_store.locked(0.0):
        found = file_store.claim(FP)
        assert (found.state, found.nonce) == ("in_flight", second.nonce)
        with pytest.raises(StorageError, match="taken over"):
            file_store.renew_claim(found._replace(nonce=first.nonce))
        clock.boottime += 75.0
        renewed = file_store.renew_claim(file_store.claim(FP))
        assert renewed.state == "renewed"
    assert file_store.peek_claim(FP) == renewed._replace(state="interrupted")
    assert json.loads(path.read_bytes())["claim"]["nonce"] == renewed.nonce


def test_a_claim_that_goes_while_it_is_looked_at(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock that excludes its owner may take it back in that moment: nothing is sent, and the next try makes one."""
    with file_store.locked(0.0):
        file_store.claim(FP)
        monkeypatch.setattr(file_store, "_peek", lambda _, fp: Claim("none", fp))
        with pytest.raises(StorageError, match="came and went"):
            file_store.claim(FP)


@pytest.mark.parametrize("moment", ["taken over", "withdrawn", "answered"])
def test_what_happens_to_a_claim_while_it_is_taken_over(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After our name is made and before it replaces the claim, another process was there: we leave, without a trace."""
    path = file_store.path.with_name(f"kimi-code.{FP}.next")
    with file_store.locked(0.0):
        claim = file_store.claim(FP)
        create = medium.create_durably

        def create_late(taking: Path, *args: Any, **options: Any) -> bool:
            if moment == "withdrawn":
                file_store.withdraw_claim(claim)
            elif moment == "answered":
                file_store.stage(claim, NEW)
            else:
                path.write_bytes(claims.unfinished(claims.new(FP, owners.Owner())))
            return create(taking, *args, **options)

        monkeypatch.setattr(medium, "create_durably", create_late)
        with pytest.raises(StorageError, match="taken over"):
            file_store.renew_claim(claim)
        assert file_store.peek_claim(FP).state == {"withdrawn": "none", "answered": "staged"}.get(moment, "in_flight")
        assert [left for left in names(path.parent) if claim.nonce in left] == []


def test_sweeping_that_fails_does_not_undo_an_install(file_store: FileStore, pair: Any, fail: Any) -> None:
    """A sidecar that is void by its name may stay: the record is what counts."""
    with file_store.locked(0.0):
        file_store.claim(FP)
        fail("unlink", errno.EACCES)
        file_store.put(pair(1))
        fail("listdir", errno.EIO)
        file_store.put(pair(2))
    assert file_store.read().token == pair(2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or not mount:
        pytest.skip("mounting needs root; the injected ENOSPC above covers the same paths")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=128k", "none", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> None:
    """Takes the last free byte."""
    with (directory / "filler").open("ab", buffering=0) as filler:
        for size in (65_536, 4096, 1):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                deque(map(filler.write, repeat(bytes(size))))


def test_a_disk_that_is_really_full(small_disk: Path, clock: Any, pair: Any) -> None:
    """Full before the claim: nothing is sent. Full after it: the answer still finds its room and becomes the record."""
    store = FileStore(small_disk / "share", clock=clock)
    with store.locked(0.0):
        store.put(pair(1))
        fp = store.read().fp
        claim = store.claim(fp)
        fill(small_disk)
        with pytest.raises(StoreUnwritable, match="the disk is full"):
            store.put(pair(9))
        with pytest.raises(StoreUnwritable, match="the disk is full"):
            store.check_writable()
        store.stage(claim, pair(2))
        store.commit(claim, pair(2))
        assert store.read().token == pair(2)
        fill(small_disk)
        before = names(store.path.parent)
        with pytest.raises(StoreUnwritable, match="the disk is full"):
            store.claim(store.read().fp)
        assert names(store.path.parent) == before


FILE_LIMIT = """
import resource, sys
from pathlib import Path
from kimi_auth.clock import SystemClock
from kimi_auth.errors import StoreUnwritable
from kimi_auth.store import FileStore
store = FileStore(Path(sys.argv[1]), clock=SystemClock())
store.check_writable()
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
with store.locked(0.0):
    try:
        store.claim("0123456789abcdef")
    except StoreUnwritable as error:
        print(error.line, sorted(path.name for path in store.path.parent.iterdir()))
"""


def test_a_process_that_may_write_little(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """A file size limit is met when the claim is made, not when the answer is there."""
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(tmp_path)],
        env=child_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "larger than this process may write" in done.stdout
    assert done.stdout.rstrip().endswith("['kimi-code.lock']")
