"""Text that others chose reaches a terminal as text: no escape sequence, no control, direction or invisible character.

Every source of text of a command is filled with hostile text; then every command runs, into a pipe and on a
terminal, and the characters that come out are looked at.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth import selection
from kimi_auth.cli import main
from kimi_auth.cli.program import HOMES
from kimi_auth.clock import SystemClock
from kimi_auth.store import Backoff, FileStore
from kimi_auth.testing.emulator import Emulator, Fault
from kimi_auth.token import Token, fingerprint

CONTROLS = "\x1b]52;c;cm0=\x07\x1b[2J\x9b31m\x08\x7f\u202e\u2066\u200b\u200e\ufeff\U000e0041"
EVIL = f"bad{CONTROLS}\nkimi-auth: forged\r\u2028kimi-auth: forged"
"""OSC 52 sets the clipboard, CSI clears the screen (C1 too), backspace and bidi controls hide, tags and zero widths tag
along; line ends begin a line in the program's own name."""
NAME = f"bad{CONTROLS}"

OWN_SEQUENCES = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\")
"""What rich writes for colours and links."""
LIVE_SEQUENCES = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|\?2026[lh]|[KJ]|[0-9]*[AB])|\x1b\]8;[^\x1b]*\x1b\\")
"""What its redrawn picture needs beside them."""

PLATFORM = """
v = 1
[platforms.acme]
name = {evil}
auth = "api_key"
api_base = "https://api.acme.example/v1"
[platforms.{key}]
name = {evil}
[platforms.worse]
name = "Worse"
auth = {evil}
api_base = {evil}
"""

CONFIG = """
default_model = {evil}
[models.{evil}]
provider = {evil}
model = {evil}
max_context_size = 1
[models."kimi-code/m"]
provider = {evil}
model = "m"
max_context_size = 1
[providers.{evil}]
type = "kimi"
base_url = {evil}
api_key = ""
"""

MACHINE = """
name = {evil}
about = {evil}
initial = "off"
[states.off]
about = {evil}
activity = {evil}
on.{evil} = {evil}
[states.{evil}]
about = {evil}
tone = "good"
"""

