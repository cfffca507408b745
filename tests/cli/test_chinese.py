"""The command line in Chinese: for people everywhere, on narrow terminals too; programs get the same bytes as ever."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from kimi_auth.cli import pictures
from kimi_auth.cli.declared import PLAIN
from kimi_auth.cli.program import HOMES
from kimi_auth.cli.terminal import Terminal
from kimi_auth.cli.view_picture import render
from kimi_auth.cli.view_plain import PlainView
from kimi_auth.login.view import Notice
from kimi_auth.support.language import spoken, tr
from kimi_auth.support.text import cells
from kimi_auth.testing.emulator import Emulator

from .conftest import Said
from .screen import Screen

CHINESE = {"LC_ALL": "zh_CN.UTF-8", "LANGUAGE": ""}
ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\]8;[^\x07\x1b]*(?:\x07|\x1b\\)|\][^\x07]*\x07)")
HAN = re.compile(r"[\u4e00-\u9fff]")


def chinese(text: str) -> str:
    return spoken(text, "zh")


def programmed(*argv: str, **environ: str) -> Said:
    """The program in a process of its own."""
    command = [sys.executable, "-m", "kimi_auth", *argv]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


# --- which language ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in HOMES if name != "emulator"])  # whose options are its own
def test_every_command_takes_the_option(kimi: Callable[..., Said], name: str) -> None:
    """`--lang zh` after the command is understood, and `--help` names it."""
    said = kimi(name, "--lang", "zh", "--help")
    assert said.status == 0
    assert "--lang en|zh" in said.out


@pytest.mark.parametrize("argv", [("status", "--lang", "zh"), ("status", "--lang=zh"), ("--lang", "zh", "status")])
def test_the_option_comes_before_the_environment(kimi: Callable[..., Said], argv: tuple[str, ...]) -> None:
    """Each spelling of the option is obeyed, also by the commands that Typer does not read."""
    said = kimi(*argv)
    assert said.status == 3
    assert said.err == "kimi-auth: 未登录（请登录：kimi-auth login）\n"
    assert "状态：absent  未登录\n" in said.out


def test_the_option_asks_for_english(kimi: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--lang en` in a Chinese environment gives English; the last of several counts."""
    for name, value in CHINESE.items():
        monkeypatch.setenv(name, value)
    assert "未登录" in kimi("token").err
    assert kimi("token", "--lang", "en").err == "kimi-auth: not signed in (sign in: kimi-auth login)\n"
    assert "未登录" in kimi("token", "--lang", "en", "--lang", "zh").err


@pytest.mark.parametrize("argv", [("status", "--lang", "fr"), ("token", "--lang", "fr"), ("status", "--lang", "")])
def test_there_is_no_such_language(kimi: Callable[..., Said], argv: tuple[str, ...]) -> None:
    """A language that is not spoken is a usage error that names those that are."""
    said = kimi(*argv)
    assert said.status == 2
    assert said.err.startswith("kimi-auth: --lang: there is no such language; known: en, zh")


def test_options_of_another_program_are_its_own(kimi: Callable[..., Said]) -> None:
    """What follows `--` does not choose our language."""
    assert "not signed in" in kimi("run", "--", "env", "--lang", "zh").err


def test_a_stream_that_cannot_show_it_gets_english() -> None:
    """Where the encoding has no Chinese characters, English comes: a line of question marks helps no one."""
    assert "not signed in" in programmed("status", **CHINESE, PYTHONIOENCODING="latin-1").err
    assert "未登录" in programmed("status", **CHINESE, PYTHONIOENCODING="utf-8").err


def test_hints_name_the_platform(kimi: Callable[..., Said]) -> None:
    """The command in a Chinese next step is repeated for the platform that was named, as in an English one."""
    assert (
        "请登录：kimi-auth login --platform moonshot-cn"
        in kimi("token", "--platform", "moonshot-cn", "--lang", "zh").err
    )


# --- what programs read ------------------------------------------------------------------------------------------------


