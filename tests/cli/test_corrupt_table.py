"""Every file of a login, broken in every way: the state, the sentence and the exit status, and its forbidden effects.

A row damages one file of a set-up that is signed in, then asks for the `status` and runs a command, `token` unless the row
says otherwise. No row hangs, shows a traceback or a secret, or sends more requests than it says; nothing that was there
disappears; and the damaged file stays as it is, unless it is ours to write anew, which the row says too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pytest
from house.environments import PYTHONS, find_python, make_environment, wheel

from kimi_auth.clock import SystemClock
from kimi_auth.store import Backoff, RevokedMark, claims, formats, owners
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token, fingerprint

FRESH_S, EXPIRED_S = 890.0, -5.0
STRANGER = 4711

OUT_OF_THE_WAY = "(move it out of the way, then try again: "


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One server for the whole table; each row begins with an empty one."""
    with Emulator(approve="auto", approve_after_s=0.0, interval_s=0) as server:
        yield server


@dataclass
class House:
    """A set-up that is signed in: the paths of its files, and the pair that is stored."""

    share_dir: Path
    token: Token

    @property
    def fp(self) -> str:
        return fingerprint(self.token)

    @property
    def secrets(self) -> tuple[str, str]:
        return self.token.access_token, self.token.refresh_token

    def path(self, file: str) -> Path:
        credentials = self.share_dir / "credentials"
        return {
            "credential": credentials / "kimi-code.json",
            "lock": credentials / "kimi-code.lock",
            "claim": credentials / f"kimi-code.{self.fp}.next",
            "refusal": credentials / f"kimi-code.{self.fp}.revoked",
            "backoff": credentials / "kimi-code.backoff",
            "device id": self.share_dir / "device_id",
            "config": self.share_dir / "config.toml",
            "directory": credentials,
        }[file]

    def whole(self, file: str) -> bytes:
        """What the file holds while it is well."""
        header = claims.new(self.fp, owners.this_process(SystemClock().boot_id()))
        return {
            "credential": formats.encode_record(self.token),
            "lock": b"",
            "claim": claims.unfinished(header),
            "refusal": formats.encode_revoked(RevokedMark(5.0, "invalid_grant")),
            "backoff": formats.encode_backoff(Backoff(retry_at_s=time.time() + 50, failures=3, message="no route")),
            "device id": b"0123456789abcdef0123456789abcdef",
            "config": b'default_model = ""\n',
        }[file]

    def seen(self) -> dict[str, object]:
        """Every name below the share dir, and its kind and content."""
        return {str(path.relative_to(self.share_dir)): _look(path) for path in sorted(self.share_dir.rglob("*"))}


def _look(path: Path) -> object:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return path.readlink()
    readable = stat.S_ISREG(found.st_mode) and os.access(path, os.R_OK)
    content = path.read_bytes() if readable else b""
    return stat.S_IFMT(found.st_mode), found.st_uid, content


# --- defects ---------------------------------------------------------------------------------------------------------

Damage = Callable[[Path], object]


def holds(data: bytes) -> Damage:
    return lambda path: path.write_bytes(data)


def says(**changes: object) -> Damage:
    """The JSON object with other values; `None` takes a key away, a function is called for the value."""

    def change(path: Path) -> None:
        new = {key: value() if callable(value) else value for key, value in changes.items()}
        record = {**json.loads(path.read_bytes()), **new}
        path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))

    return change


def edited(old: str, new: str) -> Damage:
    def edit(path: Path) -> None:
        text = path.read_text("utf-8")
        assert re.search(old, text), old
        path.write_text(re.sub(old, new, text, count=1), "utf-8")

    return edit


def instead(make: Damage) -> Damage:
    """Something else where the file should be."""

    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def _emptied(make: Damage) -> Damage:
    """Something else where the directory should be."""

    def replace(path: Path) -> None:
        shutil.rmtree(path)
        make(path)

    return replace


def _now() -> float:
    return time.time()


