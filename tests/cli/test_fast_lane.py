"""The fast lane of `kimi-auth token`: it says what the full program would say, or it steps aside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kimi_auth import __main__ as program
from kimi_auth import quick_files
from kimi_auth.__main__ import FallThrough, answer, decode, main, names_our_platform, stored_token
from kimi_auth.cli import main as full_program
from kimi_auth.clock import SystemClock
from kimi_auth.errors import CorruptCredential
from kimi_auth.session import Session
from kimi_auth.store import FileStore
from kimi_auth.store.formats import decode_record
from kimi_auth.token import RECORD_FILE_MAX_BYTES, RecordError, fingerprint, parse_record

CHECKOUT = str(Path(program.__file__).parents[1])
NOW_S = 1_800_000_000.0
GOOD: dict[str, Any] = {
    "access_token": "the-access-token",
    "refresh_token": "the-refresh-token",
    "expires_at": NOW_S + 900,
    "expires_in": 900,
    "scope": "kimi-code",
    "token_type": "Bearer",
}


class House:
    """A share dir with a login in it, and the environment that names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credential = folder / "credentials" / "kimi-code.json"
        self.binding = folder / "credentials" / "kimi-code.issuer"
        self.config = folder / "config.toml"
        self.environ = {"KIMI_SHARE_DIR": str(folder)}
        self.credential.parent.mkdir(parents=True)
        self.store(GOOD)

    def store(self, record: object) -> None:
        self.credential.write_text(json.dumps(record))
        self.credential.chmod(0o600)

    def change(self, **values: object) -> None:
        self.store({**GOOD, **values})

    def token(self, *, now_s: float = NOW_S, is_named: bool = False) -> str | None:
        """What the fast lane hands out, None where it steps aside."""
        try:
            return stored_token(self.environ, now_s, is_named=is_named).access_token
        except FallThrough:
            return None


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "share")


def test_a_token_with_time_to_spare(house: House) -> None:
    """Fresh, and in both halves of the window; never one that has ended."""
    assert house.token() == GOOD["access_token"]
    assert house.token(now_s=NOW_S + 900 - 263) == GOOD["access_token"]
    assert house.token(now_s=NOW_S + 900 - 262) == GOOD["access_token"]
    assert house.token(now_s=NOW_S + 900 - 29) is None
    assert house.token(now_s=NOW_S + 901) is None
    assert house.token(now_s=NOW_S - 6) is None


def _mkfifo(house: House) -> None:
    house.credential.unlink()
    os.mkfifo(house.credential)


def _link(house: House) -> None:
    real = house.credential.with_name("real.json")
    house.credential.rename(real)
    house.credential.symlink_to(real)


def _directory(house: House) -> None:
    house.credential.unlink()
    house.credential.mkdir()


def _refuse(house: House) -> None:
    fp = fingerprint(parse_record(GOOD))
    house.credential.with_name(f"kimi-code.{fp}.revoked").write_text("{}")


def _refusals_cannot_be_seen(house: House) -> None:
    house.environ["KIMI_SHARE_DIR"] = f"{house.folder}/{'x' * 300}"


def _home_with_tilde(house: House) -> None:
    house.environ["KIMI_SHARE_DIR"] = "~/.kimi"


ASIDE: dict[str, Callable[[House], object]] = {
    "no record": lambda house: house.credential.unlink(),
    "no share dir": lambda house: house.environ.update(KIMI_SHARE_DIR=str(house.folder / "no")),
    "no home": lambda house: house.environ.clear(),
    "a home with a tilde": _home_with_tilde,
    "a path that cannot be": _refusals_cannot_be_seen,
    "a FIFO": _mkfifo,
    "a link": _link,
    "a directory": _directory,
    "a record too large": lambda house: house.change(scope="x" * RECORD_FILE_MAX_BYTES),
    "no object": lambda house: house.store([]),
    "no access token": lambda house: house.store({"refresh_token": "r"}),
    "signed out": lambda house: house.change(access_token="", refresh_token="", signed_out_at=NOW_S),
    "a token with a line break": lambda house: house.change(access_token="a\nb"),
    "a token that is no text": lambda house: house.change(access_token=1),
    "another life than was given": lambda house: house.change(expires_at=NOW_S + 5000),
    "no end": lambda house: house.change(expires_at=None),
    "trailing garbage": lambda house: house.credential.write_text(json.dumps(GOOD) + "x"),
    "a byte order mark": lambda house: house.credential.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    "another issuer": lambda house: house.change(issuer="https://auth.example"),
    "refused": _refuse,
    "an API base that is none": lambda house: house.environ.update(KIMI_CODE_BASE_URL="foo"),
    "another platform's default": lambda house: house.config.write_text('default_model = "elsewhere/m"\n'),
    "a binding that is a FIFO": lambda house: os.mkfifo(house.binding),
    "a binding that is a directory": lambda house: house.binding.mkdir(),
    "a binding that is a link": lambda house: house.binding.symlink_to(house.credential),
    "a binding that is torn": lambda house: house.binding.write_text('{"issuer": "https://auth.kimi.com'),
    "a binding that is empty": lambda house: house.binding.write_text(""),
    "a binding that is no object": lambda house: house.binding.write_text("[]"),
    "a binding to nothing": lambda house: house.binding.write_text('{"issuer": ""}'),
    "a binding to a number": lambda house: house.binding.write_text('{"issuer": 5}'),
    "a config that is a FIFO": lambda house: os.mkfifo(house.config),
    "a config too large": lambda house: house.config.write_text("#" * (quick_files.CONFIG_MAX_BYTES + 1)),
    "a config that is a loop": lambda house: house.config.symlink_to(house.config),
}


