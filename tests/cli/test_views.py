"""How a sign-in looks: the same story as a picture, as lines and as events, and nothing of it is ever cut short."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions
from rich.text import Text

from kimi_auth.cli import block_letters, pictures, qr
from kimi_auth.cli.view_json import JsonView
from kimi_auth.cli.view_live import LiveView
from kimi_auth.cli.view_picture import FULL_HEIGHT, render
from kimi_auth.cli.view_plain import PlainView
from kimi_auth.cli.view_state import STEPS, ViewState, finish, fold, interrupt
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import LoginView, Notice
from kimi_auth.machine import Library
from kimi_auth.wire import DeviceCode

CODE = DeviceCode(
    device_code="the-device-code",
    user_code="BCDF-GHJK",
    verification_uri="https://auth.example/device",
    verification_uri_complete="https://auth.example/device?user_code=BCDF-GHJK",
    expires_in_s=600.0,
    interval_s=5.0,
)
SHOWN = Notice("code", "Open the page.", code=CODE, left_s=600.0, asker="kimi-auth on my-laptop")
WAITING = Notice("waiting", "Waiting for your approval.", wait_s=6.0)
SLOWED = Notice("slowed_down", "The server asks for a poll every 10 s.", wait_s=12.0)
OFFLINE = Notice("unreachable", "auth.example did not answer.", wait_s=20.0)
AFTER = [
    Notice("approved", "The sign-in was approved."),
    Notice("stored", "Stored in the file /home/user/.kimi/credentials/kimi-code.json."),
    Notice("models", "3 models found.", count=3),
    Notice("configured", "The configuration is written."),
    Notice("live", "The token is live."),
]
NOW_S = 100.0


def told(*notices: Notice, start: ViewState | None = None) -> ViewState:
    """The state after these notices, all at NOW_S."""
    state = start or ViewState("Kimi Code")
    for notice in notices:
        state = fold(state, notice, NOW_S)
    return state


def drawn(
    state: ViewState, *, width: int = 80, height: int = 24, now_s: float = NOW_S, code_qr: Text | None = None
) -> list[str]:
    """The picture's lines, as a terminal without colours shows them."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, legacy_windows=False, _environ={})
    console.print(render(state, now_s, width, height, qr=code_qr))
    return [line.rstrip() for line in file.getvalue().split("\n")[:-1]]


# --- the state ---------------------------------------------------------------------------------------------------------


def test_the_story_of_a_sign_in() -> None:
    """Codes, waiting, a longer interval, a transient error, a new code, approval, and each step after it."""
    state = told(SHOWN)
    assert (state.mood, state.user_code, state.url) == ("waiting", "BCDF-GHJK", CODE.verification_uri_complete)
    assert (state.ends_at_s, state.is_asking) == (700.0, True)
    moods = [told(SHOWN, notice).mood for notice in (WAITING, SLOWED, OFFLINE, Notice("code_expired", "It ran out."))]
    assert moods == ["waiting", "slowed", "offline", "starting"]
    assert told(SHOWN, OFFLINE).next_at_s == NOW_S + 20
    assert not told(SHOWN, Notice("code_expired", "It ran out.")).is_asking
    done = told(SHOWN, *AFTER)
    assert done.done == tuple(
        zip(STEPS, ["approved", "stored", "3 models found", *list(STEPS.values())[3:]], strict=True)
    )
    assert done.mood == "finishing"
    assert told(Notice("models", "1 model found.", count=1)).done == (("models", "1 model found"),)
    assert told(SHOWN, Notice("locked", "pid 7 holds it.")).message == "pid 7 holds it."
    warned = told(SHOWN, Notice("warning", "The browser did not open."))
    assert (warned.warnings, warned.mood) == (("The browser did not open.",), "waiting")


@pytest.mark.parametrize("rest", Library.load()["device_login"].rest)
def test_every_end_has_words(rest: str) -> None:
    """Each rest state of device_login is an end of the picture, with a sentence of its own."""
    ended = finish(told(SHOWN), LoginReport(rest))
    assert ended.is_over
    assert ended.message.endswith(".")
    good = rest == "signed_in"
    assert (ended.mood == "good") == good


def test_ends_that_are_not_of_the_machine() -> None:
    """A login that stood already, and one that was torn away."""
    assert "already" in finish(ViewState("Kimi Code"), LoginReport("signed_in", already=True)).message
    assert interrupt(told(SHOWN)).is_over


# --- the picture -------------------------------------------------------------------------------------------------------

