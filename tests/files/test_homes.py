"""The home directory, and modes that are right already."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest

from kimi_auth import files
from kimi_auth.chosen_login import share_dir_of


@pytest.mark.parametrize("path", ["~", "~/.kimi", "~/a/b"])
def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """`HOME=""` and no HOME mean the same directory, that of the user database, and never the root of the file system."""
    monkeypatch.delenv("HOME")
    without = files.expanded(path)
    assert str(without).startswith(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.setenv("HOME", "")
    assert files.expanded(path) == without
    assert share_dir_of({"HOME": ""}) == files.expanded("~/.kimi") != Path("/.kimi")


def test_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HOME counts where it says something; a path without `~` is left alone; an unknown user has no home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/x") == tmp_path / "x"
    assert files.expanded("/a/~/b") == Path("/a/~/b")
    assert files.expanded("") == Path()
    with pytest.raises(RuntimeError):
        files.expanded("~no-such-user-here/x")
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(RuntimeError):
        files.expanded("~/x")


def test_a_mode_that_is_right_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file system that refuses every chmod, a shared folder of a virtual machine, takes files whose mode is right from the
    start; one whose mode has to change is refused."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    assert files.write_durably(tmp_path / "a", b"x")
    assert files.create_durably(tmp_path / "b", b"x", allocate=10)
    files.tighten(tmp_path / "a")
    before = os.umask(0o277)
    try:
        with pytest.raises(PermissionError):
            files.write_durably(tmp_path / "c", b"x")
    finally:
        os.umask(before)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]  # noqa: PTH208
