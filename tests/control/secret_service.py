"""Run below a private D-Bus: a Secret Service, and migrations out of it. Prints one line of JSON.

secret_service.py SHARE_DIR            one migration
secret_service.py SHARE_DIR SECRET     the whole story, with SECRET as what an old Kimi CLI has stored
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import keyring

from kimi_auth.clock import SystemClock
from kimi_auth.login.keyring_migration import migrate
from kimi_auth.models import ConfigFile
from kimi_auth.platforms import registry
from kimi_auth.store import FileStore, SystemKeyring

SERVICE, KEY = "kimi-code", "oauth/kimi-code"

NO_LIMIT_S = 3600.0
"""That of `house.patience`, which this program does not find: the test's own limit comes before."""


def migration(share: Path) -> dict[str, str]:
    """How a migration went: its state, the class and message of its error, and the access token in the file."""
    platform = registry.get("kimi-code")
    store = FileStore(share, clock=SystemClock())
    report = migrate(platform, store, ConfigFile(share), SystemKeyring(patience_s=NO_LIMIT_S))
    token = store.read().token
    error = report.error.line if report.error else ""
    return {"state": report.state, "error": error, "stored": token.access_token if token else ""}


def of_another_process(share: Path) -> dict[str, str]:
    """The same in a process of its own, which looks for a keyring anew."""
    done = subprocess.run([sys.executable, __file__, share], stdout=subprocess.PIPE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def story(share: Path, secret: str) -> dict[str, object]:
    config = (share / "config.toml").read_bytes()
    steps = {"no service": of_another_process(share)}
    daemon = subprocess.Popen(
        ["gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert daemon.stdin
    daemon.stdin.write(b"password")
    daemon.stdin.close()
    try:
        subprocess.run(["gdbus", "wait", "--session", "org.freedesktop.secrets"], check=True)
        steps["nothing in it"] = migration(share)
        keyring.set_password(SERVICE, "oauth/other", "other")
        keyring.set_password(SERVICE, KEY, secret)
        steps["a login"] = migration(share)
        left = {name: keyring.get_password(SERVICE, name) for name in (KEY, "oauth/other")}
        steps["again"] = migration(share)

        keyring.set_password(SERVICE, KEY, secret)
        (share / "config.toml").write_bytes(config)
        (share / "credentials" / "kimi-code.json").unlink()
        keyring.get_keyring().get_preferred_collection().lock()  # type: ignore[attr-defined]
        steps["locked"] = of_another_process(share)
    finally:
        daemon.terminate()
        daemon.wait()
    return {"backend": type(keyring.get_keyring()).__module__, "steps": steps, "left": left}


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(migration(Path(sys.argv[1])) if len(sys.argv) == 2 else story(Path(sys.argv[1]), sys.argv[2])))