DUE_AT_S = NOW_S + 900 - 200
FP = fingerprint(parse_record(GOOD))


def _back_off(house: House, **values: object) -> None:
    house.credential.with_name("kimi-code.backoff").write_text(json.dumps({"v": 1, **values}))


RENEWALS: dict[str, tuple[Callable[[House], object], bool | None]] = {
    "nothing beside": (lambda house: None, True),
    "a backoff that is over": (lambda house: _back_off(house, retry_at_s=DUE_AT_S - 1, renewed_at_s=NOW_S), True),
    "a backoff": (lambda house: _back_off(house, retry_at_s=DUE_AT_S + 60), False),
    "a backoff of another clock": (lambda house: _back_off(house, retry_at_s=DUE_AT_S + 5000), True),
    "a backoff that is no number": (lambda house: _back_off(house, retry_at_s="x"), None),
    "a backoff that is torn": (lambda house: house.credential.with_name("kimi-code.backoff").write_text("{"), None),
    "a backoff that is no object": (
        lambda house: house.credential.with_name("kimi-code.backoff").write_text("[]"),
        None,
    ),
    "a backoff that is a directory": (lambda house: house.credential.with_name("kimi-code.backoff").mkdir(), None),
    "a claim": (lambda house: house.credential.with_name(f"kimi-code.{FP}.next").write_text(""), None),
    "no refresh token": (lambda house: house.change(refresh_token=""), None),
}
"""Beside a pair that is due: whether a renewal is started, None where the full program decides."""


@pytest.mark.parametrize("name", RENEWALS)
def test_a_renewal_that_is_due(house: House, name: str) -> None:
    """The token is handed out, and a renewal started unless a backoff forbids it; the full program decides the rest."""
    arrange, starts = RENEWALS[name]
    arrange(house)
    try:
        found: bool | None = answer(["token"], house.environ, DUE_AT_S)[1]
    except FallThrough:
        found = None
    assert found is starts


def test_no_renewal_while_the_lock_is_held(house: House) -> None:
    """One that is under way is enough."""
    store = FileStore(house.folder, clock=SystemClock())
    with store.locked(0) as held:
        assert held
        assert answer(["token"], house.environ, DUE_AT_S) == (GOOD["access_token"], False)


def test_a_rejected_bearer_is_handed_out(house: House) -> None:
    """A 401 at one URL takes the token from no other program."""
    fp = fingerprint(parse_record(GOOD))
    house.credential.with_name("kimi-code.backoff").write_text(json.dumps({"v": 1, "rejected_fp": fp}))
    assert house.token() == GOOD["access_token"]


@pytest.mark.parametrize("name", ASIDE)
def test_it_steps_aside(house: House, name: str) -> None:
    """Whatever is missing, strange, broken or not certain is left to the full program."""
    ASIDE[name](house)
    assert house.token() is None