ASKED = """
  Sign in to Kimi Code
  kimi-auth on my-laptop asks for access to your account.
  If another person sent you this code, do not approve: it is a trap.

  Open this page in a browser

  https://auth.example/device?user_code=BCDF-GHJK

  It must show or ask for the code BCDF-GHJK

  █▀▀▀▄  ▄▀▀▀▄  █▀▀▀▄  █▀▀▀▀       ▄▀▀▀▄  █   █    ▀█▀  █  ▄▀   Approve only
  █▄▄▄▀  █      █   █  █▄▄▄   ▄▄▄  █ ▄▄▄  █▄▄▄█     █   █▄▀     if you started
  █   █  █   ▄  █   █  █           █   █  █   █  ▄  █   █ ▀▄    this sign-in.
  ▀▀▀▀    ▀▀▀   ▀▀▀▀   ▀            ▀▀▀   ▀   ▀   ▀▀    ▀   ▀

  ━━━━━━━━━━━━━━━━━━━━━━━━━━━───────────────────────────  5:00 left

  ⠋ Waiting for your approval.
    next try in 6 s · o opens it · c copies the link · q or Esc cancels"""

SIGNED_IN = """
  Sign in to Kimi Code

  ✓ approved
  ✓ stored
  ✓ 3 models found
  ✓ config.toml written
  ✓ token live

  ✓ Signed in to Kimi Code."""


def test_the_picture_of_a_question() -> None:
    """At 80 by 24: the link, the code in block letters, the caution beside it, the time left, what goes on."""
    state = replace(told(SHOWN, WAITING), ends_at_s=NOW_S + 300)
    assert "\n".join(drawn(state)) == ASKED


def test_the_picture_of_success() -> None:
    """The question is gone; the finished steps are ticked off."""
    assert "\n".join(drawn(finish(told(SHOWN, *AFTER), LoginReport("signed_in", models=3)))) == SIGNED_IN


def test_steps_to_come_are_shown_while_there_is_hope() -> None:
    """After the approval the list is whole; after a bad end only the finished steps are left."""
    state = told(SHOWN, *AFTER[:2])
    assert [line for line in drawn(state) if line.startswith("  · ")] == [
        "  · models found",
        "  · config.toml written",
        "  · token live",
    ]
    ended = drawn(finish(state, LoginReport("models_pending")))
    assert not [line for line in ended if line.startswith("  · ")]
    assert "  ✓ stored" in ended


def test_the_code_alone_must_be_typed() -> None:
    """Without a link that carries the code, the person is asked to type it."""
    bare = told(replace(SHOWN, code=CODE._replace(verification_uri_complete="")))
    assert "  and type the code BCDF-GHJK" in drawn(bare)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.05, 0.0, -1.0, 2.0])
def test_the_time_left(share: float) -> None:
    """The bar is as long as the time, whatever the clocks say, and the minutes stand beside it."""
    state = replace(told(SHOWN), ends_at_s=NOW_S + 600 * share)
    (bar,) = [line for line in drawn(state) if line.endswith(" left")]
    assert bar.count("━") == round(54 * min(max(share, 0.0), 1.0))
    assert bar.count("━") + bar.count("─") == 54


def test_a_long_life_counts_hours() -> None:
    """Codes that live for hours are shown so; a life of nothing is no division."""
    assert any("  2:00:00 left" in line for line in drawn(replace(told(SHOWN), ends_at_s=NOW_S + 7200)))
    assert any("  0:00 left" in line for line in drawn(replace(told(SHOWN), life_s=0.0, ends_at_s=0.0)))


def test_the_spinner_turns_with_the_clock() -> None:
    """Two moments, two frames; the picture of one moment is always the same."""
    marks = {drawn(told(SHOWN), now_s=NOW_S + step / 5)[-2].split()[0] for step in range(10)}
    assert len(marks) == 10
    assert drawn(told(SHOWN)) == drawn(told(SHOWN))


LOW_HEIGHT = 13
"""A lower terminal has room for the link, the code and the caution, and for nothing else."""

