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
    "Which test walks an outcome?": ("outcomes", "token_refresh"),
    "What happens after a 403 from a proxy?": ("answer-exchange-15", "token_refresh.exchanging.unrecognized"),
    "Which rule notices if an edge led elsewhere?": ("device_login.polling.access_denied", "proof"),
}
"""Each with addresses that must be among its links, where the figures beside the machines have them."""


@pytest.fixture(scope="module")
def shown() -> str:
    return html_page(Library.load(), read_page_data(FOLDER))


def answer(shown: str, question: str) -> str:
    """The answer as HTML; the question's own row has an address."""
    asked, said = re.findall(rf"<tr([^>]*)><th[^>]*>{re.escape(question)}.*?</th>(.*?)</tr>", shown)[0]
    (name,) = re.findall(r' id="([^"]+)"', asked)
    assert name.startswith("question-")
    assert f'href="#{name}"' in shown
    return str(said)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_a_link(shown: str, question: str) -> None:
    """The row of the question links to the rows that answer it, and each of its links leads into the page."""
    row = answer(shown, question)
    links = [unescape(address) for address in re.findall(r'href="#([^"]*)"', row)]
    assert links
    ids = set(re.findall(r' id="?([^" >]+)', shown))
    assert [address for address in links if address not in ids] == []
    assert [address for address in QUESTIONS[question] if address in ids and address not in links] == []


def test_a_403_of_a_proxy_ends_no_login(shown: str) -> None:
    """Each endpoint names its outcome and where that leads, revocation too; a tunnel that is refused sent no token."""
    page, tunnel = (
        re.sub(r"<[^>]+>", "", part) for part in answer(shown, "What happens after a 403 from a proxy?").split("<br>")
    )
    assert "exchange: unrecognized token_refresh.exchanging → recording_unrecognized." in page
    assert "revoke: failed sign_out.revoking → clearing, token_refresh.revoking → gone." in page
    assert "poll: unreachable device_login.polling → waiting." in page
    assert "models: forbidden" in page
    assert "CONNECT" in tunnel
    assert "ProxyError" in tunnel
    assert "exchange: not_processed token_refresh.exchanging → withdrawing_unsent." in tunnel
    assert "revoke: failed sign_out.revoking → clearing, token_refresh.revoking → gone." in tunnel
