"""Why a renewal failed, as a store keeps it: English text, which is a sentence again when it is read."""

from __future__ import annotations

from kimi_auth.support.language import recalled, tr

from .certificates import UNTRUSTED
from .failures import SENTENCES
from .tables import EXCHANGE

__all__ = ["TEMPLATES", "sentence_of"]

TEMPLATES = (
    *dict.fromkeys(row.says for row in EXCHANGE if row.says),
    *UNTRUSTED,
    tr(": {reason}"),
    tr("HTTP {status}, {content}"),
    *SENTENCES,
)


def sentence_of(text: str) -> str:
    """The sentence of the table of exchanges that was kept as `text`; other text as it is."""
    return recalled(text, TEMPLATES, {"host": r"[^\s()]+", "said": "(?:: .*)?", "shown": "(?:: .*)?"})
