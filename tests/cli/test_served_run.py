"""`run --proxy` and `run --brokered` as programs: the environment of the command, its end, and its traces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S, heard
from house.ports import freed

from kimi_auth.cli.served_run import reaching_loopback
from kimi_auth.clock import SystemClock
from kimi_auth.files import read_bounded
from kimi_auth.serving.places import Places
from kimi_auth.testing.emulator import Emulator

from .conftest import Said

SDKS = """
import anthropic, json, openai
said = [{"role": "user", "content": "hello there"}]
model = "kimi-for-coding"
ours = openai.OpenAI(max_retries=0)
whole = ours.chat.completions.create(model=model, messages=said).choices[0].message.content
parts = ours.chat.completions.create(model=model, messages=said, stream=True)
streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
theirs = anthropic.Anthropic(max_retries=0)
message = theirs.messages.create(model=model, max_tokens=9, messages=said).content[0].text
with theirs.messages.stream(model=model, max_tokens=9, messages=said) as events:
    text = "".join(events.text_stream)
print(json.dumps([whole, streamed, message, text, [one.id for one in ours.models.list()][0]]))
"""


@pytest.fixture
def signed_in(emulator: Emulator, environ: dict[str, str], share_dir: Path) -> Emulator:
    emulator.sign_in(share_dir)
    return emulator


@pytest.fixture
def child(environ: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `kimi-auth run` with these arguments as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kimi_auth", "run", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE}
        process = subprocess.Popen(command, env={**os.environ, **more}, text=True, **pipes)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_real_sdks(signed_in: Emulator, child: Callable[..., subprocess.Popen[str]], share_dir: Path) -> None:
    """The clients of OpenAI and Anthropic, told nothing but their variables, get whole and streamed answers, and go on after the
    token was refused; no token of the login is among their variables."""
    code = SDKS + "import os\nprint(json.dumps(dict(os.environ)))"
    process = child("--proxy", "--", sys.executable, "-c", code)
    out, err = heard(process)
    assert process.returncode == 0, err
    answers, environ = map(json.loads, out.splitlines())
    assert answers == ["hello there", "hello there", "hello there", "hello there", "kimi-for-coding"]
    secret = environ["OPENAI_API_KEY"]
    assert secret == environ["ANTHROPIC_API_KEY"]
    assert environ["OPENAI_BASE_URL"] == f"{environ['ANTHROPIC_BASE_URL']}/v1"
    assert "emulated-" not in out + err
    assert secret not in err


@pytest.mark.prove
def test_a_refused_token_is_replaced(signed_in: Emulator, child: Callable[..., subprocess.Popen[str]]) -> None:
    """While the command runs the login is renewed beside it, and the command's own key stays the same."""
    loop = SDKS.replace("print(", "input(); print(")
    process = child("--proxy", "--", sys.executable, "-c", f"for _ in range(2):\n    exec({loop!r})")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    first = process.stdout.readline()
    signed_in.state.expire_access()
    process.stdin.write("\n")
    process.stdin.flush()
    second = process.stdout.readline()
    assert json.loads(first) == json.loads(second), process.communicate()[1]
    assert signed_in.state.counts["refreshes"] == 1


@pytest.mark.parametrize("option", ["--proxy", "--brokered"])
def test_the_command_s_end(signed_in: Emulator, child: Callable[..., subprocess.Popen[str]], option: str) -> None:
    """The exit status is the command's, and a signal to `run` is one to the command."""
    ended = child(option, "--", "sh", "-c", "exit 7")
    assert (ended.communicate()[1], ended.returncode) == ("", 7)
    waiting = child(option, "--", sys.executable, "-c", "import time; print('up', flush=True); time.sleep(3600)")
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "up\n"
    waiting.send_signal(signal.SIGTERM)
    assert (waiting.communicate()[1], waiting.returncode) == ("", 128 + signal.SIGTERM)
    missing = child(option, "--", "no-such-command")
    assert missing.communicate()[1].startswith("kimi-auth: run: there is no command 'no-such-command'")
    assert missing.returncode == 127


