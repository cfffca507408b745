"""The QR code on a screen, scanned: as wide and high as terminals are, under the palettes that people have."""

from __future__ import annotations

from typing import Any

import pyte
import pytest
import zxingcpp
from cli.test_painter import CODE, Window
from rich.console import RenderableType
from rich.text import Text

from kimi_auth.cli.painter import Painter
from kimi_auth.cli.qr import draw_qr
from kimi_auth.cli.view_picture import render
from kimi_auth.cli.view_state import ViewState, fold
from kimi_auth.login.view import Notice

NAMES = ("black", "red", "green", "brown", "blue", "magenta", "cyan", "white")

PALETTES = {
    # foreground, background, colours 0 and 7: all of a palette that black and white ever meant
    "kitty": ("dddddd", "000000", "000000", "dddddd"),
    "VS Code Light": ("333333", "ffffff", "000000", "555555"),
    "Gruvbox dark": ("ebdbb2", "282828", "282828", "a89984"),
    "Gruvbox light": ("3c3836", "fbf1c7", "fbf1c7", "7c6f64"),
    "Solarized dark": ("839496", "002b36", "073642", "eee8d5"),
    "Solarized light": ("657b83", "fdf6e3", "073642", "eee8d5"),
    "Dracula": ("f8f8f2", "282a36", "21222c", "f8f8f2"),
    "xterm": ("000000", "ffffff", "000000", "e5e5e5"),
    "Campbell": ("cccccc", "0c0c0c", "0c0c0c", "cccccc"),
    "black on white": ("000000", "ffffff", "000000", "ffffff"),
}
CELL_WIDTH, CELL_HEIGHT = 8, 16


def scanned(screen: pyte.Screen, palette: tuple[str, str, str, str]) -> list[str]:
    """What a scanner reads from a photograph of the window, as grey pixels of half blocks."""
    foreground, background, black, white = palette
    colours = {"black": black, "white": white}

    def grey(name: str, default: str) -> int:
        value = default if name == "default" or (name in NAMES and name not in colours) else colours.get(name, name)
        red, green, blue = (int(value[at : at + 2], 16) for at in (0, 2, 4))
        return round(0.299 * red + 0.587 * green + 0.114 * blue)

    rows: list[bytes] = []
    for line in range(screen.lines):
        upper, lower = bytearray(), bytearray()
        for column in range(screen.columns):
            cell = screen.buffer[line][column]
            ink, paper = grey(cell.fg, foreground), grey(cell.bg, background)
            upper += bytes([ink if cell.data in "█▀" else paper]) * CELL_WIDTH
            lower += bytes([ink if cell.data in "█▄" else paper]) * CELL_WIDTH
        rows += [bytes(upper)] * (CELL_HEIGHT // 2) + [bytes(lower)] * (CELL_HEIGHT // 2)
    pixels = memoryview(b"".join(rows)).cast("B", (len(rows), screen.columns * CELL_WIDTH))
    formats: Any = zxingcpp.BarcodeFormat.QRCode
    return [found.text for found in zxingcpp.read_barcodes(pixels, formats=formats, try_invert=False)]


def shown(picture: RenderableType, columns: int, lines: int, **console: Any) -> pyte.Screen:
    window = Window(columns, lines)
    Painter(window.console(**console)).draw(picture)
    return window.screen


def question(columns: int, lines: int) -> RenderableType:
    state = fold(ViewState("Kimi Code"), Notice("code", "", code=CODE, left_s=600.0), 100.0)
    return render(state, 100.0, columns, lines, qr=draw_qr(CODE.verification_uri_complete))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("colours", ["standard", "256", "truecolor"])
@pytest.mark.parametrize(("columns", "lines"), [(120, 24), (80, 45)], ids=["beside", "below"])
def test_a_scanner_reads_it(palette: str, colours: str, columns: int, lines: int) -> None:
    """Under every palette and colour depth, beside the question and below it: the whole link, code included."""
    screen = shown(question(columns, lines), columns, lines, color_system=colours)
    assert scanned(screen, PALETTES[palette]) == [CODE.verification_uri_complete]


def test_the_scanner_sees_what_is_wrong() -> None:
    """The palette's own black and white, as they were used before, are unreadable under some: the measure can fail."""
    code = draw_qr(CODE.verification_uri_complete)
    assert code is not None
    of_the_palette = Text(code.plain, style="black on white", no_wrap=True)
    screen = shown(of_the_palette, 80, 45, color_system="256")
    unread = {name for name, palette in PALETTES.items() if not scanned(screen, palette)}
    assert "Gruvbox light" in unread
