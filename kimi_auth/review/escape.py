"""Text made safe for XML, HTML and Markdown.

The lints allow plain names only, but a difference compares machines that the lints refuse, names included.
"""

from __future__ import annotations

import html
import re

__all__ = ["attribute", "markdown", "text"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an XML 1.0 document cannot contain, escaped or not (§2.2 Char)."""
_MARKDOWN = re.compile(r"[\\`*\[\]!|]")


def text(value: str) -> str:
    """`value` made safe between two tags of XML or HTML."""
    return html.escape(_NOT_XML.sub("\ufffd", value), quote=False)


def attribute(value: str) -> str:
    """`value` made safe between the quotes of an attribute, double or single ones."""
    return html.escape(_NOT_XML.sub("\ufffd", value))


def markdown(value: str) -> str:
    """`value` made safe as one line of plain Markdown, in a table too: no element, link, image, code or new cell in it."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;"))
