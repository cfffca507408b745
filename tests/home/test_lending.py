"""Access tokens lent to a sandbox: no refresh token lies there, and nothing of anyone's login is lost."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth.cli import main
from kimi_auth.errors import ConfigError
from kimi_auth.home.lending import Loan
from kimi_auth.token import Token

KEY = "oauth/kimi-code"


def pair(number: int) -> Token:
    return Token(f"access-{number}", f"refresh-{number}", time.time() + 900, 900.0, "kimi-code")


def test_a_loan(tmp_path: Path) -> None:
    """The record has the access token and no end that kimi-code would act upon; it is replaced whole, and goes at the end."""
    loan = Loan(tmp_path / "box", KEY)
    assert loan.put(pair(1))
    assert not loan.put(pair(1))
    first = loan.path.stat()
    assert (first.st_mode & 0o777, loan.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert loan.put(pair(2))
    record = json.loads(loan.path.read_text())
    assert (record["access_token"], record["refresh_token"], record["expires_at"]) == ("access-2", "", 0.0)
    assert loan.path.stat().st_ino != first.st_ino
    assert not any("refresh-" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert loan.end()
    assert not loan.path.exists()


def test_another_login_there(tmp_path: Path, record: Callable[..., str]) -> None:
    """A directory with a login of its own is refused; a login that comes meanwhile stays."""
    loan = Loan(tmp_path, KEY)
    loan.put(pair(1))
    loan.path.write_text(record(7))
    assert not loan.end()
    assert loan.path.read_text() == record(7)
    with pytest.raises(ConfigError, match="login of its own"):
        Loan(tmp_path, KEY)


def test_the_command(
    code_home: Path, record: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command sees its lent home and the token there, its status is ours, and the record is gone afterwards."""
    place = code_home / "credentials/kimi-code.json"
    place.write_text(record(expires_at=int(time.time()) + 850))
    place.chmod(0o600)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    box = code_home.parent / "box"
    script = "import os, pathlib; p = pathlib.Path(os.environ['KIMI_CODE_HOME']); print(sorted(p.glob('*/*.json')), flush=True); raise SystemExit(7)"
    status = main(["lend", "--home", str(code_home), str(box), "--", sys.executable, "-c", script])
    said = capfd.readouterr()
    assert (status, str(box / "credentials/kimi-code.json") in said.out) == (7, True), said
    assert "config.toml could not be written" in said.err
    assert list(box.glob("credentials/*")) == []
    assert place.read_text() == record(expires_at=json.loads(place.read_text())["expires_at"])
    assert main(["lend", "--home", str(code_home), str(code_home)]) == 2
    assert os.environ.get("KIMI_CODE_HOME") is None


def test_for_a_kimi_cli(
    code_home: Path, record: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A Kimi CLI's record has the key that it knows and the true end; its command sees that home and not the login's."""
    ends_at = int(time.time()) + 850
    place = code_home / "credentials/kimi-code.json"
    place.write_text(record(expires_at=ends_at))
    place.chmod(0o600)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("KIMI_CODE_HOME", str(code_home))
    monkeypatch.delenv("KIMI_SHARE_DIR", raising=False)
    box = code_home.parent / "box"
    monkeypatch.chdir(code_home.parent)
    script = """import json, os, pathlib
home = pathlib.Path(os.environ["KIMI_SHARE_DIR"])
print(json.dumps([str(home), os.environ.get("KIMI_CODE_HOME"), (home / "credentials/kimi-code.json").read_text()]))"""
    assert main(["lend", "--for", "kimi-cli", "box", "--", sys.executable, "-c", script]) == 0
    home, other, lent = json.loads(capfd.readouterr().out)
    assert (home, other) == (str(box), None)
    told = json.loads(lent)
    assert (told["access_token"], told["refresh_token"], told["expires_at"]) == ("access-1", "", ends_at)
    assert list(box.glob("credentials/*")) == []


def test_what_lend_refuses(
    code_home: Path, record: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program that it does not know, a command that is not there, and no login at all: one line and the usual status."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    box, home = str(code_home.parent / "box"), str(code_home)
    assert main(["lend", "--home", home, "--for", "kimi", box]) == 2
    assert "known: kimi-cli, kimi-code" in capfd.readouterr().err
    assert main(["lend", "--home", home, box, "--", "true"]) == 3
    (code_home / "credentials/kimi-code.json").write_text(record(expires_at=int(time.time()) + 850))
    capfd.readouterr()
    assert main(["lend", "--home", home, box, "--", "no-such-command"]) == 127
    assert "lend: there is no command 'no-such-command'" in capfd.readouterr().err
    assert list(Path(box).glob("credentials/*")) == []
