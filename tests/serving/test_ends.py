"""How `serve` and `serve relay` end: by signals, at a terminal of 80 columns, and with what means nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.screen import Screen
from house.patience import ended, until
from house.ports import silent_port

from kimi_auth.__main__ import main
from kimi_auth.serving import relay
from kimi_auth.serving.listening import listen_unix
from kimi_auth.testing.emulator import Emulator
from serving.conftest import Serving, to_the_end

ALONE = [sys.executable, str(Path(relay.__file__))]
BY_COMMAND = [sys.executable, "-m", "kimi_auth", "serve", "relay"]


class Host:
    """A socket at which connections are accepted, and left alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = listen_unix(path)
        self.accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        try:
            while True:
                self.accepted.append(self.listener.accept()[0])
        except OSError:
            pass

    def go(self) -> None:
        """Ends as a server that was killed."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()
        for one in self.accepted:
            one.close()


@pytest.fixture
def host(short: Path) -> Iterator[Host]:
    made = Host(short / "kimi.sock")
    yield made
    if made.listener.fileno() >= 0:
        made.go()


class Relay:
    """A relay to the socket at `path` that accepts connections, and its `port`."""

    def __init__(self, line: list[str], path: Path) -> None:
        self._said = path.with_name("stderr")
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test runner in the background ignores it
        try:
            with self._said.open("wb") as stderr:
                self._process = subprocess.Popen([*line, str(path), "0"], stderr=stderr, env=quiet())
        finally:
            signal.signal(signal.SIGINT, before)
        until(self._has_spoken, "a relay")
        line_said = self._said.read_text()
        found = re.fullmatch(rf"(?:kimi-auth: )?relaying 127\.0\.0\.1:(\d+) to {re.escape(str(path))}\n", line_said)
        assert found, line_said
        self.port = int(found[1])

    def _has_spoken(self, _: float) -> bool:
        assert self._process.poll() is None, self._said.read_text()
        return self._said.read_text().endswith("\n")

    def end(self, number: int) -> tuple[int, list[str]]:
        """Its exit status after that signal, and each line after the first that it said."""
        self._process.send_signal(number)
        return ended(self._process), self._said.read_text().splitlines()[1:]


def quiet() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KIMI_")}


@pytest.mark.parametrize(
    ("line", "number", "status"),
    [
        pytest.param(BY_COMMAND, signal.SIGTERM, 143, id="command, SIGTERM"),
        pytest.param(BY_COMMAND, signal.SIGINT, 130, id="command, SIGINT"),
        pytest.param(ALONE, signal.SIGTERM, -15, id="alone, SIGTERM"),
        pytest.param(ALONE, signal.SIGINT, 130, id="alone, SIGINT"),
    ],
)
def test_a_relay_ends_in_silence(host: Host, line: list[str], number: int, status: int) -> None:
    """A signal ends a relay whose connections are open with the status of that signal, and with no word about them."""
    made = Relay(line, host.path)
    with socket.create_connection(("127.0.0.1", made.port)) as client:
        client.sendall(b"GET ")
        until(lambda _: len(host.accepted) > 0, "a connection")
        assert made.end(number) == (status, [])


@pytest.mark.parametrize("line", [BY_COMMAND, ALONE], ids=["command", "alone"])
def test_a_relay_outlives_its_server(host: Host, line: list[str]) -> None:
    """Where the server goes, open connections end and new ones are closed at once, with no word; one that is there again is reached."""
    made = Relay(line, host.path)
    with socket.create_connection(("127.0.0.1", made.port)) as client:
        client.sendall(b"GET ")
        until(lambda _: len(host.accepted) > 0, "a connection")
        host.go()
        assert to_the_end(client) == b""
        with socket.create_connection(("127.0.0.1", made.port)) as late:
            assert to_the_end(late) == b""
        again = Host(host.path)
        with socket.create_connection(("127.0.0.1", made.port)) as new:
            new.sendall(b"GET ")
            until(lambda _: len(again.accepted) > 0, "a connection after the new start")
    again.go()
    assert made.end(signal.SIGTERM)[1] == []


@pytest.mark.parametrize("words", [[], ["s", "abc"], ["s", "-1"], ["s", "1", "2"], ["s", "99999"]], ids=" ".join)
def test_a_relay_alone_says_what_it_takes(words: list[str]) -> None:
    """Standing alone it answers what means nothing in one line, with the status of a usage error."""
    done = subprocess.run([*ALONE, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (2, 1, False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a held port that a server may take")
@pytest.mark.parametrize("heard", ["closed", "unread"])
def test_a_relay_alone_that_nobody_hears(host: Host, heard: str) -> None:
    """Without a standard error, or with one whose reader has gone, it relays all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    with silent_port() as port:
        shut = "" if heard == "unread" else "2>&-"
        made = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {shut}', "sh", *ALONE, str(host.path), str(port)], stderr=writer, env=quiet()
        )
        os.close(writer)

        def asked(tick_s: float) -> bool:
            assert made.poll() is None, "it ended"
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) != 0:
                    time.sleep(tick_s / 10)
                    return False
                until(lambda _: len(host.accepted) > 0, "a connection")
                return True

        until(asked, "a relay")
        made.terminate()
        assert ended(made) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_each_signal_ends_it_in_order(serving: Serving, number: int) -> None:
    """Ctrl-C and a closed terminal end `serve` as a service manager does: with status 0 and without a word."""
    serving.start()
    assert serving.end(number) == (0, "")


