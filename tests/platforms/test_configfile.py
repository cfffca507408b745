"""config.toml as a transaction: what kind of file it is, other writers, and what a crash leaves."""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.errors import ConfigError
from kimi_auth.models import Change, ConfigFile, ModelEntry, default_location, plan, refer_to_file
from kimi_auth.platforms import Platform

Models = tuple[ModelEntry, ...]
RevokedMark = Callable[..., ConfigError]

MINE = '# mine\n[providers.mine]\ntype = "openai"\nbase_url = "http://localhost"\napi_key = ""\n'


@pytest.fixture
def login(kimi: Platform, models: Models) -> Callable[[Any], Change]:
    """The planner of a login."""
    return lambda config: plan(config, kimi, models, reason="login")


@pytest.fixture
def sync(kimi: Platform, models: Models) -> Callable[[Any], Change]:
    """The planner of a sync that finds one model gone and one new."""
    return lambda config: plan(config, kimi, (*models[1:], ModelEntry(id="kimi-new")), reason="sync")


def undo_of(file: ConfigFile) -> dict[str, Any]:
    """What the undo file says."""
    undo: dict[str, Any] = json.loads((file.share_dir / "kimi-auth" / "undo.json").read_text())
    return undo


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


# -- login and logout -----------------------------------------------------------------------------------------------------


def test_absent_config(tmp_path: Path, kimi: Platform, login: Any) -> None:
    """Where there is no file, login makes a private one in a private directory, and logout takes it away again."""
    file = ConfigFile(tmp_path / "a" / "share")
    file.writable(login)
    assert not file.share_dir.exists()

    change = file.apply(login)

    assert change.default_after == "kimi-code/kimi-for-coding"
    assert (mode_of(file.share_dir), mode_of(file.path), mode_of(file.lock_path)) == (0o700, 0o600, 0o600)
    assert file.revert(kimi).removed == ("kimi-code/kimi-for-coding", "kimi-code/kimi-lite")
    assert sorted(path.name for path in file.share_dir.iterdir()) == ["config.lock", "kimi-auth"]


def test_exact_text(file: ConfigFile, login: Any) -> None:
    """The text that login writes is exactly the one that the Kimi CLI reads."""
    file.apply(login)
    assert file.path.read_text() == (
        'default_model = "kimi-code/kimi-for-coding"\n'
        "default_thinking = true\n"
        "\n"
        '[providers."managed:kimi-code"]\n'
        'type = "kimi"\n'
        'base_url = "https://api.kimi.com/coding/v1"\n'
        'api_key = ""\n'
        'oauth = { storage = "file", key = "oauth/kimi-code" }\n'
        "\n"
        '[models."kimi-code/kimi-for-coding"]\n'
        'provider = "managed:kimi-code"\n'
        'model = "kimi-for-coding"\n'
        "max_context_size = 262144\n"
        'capabilities = ["thinking"]\n'
        'display_name = "K2.7 Code"\n'
        "\n"
        '[models."kimi-code/kimi-lite"]\n'
        'provider = "managed:kimi-code"\n'
        'model = "kimi-lite"\n'
        "max_context_size = 131072\n"
        "\n"
        "[services.moonshot_search]\n"
        'base_url = "https://api.kimi.com/coding/v1/search"\n'
        'api_key = ""\n'
        'oauth = { storage = "file", key = "oauth/kimi-code" }\n'
        "\n"
        "[services.moonshot_fetch]\n"
        'base_url = "https://api.kimi.com/coding/v1/fetch"\n'
        'api_key = ""\n'
        'oauth = { storage = "file", key = "oauth/kimi-code" }\n'
    )


