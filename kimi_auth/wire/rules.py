"""How an answer becomes an outcome: a table of rows, tried from the top; the first row that fits decides.

A row is data. It names its conditions (HTTP status, OAuth `error` code, shape of the JSON body, transport failure; a
missing condition fits everything), its outcome, and its message. `tables.py` holds one table per request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from kimi_auth.errors import KimiAuthError

from .failures import is_any_of

__all__ = ["ANY_ERROR", "Facts", "Row", "Table", "columns", "decide", "markdown"]

Outcome_co = TypeVar("Outcome_co", covariant=True)
Outcome = TypeVar("Outcome")

ANY_ERROR = frozenset({"*"})
"""A row's condition that any OAuth error code meets. Text of a web framework in the same member ("Not Found") is not a
code."""

_ERROR_CODE = re.compile(r"[a-z0-9_.-]+")


class Facts(NamedTuple):
    """The facts that a table decides on. `status` is 0, and `error` and `shape` are "", if there is none.

    `failure` is the class of the exception that ended the request. An answer may have begun before it: then `status`
    is set too, and the complete parts of the body count.
    """

    status: int = 0
    error: str = ""
    shape: str = ""
    failure: type[Exception] | None = None


class Row(NamedTuple, Generic[Outcome_co]):
    """One line of a table.

    Conditions: `status` in one of the ranges, `error` one of the codes, exactly this `shape`, `failure` of a class of
    one of these names. Result: `outcome`, and unless `raises` is None an error with the sentence `says`, in which `{host}` is the
    server, `{got}` the status and content type, and `{said}` is ": " and the message of the server or the network, or
    nothing. `why` is for the reader.
    """

    outcome: Outcome_co
    why: str
    status: tuple[range, ...] = ()
    error: frozenset[str] = frozenset()
    shape: str = ""
    failure: tuple[str, ...] = ()
    raises: type[KimiAuthError] | None = None
    says: str = ""
    hint: str = ""

    def fits(self, facts: Facts) -> bool:
        return (
            (not self.status or any(facts.status in statuses for statuses in self.status))
            and (not self.error or facts.error in self.error or (self.error == ANY_ERROR and _is_code(facts.error)))
            and (not self.shape or facts.shape == self.shape)
            and (not self.failure or (facts.failure is not None and is_any_of(facts.failure, *self.failure)))
        )


def _is_code(error: str) -> bool:
    return _ERROR_CODE.fullmatch(error) is not None


Table = tuple[Row[Outcome], ...]


def decide(table: Table[Outcome], facts: Facts) -> Row[Outcome]:
    """The first row of the table that fits. Every table ends with a row that fits everything."""
    return next(row for row in table if row.fits(facts))


def columns(row: Row[object]) -> tuple[str, str, str, str, str, str, str]:
    """A row, which decides an answer's outcome, as text: status, error code, body, failure, outcome, error class, why; "" for
    a missing condition."""
    return (
        ", ".join(map(_statuses, row.status)),
        "any" if row.error == ANY_ERROR else ", ".join(sorted(row.error)),
        row.shape,
        ", ".join("any" if name == "Exception" else name for name in row.failure),
        str(row.outcome),
        row.raises.__name__ if row.raises else "",
        row.why,
    )


def _statuses(statuses: range) -> str:
    if statuses.start == 0:
        return "none"
    return str(statuses.start) if len(statuses) == 1 else f"{statuses.start} to {statuses.stop - 1}"


def markdown(rows: Iterable[Row[object]]) -> str:
    """A table for reviewers, one line per row, in the order in which the rows are tried."""
    head = ("#", "status", "error", "body", "failure", "outcome", "reported as", "why")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join((str(number), *columns(row)))} |" for number, row in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"