def test_somebody_elses_record(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of another user is not handed out."""
    monkeypatch.setattr(os, "geteuid", lambda: house.credential.stat().st_uid + 1)
    assert house.token() is None


def test_a_refusal_that_cannot_be_looked_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the pair was refused must be certain: any error but "not there" is in doubt."""

    def error(*_: object, **__: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", error)
        assert house.token() is None


def test_home_is_where_the_record_is(house: House, tmp_path: Path) -> None:
    """Without KIMI_SHARE_DIR the record is below ~/.kimi; a config that is a link is read through it."""
    (tmp_path / "home").mkdir()
    house.folder.rename(tmp_path / "home" / ".kimi")
    real = tmp_path / "dotfiles.toml"
    real.write_text('default_model = ""\n')
    (tmp_path / "home" / ".kimi" / "config.toml").symlink_to(real)
    house.environ = {"HOME": str(tmp_path / "home"), "KIMI_SHARE_DIR": ""}
    assert house.token() == GOOD["access_token"]
    real.write_text('default_model = "other/m"\n')
    assert house.token() is None
    assert house.token(is_named=True) == GOOD["access_token"]


@pytest.mark.parametrize(
    ("issuer", "environ", "handed_out"),
    [
        ("", {}, True),
        ("https://auth.kimi.com", {}, True),
        ("https://auth.kimi.com", {"KIMI_OAUTH_HOST": " "}, True),
        ("https://a.example", {"KIMI_CODE_OAUTH_HOST": "https://a.example/"}, True),
        ("https://a.example", {"KIMI_OAUTH_HOST": "https://a.example"}, True),
        (
            "https://b.example",
            {"KIMI_CODE_OAUTH_HOST": "https://a.example", "KIMI_OAUTH_HOST": "https://b.example"},
            False,
        ),
        ("https://auth.kimi.com", {"KIMI_CODE_OAUTH_HOST": "https://a.example"}, False),
        ("", {"KIMI_CODE_OAUTH_HOST": "nonsense"}, False),
    ],
)
def test_the_issuer_is_the_selected_host(house: House, issuer: str, environ: dict[str, str], handed_out: bool) -> None:
    """A record is handed out only under the host that it belongs to, in the order of the variables."""
    house.change(issuer=issuer)
    house.environ |= environ
    assert (house.token() is not None) == handed_out


A, B = "https://a.example", "https://b.example"


@pytest.mark.parametrize("selected", ["", A, B, A + "/"])
@pytest.mark.parametrize("record", ["", "https://auth.kimi.com", A, A + "/"])
@pytest.mark.parametrize("bound", [None, "https://auth.kimi.com", A, B])
def test_the_binding_counts_as_in_the_full_program(house: House, bound: str | None, record: str, selected: str) -> None:
    """Record, binding and environment in every combination: a token handed out here, the full program would hand out;
    and the usual ways of being signed in are handed out here."""
    house.change(issuer=record, expires_at=time.time() + 900)
    house.environ |= {"KIMI_CODE_OAUTH_HOST": selected} if selected else {}
    if bound is not None:
        house.binding.write_text(json.dumps({"v": 1, "issuer": bound, "origins": []}))
    full = Session(house.folder, environ=house.environ).status().state == "fresh"
    here = house.token(now_s=time.time()) is not None
    assert full or not here
    assert here == full or record.endswith("/")


CONFIGS = [
    ("", True),
    ("# nothing\n", True),
    ('default_model = "kimi-code/kimi-for-coding"\n', False),
    ('default_model = "kimi-code/x"\n[models."kimi-code/x"]\nprovider = "managed:kimi-code"\n', True),
    ('# c\r\ndefault_model = "kimi-code/x"\r\n\r\n[models."kimi-code/x"]\r\nprovider = "managed:kimi-code"\r\n', True),
    ('default_model = "kimi-code/x"\n[models."kimi-code/x"]\nprovider = "managed:moonshot-cn"\n', False),
    (
        'default_model = "kimi-code/x"\n[models."kimi-code/x"]\n[models.y]\nprovider = "managed:kimi-code"\n',
        False,
    ),
    ('default_model = ""\n', True),
    ("default_model = ''\n", True),
    ('default_model = "moonshot-cn/kimi-k2"\n', False),
    ("default_model='kimi-code/x'\n", False),
    (' default_model = "kimi-code/x"\n', False),
    ('default_model = "kimi-code/\\u0041"\n', False),
    ('# default_model\ndefault_model = "kimi-code/x"\n', False),
    ('"default_model" = "kimi-code/x"\n', False),
    ('default_model = "other/m"\n[models."other/m"]\nprovider = "managed:other"\n', False),
]


@pytest.mark.parametrize(("text", "ours"), CONFIGS)
def test_the_platform_in_the_config(tmp_path: Path, text: str, ours: bool) -> None:
    """Only a certain match counts as ours; and then the full program says the same."""
    assert names_our_platform(text.encode()) == ours
    if ours:
        (tmp_path / "config.toml").write_text(text)
        assert Session(tmp_path, environ={}).platform.id == "kimi-code"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
records = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.text(min_size=1) | st.from_regex(r"[!-~]{1,20}", fullmatch=True),
        "refresh_token": st.text(),
        "expires_at": st.floats() | st.integers() | st.text(),
        "expires_in": st.floats(),
        "scope": st.text() | st.none(),
        "issuer": st.text(),
    },
)
texts = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace"),
              json_values | records, st.booleans()),
    st.text("{}[]\",:0123456789.eE+-truefalsn \t\n\r\f\\uNaInity", max_size=30).map(str.encode),
)  # fmt: skip