def test_nohup_stays_nohup(serving: Serving) -> None:
    """A server under nohup outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        serving.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert serving.process is not None
    serving.process.send_signal(signal.SIGHUP)
    assert serving.get("/readyz").status_code == 200
    assert serving.end() == (0, "")


@pytest.fixture
def window(emulator: Emulator, serving: Serving) -> Iterator[Screen]:
    """A terminal of 80 columns; `$K` is the program."""
    env = {name: value for name, value in serving.env.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    screen = Screen(80, 24, env | {"K": f"{sys.executable} -m kimi_auth", "TERM": "xterm-256color"})
    screen.until(lambda: screen.text.endswith("$"))
    screen.type("ulimit -c 0; clear; echo ready\n")
    screen.until(lambda: screen.text == "ready\n$")
    yield screen
    screen.close()


@pytest.mark.parametrize("what", ["serve", "relay"])
def test_at_a_terminal(window: Screen, serving: Serving, what: str) -> None:
    """Ctrl-Z stops it and `fg` lets it go on; Ctrl-C ends it, and the prompt comes back with no line but its own."""
    words = "serve --sockets $S" if what == "serve" else "serve relay /nowhere/kimi.sock 0"

    def ready() -> re.Match[str] | None:
        line = "until Ctrl-C" if what == "serve" else r"relaying 127\.0\.0\.1:(\d+) to"
        return re.search(line, window.text.replace("\n", " "))

    window.type(f"S={serving.sockets}; clear; $K {words}\n")
    window.until(lambda: ready() is not None)
    said = ready()
    assert said is not None
    window.type("\x1a")
    window.until(lambda: "Stopped" in window.text)
    window.type("clear; fg\n")
    window.until(lambda: "$K" in window.text and "Stopped" not in window.text)
    # bash prints that line before it gives the terminal away: an answer says that Ctrl-C will not be for bash.
    if what == "serve":
        assert serving.get("/readyz").status_code == 200
    else:
        with socket.create_connection(("127.0.0.1", int(said[1]))) as client:
            assert to_the_end(client) == b""
    window.type("\x03")
    window.until(lambda: window.text.endswith("$"))
    window.type("echo ended by $?\n")
    window.until(lambda: re.search(r"ended by \d", window.text) is not None)
    assert f"ended by {0 if what == 'serve' else 130}" in window.text
    assert not re.search(r"Traceback|Error|Task", window.raw.decode())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "8000"], "--listen is HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "--listen is HOST:PORT"),
        (["--listen", "256.1.1.1:1"], "256.1.1.1"),
        (["--key", "k.pem"], "--key needs --certificate"),
        (["start", "now"], "is not understood"),
        (["--path", "/x"], "--path is not an option of serve start"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_means_nothing_is_one_line(
    serving: Serving,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What `serve` cannot make sense of ends it with a usage error in one line that names it."""
    for name in ("KIMI_SHARE_DIR", "KIMI_CODE_OAUTH_HOST", "KIMI_CODE_BASE_URL"):
        monkeypatch.setenv(name, serving.env[name])
    status = main(["serve", "--sockets", str(serving.sockets), *words])
    told = capfd.readouterr().err
    assert (status in {2, 9}, said in told, told.count("\n")) == (True, True, 1), told