HOLD = """
import fcntl, os, sys
with open("/proc/self/comm", "wb") as name:
    name.write(b"x\\x1b[2J\\xe2\\x80\\xae\\x9b\\n")
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def escapes(text: str) -> str:
    """`text` between the quotes of JSON and of TOML."""
    return json.dumps(text).replace("\x7f", "\\u007f").replace("\\udb40\\udc41", "\\U000e0041")


@pytest.fixture
def evil(tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A share dir with hostile text wherever text can be, and the environment that selects it; gives the folder around."""
    share = tmp_path / NAME
    store = FileStore(share, clock=SystemClock())
    issuer = emulator.oauth_host
    token = Token("access-1", "refresh-1", time.time() + 600, 900.0, issuer=issuer, scope=f"a {NAME}")
    with store.locked(NO_LIMIT_S):
        store.put(token)
        store.set_backoff(Backoff(retry_at_s=time.time() + 60, failures=2, message=EVIL, code="unreachable"))
    (share / "platforms.toml").write_text(PLATFORM.format(evil=escapes(EVIL), key=escapes(NAME)))
    (share / "config.toml").write_text(CONFIG.format(evil=escapes(EVIL)))
    for folder in ("machines", NAME):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "machines" / f"{NAME}.toml").write_text(MACHINE.format(evil=escapes(EVIL)))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / f"{NAME}.toml").write_text("=")
    (tmp_path / "broken" / "nowhere.toml").write_text(
        MACHINE.format(evil=escapes(EVIL)).replace('"off"', escapes(EVIL))
    )
    (tmp_path / "trace").write_text(json.dumps({"walk": EVIL, "machine": EVIL}) + "\n")
    for name, value in {**emulator.env, "KIMI_SHARE_DIR": str(share), "COLUMNS": "80", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS: list[tuple[str, ...]] = [
    ("status",),
    ("status", "--platform", "acme"),
    ("status", "--platform", NAME),
    ("token",),
    ("token", "--platform", EVIL),
    ("token", "--refresh"),
    ("token", "--min-ttl", EVIL),
    ("models",),
    ("models", "list"),
    ("models", "sync", "--dry-run"),
    ("models", "sync", "--platform", "acme"),
    ("doctor",),
    ("doctor", "--verbose"),
    ("logout", "--platform", "acme"),
    ("logout", "--config-file", f"{NAME}/x"),
    ("login", "--platform", "acme"),
    ("login", "--platform", "worse"),
    ("login", "--trace", f"{NAME}/none/x"),
    ("run", "--", f"./{NAME}"),
    ("run", "--", f"./{EVIL}"),
    ("diagram", EVIL),
    ("diagram", "--format", EVIL),
    ("diagram", "--diff", "machines"),
    ("diagram", "--diff", "machines", "--format", "table"),
    ("diagram", "--diff", "machines", "--format", "svg"),
    ("diagram", "--diff", "broken"),
    ("diagram", "--diff", EVIL),
    ("diagram", "--diff", NAME),
    ("diagram", "--verify", "machines"),
    ("diagram", "--verify", "broken"),
    ("diagram", "--verify", NAME),
    ("diagram", "--verify", EVIL),
    ("diagram", "--trace", "trace"),
    ("diagram", "--trace", NAME),
    ("diagram", "--conforms", "trace"),
    ("diagram", "--conforms", NAME),
    ("diagram", "--export", EVIL),
    ("diagram", "--export", "promela", "--world", EVIL),
    ("me",),
    ("me", "--account", EVIL),
    ("usage", "--platform", NAME),
    ("accounts",),
    ("accounts", "use", EVIL),
    ("accounts", "rename", "default", NAME),
    ("accounts", EVIL),
    ("status", "--all"),
    ("status", "--home", f"{NAME}/none"),
    ("token", "--account", NAME),
    ("token", "--format", EVIL),
    ("logout", "--account", EVIL),
    ("platforms",),
    ("platforms", "check"),
    ("platforms", "check", NAME),
    ("platforms", "check", EVIL),
    ("store",),
    ("store", "move", "--to", EVIL),
    ("store", "move", "--to", f"postgresql://u@{NAME}/{NAME}"),
    ("serve", "grant", EVIL),
    ("serve", "grant", "agent", "--path", EVIL),
    ("serve", "grant", "agent", "--write", f"{NAME}/kimi-code/none"),
    ("serve", "grants"),
    ("serve", "grants", "revoke", EVIL),
    ("serve", "start", "--listen", EVIL),
    ("serve", "start", "--listen", "127.0.0.1:0", "--certificate", NAME, "--key", EVIL),
    ("serve", "start", "--sockets", f"{NAME}/config.toml"),
    ("serve", "relay", NAME, EVIL),
    ("adopt", "--issuer", EVIL),
    ("adopt", "--issuer", f"https://{NAME}"),
    ("lend", NAME, "--for", EVIL),
    ("lend", f"{NAME}/box", "--", f"./{EVIL}"),
    ("run", "--env", EVIL, "--", "true"),
    (EVIL,),
    (f"--{NAME}",),
]


def badness(text: str) -> list[str]:
    """The characters of `text` that show nothing or move others, by name; tabs and line ends are none of them."""
    bad = {c for c in text if c not in "\n\t" and (unicodedata.category(c)[0] == "C" or c in "\u2028\u2029")}
    return sorted(f"U+{ord(c):04X}" for c in bad)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Standard output and error on a terminal that knows colours; the function closes it and returns the output."""
    leader, follower = pty.openpty()
    parts: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(leader, 65536):
                parts.append(part)
        except OSError:
            pass  # the last writer has closed it

    reader = threading.Thread(target=read)
    reader.start()
    stream = os.fdopen(follower, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")

    def ended() -> str:
        stream.close()
        reader.join()
        os.close(leader)
        return b"".join(parts).decode().replace("\r\n", "\n")

    yield ended
    monkeypatch.undo()


def test_every_command_is_here() -> None:
    """A command that is added is one of these, or one that shows no text of others."""
    assert set(HOMES) - {args[0] for args in COMMANDS} == {"emulator", "demo"}


@pytest.mark.parametrize("args", COMMANDS, ids=range(len(COMMANDS)))
def test_into_a_pipe(evil: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, args: Any) -> None:
    """No such character, and no line that was forged; with --json nothing but ASCII."""
    monkeypatch.setattr(sys, "stdin", None)
    for more in ((), ("--json",)) if args[0] in {"status", "token", "models", "doctor", "logout", "login"} else ((),):
        main([*args, *more])
        out, err = capfd.readouterr()
        assert (out + err).strip(), "nothing was said, so nothing was looked at"
        assert badness(out + err) == []
        assert not re.search(r"^\W*kimi-auth: forged", out + err, re.MULTILINE)
        if more:
            assert out.isascii()


@pytest.mark.parametrize("args", COMMANDS, ids=range(len(COMMANDS)))
def test_on_a_terminal(evil: Path, monkeypatch: pytest.MonkeyPatch, args: Any) -> None:
    """No such character but in the sequences of colours and links that are the program's own."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.MonkeyPatch.context() as patch, terminal(patch) as ended:
        main(args)
        said = ended()
    assert said.strip()
    assert badness(OWN_SEQUENCES.sub("", said)) == []


def test_the_name_of_the_process_that_holds_the_lock(
    evil: Path, emulator: Emulator, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user of the machine chooses the name of their process; what tells of the lock's holder shows it as text."""
    monkeypatch.setattr("kimi_auth.components.PATIENCE_S", 0.0)
    monkeypatch.setattr("kimi_auth.credential.adoption.LOCK_PATIENCE_S", 0.0)
    store = FileStore(evil / NAME, clock=SystemClock())
    with store.locked(NO_LIMIT_S):
        store.set_backoff(Backoff())
        store.put(Token("access-1", "refresh-1", time.time() - 5, 900.0, issuer=emulator.oauth_host))
    lock = evil / NAME / "credentials" / "kimi-code.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        for command in (["doctor"], ["token"], ["adopt", "--issuer", "https://auth.kimi.com"]):
            main(command)
            out, err = capfd.readouterr()
            assert f"pid {process.pid} (x[2J" in out + err
            assert badness(out + err) == []
        assert process.stdin is not None
        process.stdin.close()


def test_variables(evil: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable that a command reads may hold anything: where it is told of, it is text."""
    names = [found for name in dir(selection) if name.endswith("_VARIABLES") for found in getattr(selection, name)]
    for name in (*names, "KIMI_API_KEY", "KIMI_BASE_URL", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "LC_ALL"):
        with monkeypatch.context() as patch:
            patch.setenv(name, EVIL)
            for command in ("status", "doctor", "token"):
                main([command])
                out, err = capfd.readouterr()
                assert badness(out + err) == [], (name, command)
                assert not re.search(r"^\W*kimi-auth: forged", out + err, re.MULTILINE), (name, command)


FILES = {
    "the account in use": ("kimi-auth/accounts.toml", f"[use]\nkimi-code = {json.dumps(EVIL)}\n"),
    "the account's name": ("kimi-auth/accounts/kimi-code.json", ""),
    "a name of a record": (f"credentials/kimi-code@{NAME}.json", "{"),
    "a name of a left file": (f"credentials/kimi-code.json.corrupt-{NAME}", "{"),
    "a walk": (f"kimi-auth/walks/20260101T000000.000-{NAME}-{NAME}-1.ndjson", json.dumps({"walk": EVIL, "machine": EVIL})),
    "the binding": ("credentials/kimi-code.issuer", json.dumps({"v": 1, "issuer": EVIL, "origins": [EVIL]})),
    "the device": ("device_id", EVIL),
    "the undo": ("kimi-auth/undo.json", json.dumps({EVIL: EVIL})),
    "a grant": ("kimi-auth/serve/grants/0123456789abcdef.grant", json.dumps({"name": EVIL})),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_files_of_the_share_dir(evil: Path, capfd: pytest.CaptureFixture[str], emulator: Emulator, what: str) -> None:
    """Names and contents of what lies there are text, whichever command tells of them."""
    name, text = FILES[what]
    file = evil / NAME / name
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = {"v": 1, "issuer": emulator.oauth_host, "subject": "", "name": EVIL, "at": 1.0}
    file.write_text(text or json.dumps(kept))
    for command in ("status", "doctor", "accounts", "token", "serve grants", "logout"):
        main(command.split())
        out, err = capfd.readouterr()
        assert badness(out + err) == [], command
        assert not re.search(r"^\W*kimi-auth: forged", out + err, re.MULTILINE), command


@pytest.mark.parametrize("endpoint", ["device", "token"])
@pytest.mark.parametrize("lively", [False, True], ids=["pipe", "terminal"])
def test_words_of_a_server(
    environ: dict[str, str],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    lively: bool,
    endpoint: Any,
) -> None:
    """A sign-in whose server says hostile things in the description of an error."""
    emulator.state.inject(Fault(endpoint, status=400, body={"error": "bad_phase", "error_description": EVIL}))
    monkeypatch.setattr(sys, "stdin", None)
    if lively:
        with pytest.MonkeyPatch.context() as patch, terminal(patch) as ended:
            main(["login", "--no-browser"])
            said = ended()
    else:
        main(["login", "--no-browser"])
        said = "".join(capfd.readouterr())
    assert "bad" in said
    assert badness(LIVE_SEQUENCES.sub("", said).replace("\r", "")) == []


def test_a_refusal_that_was_stored(evil: Path, emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    """The file beside the credential that tells of an ended login is text too, whatever its origin."""
    store = FileStore(evil / NAME, clock=SystemClock())
    token = store.read().token
    assert token is not None
    file = evil / NAME / "credentials" / f"kimi-code.{fingerprint(token)}.revoked"
    file.write_text(json.dumps({"v": 1, "at_s": 1.0, "message": EVIL}))
    for command in ("status", "token", "doctor"):
        main([command])
        out, err = capfd.readouterr()
        assert badness(out + err) == []