SIZES = [(80, 24), (80, 10), (60, 24), (40, 30), (30, 12), (132, 43), (220, 60)]
LONG = "https://auth.example/device?" + "&".join(f"parameter{number}=value{number}" for number in range(12))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("url", [CODE.verification_uri_complete, LONG, "https://a.example/" + "x" * 61])
@pytest.mark.parametrize("notice", [WAITING, SLOWED, OFFLINE, Notice("warning", "Something " + "long " * 30)])
def test_nothing_is_cut_short(width: int, height: int, url: str, notice: Notice) -> None:
    """At any size: the whole link, the whole code, the caution; no "…", no line wider than the terminal."""
    state = told(replace(SHOWN, code=CODE._replace(verification_uri_complete=url)), notice)
    lines = drawn(state, width=width, height=height)
    assert not [line for line in lines if "…" in line or len(line) > width]
    assert url in "".join(line.strip() for line in lines)
    if len(url) <= width - 4:
        assert f"  {url}" in lines
    assert "BCDF-GHJK" in " ".join(line.strip() for line in lines)
    words = " ".join(" ".join(lines).split())
    for word in ("Approve", "only", "started", "sign-in."):
        assert word in words
    if height >= LOW_HEIGHT:
        assert "kimi-auth on my-laptop asks for access" in words
        assert "sent you this code, do not approve" in words


def test_a_long_link_starts_at_the_edge() -> None:
    """A link that needs several lines has no margin, so that selecting the lines selects the link."""
    state = told(replace(SHOWN, code=CODE._replace(verification_uri_complete=LONG)))
    lines = drawn(state)
    first = next(number for number, line in enumerate(lines) if line.startswith("https"))
    assert "".join(lines[first : first + 4]).startswith(LONG)
    assert len(lines[first]) == 80


def test_it_fits_an_ordinary_terminal() -> None:
    """At 80 by 24 the whole question with a line for the cursor; on a low terminal all of it without air."""
    assert len(drawn(told(SHOWN, WAITING))) < FULL_HEIGHT
    assert drawn(told(SHOWN, WAITING), height=9) == [
        "  Sign in to Kimi Code",
        "  Open this page in a browser",
        f"  {CODE.verification_uri_complete}",
        "  It must show or ask for the code BCDF-GHJK",
        "  Approve only if you started this sign-in.",
        f"  {'━' * 54}  10:00 left",
        "  ⠋ Waiting for your approval.",
        "    next try in 6 s · o opens it · c copies the link · q or Esc cancels",
    ]


def test_the_servers_words_are_no_markup() -> None:
    """What a server says is text, also when it looks like rich's markup or an emoji code."""
    state = told(
        replace(SHOWN, code=CODE._replace(user_code="[red]A[/]")), Notice("unreachable", "[bold]:smile:[/bold]")
    )
    lines = drawn(state)
    assert "  It must show or ask for the code [red]A[/]" in lines
    assert "  ⠋ [bold]:smile:[/bold]" in lines


def test_the_link_can_be_clicked() -> None:
    """The URL carries itself as an OSC 8 link."""
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True, color_system="standard", _environ={}).print(
        render(told(SHOWN), NOW_S)
    )
    assert f";{CODE.verification_uri_complete}\x1b\\" in file.getvalue()


# --- letters and the QR code -------------------------------------------------------------------------------------------


def test_letters_are_whole() -> None:
    """Every capital and digit has a glyph of seven equal rows, all of them different."""
    for name, glyph in block_letters.GLYPHS.items():
        rows = glyph.split()
        assert len(rows) == 7, name
        assert {len(row) for row in rows} <= {3, 5}
        assert set(glyph) <= set("#. ")
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") <= block_letters.GLYPHS.keys()
    assert len(set(block_letters.GLYPHS.values())) == len(block_letters.GLYPHS)


@pytest.mark.parametrize(
    ("text", "width", "fits"),
    [("AB", 12, True), ("AB", 11, False), ("ab", 80, False), ("", 80, False), ("A€", 80, False)],
)
def test_what_can_be_drawn(text: str, width: int, fits: bool) -> None:
    """Known characters, in the room that there is."""
    assert block_letters.can_draw(text, width) == fits