@given(st.builds(lambda before, text, after: before + text + after,
                 st.sampled_from([b"", b" \n", b"\xef\xbb\xbf", b"\x0b", b"\xa0"]), texts,
                 st.sampled_from([b"", b"\r\n\t ", b"\0", b"x", b"{}", b"\x1c"])))  # fmt: skip
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"[" * 500 + b"]" * 500)
@example(b"9" * 5000)
@example(b"")
@example(b'{"access_token": "a", "access_token": "b"}')
@example('{"a": 1}'.encode("utf-16"))
@example(b"-Infinity")
@example(b'"\x01"')
def test_it_reads_what_json_reads(raw: bytes) -> None:
    """UTF-8 JSON and nothing else, with the very value that `json.loads` gives."""
    try:
        expected: object = repr(json.loads(raw.decode("utf-8")))
    except (ValueError, RecursionError):
        expected = FallThrough
    try:
        value: object = repr(decode(raw))
    except FallThrough:
        value = FallThrough
    assert value == expected


@given(texts | records.map(lambda record: json.dumps(record).encode()))
def test_it_judges_as_the_store_does(raw: bytes) -> None:
    """A record that the store takes is the same pair here; what the store calls corrupt is not handed out."""
    try:
        stored: object = decode_record(raw, Path("record"))
    except CorruptCredential:
        stored = None
    try:
        read: object = parse_record(decode(raw))
    except (FallThrough, RecordError):
        read = None
    assert repr(read) == repr(stored)


