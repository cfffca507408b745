"""`kimi-auth demo`: the main job, end to end, on the emulator, in a share dir that is thrown away."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kimi_auth.cli.emulator import child as child_python
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.login import sign_in
from kimi_auth.cli.logout import CONFIGS, REVOCATIONS
from kimi_auth.cli.options import components_of, terminal_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.login.outcome import login_error

if TYPE_CHECKING:  # the help, which knows every command, waits for no HTTP
    from kimi_auth.session import Session

__all__ = ["demo"]

SETTINGS = ("--approve", "auto", "--approve-after", "1.5", "--interval", "1", "--access-ttl", "9")
"""A person who approves by themselves, and tokens that are renewed every four seconds or so."""

REQUESTS = 9
SHOWN = {"access_token", "refresh_token"}


def demo(ctx: typer.Context) -> None:
    """Watch the main job run on an emulated server."""
    from kimi_auth.session import Session

    out = terminal_of(ctx)
    with tempfile.TemporaryDirectory(prefix="kimi-auth-demo-") as folder, _emulator(Path(folder)) as environ:
        session = Session(folder, environ=environ)
        _Demo(out, session, environ).play()


@contextmanager
def _emulator(share_dir: Path) -> Generator[dict[str, str], None, None]:
    """Starts the demo's own emulator; gives the environment that points there. Raises Usage if it is not installed."""
    child = subprocess.Popen(
        child_python("kimi_auth.testing.emulator", *SETTINGS, "--share-dir", str(share_dir)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        ready = child.stdout.readline()
        if not ready:
            # The emulator has told the reason and the next step in a line of its own; they are said once.
            said, _, step = child.stderr.read().strip().removeprefix("kimi-auth emulator: ").rpartition(" (")
            raise Usage(said or "the emulator did not start", hint=step.rstrip(")") or "see: kimi-auth emulator --help")
        env: dict[str, str] = json.loads(ready)["env"]
        yield {**os.environ, **env}
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()
        child.stderr.close()


@dataclass
class _Demo:
    out: Terminal
    session: Session
    environ: Mapping[str, str]
    step: int = 0

    def play(self) -> None:
        self._say(
            "A local server on this machine stands in for auth.kimi.com and the coding API.",
            [("server", self.session.api_origin), ("share dir", str(components_of(self.session).share_dir))],
        )
        self._say("Sign in with a device code (RFC 8628); the demo approves it by itself.")
        report = sign_in(self.session, self.out, browser=False, qr=False)
        if (error := login_error(report)) is not None:
            raise error
        self._show_files()
        self.out.signals.run(self._serve_a_client())
        self._helper("Any other program asks for a token: kimi-auth token", expect=0)
        self._sign_out()

    def _show_files(self) -> None:
        path = components_of(self.session).share_dir / "credentials" / "kimi-code.json"
        record = json.loads(path.read_text("utf-8"))
        rows: list[Row] = [("file", str(path)), ("mode", f"{stat.S_IMODE(path.stat().st_mode):04o}")]
        rows += [
            (key, f"({len(str(value))} characters)" if key in SHOWN else str(value)) for key, value in record.items()
        ]
        self._say("The credential is on disk: the Kimi CLI's own file, private, durable.", rows)
        config = components_of(self.session).config.read()
        rows = [("default_model", str(config["default_model"])), *(("model", key) for key in config["models"])]
        self._say("Models are discovered and written to config.toml.", rows)

    async def _serve_a_client(self) -> None:
        import asyncio

        import httpx

        from kimi_auth.clients import BearerAuth

        self._say("A running client. Its tokens end after 9 s; it never sees that happen.")
        url = f"{self.session.api_origin}/chat/completions"
        pairs: set[str] = set()
        async with (
            self.session.kept_fresh(),
            httpx.AsyncClient(auth=BearerAuth(self.session), timeout=10, trust_env=False) as client,
        ):
            for number in range(1, REQUESTS + 1):
                body = {"model": "kimi-for-coding", "messages": [{"role": "user", "content": f"request {number}"}]}
                answer = await client.post(url, json=body)
                status = self.session.status()
                news = "" if not pairs or status.fp in pairs else "  ← renewed in the background"
                pairs.add(status.fp)
                said = answer.json()["choices"][0]["message"]["content"] if answer.is_success else "?"
                self.out.line(f"  {answer.status_code}  {said:<9}  pair {status.fp}  {status.left_s:.1f} s left{news}")
                if not answer.is_success:
                    raise KimiAuthError(f"the client saw a {answer.status_code}")
                await asyncio.sleep(1)
        if len(pairs) < 2:
            raise KimiAuthError("no renewal was seen")
        self.out.line(f"  {REQUESTS} requests, {len(pairs)} pairs of tokens, no 401.")

    def _helper(self, words: str, *, expect: int) -> None:
        done = subprocess.run(
            child_python("kimi_auth", "token", "--platform", self.session.platform.id),
            env=dict(self.environ), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode != expect:
            raise KimiAuthError(f"kimi-auth token ended with {done.returncode}, not {expect}")
        answer = f"a token of {len(done.stdout.strip())} characters" if done.stdout else done.stderr.strip()
        self._say(words, [("answer", answer), ("exit status", str(done.returncode))])

    def _sign_out(self) -> None:
        with self.out.signals.held():
            report = self.session.logout_sync()
        self._say(
            "Sign out: locally first, then at the server, then in config.toml.",
            [("server", REVOCATIONS[report.revocation]), ("config", CONFIGS[report.config])],
        )
        self._helper("Signed out.", expect=3)
        left = self._server_state()
        self._say("Done.", [("families alive at the server", str(left)), ("share dir", "removed")])

    def _server_state(self) -> int:
        import httpx

        url = f"{self.environ['KIMI_CODE_OAUTH_HOST']}/_emulator/state"
        state: dict[str, Any] = httpx.get(url, timeout=10, trust_env=False).json()
        return sum(1 for family in state["families"] if family["alive"])

    def _say(self, words: str, rows: list[Row] | None = None) -> None:
        self.step += 1
        if self.out.is_lively:
            from rich.text import Text

            from kimi_auth.cli.drawing import grid_of

            heading = Text.assemble((f"{self.step} ", "bold cyan"), (words, "bold"))
            for part in (Text(), heading, grid_of(rows or [])):
                self.out.picture(part)
            return
        self.out.line(f"{self.step} {words}")
        for label, value in rows or []:
            self.out.line(f"  {label}: {value}")