def test_the_qr_code_stands_where_there_is_room() -> None:
    """Beside the question on a wide terminal, below it on a high one, else a line says what it needs; while it is asked."""
    code = qr.draw_qr(CODE.verification_uri_complete)
    assert code is not None
    blocks = code.plain.split("\n")
    state = told(SHOWN)
    plain = drawn(state)
    no_room = (
        f"  No room for the QR code: it needs {83 + len(blocks[0])} columns or {FULL_HEIGHT + len(blocks) + 1} lines."
    )
    assert drawn(state, code_qr=code) == [*plain, no_room]
    assert drawn(state, height=FULL_HEIGHT, code_qr=code)[-1] == no_room
    assert drawn(state, width=30, height=40, code_qr=code)[-1].endswith(f"{83 + len(blocks[0])} columns.")
    assert len(drawn(state, height=10, code_qr=code)) < 10
    beside = drawn(state, width=83 + len(blocks[0]), code_qr=code)
    assert len(beside) == max(len(plain), len(blocks))
    assert [line[83:] for line in beside][: len(blocks)] == [block.rstrip() for block in blocks]
    assert [line[:83].rstrip() for line in beside][: len(plain)] == plain
    assert drawn(state, width=82 + len(blocks[0]), code_qr=code)[:-1] == plain
    long = told(replace(SHOWN, code=CODE._replace(verification_uri_complete="https://a.example/" + "x" * 70)))
    assert [line[:83].rstrip() for line in drawn(long, width=140, code_qr=code)][: len(plain) + 1] == drawn(long)
    below = drawn(state, height=FULL_HEIGHT + len(blocks) + 1, code_qr=code)
    assert len(below) == len(plain) + 1 + len(blocks)
    done = told(SHOWN, AFTER[0])
    assert drawn(done, width=200, height=90, code_qr=code) == drawn(done, width=200, height=90)


def test_the_qr_code_is_the_link() -> None:
    """Half blocks, dark on light, square within a line, with a margin."""
    segno = pytest.importorskip("segno")
    code = qr.draw_qr("https://a.example")
    assert code is not None
    assert code.style == qr.INK
    size = segno.make_qr("https://a.example", error="l", boost_error=False).symbol_size(border=2)[0]
    lines = code.plain.split("\n")
    assert {len(line) for line in lines} == {size}
    assert len(lines) == (size + 1) // 2
    assert qr.draw_qr("x" * 5000) is None


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without segno there is no drawing, and no error."""
    monkeypatch.setitem(__import__("sys").modules, "segno", None)
    assert qr.draw_qr("https://a.example") is None


# --- the views ---------------------------------------------------------------------------------------------------------

STORY = [SHOWN, WAITING, WAITING, SLOWED, OFFLINE, Notice("warning", "Careful."), *AFTER]


def test_as_lines() -> None:
    """One line for each thing that happens, the same sentence not twice in a row, the end at last."""
    lines: list[str] = []
    view = PlainView(lines.append, "Kimi Code")
    for notice in STORY:
        view.tell(notice)
    view.finish(LoginReport("signed_in", models=3))
    assert lines == [
        "kimi-auth on my-laptop asks for access to your Kimi Code account.",
        f"Open this page to sign in to Kimi Code: {CODE.verification_uri_complete}",
        "It must show or ask for the code: BCDF-GHJK",
        "Approve only if you started this sign-in.",
        "If another person sent you this code, do not approve: it is a trap.",
        "The code is valid for 10 min.",
        "The server asks for a poll every 10 s.",
        "auth.example did not answer.",
        "Warning: Careful.",
        *(notice.message for notice in AFTER),
        "Signed in to Kimi Code.",
    ]


def test_as_lines_with_a_code_to_type() -> None:
    """The short link, the code to type, and a life of seconds."""
    lines: list[str] = []
    PlainView(lines.append, "Kimi Code").tell(
        replace(SHOWN, code=CODE._replace(verification_uri_complete=""), left_s=42.0)
    )
    assert lines[1].endswith(f": {CODE.verification_uri}")
    assert lines[2:] == [
        "Type the code: BCDF-GHJK",
        "Approve only if you started this sign-in.",
        "If another person sent you this code, do not approve: it is a trap.",
        "The code is valid for 42 s.",
    ]


def test_as_events() -> None:
    """`type`, `message` and `data` as the Kimi CLI writes them; "not yet" once, until it changes."""
    events: list[dict[str, Any]] = []

    def emit(kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        events.append(json.loads(json.dumps({"type": kind, "message": message, "data": data})))

    view = JsonView(emit, "Kimi Code")
    for notice in STORY:
        view.tell(notice)
    view.finish(LoginReport("signed_in", models=3))
    view.finish(LoginReport("denied"))
    assert [event["type"] for event in events] == [
        "info", "verification_url", "waiting", "waiting", "waiting", "info", *["info"] * 5, "success",
    ]  # fmt: skip
    assert events[1]["data"] == {
        "verification_url": CODE.verification_uri_complete,
        "user_code": "BCDF-GHJK",
        "verification_uri": CODE.verification_uri,
        "expires_in": 600,
    }
    waits = [(event["data"]["error"], event["data"]["wait_s"]) for event in events if event["type"] == "waiting"]
    assert waits == [("authorization_pending", 6.0), ("slow_down", 12.0), ("unreachable", 20.0)]
    assert [event["data"] for event in events if event["type"] == "info"][-5:] == [
        {"step": "approved"}, {"step": "stored"}, {"step": "models", "count": 3}, {"step": "configured"}, {"step": "live"},
    ]  # fmt: skip
    assert events[-1]["data"] == {"already": False, "account": None, "models": 3, "notes": []}
    assert "the-device-code" not in json.dumps(events)


@pytest.mark.parametrize("make", [lambda: PlainView(print, "x"), lambda: JsonView(print, "x")])  # type: ignore[arg-type]
def test_they_cannot_be_left(make: Callable[[], LoginView]) -> None:
    """No key is read from a pipe."""

    async def leave() -> None:
        await asyncio.wait_for(make().left(), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())


def live(file: io.StringIO, **more: Any) -> LiveView:
    console = Console(file=file, width=80, height=24, force_terminal=True, color_system=None, _environ={})
    return LiveView(console, "Kimi Code", now_s=lambda: NOW_S, **more)


def test_as_a_live_picture() -> None:
    """Each notice changes the picture, and the last one stays on the screen."""
    file = io.StringIO()
    asked: list[str] = []
    with live(file, draw_qr=asked.append) as view:
        for notice in (SHOWN, WAITING, *AFTER):
            view.tell(notice)
        view.finish(LoginReport("signed_in"))
    shown = file.getvalue()
    assert asked == [CODE.verification_uri_complete]
    assert shown.rstrip("\n").rpartition("✓ ")[2].split("\n")[0].rstrip().startswith("Signed in to Kimi Code.")
    assert "\x1b[?25h" in shown  # the cursor is back


def test_a_resized_terminal_is_drawn_afresh() -> None:
    """Its old lines were folded anew, so nothing of them can be drawn over: the screen is cleared, once."""
    file = io.StringIO()
    view = live(file)
    view.tell(SHOWN)
    with view:
        assert "\x1b[2J" not in file.getvalue()
        view._console.size = ConsoleDimensions(40, 24)
        view.tick()
        view.tick()
    assert file.getvalue().count("\x1b[2J") == 1


@pytest.mark.parametrize("has_keys", [True, False])
def test_keys_are_promised_where_they_are_heard(has_keys: bool) -> None:
    """A login whose keyboard is another job's says nothing of q and Esc; the next try is told all the same."""
    file = io.StringIO()
    console = Console(file=file, width=80, height=24, legacy_windows=False, _environ={})
    console.print(render(told(SHOWN, OFFLINE), NOW_S, has_keys=has_keys))
    assert ("q or Esc cancels" in file.getvalue()) is has_keys
    assert "next try in 20 s" in file.getvalue()


