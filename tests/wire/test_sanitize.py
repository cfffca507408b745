"""Texts and URLs from servers: the parts that pass, and those that never do."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_auth.support.urls import host_of, is_loopback, parsed, safe_url
from kimi_auth.wire.sanitize import (
    NOT_SHOWN,
    clean,
    excerpt,
    is_visible,
    redact,
    retry_after_s,
)

NOW_S = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("  two \t\r\n words\u2028here\x85now ", "two words here now"),
        ("\x1b[31mred\x1b[0m\x07", "[31mred[0m"),
        ("user\u202egnp.exe\u2066\u200f", "usergnp.exe"),
        ("zero\u200bwidth\ufeff\u2060\u00ad", "zerowidth"),
        ("fill\u3164er\u115f\u2800\ufe0f\U000e0101\U000e0041", "filler"),
        ("half \ud800 pair", "half pair"),
        ("caf\u00e9 \u4f60\u597d", "caf\u00e9 \u4f60\u597d"),
        ("", ""),
        ("\x00\x1b", ""),
    ],
)
def test_clean(text: str, shown: str) -> None:
    """Only visible characters stay, on one line."""
    assert clean(text) == shown


def test_clean_cuts_with_a_mark() -> None:
    """A text that is too long ends in an ellipsis, within the limit."""
    assert clean("a" * 200) == "a" * 200
    assert clean("a" * 201) == "a" * 199 + "\u2026"
    assert clean("abcd efgh", 6) == "abcd\u2026"


@given(st.text(), st.integers(1, 50))
def test_clean_always_fits_a_terminal(text: str, limit: int) -> None:
    """Whatever comes in: printable, one line, within the limit, and cleaning twice changes nothing."""
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert all(c.isprintable() for c in shown)
    assert clean(shown, limit) == shown
    shown.encode()


ECHOES = [
    b"you sent my-own-secret back",
    b"only my-own-secr is left",
    "my-own-secret".encode("utf-16"),
    "my-own-secret".encode("utf-32-be"),
    b"<p>" + "my-own-secret".encode("utf-16-be"),
    "sent: m\u200by-\u00adow\ufeffn-se\0cret!".encode(),
    b"m\xffy-o\xffwn-\xffsecret",
    b"my-own\r\n -secret",
    b"sent my%2down%2Dsecret",
    b"sent my\\u002down\\x2dsecret",
    b"sent my&#x2D;own&#45;se&shy;cret",
    b"sent my%252Down&amp;#45;secret",
    b"%252525252525252525252D",
]
"""Pages that repeat `my-own-secret`, however it is written; the last one is escaped too often to know."""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b"<!DOCTYPE html><html><style>b{c:d}</style><title>No  entry</title>", "No entry"),
        (b"<script>steal()</script>left<!-- hidden -->over<style>unfinished{", "left over"),
        (b"a < b and <b>c</b>", "a < b and c"),
        (b"\xff\xfebytes\xff", "bytes"),
        (b'{"accessToken": "short"}', '{"accessToken": "[redacted]"}'),
        (b"refresh_token=short&x=1", "refresh_token=[redacted]&x=1"),
        (b"saw eyJhbGciOiJIUzI1NiIsInR5cCI6.IkpXVCJ9", "saw [redacted]"),
        (b"refresh_token=aB345678901234567890123456", "refresh_token=[redacted]"),
        (b"you sent my-own too", "you sent my-own too"),
        (b'{\\"refresh_token\\":\\"short\\"}', NOT_SHOWN),
        (b'"refresh_token": "sho\nrt"', '"refresh_token": "[redacted] rt"'),
        (b"refresh_token%3Dshort", NOT_SHOWN),
        *((body, NOT_SHOWN) for body in ECHOES),
        (b"R&D &unknown; 100% of C:\\new", "R&D &unknown; 100% of C:\\new"),
    ],
)
def test_excerpt(body: bytes, words: str) -> None:
    """The beginning of a page, without markup and without anything that is or looks like a token, however written."""
    assert excerpt(body, ["my-own-secret", ""]) == words


@pytest.mark.parametrize(
    ("body", "charset", "words"),
    [
        ("\u62d2\u7edd".encode("gbk"), "GBK", "\u62d2\u7edd"),
        ("<p>\u62d2\u7edd".encode("utf-16-le"), "utf-8", "\u62d2\u7edd"),
        ("<p>\u62d2\u7edd".encode("utf-16"), "", "\u62d2\u7edd"),
        (b"bytes", "utf-16", "bytes"),
        ("caf\u00e9".encode("latin-1"), "iso-8859-1", "caf\u00e9"),
        ("caf\u00e9".encode("utf-16"), "iso-8859-1", "caf\u00e9"),
        ("caf\u00e9".encode(), "no-such-charset", "caf\u00e9"),
        (b"plain", "unicode_escape\0", "plain"),
    ],
)
def test_excerpt_reads_the_declared_charset(body: bytes, charset: str, words: str) -> None:
    """A byte order mark or zero bytes say how a page is written, then its header, then UTF-8 is tried."""
    assert excerpt(body, charset=charset) == words


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<p>".encode("utf-16") + b"my-own-secret!", ""),
        ("<p>my-own-secret ".encode("utf-16") + b"my-own-secret!", ""),
        (b"\x81m\x81y\x81-\x81o\x81w\x81n\x81-\x81s\x81e\x81c\x81r\x81e\x81t", "gbk"),
    ],
)
def test_a_secret_in_letters_that_stand_for_it(body: bytes, charset: str) -> None:
    """A page that is read as something that it is not may show a secret as other letters: it is not shown."""
    assert excerpt(body, ["my-own-secret"], charset=charset) == NOT_SHOWN


HIDDEN = [
    "",
    "",
    "",
    "\0",
    "\u200b",
    "\u00ad",
    "\ufeff",
    "\u2060",
    "\n",
    "<b></b>",
    "&shy;",
    "&#8203;",
    "%00",
    "\\u200b",
]
SPELLINGS: list[Callable[[str], str]] = [
    lambda c: c,
    lambda c: f"%{ord(c):02X}",
    lambda c: f"%{ord(c):02x}",
    lambda c: f"\\u{ord(c):04x}",
    lambda c: f"\\x{ord(c):02x}",
    lambda c: f"&#{ord(c)};",
    lambda c: f"&#x{ord(c):04X};",
    lambda c: {"/": "\\/", "+": "&plus;", "=": "&equals;", ".": "&period;", "_": "&lowbar;"}.get(c, c),
]
WHOLE: list[Callable[[str], str]] = [
    str,
    quote,
    html.escape,
    lambda text: json.dumps(text)[1:-1],
    lambda text: quote(text, ""),
]
TOKENS = st.text("ABCDEFghijkl0123456789-._~+/=", min_size=16, max_size=60)


def pieces(token: str) -> set[str]:
    return {token[at : at + 8] for at in range(len(token) - 7)}


@given(
    st.data(),
    TOKENS,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]),
)
def test_no_piece_of_a_secret_is_shown(data: st.DataObject, token: str, encoding: str) -> None:
    """Whatever a page does to the characters of a token that it quotes, no eight of them in a row are shown."""
    echo = "".join(
        data.draw(st.sampled_from(HIDDEN)) + data.draw(st.sampled_from(SPELLINGS))(character) for character in token
    )
    for spell in data.draw(st.lists(st.sampled_from(WHOLE), max_size=3)):
        echo = spell(echo)
    body = f"<p>{data.draw(st.sampled_from(['', 'you sent ', '%', 'token=', '&', chr(92)]))}{echo}</p>".encode(encoding)
    declared = data.draw(st.sampled_from(["", "utf-8", "iso-8859-1", encoding.removesuffix("-sig")]))
    for shown in (
        excerpt(body, [token], 10_000, charset=declared),
        clean(redact(echo, [token]), 10_000),
        clean(redact(echo, [token], guess=True), 10_000),
    ):
        seen = "".join(c for c in shown if unicodedata.category(c)[0] != "C" and not c.isspace())
        assert not [piece for piece in pieces(token) if piece in seen or piece in unquote(html.unescape(seen))]


@pytest.mark.parametrize("body", [b"<script" * 200_000, b"<!--" * 300_000, b"<" * 1_000_000, b"token=" * 200_000])
def test_excerpt_is_not_slowed_down(body: bytes) -> None:
    """A page made to trip regular expressions is read as fast as any other."""
    assert len(excerpt(body)) <= 200


def test_redact_without_guessing_keeps_long_words() -> None:
    """A host name in a network error is not a token."""
    text = "no certificate for host-number-12345.internal.example.com"
    assert redact(text, ["another-secret"]) == redact(text, []) == text
    assert redact(text, ["number"]) == NOT_SHOWN


@pytest.mark.parametrize(
    "url",
    [
        "https://auth.kimi.com/device?user_code=A-B#x",
        "HTTPS://auth.kimi.com",
        "https://[2001:db8::1]:8443/",
        "http://127.0.0.1:8080/device",
        "http://localhost/device",
        "http://[::1]/device",
    ],
)
def test_safe_url_lets_pass(url: str) -> None:
    """https anywhere and http on loopback may be opened."""
    assert safe_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://auth.kimi.com/",
        "http://127.0.0.1.evil.test/",
        "http://localhost.evil.test/",
        "http://127.1/",
        "https://user@evil.test/",
        "https://auth.kimi.com:x@evil.test/",
        "https://auth.kimi.com\\@evil.test/",
        "https:///path",
        "https://",
        "https:auth.kimi.com",
        "//auth.kimi.com/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "-https://auth.kimi.com",
        "--help",
        " https://auth.kimi.com",
        "https://auth.kimi.com/ x",
        "https://auth.kimi.com/\n",
        "https://auth.kimi.com/\x1b[2J",
        "https://auth.k\u0456mi.com/",
        "https://auth.kimi.com/\u202e",
        "https://auth.kimi.com:99999/",
        "https://auth.kimi.com:0/",
        "https://auth.kimi.com:port/",
        "https://[::1/",
        "https://a.test/" + "a" * 2048,
    ],
)
def test_safe_url_stops(url: str) -> None:
    """Other schemes, plain http, user-info, tricks of spelling and anything invisible are never opened."""
    assert safe_url(url) == ""


@given(st.text())
def test_safe_url_never_raises(text: str) -> None:
    """Any text is a safe URL or it is nothing."""
    for url in (text, "https://" + text, "http://localhost" + text):
        assert safe_url(url) in {"", url}


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://auth.kimi.com/x", "auth.kimi.com"), ("http://a:8080", "a:8080"), ("https://u:p@a/", "the server")],
)
def test_host_of(url: str, host: str) -> None:
    """Messages name host and port, and never user-info."""
    assert host_of(url) == host


def test_parts_are_for_http_only() -> None:
    """A URL of another scheme has no parts for us."""
    assert parsed("ftp://a/") is None
    parts = parsed("http://example.test/")
    assert parts is not None
    assert parts.host == "example.test"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.test", False),
        ("", False),
    ],
)
def test_is_loopback(host: str, *, expected: bool) -> None:
    """Only this machine is loopback."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc.~-", True), ("", False), ("a b", False), ("a\n", False), ("\u00e9", False), ("\x7f", False)],
)
def test_is_visible(text: str, *, expected: bool) -> None:
    """Visible ASCII can stand in a header, the rest cannot."""
    assert is_visible(text) is expected


def http_date(offset_s: float) -> str:
    return format_datetime(datetime.fromtimestamp(NOW_S + offset_s, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("86400", 900.0),
        ("9" * 5000, 900.0),
        (http_date(60), 60.0),
        (http_date(-60), 0.0),
        (http_date(86_400), 900.0),
        ("Sun, 01 Nov 2026 12:00:30 -0000", 30.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("\u0663", None),
        ("Mon, 99 Nov 2026 12:00:30 GMT", None),
        ("Mon, 01 Nov 0000 12:00:30 GMT", 0.0),
    ],
)
def test_retry_after_s(header: str, seconds: float | None) -> None:
    """Seconds or a date, never negative, never more than 15 minutes; nonsense is no answer."""
    assert retry_after_s(header, NOW_S) == seconds


@given(st.text(), st.floats(0, 1e12))
def test_retry_after_s_never_raises(header: str, now_s: float) -> None:
    """Any header gives None or a pause within the bounds."""
    wait_s = retry_after_s(header, now_s)
    assert wait_s is None or 0 <= wait_s <= 900
