"""The rules for directories and links, each by itself; who others are."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from kimi_auth import files

ME, FRIEND, SHARED = 1000, 1001, 500


def found(mode: int, gid: int = SHARED, uid: int = ME) -> os.stat_result:
    return os.stat_result((stat.S_IFDIR | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[str]]:
    """Two users and root; the members of each group."""
    members: dict[int, list[str]] = {}
    users = {"me": ME, "friend": FRIEND, "root": 0}

    def group(gid: int) -> SimpleNamespace:
        return SimpleNamespace(gr_name=f"g{gid}", gr_mem=members[gid])

    def user(name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_uid=users[name])

    primaries = [SimpleNamespace(pw_uid=uid, pw_gid=uid) for uid in users.values()]
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(os, "getegid", lambda: ME)
    monkeypatch.setattr(os, "getgroups", lambda: [ME, 2000])
    monkeypatch.setattr(grp, "getgrgid", group)
    monkeypatch.setattr(pwd, "getpwnam", user)
    monkeypatch.setattr(pwd, "getpwall", lambda: primaries)
    return members


@pytest.mark.parametrize(
    ("mode", "gid", "members", "words"),
    [
        (0o755, SHARED, ["friend"], ""),
        (0o775, SHARED, ["friend"], "the group g500"),
        (0o770, SHARED, ["me", "root"], ""),
        (0o775, SHARED, [], ""),
        (0o775, SHARED, ["gone"], "the group g500"),
        (0o775, FRIEND, [], "the group g1001"),
        (0o775, ME, [], ""),
        (0o775, 2000, None, ""),
        (0o775, 3000, None, "the group 3000"),
        (0o777, ME, [], "every user"),
    ],
)
def test_who_else_may_write(
    people: dict[int, list[str]], mode: int, gid: int, members: list[str] | None, words: str
) -> None:
    """A group counts as mine when no one else is known to be in it; one without a name, when I am in it."""
    if members is not None:
        people[gid] = members
    assert files.exposed_to(found(mode, gid)) == words


def test_a_path_along_links_and_back(tmp_path: Path) -> None:
    """Relative and absolute links, `..` behind a link, a link to the root: the file is the one that the kernel
    finds."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    (tmp_path / "a" / "file").write_text("y")
    (tmp_path / "one").symlink_to("a/b")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "root").symlink_to("/")
    (tmp_path / "last").symlink_to("two/../file")
    for path in (
        tmp_path / "two" / "file",
        tmp_path / "two" / ".." / "file",
        tmp_path / "last",
        Path(f"{tmp_path}/root{tmp_path}/one/file"),
    ):
        read = files.read_bounded(path, 9, follow=True)
        assert read is not None
        assert read.data == path.read_bytes()
        assert files.followed(path).read_bytes() == path.read_bytes()
        assert ".." not in files.followed(tmp_path / "last").parts


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts from the working directory, as for everyone else."""
    monkeypatch.chdir(tmp_path)
    files.make_directories(Path("share/credentials"))
    files.write_durably(Path("share/credentials/x"), b"x")
    assert (tmp_path / "share" / "credentials" / "x").read_bytes() == b"x"
    assert files.names(Path()) == ["share"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    """As many as the kernel follows, and no more."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        files.read_bounded(tmp_path / "a", 9, follow=True)
    with pytest.raises(OSError, match="symbolic links"):
        files.read_bounded(tmp_path / "a" / "x", 9)


@pytest.mark.parametrize("mode", [0o1777, 0o1770])
def test_sticky_ancestors_are_as_good_as_closed(tmp_path: Path, mode: int) -> None:
    """Others cannot exchange my files there; but a file must not lie in such a directory itself."""
    open_to_all = tmp_path / "tmp"
    open_to_all.mkdir()
    open_to_all.chmod(mode)
    files.make_directories(open_to_all / "share")
    files.write_durably(open_to_all / "share" / "x", b"x")
    if mode & 0o002:
        with pytest.raises(files.Exposed, match="every user"):
            files.write_durably(open_to_all / "x", b"x")


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """However a walk ends."""
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for _ in range(5):
        files.write_durably(tmp_path / "x", b"x")
        files.read_bounded(tmp_path / "x", 9)
        for path in (tmp_path / "open" / "x", tmp_path / "x" / "y", tmp_path / "gone" / "y"):
            with pytest.raises(OSError, match=r".*"):
                files.write_durably(path, b"x")
    assert (len(list(Path("/proc/self/fd").iterdir())) if before else 0) == before


def test_outside_of_a_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The overflow id means something only where not every id is mapped."""
    real = Path.read_text
    texts = {"/proc/sys/kernel/overflowuid": "65534\n", "/proc/self/uid_map": "0 1000 1\n"}
    monkeypatch.setattr(Path, "read_text", lambda self, *a: texts.get(str(self)) or real(self, *a))
    assert files.is_outside(65534)
    assert not files.is_outside(1001)
    texts["/proc/self/uid_map"] = "0 0 4294967295\n"
    assert not files.is_outside(65534)