CUT_OFF = ["", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1}}', '"', '"\\', '"\\u12', "[", "[1", "[1,", "[1}", "-", "nul", "{1:2}",
           '"\x01"', "[" * 100_000, '{"a":' * 100_000, "9" * 5000]  # fmt: skip


def test_what_is_cut_off_in_a_bare_interpreter() -> None:
    """A process that has not imported json steps aside as one that has: until 3.11 the C scanner then raises SystemError."""
    code = (
        "import sys; from kimi_auth.__main__ import decode, FallThrough\n"
        f"for raw in {CUT_OFF[:-3]!r} + ['[' * 100_000, '{{\"a\":' * 100_000, '9' * 5000]:\n"
        "    try: decode(raw.encode())\n"
        "    except FallThrough: print('steps aside')\n"
        "print('json.decoder' in sys.modules, file=sys.stderr) if sys.version_info < (3, 12) else None"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({CHECKOUT!r})\n{code}"],
                          env={}, capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "steps aside\n" * len(CUT_OFF)), done.stderr
    assert "True" not in done.stderr


@pytest.mark.parametrize("raw", [b'{"a": [1, 2.5, "x", null]}', b"[", b"nonsense"])
def test_without_the_c_scanner(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    """An interpreter without `_json` reads the same with the json package."""
    monkeypatch.setitem(sys.modules, "_json", None)
    test_it_reads_what_json_reads.hypothesis.inner_test(raw)  # type: ignore[attr-defined]


@pytest.fixture
def login(home: Path) -> House:
    """A login where the program looks for it."""
    house = House(home / ".kimi")
    house.change(expires_at=time.time() + 900)
    return house


FREE = {"__future__", "_json", "_sha2", "_sha256"}
OURS = {"kimi_auth", "kimi_auth.__main__", "kimi_auth.quick_files", "kimi_auth.selection", "kimi_auth.token"}
HERE = [
    ["token"],
    ["token", "--platform", "kimi-code"],
    ["token", "--min-ttl", "60"],
    ["token", "--min-ttl", "0", "--platform", "kimi-code"],
    ["token", "--json"],
    ["token", "--json", "--min-ttl", "600", "--platform", "kimi-code"],
    ["--version"],
]
"""Command lines that are answered here."""


@pytest.mark.parametrize("argv", HERE)
def test_it_loads_next_to_nothing(login: House, argv: list[str]) -> None:
    """Beyond what a bare interpreter loads: this package's two modules and C modules; `--json` loads json, and that re."""
    code = (
        f"import sys; {'import json; ' if '--json' in argv else ''}before = set(sys.modules)\n"
        "from kimi_auth.__main__ import main\n"
        f"status = main({argv!r})\n"
        "print(status, *sorted(sys.modules.keys() - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    status, *loaded = done.stderr.split()
    assert (status, done.stdout[-1:]) == ("0", "\n")
    assert set(loaded) - FREE == OURS | ({"kimi_auth._version"} if argv == ["--version"] else set())


BESIDE = {
    "kimi_auth.support",
    "kimi_auth.support.children",
    "kimi_auth.credential",
    "kimi_auth.credential.detached",
    "kimi_auth.support.lazily",
    "kimi_auth.store",
    "kimi_auth.store.holders",
}


def test_a_renewal_is_started_without_the_full_program(login: House) -> None:
    """A pair that is due loads what starts the process, and neither subprocess nor pathlib nor typing."""
    login.change(expires_at=time.time() + 200)
    code = (
        "import sys; import importlib, encodings.ascii; before = set(sys.modules)\n"
        "from kimi_auth.credential import detached\n"
        "from kimi_auth.__main__ import main\n"
        "detached.can_outlive_us = lambda: True\n"
        "detached.spawn = lambda command, environ: print(command[-1], environ['HOME'], file=sys.stderr)\n"
        "status = main(['token'])\n"
        "print(status, *sorted(sys.modules.keys() - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    started, ended = done.stderr.splitlines()
    status, *loaded = ended.split()
    assert (status, done.stdout) == ("0", f"{GOOD['access_token']}\n")
    assert started == f"kimi-code@default {Path.home()}"
    assert set(loaded) - FREE == OURS | BESIDE


@pytest.mark.parametrize("argv", HERE)
def test_the_full_program_says_the_same(login: House, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An answer here is, byte for byte, the answer of the program that knows every option; but for the time."""
    here, needs_renewal = answer(argv, os.environ, time.time())
    assert not needs_renewal
    assert full_program(argv) == 0
    full = capsys.readouterr().out.removesuffix("\n")
    if "--json" in argv:
        said, meant = json.loads(here), json.loads(full)
        assert abs(said.pop("expires_in") - meant.pop("expires_in")) < 60
        assert list(said.items()) == list(meant.items())
    else:
        assert here == full


@pytest.mark.parametrize(
    "options",
    [
        ["--min-ttl", "901"],
        ["--min-ttl", "-1"],
        ["--min-ttl", "nan"],
        ["--min-ttl", "1e2"],
        ["--min-ttl", "²"],
        ["--min-ttl", "9999999999"],
        ["--min-ttl"],
        ["--min-ttl", "1", "--min-ttl", "2"],
        ["--json", "--json"],
        ["--json", "x"],
        ["--platform", "kimi-code", "--platform", "kimi-code"],
        ["--platform"],
        ["--refresh"],
        ["--help"],
        [""],
    ],
)
def test_options_that_are_not_certain(login: House, options: list[str]) -> None:
    """More life than the pair has, another spelling, one that is given twice or not known: all is the full program's."""
    with pytest.raises(FallThrough):
        answer(["token", *options], os.environ, time.time())


@pytest.mark.parametrize(
    "argv", [["token", "--refresh"], ["status"], [], ["token", "--platform", "moonshot-cn"], ["--version", "--verbose"]]
)
def test_everything_else_is_the_full_programs(login: House, monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    """Any other command line goes there whole, and its status comes back."""
    seen: list[Sequence[str]] = []

    def full(args: Sequence[str]) -> int:
        seen.append(args)
        return 7

    monkeypatch.setattr("kimi_auth.cli.main", full)
    assert main(argv) == 7
    login.credential.unlink()
    assert main(["token"]) == 7
    assert seen == [argv, ["token"]]


def test_the_command_line_is_the_default(login: House, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Without arguments `main` reads the process's own."""
    monkeypatch.setattr(sys, "argv", ["kimi-auth", "token"])
    assert main() == 0
    assert capfd.readouterr() == (f"{GOOD['access_token']}\n", "")


def test_an_interrupt_is_no_traceback(login: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any moment ends with 130."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kimi_auth.cli.main", interrupt)
    assert main(["status"]) == 130


PIPED = "import os, sys, kimi_auth.__main__ as m; os.close(0); sys.exit(m.main(['token']))"


def test_nobody_reads(login: House) -> None:
    """A reader that has gone is no reason for a message: status 1, and that is all."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-c", PIPED], stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(login: House) -> None:
    """A token that could not be written is an error in one line."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        done = subprocess.run(
            [sys.executable, "-c", PIPED], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert (
        done.stderr
        == "kimi-auth: cannot write to standard output: No space left on device (send the output somewhere else)\n"
    )
