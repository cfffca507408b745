"""Serves the app in a thread, for tests (`Emulator`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from kimi_auth.clock import SystemClock
from kimi_auth.platforms import credential_key
from kimi_auth.selection import DEFAULT_PLATFORM, UNLABELLED, login_name
from kimi_auth.serving.listening import listen
from kimi_auth.serving.server import LoopbackServer
from kimi_auth.store import FileStore
from kimi_auth.token import Token

from .app import build_app, describe_env
from .authorization_server import State
from .records import Reuse, Settings


class Emulator:
    """The emulated service in a background thread, for the length of a `with` block.

        with Emulator(approve="auto", approve_after_s=0, interval_s=0, access_ttl_s=60) as emulator:
            subprocess.run(["kimi-auth", "login"], env={**os.environ, **emulator.env})
            assert emulator.state.counts["exchanges"] == 1

    All times are seconds. `now_s` is the clock by which codes and tokens age (Unix seconds); `reuse` is `strict`,
    `lenient`, `none` or `grace:SECONDS`. Any thread may read, script and change `state`. Raises OSError if the port is
    taken, ValueError for a setting that makes no sense.
    """

    def __init__(
        self,
        *,
        approve: Literal["auto", "page"] = "auto",
        approve_after_s: float = 1.0,
        access_ttl_s: float = 900.0,
        refresh_ttl_s: float = 30 * 86_400.0,
        code_ttl_s: float = 1800.0,
        interval_s: float = 5.0,
        latency_s: float = 0.0,
        reuse: str = "strict",
        share_dir: str | None = None,
        port: int = 0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        settings = Settings(
            approve=approve,
            approve_after_s=approve_after_s,
            access_ttl_s=access_ttl_s,
            refresh_ttl_s=refresh_ttl_s,
            code_ttl_s=code_ttl_s,
            interval_s=interval_s,
            latency_s=latency_s,
            reuse=Reuse.parse(reuse),
        )
        self.state: State = State(settings, now_s)
        self._share_dir = share_dir
        self._port = port
        self._base_url = ""
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT` of the served app, known while it runs."""
        if not self._base_url:
            raise RuntimeError("the emulator is not running: use it in a `with` block")
        return self._base_url

    @property
    def oauth_host(self) -> str:
        """The value for KIMI_CODE_OAUTH_HOST."""
        return self.base_url

    @property
    def api_base(self) -> str:
        """The value for KIMI_CODE_BASE_URL."""
        return f"{self.base_url}/coding/v1"

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that point a program at this emulator."""
        return describe_env(self.base_url, self._share_dir)

    def sign_in(self, share_dir: str | Path | None = None, *, account: str = UNLABELLED) -> None:
        """Stores a new login of an `account` in `share_dir`, by default the emulator's own, as a sign-in does that was
        approved. Raises ValueError where neither names a directory, ConfigError for an account of no possible name."""
        folder = share_dir or self._share_dir
        if folder is None:
            raise ValueError("name the share directory to sign in")
        given, life_s = self.state.issue(), self.state.settings.access_ttl_s
        key = credential_key(login_name(DEFAULT_PLATFORM, account))
        store = FileStore(Path(folder), key, clock=SystemClock())
        with store.locked(None):
            store.put(
                Token(
                    given.access_token,
                    given.refresh_token or "",
                    time.time() + life_s,
                    life_s,
                    given.scope,
                    issuer=self.oauth_host,
                )
            )

    def __enter__(self) -> Self:
        listener, self._base_url = listen("127.0.0.1", self._port)
        server = LoopbackServer(build_app(self.state, self._base_url, self.env), listener)
        self._stop = server.stop
        self._thread = server.start("kimi-auth-emulator")
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread, self._base_url = None, ""