def test_the_proxy_ends_with_its_command(signed_in: Emulator, child: Callable[..., subprocess.Popen[str]]) -> None:
    """A process that the command leaves behind finds no proxy any more."""
    import httpx

    process = child("--proxy", "--", "sh", "-c", "echo $OPENAI_BASE_URL $OPENAI_API_KEY; read _")
    assert process.stdout is not None
    url, key = process.stdout.readline().split()
    answer = httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=NO_LIMIT_S)
    assert answer.status_code == 200
    assert heard(process, "\n") == ("", "")
    freed(url)


@pytest.mark.parametrize("option", ["--proxy", "--brokered"])
def test_not_signed_in(kimi: Callable[..., Said], option: str) -> None:
    """Without a login the command does not start."""
    said = kimi("run", option, "--", "echo", "started")
    assert (said.status, said.out) == (3, "")
    assert "kimi-auth login" in said.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--proxy", "--brokered"), "--proxy and --brokered cannot be used together"),
        (("--brokered", "--env", "OPENAI_API_KEY"), "--env and --brokered cannot be used together"),
    ],
)
def test_options_that_do_not_fit(kimi: Callable[..., Said], args: tuple[str, ...], message: str) -> None:
    """Two ways at once are a mistake."""
    said = kimi("run", *args, "--", "true")
    assert said.status == 2
    assert message in said.err


def test_another_key(signed_in: Emulator, child: Callable[..., subprocess.Popen[str]]) -> None:
    """`--env` names another client's key, which gets the same secret and base URL; an inherited token of that client is gone."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    process = child(
        *("--proxy", "--env", "MY_API_KEY", "--", sys.executable, "-c", code),
        MY_AUTH_TOKEN="x",
        HTTP_PROXY="http://proxy.example",
        NO_PROXY="kimi.com",
    )
    found = json.loads(process.communicate()[0])
    assert (found["MY_API_KEY"], found["MY_BASE_URL"]) == (found["OPENAI_API_KEY"], found["OPENAI_BASE_URL"])
    assert "MY_AUTH_TOKEN" not in found
    assert (found["NO_PROXY"], found["no_proxy"]) == ("kimi.com,127.0.0.1", "127.0.0.1")


def test_no_proxy_of_the_network() -> None:
    """Where no proxy is set, nothing is added."""
    assert reaching_loopback({"A": "1", "HTTP_PROXY": ""}) == {"A": "1", "HTTP_PROXY": ""}
    assert reaching_loopback({"all_proxy": "socks5://x"})["NO_PROXY"] == "127.0.0.1"


BROKERED = """
import json, os, subprocess, sys
def kimi(*words):
    done = subprocess.run([sys.executable, "-m", "kimi_auth", *words], capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]
print(json.dumps([{name: it for name, it in os.environ.items() if name.startswith("KIMI_") and not name.endswith(("_EDGES", "_TELEMETRY"))}, kimi("token"), kimi("logout")]))
"""


def test_brokered(
    signed_in: Emulator, child: Callable[..., subprocess.Popen[str]], share_dir: Path, environ: dict[str, str]
) -> None:
    """The command has a socket and no way to the share directory by its variables; `kimi-auth token` in it answers; its logout
    ends nothing outside; and when it ends its grant is revoked, its socket gone, and the login as it was."""
    process = child("--brokered", "--", sys.executable, "-c", BROKERED, KIMI_API_KEY="", KIMI_API_KEY_LENT="- x 0 0 y")
    out, err = heard(process)
    assert process.returncode == 0, err
    variables, token, logout = json.loads(out)
    assert set(variables) == {"KIMI_AUTH_STORE", "KIMI_CODE_OAUTH_HOST", "KIMI_CODE_BASE_URL"}
    assert token[0] == 0, token
    assert signed_in.state.judge(token[1].strip()) == "ok"
    assert "Traceback" not in logout[2]
    socket = Path(variables["KIMI_AUTH_STORE"].removeprefix("unix://").partition("?")[0])
    assert not socket.parent.exists()
    places = Places(share_dir, "kimi-code")
    (standing,) = places.grants().all(SystemClock().wall_s())
    assert standing.phase == "revoked"
    assert standing.grant is not None
    assert standing.grant.name.startswith("run-")
    log = read_bounded(places.audit, 1 << 20)
    assert log is not None
    whats = [json.loads(line)["what"] for line in log.data.splitlines()]
    assert (whats[0], whats[-1]) == ("issued", "revoked")
    assert "token" in whats
    assert b"emulated-" not in log.data
    assert len([one for one in signed_in.state.families if one.revoked_because is None]) == 1