FOR_PROGRAMS = [
    ("status", "--json"),
    ("status", "--json", "--platform", "moonshot-cn"),
    ("status", "--json", "--platform", "nowhere"),
    ("doctor", "--json"),
    ("token", "--json"),
    ("token", "--json", "--min-ttl", "x"),
    ("login", "--json", "--api-key-stdin"),
    ("models", "--json"),
    ("models", "sync", "--json"),
    ("platforms", "--json"),
    ("platforms", "check", "--json", "/nonexistent"),
    ("logout", "--json"),
    ("logout", "--json", "--all", "--yes"),
    ("adopt", "--json"),
    ("--version",),
]


@pytest.mark.parametrize("argv", FOR_PROGRAMS)
def test_programs_read_the_same_bytes(kimi: Callable[..., Said], argv: tuple[str, ...]) -> None:
    """Standard output and the exit status of JSON are the same in both languages, byte for byte."""
    english, chinese = kimi(*argv, "--lang", "en"), kimi(*argv, "--lang", "zh")
    assert (chinese.status, chinese.out) == (english.status, english.out)
    assert not HAN.search(chinese.out)


def test_a_sign_in_is_told_to_programs_in_the_same_words(kimi: Callable[..., Said]) -> None:
    """The events of a sign-in and the answers about the login differ in nothing but codes, times and fingerprints."""

    def changing(out: str) -> str:
        return re.sub(r'(?<=user_code=)[\w-]+|(?<=longest )\w+|"(user_code|fp)": "[^"]*"|\d+(\.\d+)?', "_", out)

    asked = [
        ("login", "--json", "--force"),
        ("status", "--json", "--verify"),
        ("doctor", "--json"),
        ("logout", "--json"),
    ]
    for argv in asked:
        kimi(*argv)  # from now on the doctor tells of the same walks
    english = [kimi(*argv, "--lang", "en") for argv in asked]
    assert [said.status for said in english] == [0] * 4
    for argv, before in zip(asked, english, strict=True):
        now = kimi(*argv, "--lang", "zh")
        assert (now.status, changing(now.out)) == (before.status, changing(before.out))


def test_the_log_stays_english(kimi: Callable[..., Said]) -> None:
    """Log records, which `--verbose` shows, are in English."""
    kimi("login")
    said = kimi("token", "--refresh", "--verbose", "--lang", "zh")
    assert "renewed: pair" in said.err
    assert not HAN.search(said.err)


def loaded(*argv: str, stdout: str = "", **environ: str) -> tuple[str, set[str]]:
    """Standard error of a command line in a new interpreter, and the modules that it had at its end."""
    code = (
        f"import sys; sys.argv = {['kimi-auth', *argv]!r}\n"
        "from kimi_auth.__main__ import main\n"
        "status = main()\n"
        "print('\\nloaded:', status, *sys.modules, file=sys.stderr)"
    )
    with open(stdout or os.devnull, "w") as out:  # noqa: PTH123
        command = [sys.executable, "-I", "-c", code]
        done = subprocess.run(
            command, env={**os.environ, **environ}, stdout=out, stderr=subprocess.PIPE, encoding="utf-8", check=True
        )
    said, _, names = done.stderr.partition("\nloaded:")
    return said, set(names.split())


def test_a_stored_token_needs_no_language(kimi: Callable[..., Said]) -> None:
    """`token` loads neither our sentences nor gettext, unless it has an error to say; in English, no gettext then either."""
    assert kimi("login").status == 0
    said, modules = loaded("token", **CHINESE)
    assert (said, {"0"} & modules) == ("", {"0"})
    assert not {"gettext", "kimi_auth.support.language"} & modules
    said, modules = loaded("token", stdout="/dev/full", **CHINESE)
    assert said.startswith("kimi-auth: 无法写入标准输出：")
    assert {"1", "gettext"} <= modules
    said, modules = loaded("token", stdout="/dev/full")
    assert (
        said == "kimi-auth: cannot write to standard output: No space left on device (send the output somewhere else)\n"
    )
    assert "gettext" not in modules


