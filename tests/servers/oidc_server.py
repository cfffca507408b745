"""oidc-provider (npm, OpenID-certified) in a node process, instead of auth.kimi.com: see oidc/server.mjs."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
from typing import Any, ClassVar

from house.npm import OIDC_PROVIDER, SEARCH_PATH, tool
from house.patience import heard

from servers.real_server import RealServer, Settings


class OidcServer(RealServer):
    """One node process; it ends with its stdin, so it cannot outlive the test run."""

    name = "oidc-provider"
    answers: ClassVar = {"approve": {"login": "somebody", "password": "anything"}, "deny": {"abort": "yes"}}
    verdict: ClassVar = {"approve": "Sign-in Success", "deny": "The Sign-in request was interrupted"}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._talking = threading.Lock()
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `stop` closes it
        self._process = subprocess.Popen(
            [str(tool("node")), "server.mjs"],
            cwd=OIDC_PROVIDER.folder,
            env={
                "PATH": SEARCH_PATH,
                "PORT": "0",
                "ACCESS_TTL_S": str(settings.access_ttl_s),
                "REFRESH_TTL_S": str(settings.refresh_ttl_s),
                "CODE_TTL_S": str(settings.code_ttl_s),
                "INTERVAL_S": str(settings.interval_s),
                "ACCESS_TOKENS": "jwt" if settings.jwt else "opaque",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self.oauth_host = self._hear()["oauth_host"]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        if not self._stderr.closed:
            heard(self._process)  # closes stdin, which ends the server
            self._stderr.close()

    def _set_clock(self, ahead_s: float, stands_at_s: float | None) -> None:
        with self._talking:
            assert self._process.stdin
            self._process.stdin.write(json.dumps({"ahead_s": ahead_s, "stands_at_s": stands_at_s}) + "\n")
            self._process.stdin.flush()
            self._hear()

    def _hear(self) -> dict[str, Any]:
        """The server's next answer; raises RuntimeError with its last output if it has died."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._stderr.seek(0)
            words = self._stderr.read().splitlines()
            self.stop()
            reason = next((line for line in words if re.match(r"\w*Error\b", line)), "it said nothing")
            raise RuntimeError(f"oidc-provider ended with status {self._process.returncode}: {reason}")
        answer: dict[str, Any] = json.loads(line)
        return answer
