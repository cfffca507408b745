"""The verification link as a QR code in half blocks, where the extra `qr` is installed."""

from __future__ import annotations

from rich.text import Text

__all__ = ["draw_qr"]

QUIET_ZONE = 2
"""Modules of margin: half of what ISO/IEC 18004 asks for, enough for every phone, and it saves a line or two."""

INK = "#000000 on #ffffff"
"""Not the palette's black and white: Solarized's are #073642 and #eee8d5, Gruvbox light's two light browns, and under five of ten
palettes no scanner reads those. Terminals of 256 colours get 16 and 231, which no theme changes."""

_BLOCKS = {(0, 0): " ", (0, 1): "▄", (1, 0): "▀", (1, 1): "█"}


def draw_qr(text: str) -> Text | None:
    """`text` as a QR code, dark on light whatever the terminal's colours are; None without segno or if it is too long."""
    try:
        import segno  # an extra: most people never need it
    except ImportError:
        return None
    try:
        code = segno.make_qr(text, error="l", boost_error=False)
    except segno.DataOverflowError:
        return None
    rows = [[int(bool(module)) for module in row] for row in code.matrix_iter(border=QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    lines = [
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    return Text("\n".join(lines), style=INK, no_wrap=True)