def test_a_very_long_link_comes_after_its_code() -> None:
    """A picture too high for a terminal is cut off at its end, and the code stays visible."""
    code = CODE._replace(verification_uri_complete="https://a.example/" + "x" * 1900)
    shown = "\n".join(drawn(told(replace(SHOWN, code=code))))
    assert shown.index(code.user_code) < shown.index("https://a.example/")


def test_a_live_picture_that_is_torn_away() -> None:
    """An interrupted sign-in does not leave a dead code on the screen."""
    file = io.StringIO()

    def tear() -> None:
        with live(file) as view:
            view.tell(SHOWN)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tear()
    last = file.getvalue().rpartition("Sign in to Kimi Code")[2]
    assert "Interrupted." in last
    assert "BCDF" not in last


# --- pictures in files -------------------------------------------------------------------------------------------------


SVG_NAMES = "http://www.w3.org/2000/svg"


def test_pictures_are_the_same_every_time(tmp_path: Any) -> None:
    """Each scene as SVG, byte for byte the same, without a font or another file from the network."""
    assert pictures.main([str(tmp_path / "a")]) == 0
    assert pictures.main([str(tmp_path / "b")]) == 0
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == sorted(["login-zh.svg", *(f"login-{name}.svg" for name, _ in pictures.scenes())])
    for name in names:
        text = (tmp_path / "a" / name).read_text("utf-8")
        assert text == (tmp_path / "b" / name).read_text("utf-8")
        addresses = set(re.findall(r"https?://[^<\"]+", text))
        assert addresses - {pictures.CODE.verification_uri, pictures.CODE.verification_uri_complete} == {SVG_NAMES}
        assert "@font-face" not in text
        assert not [character for character in "█▀▄" if character in text]


def test_pictures_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one: how to say it, and exit status 2."""
    assert pictures.main([]) == 2
    assert "DIR" in capsys.readouterr().err
