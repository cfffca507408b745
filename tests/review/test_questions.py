"""A reviewer who has only review.html: each of the five questions has an answer behind a link of the first section."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from kimi_auth.machine import Library
from kimi_auth.review.html_page import html_page
from kimi_auth.review.page_data import read_page_data

FOLDER = Path(__file__).parents[2] / "diagrams"
INITIAL = Library.load()["token_refresh"].initial

QUESTIONS = {
    "Where may a refresh token be sent twice?": (
        "token_refresh.claiming.interrupted",
        "token_refresh.reclaiming.claimed",
    ),
    "Which files does a process leave that dies in a state?": (f"token_refresh.{INITIAL}.dies",),
    "Which test walks an outcome?": ("token_refresh",),
    "What happens after a 403 from a proxy?": ("answer-exchange-15", "token_refresh.exchanging.unrecognized"),
    "Which rule notices if an edge led elsewhere?": ("device_login.polling.access_denied", "proof"),
}
"""Each with addresses that must be among its links, where the figures beside the machines have them."""


@pytest.fixture(scope="module")
def shown() -> str:
    return html_page(Library.load(), read_page_data(FOLDER))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_a_link(shown: str, question: str) -> None:
    """The row of the question links to the rows that answer it, and each of its links leads into the page."""
    (row,) = re.findall(rf"<tr[^>]*><th[^>]*>{re.escape(question)}</th>(.*?)</tr>", shown)
    links = [unescape(address) for address in re.findall(r'href="#([^"]*)"', row)]
    assert links
    ids = set(re.findall(r' id="?([^" >]+)', shown))
    assert [address for address in links if address not in ids] == []
    assert [address for address in QUESTIONS[question] if address in ids and address not in links] == []


def test_a_403_of_a_proxy_ends_no_login(shown: str) -> None:
    """The exchange calls it unrecognized, and the row says where that leads."""
    (row,) = re.findall(r"What happens after a 403 from a proxy\?</th>(.*?)</tr>", shown)
    words = re.sub(r"<[^>]+>", "", row)
    assert "exchange #: unrecognized" in words or "exchange: unrecognized" in words
    assert "recording_unrecognized" in words