def test_second_time_writes_nothing(file: ConfigFile, login: Any, sync: Any) -> None:
    """A login or sync that changes nothing leaves the very same file in place."""
    for planner in (login, sync):
        assert file.apply(planner)
        before = file.path.stat()
        assert not file.apply(planner)
        assert (file.path.stat().st_ino, file.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_logout_of_nothing(file: ConfigFile, kimi: Platform) -> None:
    """Logout where nothing was put in changes nothing, with and without a file."""
    assert not file.revert(kimi)
    file.path.write_text(MINE)
    assert not file.revert(kimi)
    assert file.path.read_text() == MINE


@pytest.mark.parametrize(
    ("key", "mode", "expected"),
    [("", 0o644, 0o644), ("", 0o640, 0o640), ("sk-1", 0o644, 0o600), ("sk-1", 0o600, 0o600)],
)
def test_mode(file: ConfigFile, moonshot: Platform, models: Models, key: str, mode: int, expected: int) -> None:
    """The mode stays as it is, but a file with an API key in it is for its owner alone."""
    file.path.write_text(MINE)
    file.path.chmod(mode)
    change = file.apply(lambda config: plan(config, moonshot, models, reason="login", api_key=key))
    assert mode_of(file.path) == expected
    assert "sk-1" not in repr(change)
    assert "sk-1" not in repr(change.edits)


def test_default_location(share: Path, tmp_path: Path, config_error: RevokedMark) -> None:
    """Another config file is refused with the reason; the default one may be spelled in another way."""
    link = tmp_path / "link"
    link.symlink_to(share)
    for given in (None, share / "config.toml", link / ".." / "link" / "config.toml"):
        assert default_location(share, given) == share / "config.toml"
    assert "default config file only" in config_error(default_location, share, tmp_path / "config.toml").message


# -- kinds of file at the path -------------------------------------------------------------------------------------------


def test_symlink(file: ConfigFile, tmp_path: Path, kimi: Platform, login: Any) -> None:
    """A symlink stays, and the file that it names is replaced: also one that is not there yet."""
    for original in (MINE, None):
        target = tmp_path / "dotfiles.toml"
        target.unlink(missing_ok=True)
        if original is not None:
            target.write_text(original)
        file.path.unlink(missing_ok=True)
        file.path.symlink_to(target)
        file.writable(login)
        file.apply(login)
        assert file.path.is_symlink()
        assert "managed:kimi-code" in target.read_text()
        file.revert(kimi)
        assert file.path.is_symlink()
        assert (target.read_text() if target.exists() else None) == original


def test_symlink_to_a_missing_directory(file: ConfigFile, login: Any, config_error: RevokedMark) -> None:
    """A link into a directory that does not exist is noticed before the approval; no directory is made for it."""
    file.path.symlink_to(file.share_dir / "gone" / "config.toml")
    for attempt in (file.writable, file.apply):
        gone = file.share_dir / "gone"
        refused = config_error(attempt, login)
        assert (
            refused.message
            == f"{file.path}: it leads to {gone}/config.toml, whose directory does not exist; nothing was changed"
        )
        assert refused.hint == f"make that directory: mkdir -p {gone}"
    assert not (file.share_dir / "gone").exists()


def place_fifo(path: Path) -> None:
    """A pipe without a writer."""
    os.mkfifo(path)


PLACED: dict[str, Callable[[Path], Any]] = {
    "directory": lambda path: path.mkdir(),
    "pipe": place_fifo,
    "pipe behind a symlink": lambda path: (os.mkfifo(path.parent / "pipe"), path.symlink_to("pipe")),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "symlink to itself": lambda path: path.symlink_to(path.name),
    "not UTF-8": lambda path: path.write_bytes(b"a = 1\nb = '\xff'\n"),
    "UTF-16": lambda path: path.write_bytes("a = 1\n".encode("utf-16")),
    "not TOML": lambda path: path.write_text('a = 1\nkey = "secret\n'),
    "key twice": lambda path: path.write_text("a = 1\na = 2\n"),
    "NUL": lambda path: path.write_bytes(b"a = 1\n\0"),
    "too large": lambda path: path.write_bytes(b"#" * ((1 << 20) + 1)),
    "nested too deeply": lambda path: path.write_text("a = " + "[" * 5000 + "]" * 5000),
    "number too long": lambda path: path.write_text("a = " + "9" * 5000),
}


@pytest.mark.parametrize("place", PLACED.values(), ids=PLACED)
def test_unreadable(file: ConfigFile, kimi: Platform, login: Any, config_error: RevokedMark, place: Any) -> None:
    """A file that cannot be read as a config is refused at once by everything, named, and left alone."""
    place(file.path)
    before = file.path.read_bytes() if file.path.is_file() else None
    for attempt in (file.read, lambda: file.writable(login), lambda: file.apply(login), lambda: file.revert(kimi)):
        error = config_error(attempt)
        assert str(file.path) in error.message
        assert "secret" not in error.line
    assert (file.path.read_bytes() if file.path.is_file() else None) == before
    assert not (file.share_dir / "kimi-auth").exists()


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"a = 1\nb = '\xff'\n", "line 2, column 6"),
        (b"a = 1\nb = ?\n", "line 2, column 5"),
        (b"\xef\xbb\xbfa = 1\n[b\n", "line 2, column 3"),
    ],
)
def test_position(file: ConfigFile, config_error: RevokedMark, content: bytes, position: str) -> None:
    """An error names the line and the column."""
    file.path.write_bytes(content)
    assert position in config_error(file.read).message


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) - 300, (1 << 20) - 5000])
def test_no_room(file: ConfigFile, login: Any, config_error: RevokedMark, size: int) -> None:
    """A file that would have more bytes than are read is refused before the approval, and never written."""
    file.path.write_bytes(b"#" * (size - 1) + b"\n")
    assert "no room" in config_error(file.writable, login).message
    if size > (1 << 20) - 5000:
        assert "no room" in config_error(file.apply, login).message
        assert file.path.stat().st_size == size
    else:
        file.apply(login)
        assert file.read()["models"]


