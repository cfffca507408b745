"""The emulator as a program: options, the ready line, the request log's file, signals."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kimi_auth.serving.ending import ended_by_signals
from kimi_auth.serving.listening import listen, names_loopback

from . import ExtraMissing, load
from .authorization_server import State
from .records import Reuse, Settings

PROGRAM = "kimi-auth emulator"


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until a signal. Exit status 0 then, 2 if the options cannot be used."""
    with ended_by_signals(lambda: sys.exit(0)):
        return _serve(argv)


def _serve(argv: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if not options.allow_remote and not names_loopback(options.host):
        parser.error(f"--host {options.host} is not a loopback address; --allow-remote permits it")
    try:
        load("loopback")
    except ExtraMissing as missing:
        parser.exit(2, f"{PROGRAM}: {missing}\n")
    from kimi_auth.serving.server import LoopbackServer

    from .app import build_app, describe_env

    try:
        log = _Log(options.log) if options.log else None
    except OSError as error:
        parser.error(f"--log {options.log}: {error.strerror}")
    try:
        listener, base_url = listen(options.host, options.port)
    except OSError as error:
        parser.error(f"cannot listen on {options.host}, port {options.port}: {error.strerror}")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    state = State(Settings(**{name: getattr(options, name) for name in vars(Settings())}))
    if log:
        state.on_record = log.write
    env = describe_env(base_url, options.share_dir and str(Path(options.share_dir).absolute()))
    server = LoopbackServer(build_app(state, base_url, env, allow_remote=options.allow_remote), listener)
    ready = {
        "ready": True,
        "base_url": base_url,
        "oauth_host": base_url,
        "api_base": env["KIMI_CODE_BASE_URL"],
        "approve": options.approve,
        "env": env,
        "pid": os.getpid(),
    }
    with ended_by_signals(server.stop):
        try:
            os.write(1, json.dumps(ready).encode() + b"\n")  # not through sys.stdout, which would fail again at exit
        except OSError as error:
            parser.error(f"cannot write the ready line: {error.strerror}")
        server.run_to_end()
    return 0


class _Log:
    """One JSON line per request in a file of mode 0600. Stops after the first write error, with a message on stderr."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115

    def write(self, entry: Mapping[str, Any]) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            self._file.close()
            sys.stderr.write(f"{PROGRAM}: --log {self._path}: {error.strerror}; no more is logged\n")


class _Parser(argparse.ArgumentParser):
    """argparse, with a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {PROGRAM} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="A loopback auth.kimi.com and coding API, for trying, demos and tests. Not the real Kimi service.",
        epilog="When ready it prints one JSON line with its addresses and the environment that points programs at it.",
        allow_abbrev=False,
    )
    d = Settings()
    option = parser.add_argument
    option("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    option("--port", type=_port, default=0, help="port to listen on (0: a free one)")
    option("--allow-remote", action="store_true", help="permit a --host that other machines can reach")
    option("--approve", choices=("auto", "page"), default=d.approve, help="who approves: itself, or a person (auto)")
    for name, text in (
        ("approve_after", "auto: seconds until it approves"),
        ("access_ttl", "life of an access token, seconds"),
        ("refresh_ttl", "life of a refresh token, seconds"),
        ("code_ttl", "life of a device code, seconds"),
        ("interval", "seconds between polls"),
        ("latency", "seconds that the token endpoint's answers take"),
    ):
        flag, default = "--" + name.replace("_", "-"), getattr(d, f"{name}_s")
        option(flag, dest=f"{name}_s", type=_seconds, default=default, metavar="S", help=f"{text} ({default:g})")
    option(
        "--reuse",
        type=_reuse,
        default=d.reuse,
        metavar="POLICY",
        help="when a refresh token is used twice: strict (the login is revoked), lenient (only refused),"
        " grace:SECONDS (accepted for so long), none (tokens do not rotate) (strict)",
    )
    option("--share-dir", metavar="DIR", help="KIMI_SHARE_DIR to name in the ready line")
    option("--log", metavar="FILE", help="append one JSON line per request, tokens as fingerprints")
    return parser


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value < math.inf:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


def _reuse(text: str) -> Reuse:
    try:
        return Reuse.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
