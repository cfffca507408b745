"""Block letters for the user code: seven rows of five pixels each, drawn two rows to a line with half blocks.

RFC 8628 §6.1 suggests capital letters without vowels; servers use digits and vowels too, so all of them are here.
"""

from __future__ import annotations

__all__ = ["block_letters", "can_draw", "half_blocks"]

HEIGHT_PX = 7
GAP_PX = 2

GLYPHS = {
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "B": "####. #...# #...# ####. #...# #...# ####.",
    "C": ".###. #...# #.... #.... #.... #...# .###.",
    "D": "####. #...# #...# #...# #...# #...# ####.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "G": ".###. #...# #.... #.### #...# #...# .###.",
    "H": "#...# #...# #...# ##### #...# #...# #...#",
    "I": "##### ..#.. ..#.. ..#.. ..#.. ..#.. #####",
    "J": "..### ...#. ...#. ...#. ...#. #..#. .##..",
    "K": "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "M": "#...# ##.## #.#.# #.#.# #...# #...# #...#",
    "N": "#...# ##..# ##..# #.#.# #..## #..## #...#",
    "O": ".###. #...# #...# #...# #...# #...# .###.",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "Q": ".###. #...# #...# #...# #.#.# #..#. .##.#",
    "R": "####. #...# #...# ####. #.#.. #..#. #...#",
    "S": ".#### #.... #.... .###. ....# ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "U": "#...# #...# #...# #...# #...# #...# .###.",
    "V": "#...# #...# #...# #...# #...# .#.#. ..#..",
    "W": "#...# #...# #...# #.#.# #.#.# ##.## #...#",
    "X": "#...# #...# .#.#. ..#.. .#.#. #...# #...#",
    "Y": "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#..",
    "Z": "##### ....# ...#. ..#.. .#... #.... #####",
    "0": ".###. #...# #..## #.#.# ##..# #...# .###.",
    "1": "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",
    "2": ".###. #...# ....# ...#. ..#.. .#... #####",
    "3": "##### ...#. ..#.. ...#. ....# #...# .###.",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "6": "..##. .#... #.... ####. #...# #...# .###.",
    "7": "##### ....# ...#. ..#.. .#... .#... .#...",
    "8": ".###. #...# #...# .###. #...# #...# .###.",
    "9": ".###. #...# #...# .#### ....# ...#. .##..",
    "-": "... ... ... ### ... ... ...",
    " ": "... ... ... ... ... ... ...",
}

_HALF_BLOCKS = {("#", "#"): "█", ("#", "."): "▀", (".", "#"): "▄", (".", "."): " "}


def can_draw(text: str, width: int) -> bool:
    """True if every character has a glyph and the whole text fits into `width` columns."""
    known = bool(text) and all(character in GLYPHS for character in text)
    return known and len(_pixel_rows(text)[0]) <= width


def block_letters(text: str) -> list[str]:
    """`text` as lines of half blocks, four of them, all equally long. KeyError for a character without glyph."""
    return half_blocks(_pixel_rows(text))


def half_blocks(rows: list[str]) -> list[str]:
    """Rows of pixels, `#` for a dark one and `.` for any other, as half as many lines of half blocks."""
    rows = [*rows, "." * len(rows[0])] if len(rows) % 2 else rows
    return [
        "".join(_HALF_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def _pixel_rows(text: str) -> list[str]:
    glyphs = [GLYPHS[character].split() for character in text]
    return [("." * GAP_PX).join(glyph[row] for glyph in glyphs) for row in range(HEIGHT_PX)]
