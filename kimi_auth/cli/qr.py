"""The verification link as a QR code in half blocks, where the extra `qr` is installed."""

from __future__ import annotations

from rich.text import Text

from kimi_auth.cli.block_letters import half_blocks

__all__ = ["draw_qr"]

QUIET_ZONE = 2
"""Modules of margin: half of what ISO/IEC 18004 asks for, enough for every phone, and it saves a line or two."""

INK = "#000000 on #ffffff"
"""Not the palette's black and white: Solarized's are #073642 and #eee8d5, Gruvbox light's two light browns, and under five of ten
palettes no scanner reads those. Terminals of 256 colours get 16 and 231, which no theme changes."""


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
    rows = ["".join("#" if module else "." for module in row) for row in code.matrix_iter(border=QUIET_ZONE)]
    return Text("\n".join(half_blocks(rows)), style=INK, no_wrap=True)
