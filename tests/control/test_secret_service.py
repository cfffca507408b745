"""The migration against a Secret Service that we did not write: gnome-keyring under a private D-Bus."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = {
    "access_token": "the-access-token",
    "refresh_token": "the-refresh-token",
    "expires_at": 4e9,
    "expires_in": 900.0,
}
CONFIG = '[providers."managed:kimi-code"]\ntype = "kimi"\noauth = { storage = "keyring", key = "oauth/kimi-code" }\n'
PROGRAMS = {"dbus-run-session": "dbus", "gnome-keyring-daemon": "gnome-keyring", "gdbus": "libglib2.0-bin"}

# A bus that starts nothing by itself: a service that is not running does not exist.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={directory}</listen>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"""


@pytest.fixture
def bus(tmp_path: Path) -> list[str]:
    """The start of a command line that runs below a D-Bus of its own; skips where there can be none."""
    lacking = sorted(package for program, package in PROGRAMS.items() if not shutil.which(program))
    if lacking:
        pytest.skip(f"there is no Secret Service; run: apt-get install {' '.join(lacking)}")
    if not (importlib.util.find_spec("keyring") and importlib.util.find_spec("secretstorage")):
        pytest.skip("the package keyring is not installed; run: pip install keyring")
    config = tmp_path / "bus.conf"
    config.write_text(BUS.format(directory=tmp_path))
    return ["dbus-run-session", f"--config-file={config}", "--"]


@pytest.mark.real_server
def test_a_login_leaves_a_real_keyring(tmp_path: Path, share: Path, bus: list[str]) -> None:
    """Without a service, with an empty one, with the login, after it, and with a locked one: said, moved, never lost."""
    (share / "config.toml").write_text(CONFIG)
    (tmp_path / "run").mkdir(mode=0o700)
    done = subprocess.run(
        [*bus, sys.executable, str(Path(__file__).with_name("secret_service.py")), str(share), json.dumps(SECRET)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    story = json.loads(done.stdout)
    assert story["backend"] == "keyring.backends.SecretService"
    steps = story["steps"]
    assert [step["state"] for step in steps.values()] == ["waiting", "empty", "moved", "unneeded", "waiting"]
    assert [step["stored"] for step in steps.values()] == ["", "", SECRET["access_token"], SECRET["access_token"], ""]
    assert story["left"] == {"oauth/kimi-code": None, "oauth/other": "other"}
    assert "no system keyring" in steps["no service"]["error"]
    assert steps["locked"]["error"]
    assert "the-" not in done.stderr
    assert (share / "config.toml").read_text() == CONFIG
