"""Why a renewal failed, read back from a store."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from kimi_auth.support.language import Sentence, spoken
from kimi_auth.wire.kept_words import TEMPLATES, sentence_of

FILLED = {
    "host": "auth.example:8443",
    "got": "HTTP 502, text/html",
    "said": ": invalid_grant: gone",
    "shown": ": it is for a, issued by b",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_sentence_comes_back(template: str) -> None:
    """The English text of each sentence is that sentence again, and is said in Chinese."""
    values = {name: FILLED.get(name, "1") for _, name, _, _ in Formatter().parse(template) if name}
    text = template.format(**values)
    found = sentence_of(str(text))
    assert isinstance(found, Sentence)
    assert (found, found.template) == (text, template)
    assert re.search("[\u4e00-\u9fff：，]", spoken(found, "zh"))


@pytest.mark.parametrize(
    "text", ["", "ended", "a server's own words: with a colon", "Your administrator ended the login"]
)
def test_other_text_stays(text: str) -> None:
    """What no table says is no sentence."""
    assert sentence_of(text) == text
    assert not isinstance(sentence_of(text), Sentence)


@pytest.mark.parametrize("part", [": ", "ended the login: ", "HTTP 400, ", "x did not answer: "])
def test_text_that_looks_like_many_sentences(part: str) -> None:
    """A server's text of any form is found whole, however many of our sentences it seems to have inside one another."""
    assert sentence_of(part * 600) == part * 600


def test_words_of_a_server_are_not_ours() -> None:
    """What a server says in a sentence of ours stays as it said it, though it reads like another one of ours."""
    said = sentence_of("auth.example returned a server error (HTTP 503): the proxy ended the login: call 555")
    assert isinstance(said, Sentence)
    assert "the proxy ended the login: call 555" in spoken(said, "zh")