@pytest.mark.parametrize("name", PLAIN)
def test_english_needs_no_gettext(kimi: Callable[..., Said], name: str) -> None:
    """The commands that answer from disk load gettext for Chinese only."""
    kimi("login")
    argv = (name, *(("--", "true") if PLAIN[name].takes_command else ()))
    assert "gettext" not in loaded(*argv)[1]


# --- pictures ------------------------------------------------------------------------------------------------------------


def printed(width: int, height: int = 24) -> Iterator[tuple[str, list[str], str]]:
    """Each scene of a sign-in: its name, its lines without styles, and as the terminal gets it."""
    for name, state in pictures.scenes():
        plain, live = io.StringIO(), io.StringIO()
        for file, is_terminal in ((plain, False), (live, True)):
            console = Console(
                file=file, width=width, height=height, force_terminal=is_terminal, legacy_windows=False, _environ={}
            )
            console.print(render(state, pictures.NOW_S, width, height, text=chinese))
        yield name, plain.getvalue().splitlines(), live.getvalue()


@pytest.mark.parametrize("width", [40, 80])
def test_a_sign_in_fits(width: int) -> None:
    """No line of any scene is wider than the terminal, none ends within a wide character, and every line is Chinese but links,
    codes and what a server says."""
    for name, lines, _ in printed(width):
        assert max(map(cell_len, lines)) <= width, (name, lines)
        assert any(HAN.search(line) for line in lines)
        words = [line for line in lines if re.search(r"[a-z]{3,} [a-z]{3,}", line)]
        assert all("auth.kimi.com" in line or "connection was" in line or "refused" in line for line in words), words


@pytest.mark.parametrize("width", [40, 80])
def test_a_terminal_shows_every_character(width: int) -> None:
    """A terminal that we did not write shows each line where it was written: nothing wraps, nothing is cut in half."""
    import pyte

    for name, lines, live in printed(width, 40):
        screen = pyte.Screen(width, 80)
        pyte.Stream(screen).feed(live.replace("\n", "\r\n"))
        shown = [line.rstrip() for line in screen.display]
        assert shown[: len(lines)] == [line.rstrip() for line in lines], name


def test_cells_are_counted_as_rich_counts_them() -> None:
    """Our width of a text, which needs no drawing, is rich's for everything that the catalogue says."""
    from kimi_auth.support.language import _catalogue

    catalogue = _catalogue("zh")
    texts = [text for text in catalogue._catalog.values() if text.isprintable()]  # type: ignore[attr-defined]
    assert len(texts) > 500
    assert [text for text in texts if cells(text) != cell_len(text)] == []
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)


COMMANDS = [
    ("status",),
    ("status", "--all"),
    ("status", "--platform", "kimi-code"),
    ("doctor", "--verify"),
    ("accounts",),
    ("platforms",),
    ("models",),
    ("models", "sync"),
    ("me",),
    ("usage",),
    ("logout",),
    ("status",),
    ("doctor",),
]
LATIN = re.compile(
    r"kimi-auth(?: --?[a-z]+| [a-z]+)*|--\w+|~?(?:/[\w.-]+)+|https?://\S+|thinking|always_thinking|image_in|video_in|Emulated user"
)
"""What stays Latin: commands, options, paths, addresses, and what a server says."""
ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,}|（(?:default|argument)）|\bplan\b|\d h\b")
HALF_WIDTH = re.compile(
    r"[\u4e00-\u9fff][,;:?!()]|[,;:?!()][\u4e00-\u9fff]|[，。；：？！（）、] (?=\S)|(?<=\S) [，。；：？！、）]"
)


