"""The device headers and the device id: what the Kimi CLI reads, in every state of its directory."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from house.patience import heard

from kimi_auth.wire import device, device_headers, device_id

ID = re.compile(r"[0-9a-f]{32}")
KNOWN = "0123456789abcdef0123456789abcdef"


def files(share_dir: Path) -> list[str]:
    return sorted(path.name for path in share_dir.iterdir())


def test_a_first_id_is_made_and_kept(tmp_path: Path) -> None:
    """32 hex digits without a newline, private, in a directory that is made for it; the next call reads it."""
    share_dir = tmp_path / "new" / "share"
    made = device_id(share_dir)
    path = share_dir / "device_id"
    assert ID.fullmatch(made)
    assert path.read_text() == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert share_dir.stat().st_mode & 0o777 == 0o700
    assert device_id(str(share_dir)) == made
    assert files(share_dir) == ["device_id"]


@pytest.mark.parametrize("content", [KNOWN, KNOWN + "\n", KNOWN.upper(), "\ufeff" + KNOWN])
def test_an_id_that_is_there_is_read(tmp_path: Path, content: str) -> None:
    """An id of the Kimi CLI, or one that an editor put a newline behind or a byte order mark before, is used and left as it is."""
    (tmp_path / "device_id").write_text(content)
    assert device_id(tmp_path) == KNOWN
    assert (tmp_path / "device_id").read_text() == content


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"\xff" * 32, KNOWN.encode() + b"0", b"z" * 32, b"x" * 100_000]
)
def test_a_broken_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    """An empty or broken file costs a new id, once, and leaves nothing beside it."""
    (tmp_path / "device_id").write_bytes(content)
    made = device_id(tmp_path)
    assert ID.fullmatch(made)
    assert (tmp_path / "device_id").read_text() == made == device_id(tmp_path)
    assert files(tmp_path) == ["device_id"]


def test_two_processes_make_one_id(tmp_path: Path) -> None:
    """The first process wins, and all report the same id."""
    code = f"from kimi_auth.wire.device import device_id; print(device_id({str(tmp_path)!r}))"
    racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({heard(racer)[0] for racer in racers}) == 1
    assert files(tmp_path) == ["device_id"]


@pytest.fixture
def rival(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another process that puts a good id there at the worst moment: after we looked, before we act."""
    path = tmp_path / "device_id"
    read = device._read
    strikes = iter([KNOWN])

    def read_then_lose(asked: Path) -> str | None:
        found = read(asked)
        if strike := next(strikes, ""):
            path.write_text(strike)
        return found

    monkeypatch.setattr(device, "_read", read_then_lose)
    return path


def test_a_race_for_the_first_id(rival: Path) -> None:
    """The id of a rival that was faster is taken over."""
    assert device_id(rival.parent) == KNOWN
    assert files(rival.parent) == ["device_id"]


def test_a_race_for_a_broken_file(rival: Path) -> None:
    """A file that a rival has fixed is put back when it was taken for a broken one."""
    rival.write_text("broken")
    assert device_id(rival.parent) == KNOWN
    assert rival.read_text() == KNOWN
    assert files(rival.parent) == ["device_id"]


def test_a_broken_file_that_a_rival_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have taken the broken file away already."""
    answers = iter(["broken", None, KNOWN])
    monkeypatch.setattr(device, "_read", lambda _: next(answers))
    assert device_id(tmp_path) == KNOWN


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hard links do not work the file is renamed to its final name."""

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    made = device_id(tmp_path)
    assert (tmp_path / "device_id").read_text() == made
    assert files(tmp_path) == ["device_id"]


def make_directory(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


@pytest.mark.parametrize("obstacle", [make_directory, make_fifo, make_dangling_link])
def test_an_obstacle_in_the_way(tmp_path: Path, obstacle: object) -> None:
    """Where no file can be, the id is this process's own, the same at every call, and nothing hangs or raises."""
    assert callable(obstacle)
    obstacle(tmp_path / "device_id")
    assert ID.fullmatch(device_id(tmp_path))
    assert device_id(tmp_path) == device_id(tmp_path)
    assert files(tmp_path) == ["device_id"]


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A share dir below a file can hold nothing."""
    (tmp_path / "file").touch()
    assert ID.fullmatch(device_id(tmp_path / "file" / "share"))


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written: an id for this process, and nothing left behind."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert ID.fullmatch(device_id(tmp_path))
    assert files(tmp_path) == []


def test_an_id_that_stays_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is broken again and again is given up."""
    monkeypatch.setattr(device, "_read", lambda _: "broken")
    monkeypatch.setattr(device, "_remove_broken", lambda _: None)
    assert device_id(tmp_path) == device._process_id()


def test_headers(tmp_path: Path) -> None:
    """The six headers of the Kimi CLI."""
    headers = device_headers(tmp_path, version="1.2.3")
    assert list(headers) == [
        "X-Msh-Platform",
        "X-Msh-Version",
        "X-Msh-Device-Name",
        "X-Msh-Device-Model",
        "X-Msh-Os-Version",
        "X-Msh-Device-Id",
    ]
    assert headers["X-Msh-Platform"] == "kimi_cli"
    assert headers["X-Msh-Version"] == "1.2.3"
    assert headers["X-Msh-Device-Id"] == device_id(tmp_path)
    assert device_headers(tmp_path, version="1", platform="other")["X-Msh-Platform"] == "other"


@pytest.mark.parametrize(
    ("system", "release", "machine", "mac", "model"),
    [
        ("Linux", "6.1.0", "x86_64", "", "Linux 6.1.0 x86_64"),
        ("Darwin", "24.1.0", "arm64", "15.1", "macOS 15.1 arm64"),
        ("Darwin", "24.1.0", "arm64", "", "macOS 24.1.0 arm64"),
        ("Windows", "11", "AMD64", "", "Windows 11 AMD64"),
        ("", "", "", "", "unknown"),
    ],
)
def test_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, release: str, machine: str, mac: str, model: str
) -> None:
    """The model names the system as its users do."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "release", lambda: release)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (mac, ("", "", ""), ""))
    assert device_headers(tmp_path, version="1")["X-Msh-Device-Model"] == model


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("laptop", "laptop"),
        ("", "unknown"),
        ("\u6211\u7684\u7535\u8111", "unknown"),
        ("Zo\u00eb's Mac", "Zo's Mac"),
        ("a\r\nX-Injected: 1", "a X-Injected: 1"),
        ("\x00\x1b\x7f", "unknown"),
        ("n" * 500, "n" * 200),
    ],
)
def test_header_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sent: str) -> None:
    """Whatever a host is called, the header holds printable ASCII on one line."""
    monkeypatch.setattr(platform, "node", lambda: name)
    assert device_headers(tmp_path, version="1")["X-Msh-Device-Name"] == sent


def test_headers_are_cleaned_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of sessions ask for the same headers: no text of this device is cleaned a second time."""
    cleaned: list[str] = []
    monkeypatch.setattr(device, "clean", lambda text, *limit: cleaned.append(text) or text)
    device._header_value.cache_clear()
    first = device.device_headers(tmp_path, version="0.0.1")
    assert len(cleaned) == len(set(cleaned)) > 0
    assert device.device_headers(tmp_path, version="0.0.1") == first
    assert len(cleaned) == len(set(cleaned))
    device._header_value.cache_clear()
