"""The SDKs behind `kimi-auth run --proxy`: told a base URL and a key, they answer, stream, and outlive a refused token."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth import Session
from kimi_auth.serving.command_proxy import CommandProxy
from kimi_auth.testing import Emulator
from sdks.recipes import Environment

PROGRAM = """
import anthropic, json, openai, sys
said = [{"role": "user", "content": "hello there"}]
asked = {"model": "kimi-for-coding", "messages": said}
ours, theirs = openai.OpenAI(max_retries=0), anthropic.Anthropic(max_retries=0)
for line in sys.stdin:
    whole = ours.chat.completions.create(**asked).choices[0].message.content
    parts = ours.chat.completions.create(**asked, stream=True)
    streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    message = theirs.messages.create(**asked, max_tokens=9).content[0].text
    with theirs.messages.stream(**asked, max_tokens=9) as events:
        text = "".join(events.text_stream)
    print(json.dumps([whole, streamed, message, text]), flush=True)
try:
    ours.with_options(api_key="another").models.list()
except openai.AuthenticationError as error:
    print(json.dumps([error.status_code, error.code, "kimi-auth run --proxy" in str(error)]), flush=True)
"""


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("environment", ["httpx2", "httpx"])
def test_sdks(
    environment: Environment, sdk_python: Callable[[Environment], str], sdk_environ: dict[str, str], home: Path
) -> None:
    """OpenAI's and Anthropic's clients, those of httpx and of httpx2, whole and streamed, before and after a 401 at the API; and the
    error of ours that a wrong key gets, as the client shows it."""
    with Emulator(approve_after_s=0, interval_s=0, share_dir=str(home / "share")) as server:
        server.sign_in()
        with CommandProxy(Session(environ=server.env)) as proxy:
            environ = {
                **sdk_environ,
                "OPENAI_BASE_URL": proxy.base_url,
                "OPENAI_API_KEY": proxy.secret,
                "ANTHROPIC_BASE_URL": proxy.base_url.removesuffix("/v1"),
                "ANTHROPIC_API_KEY": proxy.secret,
            }
            command = [sdk_python(environment), "-c", PROGRAM]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with subprocess.Popen(command, env=environ, text=True, **pipes) as program:  # type: ignore[call-overload]
                program.stdin.write("\n")
                program.stdin.flush()
                first = program.stdout.readline()
                server.state.expire_access()
                rest, said = program.communicate("\n")
    assert json.loads(first or "null") == ["hello there"] * 4, said
    second, refusal = map(json.loads, rest.splitlines())
    assert second == ["hello there"] * 4
    assert refusal == [401, "wrong_key", True]
    assert server.state.counts["refreshes"] == 1