def _cut(path: Path) -> None:
    data = path.read_bytes().rstrip(b"\0\n")
    path.write_bytes(data[: len(data) // 2])


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _strangers(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, STRANGER, STRANGER)


def _closed(path: Path) -> None:
    path.chmod(0)


def _moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


CUT, FIFO, SOCKET, DIRECTORY = _cut, instead(os.mkfifo), instead(_socket), instead(Path.mkdir)
FULL_DIRECTORY = instead(lambda path: (path / "x").mkdir(parents=True))
LINK_TO_NOTHING = instead(lambda path: path.symlink_to("nowhere"))
LINK_TO_ITSELF = instead(lambda path: path.symlink_to(path.name))
LINK_TO_DEVICE = instead(lambda path: path.symlink_to("/dev/zero"))

UNREADABLE: Final[dict[str, Damage]] = {
    "empty": holds(b""),
    "cut off": CUT,
    "NULs": holds(bytes(4096)),
    "binary": holds(bytes(range(256)) * 4),
    "not UTF-8": holds(b'{"access_token": "\xff"}'),
    "marked": holds(b"\xef\xbb\xbf{}"),
    "array": holds(b"[]"),
    "number": holds(b"7"),
    "deep": holds(b"[" * 60_000),
    "huge": holds(b'{"a": "' + b"x" * (2 << 20) + b'"}'),
    "page": holds(b"<html>no</html>"),
}
"""Contents that are none."""

STRANGE: Final[dict[str, Damage]] = {
    "FIFO": FIFO,
    "socket": SOCKET,
    "link to nothing": LINK_TO_NOTHING,
    "link to a device": LINK_TO_DEVICE,
    "link": _moved,
    "a stranger's": _strangers,
    "link to itself": LINK_TO_ITSELF,
}
"""Not a file of ours; a write replaces it."""

UNMOVED: Final[dict[str, Damage]] = {
    "directory": DIRECTORY,
    "full directory": FULL_DIRECTORY,
}
"""Not a file; a write does not replace it."""

LOOP: Final = {"link to itself": LINK_TO_ITSELF}
SOME: Final = {"cut off": CUT, "FIFO": FIFO, "directory": DIRECTORY}


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """`left_s`: the life that the stored token has. `state`: the word of `status`. `exit`, `message`: how `command` ends,
    and what its one line on standard error says, "" for no line. `requests`: how many it sends. `then`: the damaged
    file is the same, was written anew, or has become the credential."""

    file: str
    defect: str
    damage: Damage
    state: str
    exit: int
    message: str = ""
    requests: int = 0
    left_s: float = EXPIRED_S
    then: Literal["same", "anew", "installed"] = "same"
    command: tuple[str, ...] = ("token",)

    @property
    def id(self) -> str:
        return f"{' '.join(self.command)}, {'fresh' if self.left_s > 0 else 'expired'}, {self.file}: {self.defect}"


Defects = dict[str, tuple[Damage, str]]


def rows(file: str, defects: Defects, state: str, status: int, *, step: str = "", **more: Any) -> list[Row]:
    """Defects that end in the same way, each with a message of its own; `step`: the next step that all of them name."""
    ends = f".*{re.escape(step)}" if step else ""
    return [
        Row(file, defect, damage, state, status, f"{words}{ends}", **more)
        for defect, (damage, words) in defects.items()
    ]


def alike(words: str, *groups: dict[str, Damage]) -> Defects:
    """Defects that end with the same message."""
    return {defect: (damage, words) for group in groups for defect, damage in group.items()}


CREDENTIAL = [
    *rows(
        "credential",
        {
            "empty": (UNREADABLE["empty"], "it is empty"),
            "cut off": (CUT, "it is not JSON, or not all of it"),
            "NULs": (UNREADABLE["NULs"], "it is not JSON, or not all of it"),
            "NULs behind": (edited(r"\Z", "\0\0"), "it is not JSON, or not all of it"),
            "binary": (UNREADABLE["binary"], "it is not UTF-8"),
            "not UTF-8": (UNREADABLE["not UTF-8"], "it is not UTF-8"),
            "marked": (UNREADABLE["marked"], "access_token is missing"),
            "array": (UNREADABLE["array"], "it is not a JSON object"),
            "number": (UNREADABLE["number"], "it is not a JSON object"),
            "deep": (UNREADABLE["deep"], "it is nested too deeply"),
            "huge": (UNREADABLE["huge"], "more than 69632 bytes"),
            "page": (UNREADABLE["page"], "it is not JSON, or not all of it"),
            "two objects": (edited("}\n", "}{}"), "it is not JSON, or not all of it"),
            "no access token": (says(access_token=None), "access_token is missing"),
            "access token a number": (says(access_token=7), "access_token is not a string"),
            "access token with a line end": (says(access_token="a\r\nb: c"), "characters that cannot be sent"),
            "refresh token a list": (says(refresh_token=["a"]), "refresh_token is not a string"),
            "scope an object": (says(scope={}), "scope is not a string"),
            "FIFO": (FIFO, "is a FIFO, not a file"),
            "socket": (SOCKET, "it is a socket or a device"),
            "directory": (DIRECTORY, "is a directory, not a file"),
            "full directory": (FULL_DIRECTORY, "is a directory, not a file"),
            "link to itself": (LINK_TO_ITSELF, "a symbolic link that leads to no file"),
            "link to a device": (LINK_TO_DEVICE, "a symbolic link that leads to no file"),
        },
        "corrupt",
        8,
        step="sign in again, the broken file is set aside: kimi-auth login",
        left_s=FRESH_S,
    ),
    Row("credential", "a stranger's", _strangers, "corrupt", 8, "another user .*move it out of the way", left_s=FRESH_S),
    Row("credential", "link to nothing", LINK_TO_NOTHING, "absent", 3, "not signed in", left_s=FRESH_S),
    Row("credential", "link", _moved, "fresh", 0, left_s=FRESH_S),
    Row("credential", "a key twice", edited("{", '{"access_token": 7, '), "fresh", 0, left_s=FRESH_S),
    Row("credential", "times NaN", says(expires_at=float("nan"), expires_in=float("nan")), "expired", 0, requests=1, then="anew"),
    Row("credential", "times endless", says(expires_at=float("inf"), expires_in=1e300), "expired", 0, requests=1, then="anew"),
    Row("credential", "times words", says(expires_at="soon", expires_in=[]), "expired", 0, requests=1, then="anew"),
    Row("credential", "times negative", says(expires_at=-5, expires_in=-5), "expired", 0, requests=1, then="anew"),
    Row("credential", "no refresh token", says(refresh_token=""), "fresh", 0, left_s=FRESH_S),
    Row("credential", "no refresh token any more", says(refresh_token=None), "revoked", 4, "gave no refresh token"),
    Row("credential", "no access token, empty", says(access_token=""), "corrupt", 8, "access_token is empty"),
    Row("credential", "both empty", says(access_token="", refresh_token=""), "revoked", 4, "another program recorded it"),
    Row("credential", "signed out", says(access_token="", refresh_token="", signed_out_at=_now), "absent", 3, "not signed in"),
    Row("credential", "of another host", says(issuer="https://evil.example"), "absent", 9, "belongs to https://evil.example"),
]  # fmt: skip

DEVICE_ID = [
    *rows("device id", alike("", UNREADABLE), "expired", 0, requests=1, then="anew"),
    *rows(
        "device id",
        alike("", STRANGE, UNMOVED),
        "expired",
        0,
        requests=1,
    ),
    Row("device id", "an evil header", holds(b"a\r\nAuthorization: b"), "expired", 0, requests=1, then="anew"),
]

IN_FLIGHT = "may still be renewing"
CLAIM = [
    *rows("claim", alike(IN_FLIGHT, UNREADABLE, STRANGE), "in_doubt", 5),
    *rows(
        "claim",
        alike("not renewed, nothing was sent: .* it is a directory", UNMOVED),
        "in_doubt",
        8,
        step=OUT_OF_THE_WAY,
    ),
    Row("claim", "of another boot", edited('"boot": "[^"]*"', '"boot": "other"'), "in_doubt", 5, "may still be renewing", then="same"),
    Row("claim", "of another pair", edited('"fp": "[^"]*"', '"fp": "0123456789abcdef"'), "in_doubt", 5, IN_FLIGHT),
    Row("claim", "a pid that is none", edited('"pid": [0-9]*', '"pid": NaN'), "in_doubt", 5, IN_FLIGHT, then="same"),
    Row("claim", "an answer cut off", edited("\n}\n", '\n, "access_token": "x", "ref'), "in_doubt", 5, IN_FLIGHT, then="same"),
    Row("claim", "an answer with a wrong sum", edited("\n}\n", '\n, "access_token": "x", "sha256": "0"}'), "in_doubt", 5, IN_FLIGHT, then="same"),
    *rows("claim", alike("", SOME), "fresh", 0, left_s=FRESH_S),
]  # fmt: skip

ENDED = "the server ended this login"
REFUSAL = [
    *rows("refusal", alike(ENDED, UNREADABLE, STRANGE, UNMOVED), "revoked", 4),
    Row("refusal", "words with a screen in them", says(message="\x1b[2Jno\r\nreason"), "revoked", 4, "kimi-auth: .2Jno reason"),
    Row("refusal", "words a list", says(message=["a"], at_s=float("nan")), "revoked", 4, ENDED),
    *rows("refusal", alike("", SOME), "usable", 0, left_s=FRESH_S),
]  # fmt: skip

BACKOFF = [
    *rows("backoff", alike("", UNREADABLE, STRANGE), "expired", 0, requests=1, then="anew"),
    *rows(
        "backoff",
        alike("shared backoff could not be written: .* it is a directory", UNMOVED),
        "expired",
        0,
        step=OUT_OF_THE_WAY,
        requests=1,
    ),
    *rows("backoff", alike("", SOME), "fresh", 0, left_s=FRESH_S),
    Row("backoff", "of the year 3000", says(retry_at_s=32_503_680_000.0), "expired", 0, requests=1, then="anew"),
    Row("backoff", "NaN", says(retry_at_s=float("nan"), failures=float("nan")), "expired", 0, requests=1, then="anew"),
    Row("backoff", "negative", says(retry_at_s=-5, failures=-5, unrecognized_count=-5), "expired", 0, requests=1, then="anew"),
    Row("backoff", "failures without end", says(failures=10**30), "expired", 5, "no route; not tried again for"),
    Row("backoff", "words a list", says(message=[], code={}), "expired", 5, "not tried again for"),
]  # fmt: skip

LOCK = [
    *rows("lock", alike("", UNREADABLE), "expired", 0, requests=1),
    *rows(
        "lock",
        {
            "FIFO": (FIFO, "kimi-code.lock is a FIFO, not a file"),
            "socket": (SOCKET, "kimi-code.lock: it is a socket or a device"),
            "directory": (DIRECTORY, "kimi-code.lock: it is a directory"),
            "full directory": (FULL_DIRECTORY, "kimi-code.lock: it is a directory"),
            "link to nothing": (LINK_TO_NOTHING, "kimi-code.lock is a symbolic link, not a file"),
            "link to itself": (LINK_TO_ITSELF, "kimi-code.lock is a symbolic link, not a file"),
            "link to a device": (LINK_TO_DEVICE, "kimi-code.lock is a symbolic link, not a file"),
            "link": (_moved, "kimi-code.lock is a symbolic link, not a file"),
        },
        "expired",
        8,
        step=OUT_OF_THE_WAY,
    ),
    Row(
        "lock",
        "a stranger's",
        _strangers,
        "expired",
        8,
        "kimi-code.lock belongs to another user .*move it out of the way",
    ),
    *rows("lock", alike("", SOME), "fresh", 0, left_s=FRESH_S),
]

SYNC: Final[dict[str, Any]] = {"command": ("models", "sync"), "left_s": FRESH_S}
CONFIG = [
    *rows(
        "config",
        {
            **alike("not TOML: ", {name: UNREADABLE[name] for name in ("cut off", "NULs", "array", "number", "page")}),
            **alike("not UTF-8", {name: UNREADABLE[name] for name in ("binary", "not UTF-8")}),
            "deep": (holds(b"a = " + b"[" * 60_000), "nested too deeply"),
            "a key twice": (holds(b"a = 1\na = 2\n"), "not TOML: "),
        },
        "fresh",
        9,
        step="correct that line and try again",
        **SYNC,
    ),
    *rows(
        "config",
        alike(
            "nothing was changed", {"FIFO": FIFO, "socket": SOCKET, "link to a device": LINK_TO_DEVICE}, UNMOVED, LOOP
        ),
        "fresh",
        9,
        step=OUT_OF_THE_WAY,
        **SYNC,
    ),
    Row("config", "huge", UNREADABLE["huge"], "fresh", 9, "more than 1048576 bytes, .*nothing was changed", **SYNC),
    *rows("config", alike("", SOME), "fresh", 0, left_s=FRESH_S),
    *rows("config", alike("", SOME), "expired", 0, requests=1),
]

NOT_PERMITTED = [
    Row("credential", "mode 000", _closed, "corrupt", 8, "permission denied .*check owner", left_s=FRESH_S),
    Row("device id", "mode 000", _closed, "expired", 0, requests=1),
    Row("claim", "mode 000", _closed, "in_doubt", 5, IN_FLIGHT),
    Row("refusal", "mode 000", _closed, "revoked", 4, ENDED),
    Row("backoff", "mode 000", _closed, "expired", 0, requests=1, then="anew"),
    Row("lock", "mode 000", _closed, "expired", 8, "cannot lock .*permission denied .*check owner"),
    Row("config", "mode 000", _closed, "fresh", 9, "permission denied; nothing was changed .*check owner", **SYNC),
]

DIRECTORY_ROWS = [
    Row("directory", "missing", shutil.rmtree, "absent", 3, "not signed in"),
    Row("directory", "a file", _emptied(Path.touch), "corrupt", 8, "a part of its path is not a directory"),
    Row("directory", "FIFO", _emptied(os.mkfifo), "corrupt", 8, "a part of its path is not a directory"),
    Row(
        "directory", "link to nothing", _emptied(lambda path: path.symlink_to("nowhere")), "absent", 3, "not signed in"
    ),
    Row(
        "directory",
        "link to itself",
        _emptied(lambda path: path.symlink_to(path.name)),
        "corrupt",
        8,
        "a symbolic link that leads to no file",
    ),
    Row("directory", "link", _moved, "expired", 0, requests=1),
]

TABLE = [*CREDENTIAL, *DEVICE_ID, *CLAIM, *REFUSAL, *BACKOFF, *LOCK, *CONFIG, *NOT_PERMITTED, *DIRECTORY_ROWS]


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.fixture
def house(environ: dict[str, str], emulator: Emulator, share_dir: Path) -> Callable[[float], House]:
    """Signs in, with a token that ends in so many seconds."""

    def sign_in(left_s: float) -> House:
        state = emulator.state
        state.reset()
        grant = state.poll(state.issue_code().device_code)
        issuer = environ["KIMI_CODE_OAUTH_HOST"]
        made = House(
            share_dir, Token(grant.access_token, grant.refresh_token, time.time() + left_s, 900.0, issuer=issuer)
        )
        made.path("credential").parent.mkdir(parents=True)
        for file in ("credential", "config"):
            made.path(file).write_bytes(made.whole(file))
        return made

    return sign_in


@pytest.fixture
def modes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open every file, and is refused one that is closed to all."""
    original = os.open

    def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        is_closed = False
        with contextlib.suppress(OSError):
            found = os.stat(path, dir_fd=kwargs.get("dir_fd"), follow_symlinks=False)
            is_closed = not flags & os.O_EXCL and not stat.S_IMODE(found.st_mode)
        if is_closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)


def hold(row: Row, made: House, run: Callable[..., Any], emulator: Emulator, *, is_looked_at: bool = True) -> None:
    """The state, the exit status and the sentence of the row, its requests, and nothing destroyed."""
    path = made.path(row.file)
    if row.file != "directory":
        path.write_bytes(made.whole(row.file))
    os.chdir(path.parent)  # names of sockets are short
    row.damage(Path(path.name))
    before = made.seen()
    if is_looked_at:
        shown = run("status")
        assert f"\nstate: {row.state} " in shown.out
        assert made.seen() == before, "looking changes nothing"
        assert not emulator.state.log
        assert not any(secret in shown.out + shown.err for secret in made.secrets)

    said = run(*row.command)
    assert (said.status, len(emulator.state.log)) == (row.exit, row.requests), said.err
    assert re.search(row.message, said.err), said.err
    assert said.err.count("\n") == bool(row.message)
    if row.command == ("token",) and row.exit == 0:
        assert emulator.state.judge(said.out.strip()) == "ok"
    assert not any(secret in said.err for secret in made.secrets)
    after = made.seen()
    name = str(path.relative_to(made.share_dir))
    assert before.keys() - after.keys() == ({name} if row.then == "installed" else set()), "nothing disappears"
    assert (after.get(name) == before.get(name)) == (row.then == "same")
    renewed = row.requests == 1 and row.exit == 0
    assert renewed or after.get("credentials/kimi-code.json") == before.get("credentials/kimi-code.json")


@pytest.mark.usefixtures("modes_count")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_broken(
    kimi: Callable[..., Any],
    house: Callable[[float], House],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    row: Row,
) -> None:
    """Each row, in this process."""
    if (
        row.message == IN_FLIGHT
    ):  # the walk gives up after a second, and has the other thirty to say so on a busy machine
        monkeypatch.setattr("kimi_auth.credential.credential.LAST_WORD_S", 30.0)
    made = house(row.left_s)
    monkeypatch.chdir(made.share_dir)
    hold(row, made, kimi, emulator)


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", PYTHONS)
def test_broken_in_processes(
    version: str,
    house: Callable[[float], House],
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    dist: Path,
    outside: dict[str, str],
    share_dir: Path,
) -> None:
    """Each row, as people run it: a process of each supported Python, which loads what the installed command loads."""
    python = find_python(version, outside)
    if python is None:
        pytest.skip(f"there is no Python {version} that starts")
    environment = make_environment(python, tmp_path / "venv", outside, str(wheel(dist)))
    program = [str(environment.folder / "bin" / "kimi-auth")]
    hidden = ("PYTHON", "COV")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    monkeypatch.chdir(tmp_path)
    failed = {}
    # Each command that meets a claim in flight waits out its patience of 31 s: one of these rows stands for all.
    waits = [row for row in TABLE if row.message == IN_FLIGHT][1:]
    for row in (row for row in TABLE if row not in waits):
        before = WITHOUT_ROOTS_RIGHTS if row in NOT_PERMITTED and os.geteuid() == 0 else []

        def run(*argv: str, before: list[str] = before) -> Said:
            done = subprocess.run(
                [*before, *program, *argv],
                env=environ,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            return Said(done.returncode, done.stdout, done.stderr)

        made = house(row.left_s)
        try:
            hold(row, made, run, emulator, is_looked_at=False)
        except AssertionError as error:
            failed[row.id] = str(error)
        os.chdir(tmp_path)
        shutil.rmtree(share_dir)
    assert failed == {}


def test_the_table_is_long_enough() -> None:
    """Seven kinds of files and their directory, each file with many defects, and no row twice."""
    assert len({row.id for row in TABLE}) == len(TABLE)
    kinds = Counter(row.file for row in TABLE)
    assert len(kinds) == 8
    assert min(kinds.values()) == kinds["directory"]
    assert sorted(kinds.values())[1] >= 15