@pytest.mark.parametrize("columns", [40, 80])
def test_every_command_fits(kimi: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """What commands draw for a person is no wider than the terminal, breaks no name in a table, and has no English sentence and
    no half-width mark in it."""
    assert kimi("login", "--lang", "zh").status == 0
    monkeypatch.setattr(Terminal, "is_lively", True)
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS:
        drawn = kimi(*command, "--lang", "zh").out
        assert max(map(cell_len, drawn.splitlines())) <= columns, (command, drawn)
        assert not ENGLISH.search(LATIN.sub("", drawn)), drawn
        assert not HALF_WIDTH.search(re.sub(r" *\n +", "", drawn)), drawn
        if command[0] in {"accounts", "platforms"}:
            assert "kimi-code" in drawn, drawn


@pytest.mark.parametrize("columns", [40, 80])
def test_a_plain_sign_in_fits(columns: int) -> None:
    """The lines of a plain sign-in fit, but for the link and what comes before the code: no terminal cuts code or command in two."""
    lines: list[str] = []
    view = PlainView(lambda line: lines.append(chinese(line)), "Kimi Code")
    view.tell(Notice("code", "", code=pictures.CODE, left_s=1800.0, asker="kimi-auth"))
    lines.append(chinese(tr("Not what you meant? Take it back at once: {command}", command="kimi-auth logout")))
    short = [line for line in lines if not re.search("https|请求访问|这是骗局", line)]
    assert len(short) == 4
    assert max(map(cell_len, short)) <= columns
    assert max(cell_len(line) for line in lines if "https" not in line) <= 80


def test_why_the_server_ended_the_login(kimi: Callable[..., Said], emulator: Emulator) -> None:
    """The reason is kept as text, and said in Chinese by every command that reads it; a program gets it in English."""
    kimi("login")
    emulator.state.revoke_family()
    ended = "127.0.0.1:[0-9]+ 已终止登录：invalid_grant: The login was revoked: ended by the person"
    assert re.match(
        f"kimi-auth: {ended}（请重新登录：kimi-auth login）\n", kimi("token", "--refresh", "--lang", "zh").err
    )
    assert re.search(f"原因：{ended}\n", kimi("status", "--lang", "zh").out)
    assert re.search(f"凭据：{ended}，文件 ", kimi("doctor", "--lang", "zh").out)
    assert re.search('"message": "127.0.0.1:[0-9]+ ended the login: ', kimi("status", "--json", "--lang", "zh").out)


MISUNDERSTOOD = [
    ("token --min-ttl x", "--min-ttl：'x' 不是有效的数字（请参阅：kimi-auth token --help）"),
    ("token --min-ttl -1", "--min-ttl：'-1' 小于下限 0（请参阅：kimi-auth token --help）"),
    ("models bogus", "'bogus' 不在可选值之中：'list'、'sync'（请参阅：kimi-auth models --help）"),
    ("token --platform bogus", "没有名为 'bogus' 的平台（可用的有：kimi-code、moonshot-cn、"),
]


@pytest.mark.parametrize(("line", "said"), MISUNDERSTOOD)
def test_a_misunderstood_line(kimi: Callable[..., Said], line: str, said: str) -> None:
    """What Typer says of a value is said in Chinese, and names are listed with the mark for lists."""
    assert kimi(*line.split(), "--lang", "zh").err.startswith(f"kimi-auth: {said}")


UNFIT = {"emulator", "token", "serve", "store"}
"""The emulator's help is its own; the longest option of the others leaves no room for what it does."""


@pytest.mark.parametrize("name", sorted(HOMES.keys() - UNFIT))
def test_the_help_fits(kimi: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The help, which is English in every language, is no wider than a terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    said = kimi(name, "--lang", "zh", "--help").out
    assert max(map(len, said.splitlines())) <= 40, said


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_help_of_a_terminal_that_has_hardly_a_width(
    kimi: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """It is written for a terminal of a few more columns."""
    monkeypatch.setenv("COLUMNS", f"{columns}")
    assert kimi("status", "--help").status == 0


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Callable[[int], tuple[Screen, Emulator]]]:
    """`window(columns)` opens a terminal with a shell, Chinese, before an emulator whose person approves on a page; and gives both."""
    opened: list[Screen] = []
    with Emulator(approve="page", interval_s=1) as emulator:

        def start(columns: int) -> tuple[Screen, Emulator]:
            kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
            env = {
                **kept,
                **emulator.env,
                **CHINESE,
                "KIMI_SHARE_DIR": str(tmp_path / "share"),
                "TERM": "xterm-256color",
            }
            opened.append(Screen(columns, 60, {**env, "K": f"{sys.executable} -m kimi_auth"}))
            opened[-1].until(lambda: opened[-1].text.endswith("$"))
            opened[-1].type("clear\n")
            opened[-1].until(lambda: opened[-1].text == "$")
            return opened[-1], emulator

        yield start
        for screen in opened:
            screen.close()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_person_reads_chinese(window: Callable[[int], tuple[Screen, Emulator]], columns: int) -> None:
    """Sign-in, cancelled and approved, status and doctor on a real terminal: no line that the program wrote is wider than it."""
    screen, emulator = window(columns)
    screen.type("$K login --no-browser --no-qr\n")
    for text in ("正在等待你的批准。", "登录 Kimi Code", "请在浏览器中打开此页面", "剩余", "取消"):
        screen.wait_for(text)
    screen.type("q")
    cancelled = "登录在批准之前已取消，未保存任何内容。"
    screen.until(lambda: cancelled in "".join(screen.text.split()) and screen.text.endswith("$"))
    screen.type("clear; $K login --no-browser --no-qr\n")
    screen.wait_for("正在等待你的批准。")
    emulator.state.decide(emulator.state.find_code().user_code, "approved")
    screen.until(lambda: "请立即撤销：kimi-authlogout" in "".join(screen.text.split()) and screen.text.endswith("$"))
    screen.type("clear; $K logout\n")
    screen.until(lambda: "已吊销令牌" in "".join(screen.text.split()) and screen.text.endswith("$"))
    for command, last in (("status", "请登录："), ("doctor", "下一步）")):
        screen.type(f"clear; $K {command}\n")
        screen.until(lambda last=last: last in "".join(screen.text.split()) and screen.text.endswith("$"))  # type: ignore[misc]
        assert {"status": "凭据", "doctor": "登录检查"}[command] in screen.text
    written = ESCAPE.sub("", screen.raw.decode()).replace("\r", "\n").split("\n")
    ours = [line for line in written if HAN.search(line) and not line.startswith("kimi-auth: ")]
    assert len(ours) > 20
    assert max(map(cell_len, ours)) <= columns


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("登录在批准之前已取消，未保存任何内容。", 20, ["登录在批准之前已取", "消，未保存任何内容。"]),
        ("• 登录在批准之前已取消。", 12, ["• 登录在批准", "之前已取消。"]),
        ("已登录（请重新登录）", 8, ["已登录", "（请重新", "登录）"]),
        ("文件 /a/long/path 中", 10, ["文件", "/a/long/pa", "th 中"]),
        ("请运行：kimi-auth login", 12, ["请运行：", "kimi-auth", "login"]),
        ("0123456789，依据", 10, ["012345678", "9，依据"]),
        ("a", 1, ["a"]),
        ("中", 1, ["中"]),
        ("", 5, [""]),
        ("请立即撤销：kimi-auth logout", 24, ["请立即撤销：", "kimi-auth logout"]),
        ("请立即撤销：kimi-auth logout", 28, ["请立即撤销：kimi-auth logout"]),
    ],
)
def test_where_lines_break(text: str, width: int, lines: list[str]) -> None:
    """Between Chinese characters and at blanks, rather not within a command of ours; no line begins with a closing mark or ends with an opening one."""
    from kimi_auth.cli.drawing import breaks

    places = [0, *breaks(text, width), len(text)]
    assert [text[start:end].rstrip() for start, end in pairwise(places)] == lines
