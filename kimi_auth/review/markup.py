"""Text in markup. The lints keep names plain, but machines are compared before any lint has spoken."""

from __future__ import annotations

import html
import re

__all__ = ["attribute", "markdown", "text"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What an XML 1.0 document cannot hold, escaped or not (§2.2 Char)."""
_MARKDOWN = re.compile(r"[\\`*\[\]!|]")


def text(value: str) -> str:
    """`value` between two tags of XML or HTML."""
    return html.escape(_NOT_XML.sub("\ufffd", value), quote=False)


def attribute(value: str) -> str:
    """`value` between the quotes of an attribute, double or single ones."""
    return html.escape(_NOT_XML.sub("\ufffd", value))


def markdown(value: str) -> str:
    """`value` as words of one line of Markdown, in a table too: no element, link, image, code or new cell in it."""
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;"))
