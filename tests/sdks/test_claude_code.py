"""The real Claude Code on a login whose tokens die: with the helper that docs/cli.md has, and behind `kimi-auth run --proxy`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from house import npm
from house.no_secrets import SECRET
from servers.fixtures import unavailable

from kimi_auth import Session
from kimi_auth.testing import Emulator
from sdks.programs import Piped, Reply

pytestmark = [pytest.mark.prove, pytest.mark.real_program, pytest.mark.timeout(900)]

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
CONFIGURED = re.compile(r"Claude Code, in `~/\.claude/settings\.json`.*?```json\n(.*?)```", re.DOTALL)
CONVERSATION = ("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose")


class Conversation(Piped):
    """One process of Claude Code, which is told one message after another."""

    def say(self, text: str) -> str:
        """Its answer, or the error that it shows instead."""
        reply = self.ask(json.dumps({"type": "user", "message": {"role": "user", "content": text}}))
        return reply.said or reply.error

    def read(self, line: str) -> Reply | None:
        told = json.loads(line) if line else {}
        return Reply(told["result"]) if told.get("type") == "result" else None


@pytest.fixture
def emulator(home: Path) -> Iterator[Emulator]:
    share_dir = str(home / "share")
    with Emulator(approve_after_s=0, interval_s=0, share_dir=share_dir) as server:
        server.sign_in()
        yield server


@pytest.fixture
def claude(home: Path, emulator: Emulator, sdk_environ: dict[str, str]) -> Iterator[Callable[..., Conversation]]:
    """`claude(*before)`: Claude Code with `kimi-auth` on its PATH, started by `before`; it asks no other host."""
    if lack := npm.CLAUDE_CODE.missing():
        unavailable(*lack)
    program = str(next(npm.CLAUDE_CODE.modules.glob("@anthropic-ai/claude-code-*/claude")))
    ours = Path(sys.executable).parent
    environ = {**sdk_environ, **emulator.env, "PATH": f"{ours}:{sdk_environ['PATH']}"}
    environ |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_MAX_RETRIES": "2"}
    (home / ".claude").mkdir()
    (home / "work").mkdir()
    with ExitStack() as stack:

        def start(*before: str) -> Conversation:
            command = [*before, program, *CONVERSATION, "--model", "kimi-for-coding"]
            return Conversation(command, environ, home / "work", stack)

        yield start


def asked(emulator: Emulator) -> list[tuple[int, str]]:
    """The status of each request to the API so far, and its token's fingerprint."""
    log = emulator.state.snapshot()["log"]
    return [
        (entry["status"], entry["tokens"].get("access_token", "")) for entry in log if entry["endpoint"] == "messages"
    ]


def outlive(emulator: Emulator, home: Path) -> None:
    """The end of every token that there is now, as time would bring it: for the API, and in the stored login."""
    emulator.state.expire_access()
    record = home / "share" / "credentials" / "kimi-code.json"
    stored = json.loads(record.read_text("utf-8"))
    replacement = record.with_suffix(".test")
    replacement.write_text(json.dumps({**stored, "expires_at": emulator.state.now_s() - 1.0}), "utf-8")
    replacement.chmod(0o600)
    replacement.replace(record)


def accepted(emulator: Emulator) -> int:
    """With how many tokens the API has answered."""
    return len({fingerprint for status, fingerprint in asked(emulator) if status == 200})


def has_left_no_token(home: Path) -> bool:
    """Whether no file that Claude Code has written, its transcripts and settings, holds a token."""
    written = [path for path in (home / ".claude").rglob("*") if path.is_file()]
    return not any(SECRET.search(path.read_text("utf-8", "replace")) for path in [*written, home / ".claude.json"])


def configure(home: Path, emulator: Emulator) -> None:
    """Writes Claude Code's settings as they are documented, with the emulator's address."""
    found = CONFIGURED.search(DOCS.read_text("utf-8"))
    assert found
    settings = json.loads(found[1])
    assert settings["env"] == {"ANTHROPIC_BASE_URL": "https://api.kimi.com/coding"}
    settings["env"]["ANTHROPIC_BASE_URL"] = emulator.env["KIMI_CODE_BASE_URL"].removesuffix("/v1")
    (home / ".claude" / "settings.json").write_text(json.dumps(settings))


def test_the_helper(claude: Callable[..., Conversation], emulator: Emulator, home: Path) -> None:
    """`apiKeyHelper`, as it is documented: one process answers three times, with another token each time, for the one before has
    ended; a 401 makes Claude Code ask the helper again, and the message is answered."""
    configure(home, emulator)
    conversation = claude()
    for turn in ("one", "two", "three"):
        assert f"turn {turn}" in conversation.say(f"turn {turn}"), conversation.errors
        outlive(emulator, home)
    assert accepted(emulator) == 3
    assert emulator.state.counts["reuse_seen"] == 0
    assert has_left_no_token(home)
    assert not SECRET.search(conversation.errors)


def test_the_proxy(claude: Callable[..., Conversation], emulator: Emulator, home: Path) -> None:
    """Behind `kimi-auth run --proxy`, without settings: tokens end, and one is refused before its end; Claude Code sees no 401."""
    kimi_auth = str(Path(sys.executable).with_name("kimi-auth"))
    conversation = claude(kimi_auth, "run", "--proxy", "--")
    assert "turn one" in conversation.say("turn one"), conversation.errors
    outlive(emulator, home)
    assert "turn two" in conversation.say("turn two"), conversation.errors
    emulator.state.expire_access()
    assert "turn three" in conversation.say("turn three"), conversation.errors
    assert accepted(emulator) == 3
    assert emulator.state.counts["reuse_seen"] == 0
    assert has_left_no_token(home)
    assert not SECRET.search(conversation.errors)


def test_signed_out(claude: Callable[..., Conversation], emulator: Emulator, home: Path) -> None:
    """Without a login Claude Code says that its helper fails, and the API answers nothing."""
    Session(environ=emulator.env).logout_sync()
    configure(home, emulator)
    conversation = claude()
    assert "apiKeyHelper" in conversation.say("turn one"), conversation.errors
    assert accepted(emulator) == 0
