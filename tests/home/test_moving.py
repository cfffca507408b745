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
