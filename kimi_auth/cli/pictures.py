"""`python -m kimi_auth.cli.pictures DIR`: the states of the login view as SVG files, the same bytes every time."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from functools import partial
from html import unescape
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

from kimi_auth.cli.view_picture import render
from kimi_auth.cli.view_state import ViewState, finish, fold
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import Notice
from kimi_auth.review.diagram import not_fresh
from kimi_auth.support.language import spoken, tr
from kimi_auth.support.text import cells
from kimi_auth.wire import DeviceCode

__all__ = ["check", "files", "main", "scenes", "svg"]

WIDTH, HEIGHT = 80, 24
NOW_S = 1_000.0
"""The time of every scene, on the view's clock."""

THEME = TerminalTheme(
    (22, 24, 29),
    (214, 218, 226),
    [
        (48, 52, 62), (240, 113, 120), (126, 200, 140), (230, 190, 110),
        (110, 160, 250), (190, 150, 240), (96, 198, 214), (214, 218, 226),
    ],
    [
        (104, 110, 124), (250, 140, 145), (150, 220, 160), (245, 210, 140),
        (140, 180, 255), (210, 175, 250), (130, 220, 235), (245, 247, 250),
    ],
)  # fmt: skip

FRAME = """<svg class="kimi-auth" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
.{unique_id}-title {{ font: 15px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""
"""rich's frame without its web fonts, for a picture must not fetch anything."""

CELL_WIDTH, CELL_HEIGHT, CELL_ASCENT = 12.2, 24.4, 18.5
"""One character in rich's SVG, and how far its baseline lies below its upper edge, in pixels."""


_BLOCKS = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[^"]+)" y="(?P<y>[^"]+)"[^>]*>(?P<run>(?:&#160;)*[█▀▄](?:[█▀▄]|&#160;)*)</text>'
)

_TEXT = re.compile(r'(?P<before><text [^>]*)textLength="[^"]*"(?P<after>[^>]*>)(?P<run>[^<]*)</text>')

CODE = DeviceCode(
    device_code="",
    user_code="BCDF-GHJK",
    verification_uri="https://www.kimi.com/code/authorize_device",
    verification_uri_complete="https://www.kimi.com/code/authorize_device?user_code=BCDF-GHJK",
    expires_in_s=1800.0,
    interval_s=5.0,
)


def scenes() -> Iterator[tuple[str, ViewState]]:
    """Each state of the view that is worth a picture, by name."""
    start = ViewState("Kimi Code")
    asking = fold(start, Notice("code", "", code=CODE, left_s=1800.0), NOW_S - 321.0)
    waiting = fold(asking, Notice("waiting", tr("Waiting for your approval."), wait_s=6.0), NOW_S - 2.0)
    yield "waiting", waiting
    slowed = Notice("slowed_down", tr("The server asks for a poll every {seconds:.0f} s.", seconds=10), wait_s=12.0)
    yield "slowed", fold(waiting, slowed, NOW_S - 3.0)
    offline = Notice("unreachable", "auth.kimi.com did not answer: the connection was refused.", wait_s=20.0)
    yield "offline", fold(waiting, offline, NOW_S - 4.0)
    yield (
        "bare",
        fold(start, Notice("code", "", code=CODE._replace(verification_uri_complete=""), left_s=1800.0), NOW_S),
    )
    steps = (
        Notice("approved", "The sign-in was approved."),
        Notice("stored", "Stored in the file ~/.kimi/credentials/kimi-code.json."),
        Notice("models", "3 models found.", count=3),
        Notice("configured", "The configuration is written."),
        Notice("live", "The token is live."),
    )
    state = waiting
    for count, notice in enumerate(steps, start=1):
        state = fold(state, notice, NOW_S)
        if count == 3:
            yield "finishing", state
    yield "done", finish(state, LoginReport("signed_in", models=3))
    yield "denied", finish(waiting, LoginReport("denied"))


def svg(picture: RenderableType, name: str, title: str = "kimi-auth login") -> str:
    """A picture of the login view as SVG text. `name` makes the ids in it unique in a page."""
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True, color_system="truecolor",
        legacy_windows=False, _environ={},
    )  # fmt: skip
    console.print(picture)
    console.print()
    text = console.export_svg(title=title, theme=THEME, code_format=FRAME, unique_id=f"kimi-auth-{name}")
    return _TEXT.sub(_measured, _BLOCKS.sub(_drawn, text))


def _measured(found: re.Match[str]) -> str:
    """A run of text as long as its cells; rich counts characters, and would draw wide ones one over the other."""
    return f'{found["before"]}textLength="{CELL_WIDTH * cells(unescape(found["run"])):g}"{found["after"]}{found["run"]}</text>'


def _drawn(found: re.Match[str]) -> str:
    """A run of half blocks as a shape: drawn with a font, it would have gaps between the lines."""
    x, top = float(found["x"]), float(found["y"]) - CELL_ASCENT
    shape = []
    for column, character in enumerate(found["run"].replace("&#160;", " ")):
        if character != " ":
            y = top + (CELL_HEIGHT / 2 if character == "▄" else 0.0)
            height = CELL_HEIGHT if character == "█" else CELL_HEIGHT / 2
            shape.append(f"M{x + column * CELL_WIDTH:.1f} {y:.1f}h{CELL_WIDTH}v{height:.1f}h-{CELL_WIDTH}z")
    return f'<path class="{found["style"]}" shape-rendering="crispEdges" d="{"".join(shape)}"/>'


def files() -> dict[str, str]:
    """Each scene as the text of `login-<state>.svg`, by that name; the first one in Chinese as `login-zh.svg`, too."""
    drawn = {f"login-{name}.svg": svg(render(state, NOW_S, WIDTH, HEIGHT), name) for name, state in scenes()}
    _, waiting = next(scenes())
    in_chinese = render(waiting, NOW_S, WIDTH, HEIGHT, text=partial(spoken, language="zh"))
    return drawn | {"login-zh.svg": svg(in_chinese, "zh")}


def check(folder: Path) -> list[str]:
    """What `main` would change in `folder`: each `login-<state>.svg` that is missing, stale or left over. Compares bytes."""
    drawn = files()
    left_over = [path for path in sorted(folder.glob("login-*.svg")) if path.name not in drawn]
    return not_fresh(folder, drawn) + [f"{path} shows no state of the sign-in; remove it" for path in left_over]


def main(argv: list[str]) -> int:
    """Writes `login-<state>.svg` for each scene into the folder named on the command line."""
    if len(argv) != 1:
        print("usage: python -m kimi_auth.cli.pictures DIR", file=sys.stderr)
        return 2
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