def test_share_dir_is_a_file(tmp_path: Path, login: Any, config_error: RevokedMark) -> None:
    """A file where the share directory should be is refused, not replaced."""
    (tmp_path / "file").write_text("x")
    file = ConfigFile(tmp_path / "file" / "share")
    for attempt in (file.writable, file.apply):
        config_error(attempt, login)
    assert (tmp_path / "file").read_text() == "x"


def test_writable_changes_nothing(file: ConfigFile, login: Any) -> None:
    """The check before the approval leaves no file but the lock."""
    file.path.write_text(MINE)
    before = file.path.stat()
    file.writable(login)
    file.writable()
    assert (file.path.read_text(), file.path.stat().st_mtime_ns) == (MINE, before.st_mtime_ns)
    assert {path.name for path in file.share_dir.iterdir()} == {"config.toml", "config.lock"}


def test_read_only_file(
    file: ConfigFile, login: Any, config_error: RevokedMark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the user made read-only is not replaced behind their back."""
    file.path.write_text(MINE)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for attempt in (file.writable, file.apply):
        assert "read-only" in config_error(attempt, login).message
    assert file.path.read_text() == MINE


def test_full_disk_is_noticed_before_the_approval(
    file: ConfigFile, login: Any, config_error: RevokedMark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for a small file beside the config is said at once."""

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert "the disk is full" in config_error(file.writable, login).message


# -- other writers ----------------------------------------------------------------------------------------------------------


def test_locked(file: ConfigFile, kimi: Platform, login: Any, config_error: RevokedMark) -> None:
    """While another process holds the lock nothing is written, and waiting for it has an end; reading goes on."""
    file.path.write_text(MINE)
    with file.lock_path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for attempt in (lambda: file.writable(login), lambda: file.apply(login), lambda: file.revert(kimi)):
            assert "locked" in config_error(attempt).message
        assert file.read()["providers"]
    assert file.path.read_text() == MINE
    file.apply(login)
    assert file.lock_path.exists()


def test_lock_is_no_file(file: ConfigFile, login: Any, config_error: RevokedMark) -> None:
    """Something else where the lock should be is an error, never a reason to go on without the lock."""
    file.lock_path.mkdir()
    for attempt in (file.writable, file.apply):
        config_error(attempt, login)
    assert not file.path.exists()


def test_edit_meanwhile_is_kept(file: ConfigFile, login: Any) -> None:
    """A program that takes no lock writes between our read and our write: we plan again on what it wrote."""
    file.path.write_text(MINE)
    seen = []

    def planner(config: Any) -> Change:
        seen.append(dict(config))
        if len(seen) == 1:
            file.path.write_text("theme = 'dark'\n" + MINE)
        change: Change = login(config)
        return change

    file.apply(planner)
    assert [config.get("theme") for config in seen] == [None, "dark"]
    assert file.read()["theme"] == "dark"
    assert "managed:kimi-code" in file.read()["providers"]


def test_restless_file(file: ConfigFile, kimi: Platform, login: Any, config_error: RevokedMark) -> None:
    """A program that writes without end wins, and we say so."""
    writes = []

    def planner(config: Any) -> Change:
        writes.append(1)
        file.path.write_text(MINE + f"# {len(writes)}\n")
        change: Change = login(config)
        return change

    assert "keeps writing" in config_error(file.apply, planner).message
    assert file.path.read_text() == MINE + f"# {len(writes)}\n"
    file.path.unlink()
    file.apply(login)
    assert file.revert(kimi)
    assert not file.path.exists()


def test_removed_file_written_meanwhile(
    file: ConfigFile, kimi: Platform, login: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logout that would remove the file leaves it when another program writes to it at that moment."""
    file.apply(login)
    real = ConfigFile._refuse_target
    edits = iter(["# by hand\n"])

    def write_first(self: ConfigFile) -> None:
        real(self)
        self.path.write_text(self.path.read_text() + next(edits, ""))

    monkeypatch.setattr(ConfigFile, "_refuse_target", write_first)
    file.revert(kimi)
    assert file.path.read_text().lstrip() == "# by hand\n"


def test_no_update_is_lost(share: Path, kimi: Platform) -> None:
    """Writers at the same moment come one after another, each on what the one before has left."""
    ConfigFile(share).apply(lambda config: plan(config, kimi, (ModelEntry(id="m"),), reason="login"))
    platforms = [kimi._replace(id=f"p{number}") for number in range(8)]
    start = threading.Barrier(len(platforms))

    def sign_in(platform: Platform) -> None:
        start.wait()
        ConfigFile(share).apply(lambda config: plan(config, platform, (ModelEntry(id="m"),), reason="login"))

    threads = [threading.Thread(target=sign_in, args=(platform,)) for platform in platforms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(ConfigFile(share).read()["models"]) == {"kimi-code/m", *(f"p{number}/m" for number in range(8))}
    assert len(undo_of(ConfigFile(share))["logins"]) == 9


# -- undo ---------------------------------------------------------------------------------------------------------------------


def test_undo_file(file: ConfigFile, kimi: Platform, login: Any) -> None:
    """The undo file has its documented form, is private, and goes with the logout."""
    file.path.write_text(MINE)
    file.apply(login)
    found = {"default_model": None, "default_thinking": None, "put_thinking": True}
    assert undo_of(file) == {
        "v": 1,
        "before": base64.b64encode(MINE.encode()).decode(),
        "written_sha256": [hashlib.sha256(file.path.read_bytes()).hexdigest()],
        "logins": {"kimi-code": found},
    }
    path = file.share_dir / "kimi-auth" / "undo.json"
    assert (mode_of(path.parent), mode_of(path)) == (0o700, 0o600)
    file.revert(kimi)
    assert not path.exists()


def test_first_original_survives_logins(
    file: ConfigFile, kimi: Platform, models: Models, login: Any, sync: Any
) -> None:
    """Logins and syncs after the first one do not become the original."""
    file.path.write_text(MINE)
    for planner in (login, sync, lambda config: plan(config, kimi, models[1:], reason="login"), sync, login):
        assert file.apply(planner)
    file.revert(kimi)
    assert file.path.read_text() == MINE


def test_edit_between_two_logins(file: ConfigFile, kimi: Platform, models: Models, login: Any, sync: Any) -> None:
    """An edit by hand between two logins survives the logout: the original bytes are out of date then."""
    for later in (login, lambda config: plan(config, kimi, models[1:], reason="login"), sync):
        file.path.write_text(MINE)
        file.apply(login)
        file.path.write_text(file.path.read_text() + "\n[mcp]\n")
        file.apply(later)
        file.revert(kimi)
        assert file.read() == {"providers": {"mine": file.read()["providers"]["mine"]}, "mcp": {}}
        assert file.path.read_text().startswith(("# mine", "\n# mine"))


@pytest.mark.parametrize("older", [("true", "true"), ("true", "false"), ('[providers."managed:kimi-code"]', "[old]")])
def test_login_of_a_config_that_is_signed_in(
    file: ConfigFile, kimi: Platform, login: Any, older: tuple[str, str]
) -> None:
    """What an older login of another program had put there goes with the logout too; the user's own text stays."""
    file.apply(login)
    written = file.path.read_text()
    (file.share_dir / "kimi-auth" / "undo.json").unlink()
    file.path.write_text(written.replace(*older, 1) + MINE)
    file.apply(login)
    assert file.revert(kimi)
    left = file.read()
    assert left.pop("providers").keys() == {"mine"}
    assert left.keys() <= {"default_thinking", "old"}
    assert "# mine" in file.path.read_text()
    assert not file.revert(kimi)
    assert not (file.share_dir / "kimi-auth" / "undo.json").exists()


def test_several_platforms(file: ConfigFile, kimi: Platform, moonshot: Platform, models: Models, login: Any) -> None:
    """Platforms that sign in one after another sign out in any order, and nothing of either is left."""

    def key(config: Any) -> Change:
        return plan(config, moonshot, (*models, ModelEntry(id="kimi-k3")), reason="login", api_key="sk")

    for order in ((kimi, moonshot), (moonshot, kimi)):
        file.path.write_text(MINE)
        file.apply(login)
        both = file.path.read_bytes()
        file.apply(key)
        assert file.read()["default_model"] == "moonshot-cn/kimi-k3"
        file.revert(order[0])
        if order[0] is moonshot:
            assert file.path.read_bytes() == both
        assert file.read()["default_model"].startswith(order[1].id)
        file.revert(order[1])
        assert file.read()["providers"].keys() == {"mine"}
        assert "default_model" not in file.read()
        if order[0] is moonshot:
            assert file.path.read_text() == MINE


SPOILED: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "not JSON": lambda path: path.write_text("{"),
    "another version": lambda path: path.write_text(path.read_text().replace('"v":1', '"v":2')),
    "not base64": lambda path: path.write_text('{"v":1,"before":"a","logins":{"kimi-code":{}}}'),
    "original that is no TOML": lambda path: path.write_text(path.read_text().replace('"before":"', '"before":"YT0=')),
    "a list": lambda path: path.write_text("[]"),
    "directory": lambda path: (path.unlink(), path.mkdir()),
    "symlink": lambda path: (path.rename(path.with_name("away")), path.symlink_to("away")),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_spoiled_undo(file: ConfigFile, kimi: Platform, login: Any, spoil: Any) -> None:
    """Without a readable undo the logout takes out our tables and leaves the rest."""
    file.path.write_text(MINE)
    file.apply(login)
    spoil(file.share_dir / "kimi-auth" / "undo.json")
    assert file.revert(kimi).removed
    assert file.read() == {"default_thinking": True, "providers": {"mine": file.read()["providers"]["mine"]}}


# -- crashes and full disks ---------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


def crashing_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[int]:
    """Every fsync and every rename counts one; the one with that number fails. Returns the numbers that were reached."""
    reached: list[int] = []
    for owner, name in ((os, "fsync"), (os, "replace"), (os, "unlink")):
        real = getattr(owner, name)

        def step(*arguments: Any, real: Any = real, **options: Any) -> Any:
            reached.append(len(reached))
            if reached[-1] == number:
                raise error
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, step)
    return reached


@pytest.mark.parametrize("error", [Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=["crash", "full"])
def test_crash_at_every_step(
    share: Path, kimi: Platform, login: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Wherever login or logout ends, the file is the old or the new one, and login and logout then give the old one back."""
    file = ConfigFile(share)
    file.path.write_text(MINE)
    file.apply(login)
    written = file.path.read_text()
    file.revert(kimi)
    for action in (lambda: file.apply(login), lambda: file.revert(kimi)):
        for number in range(100):
            if action() and file.path.read_text() == MINE:  # a logout needs a login before it
                file.apply(login)
            else:
                file.revert(kimi)
            assert file.path.read_text() in (MINE, written)
            with monkeypatch.context() as patch:
                reached = crashing_at(patch, number, error)
                with contextlib.suppress(Crash, ConfigError):
                    action()
            assert file.path.read_text() in (MINE, written)
            file.apply(login)
            assert file.path.read_text() == written
            file.revert(kimi)
            assert file.path.read_text() == MINE
            if number >= len(reached):
                break
        else:
            pytest.fail("the action has no end")


def test_undo_before_config(file: ConfigFile, login: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The undo is on disk before the config is replaced."""
    order: list[str] = []
    real = os.replace

    def replace(old: str, new: str, **directories: int) -> None:
        order.append(new)
        real(old, new, **directories)

    monkeypatch.setattr(os, "replace", replace)
    file.path.write_text(MINE)
    file.apply(login)
    assert order == ["undo.json", "config.toml"]


def test_full_disk_leaves_nothing_behind(
    file: ConfigFile, login: Any, config_error: RevokedMark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new content cannot be made durable, the old file stays and no temporary file does."""
    file.path.write_text(MINE)
    with monkeypatch.context() as patch:
        crashing_at(patch, 1, OSError(errno.ENOSPC, "No space left on device"))
        assert "the disk is full" in config_error(file.apply, login).message
    assert file.path.read_text() == MINE
    assert not list(file.share_dir.rglob("*.tmp"))


def test_leftovers_of_killed_writers(file: ConfigFile, login: Any) -> None:
    """The lock's holder is the only writer here, so every temporary file of ours goes; an unrelated one stays."""
    names = ("config.toml.00000000000a.tmp", "probe.00000000000a.tmp", "kimi-auth/undo.json.00000000000a.tmp")
    left, foreign = [file.share_dir / name for name in names], file.share_dir / "config.toml.tmp"
    (file.share_dir / "kimi-auth").mkdir()
    for path in (*left, foreign):
        path.write_text("x")
    file.apply(login)
    assert [path.exists() for path in (*left, foreign)] == [False, False, False, True]


def test_leftovers_beside_a_link(file: ConfigFile, login: Any, tmp_path: Path) -> None:
    """Where the file itself is elsewhere, another share dir may have a writer at it: only files an hour old go."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file.path.symlink_to(elsewhere / "own.toml")
    old, young = (elsewhere / f"own.toml.00000000000{digit}.tmp" for digit in "ab")
    for path in (old, young):
        path.write_text("x")
    os.utime(old, (1, 1))
    file.apply(login)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("key", ["env", "custom_headers"])
@pytest.mark.parametrize("section", ["providers", "services"])
def test_secrets_under_other_names(file: ConfigFile, login: Any, section: str, key: str) -> None:
    """A key that is kept in `env` or `custom_headers` makes the file private, too."""
    file.path.write_text(f'[{section}.mine]\ntype = "x"\nbase_url = "y"\n[{section}.mine.{key}]\nX = "secret"\n')
    file.path.chmod(0o644)
    file.apply(login)
    assert mode_of(file.path) == 0o600


# -- legacy config.json -------------------------------------------------------------------------------------------------------

LEGACY = {
    "default_model": "m",
    "default_yolo": None,
    "theme": "dark",
    "models": {"m": {"provider": "mine", "model": "m", "max_context_size": 1000, "capabilities": None}},
    "providers": {
        "mine": {"type": "openai", "base_url": "http://localhost", "api_key": "k", "env": {"A B": "\x7f\u00e9"}}
    },
    "loop_control": {"max_steps_per_turn": 100, "compaction_trigger_ratio": 0.85},
    "hooks": [{"event": "Stop", "command": 'a "b" \\ c\n'}],
    "mcp": {},
}


def test_legacy(file: ConfigFile, kimi: Platform, login: Any, sync: Any) -> None:
    """A config.json becomes config.toml when something is written, once, and is kept; logout gives that config.toml back."""
    legacy = file.share_dir / "config.json"
    legacy.write_bytes(b"\xef\xbb\xbf" + json.dumps(LEGACY).encode())
    expected = {key: value for key, value in LEGACY.items() if value not in (None, {})}
    expected["models"] = {"m": {"provider": "mine", "model": "m", "max_context_size": 1000}}
    assert file.read() == expected
    file.writable(login)
    assert not file.apply(sync)
    assert not file.path.exists()

    file.apply(login)

    assert not legacy.exists()
    assert mode_of(file.share_dir / "config.json.bak") == 0o600
    assert json.loads((file.share_dir / "config.json.bak").read_bytes().decode("utf-8-sig")) == LEGACY
    assert file.read()["default_model"] == "kimi-code/kimi-for-coding"
    assert mode_of(file.path) == 0o600
    file.revert(kimi)
    assert file.read() == expected
    legacy.write_text("{")
    assert file.read() == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "line 1, column 2"),
        (b"[]", "not an object"),
        (b"\xff", "utf-8"),
        (b'{"a": [null]}', "TOML has no NoneType"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_legacy_that_cannot_be_read(
    file: ConfigFile, login: Any, config_error: RevokedMark, content: bytes, reason: str
) -> None:
    """A config.json that has no meaning in TOML is named with the reason, and stays."""
    legacy = file.share_dir / "config.json"
    legacy.write_bytes(content)
    for attempt in (file.read, lambda: file.apply(login)):
        error = config_error(attempt)
        assert str(legacy) in error.message
        assert reason in error.message
    assert [path.name for path in file.share_dir.glob("config.*") if path != file.lock_path] == ["config.json"]


def test_refer_to_file(file: ConfigFile, kimi: Platform, login: Any) -> None:
    """When a login leaves the keyring, the references to it follow, and logout still gives the old bytes back."""
    original = (
        '[providers."managed:kimi-code"]\ntype = "kimi"\noauth = { storage = "keyring", key = "oauth/kimi-code" } # x\n'
        '[services.moonshot_fetch.oauth]\nkey = "oauth/kimi-code"\nstorage = "keyring"\n'
        '[services.other]\noauth = { storage = "keyring", key = "oauth/other" }\n[services.plain]\n'
    )
    file.path.write_text(original)
    change = file.apply(lambda config: refer_to_file(config, kimi))
    assert [edit.path[-1] for edit in change.edits] == ["storage", "storage"]
    assert file.path.read_text().count('"keyring"') == 1
    assert file.path.read_text() == original.replace(
        '"keyring", key = "oauth/kimi-code"', '"file", key = "oauth/kimi-code"'
    ).replace('code"\nstorage = "keyring"', 'code"\nstorage = "file"')


def test_config_appears_beside_the_legacy_one(file: ConfigFile, login: Any) -> None:
    """A config.toml that another program makes at this moment is the one that counts; the config.json stays."""
    legacy = file.share_dir / "config.json"
    legacy.write_text(json.dumps(LEGACY))

    def planner(config: Any) -> Change:
        if not file.path.exists():
            file.path.write_text("theme = 'light'\n")
        change: Change = login(config)
        return change

    file.apply(planner)
    assert file.read()["theme"] == "light"
    assert legacy.exists()


def test_undo_directory_is_a_file(file: ConfigFile, login: Any, config_error: RevokedMark) -> None:
    """If the undo cannot be written, nothing is written, and that is known before the approval."""
    (file.share_dir / "kimi-auth").write_text("x")
    for attempt in (file.writable, file.apply):
        config_error(attempt, login)
    assert not file.path.exists()
