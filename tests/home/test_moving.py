"""Moving kimi-code's login into our home: never the same pair alive in both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth import Session
from kimi_auth.cli import main
from kimi_auth.credential.adoption import move
from kimi_auth.session import components_of
from kimi_auth.token import Token


@pytest.fixture
def homes(
    tmp_path: Path, code_home: Path, record: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The record of kimi-code's home, with a login, and that of ours, with none."""
    ours = tmp_path / "ours"
    monkeypatch.setenv("KIMI_SHARE_DIR", str(ours))
    theirs = code_home / "credentials/kimi-code.json"
    theirs.write_text(record(expires_at=int(time.time()) + 850))
    theirs.chmod(0o600)
    return theirs, ours / "credentials/kimi-code.json"


def test_move(homes: tuple[Path, Path], code_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The pair is ours afterwards and works, bound to its host; theirs is a tombstone; again, there is nothing to move."""
    theirs, ours = homes
    assert main(["adopt", "--move", "--home", str(code_home), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["to"].endswith(str(ours))
    record = json.loads(ours.read_text())
    assert (record["access_token"], record["issuer"]) == ("access-1", "https://auth.kimi.com")
    assert json.loads(theirs.read_text())["access_token"] == ""
    assert Session().access_token_sync() == "access-1"
    assert main(["adopt", "--move", "--home", str(code_home)]) == 3
    assert main(["adopt", "--move", "--issuer", "https://a.example"]) == 2


def test_another_login_of_ours(homes: tuple[Path, Path], code_home: Path) -> None:
    """A login of ours is not overwritten, and both stay as they are."""
    theirs, ours = homes
    store = components_of(Session()).store
    with store.locked(0.0):
        store.put(Token("access-9", "refresh-9", time.time() + 900, 900.0))
    before = theirs.read_text(), ours.read_text()
    assert main(["adopt", "--move", "--home", str(code_home)]) == 9
    assert (theirs.read_text(), ours.read_text()) == before


def test_killed_in_between(homes: tuple[Path, Path], code_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the copy written and the original still there, the same command finishes the work."""
    theirs, _ = homes
    source, target = components_of(Session(home=code_home)), components_of(Session())

    def killed(now_s: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(source.store, "sign_out", killed)
        with pytest.raises(KeyboardInterrupt):
            move(source.store, target.store, "https://auth.kimi.com", time.time())
    assert json.loads(theirs.read_text())["access_token"] == "access-1"
    assert main(["adopt", "--move", "--home", str(code_home)]) == 0
    assert json.loads(theirs.read_text())["access_token"] == ""


def test_share(homes: tuple[Path, Path], code_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Adopted without a word it stays where it is: nothing is written, and commands that name a home use it."""
    theirs, ours = homes
    before = theirs.read_bytes()
    assert main(["adopt", "--home", str(code_home), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["home"], told["to"].endswith(str(theirs)), "removed" in told) == ("kimi-code", True, False)
    assert (theirs.read_bytes(), ours.exists()) == (before, False)
    assert Session(home=code_home).access_token_sync() == "access-1"


@pytest.mark.parametrize("way", [[], ["--move"]], ids=["shared", "moved"])
def test_a_copied_pair(homes: tuple[Path, Path], code_home: Path, way: list[str]) -> None:
    """One pair that lies in both homes is alive in one afterwards, the one that was asked for, and unrevoked."""
    theirs, ours = homes
    ours.parent.mkdir(mode=0o700, parents=True)
    ours.write_text(theirs.read_text())
    ours.chmod(0o600)
    assert main(["adopt", *way, "--home", str(code_home)]) == 0
    tokens = {path: json.loads(path.read_text())["access_token"] for path in (theirs, ours)}
    assert tokens == ({theirs: "", ours: "access-1"} if way else {theirs: "access-1", ours: ""})
    assert main(["adopt", *way, "--home", str(code_home)]) == (3 if way else 0)


def test_a_copy_that_config_toml_knows(
    homes: tuple[Path, Path], code_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the copy its provider leaves our config.toml, so that commands without --home find the shared login."""
    _, ours = homes
    monkeypatch.setenv("HOME", str(ours.parents[1].parent))
    monkeypatch.delenv("KIMI_SHARE_DIR")
    default = {name: Path.home() / name for name in (".kimi", ".kimi-code")}
    code_home.rename(default[".kimi-code"])
    copy = default[".kimi"] / "credentials/kimi-code.json"
    copy.parent.mkdir(mode=0o700, parents=True)
    copy.write_text((default[".kimi-code"] / "credentials/kimi-code.json").read_text())
    copy.chmod(0o600)
    oauth = 'oauth = { storage = "file", key = "oauth/kimi-code" }'
    text = f'[providers."managed:kimi-code"]\ntype = "kimi"\nbase_url = "https://api.kimi.com/coding/v1"\napi_key = ""\n{oauth}\n'
    (default[".kimi"] / "config.toml").write_text(text)
    assert main(["adopt"]) == 0
    assert "export" not in capfd.readouterr().err
    assert main(["token"]) == 0
    assert capfd.readouterr().out == "access-1\n"
    status = Session().status()
    assert (status.home, status.other_home) == ("kimi-code", "")


@pytest.mark.parametrize("way", [[], ["--move"]], ids=["shared", "moved"])
@pytest.mark.parametrize("where", ["theirs", "ours"])
def test_an_unfinished_renewal(
    homes: tuple[Path, Path], code_home: Path, way: list[str], where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A pair that an interrupted renewal may have spent goes nowhere, and its staged successor is not thrown away."""
    theirs, ours = homes
    ours.parent.mkdir(mode=0o700, parents=True)
    ours.write_text(theirs.read_text())
    ours.chmod(0o600)
    store = components_of(Session(home=code_home) if where == "theirs" else Session()).store
    with store.locked(0.0):
        claim = store.claim(store.read().fp)
        store.stage(claim, Token("access-2", "refresh-2", time.time() + 900, 900.0))
    assert main(["adopt", *way, "--home", str(code_home)]) == 9
    assert "not finished" in capfd.readouterr().err
    assert store.view().claim.state == "staged"
    assert {json.loads(path.read_text())["access_token"] for path in homes} == {"access-1"}


def test_another_login_is_not_shared_over(
    homes: tuple[Path, Path], code_home: Path, record: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A login of its own in our home stands, and the way out is said; without one in kimi-code's there is nothing to adopt."""
    theirs, ours = homes
    ours.parent.mkdir(mode=0o700, parents=True)
    ours.write_text(record(7))
    ours.chmod(0o600)
    assert main(["adopt", "--home", str(code_home)]) == 9
    assert "kimi-auth logout --home kimi-cli" in capfd.readouterr().err
    assert "access-7" in ours.read_text()
    ours.unlink()
    theirs.unlink()
    assert main(["adopt", "--home", str(code_home)]) == 3
    assert "kimi-auth login --home" in capfd.readouterr().err
    assert main(["adopt", "--home", "kimi-cli"]) == 2


@pytest.mark.parametrize("way", [[], ["--move"]], ids=["shared", "moved"])
def test_without_kimi_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: list[str]) -> None:
    """Where there is no kimi-code, nothing is adopted and no home of it is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KIMI_SHARE_DIR", "KIMI_CODE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["adopt", *way]) == 3
    assert list(tmp_path.iterdir()) == []
