"""django-oauth-toolkit in a process, behind the interface of all servers: see django_app.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from house.patience import heard

from servers.real_server import RealServer, Settings


class DjangoServer(RealServer):
    """One process; it ends with its stdin. Its clock is the system's: `advance` and `stand` are not for it."""

    name = "django-oauth-toolkit"
    page = "/o/device/"
    answers: ClassVar = {"approve": {"action": "accept"}, "deny": {"action": "deny"}}
    verdict: ClassVar = {"approve": "Device Authorized", "deny": "Device Denied"}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `stop` closes it
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("django_app.py"))],
            env={
                "PATH": os.environ["PATH"],
                "ACCESS_TTL_S": str(settings.access_ttl_s),
                "REFRESH_TTL_S": str(settings.refresh_ttl_s),
                "INTERVAL_S": str(settings.interval_s),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._stderr.seek(0)
            raise RuntimeError(f"{self.name} has died: {self._stderr.read()[-2000:]}")
        self.oauth_host = json.loads(line)["oauth_host"]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        if not self._stderr.closed:
            heard(self._process)  # closes stdin, which ends the server
            self._stderr.close()

    def _set_clock(self, ahead_s: float, stands_at_s: float | None) -> None:
        if ahead_s or stands_at_s is not None:
            raise ValueError("django-oauth-toolkit runs on the system's clock")
