"""The first section of the page: the machines as pictures, a login in seven pictures, and where a reviewer looks first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kimi_auth.machine.spec import Edge, Machine, digest, edges

from .html_parts import escape, identifier, led, link, mono, prose, states_of, table
from .login_story import STORY, strip
from .page_data import PageData
from .sketch import sketch

__all__ = ["landing_section"]


def landing_section(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """The section as HTML."""
    yield "<h2>Overview</h2>\n"
    cards = "".join(
        f'<article class="card"><h3><a class="mono" href="#{escape(name)}">{escape(name)}</a></h3>{sketch(machine)}'
        f"<p>{prose(machine.about)}</p></article>\n"
        for name, machine in machines.items()
    )
    yield f'<div class="cards">\n{cards}</div>\n'
    yield from _story(machines)
    yield from _questions(machines, page_data)
    yield _sizes(machines, page_data)
    yield (
        "<h3>How to read the pictures</h3><p>A box is a state; under its name is the activity that runs in it. An arrow is "
        "an outcome of that activity. A double border is a rest state: a walk ends there, and arrows that leave it are "
        "events from outside. The strong line is the walk on which everything goes well. Amber marks states in which a resource "
        'is held. <span class="screen">Point at a row of a table, and its arrow lights up; click an arrow to come to its row. '
        'The sign # in a row is its address, to be copied.</span> <span class="script">▶ leads the walk there, step by step.'
        "</span></p>\n"
        f'<p class="muted">Digest of these machines: <code>{digest(machines)[:16]}</code></p>\n'
    )


def _story(machines: Mapping[str, Machine]) -> Iterator[str]:
    panels = [(chapter, picture) for chapter in STORY if (picture := strip(machines, chapter))]
    if not panels:
        return
    yield "<h3>A login in seven pictures</h3>\n<ol class=story>\n"
    for number, (chapter, picture) in enumerate(panels, 1):
        address = f"{chapter.machine}.{chapter.begin}"
        yield (
            f"<li><h4>{number}. {escape(chapter.title)}</h4><p>{escape(chapter.says)}</p>{picture}"
            f"<p>{link(address, f'in {escape(chapter.machine)}')}</p></li>\n"
        )
    yield "</ol>\n"


def _questions(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """What a reviewer asks first, each with the link that answers it, as far as the figures beside the machines do."""
    walks = page_data.played(machines) or {}
    rows = []
    if again := walks.get("sent again"):
        rows.append(("Where may a refresh token be sent twice?", _sent_again(again, walks.get("not spent", ()))))
    if walks.get("dying"):
        places = ", ".join(
            link(f"{name}.{machine.initial}.dies", escape(name))
            for name, machine in machines.items()
            if any(place.startswith(f"{name}.") for place in walks["dying"])
        )
        rows.append(
            ("Which files does a process leave that dies in a state?", f"The table “If the process dies” of {places}.")
        )
    tests = [name for name, machine in machines.items() if page_data.tests(machine) is not None]
    if tests:
        listed = ", ".join(link(name, escape(name)) for name in tests)
        rows.append(
            (
                "Which test walks an outcome?",
                f"By its name: {link('outcomes', 'Outcomes')}. By its state: the column “walked” of {listed}.",
            )
        )
    if page_data.answers:
        listed = ", ".join(link(f"answer-{identifier(title)}-1", escape(title)) for title in page_data.answers if title)
        rows.append(
            (
                "What happens after an answer of the server, or of a proxy?",
                f"The tables of answers ({listed}) name the outcome and lead to its edge.",
            )
        )
    if said := " ".join(_of_a_proxy(machines, page_data)):
        rows.append(("What happens after a 403 from a proxy?", said))
    if "killers" in (page_data.mutated(machines) or {}):
        example = Edge("device_login", "polling", "access_denied", "denied")
        known = str(example) in page_data.mutation["killers"]
        place = link("device_login.polling.access_denied", "an example") if known else "each machine"
        rows.append(
            (
                "Which rule notices if an edge led elsewhere?",
                f"The column “led elsewhere” of each edge names the first that does ({place}); by rule: {link('proof', 'Proof')}.",
            )
        )
    if rows:
        ids = [f"question-{identifier(question)}" for question, _ in rows]
        asked = [(f"{escape(row[0])} {link(name)}", row[1]) for name, row in zip(ids, rows, strict=True)]
        yield "<h3>Questions of a reviewer</h3>\n" + table(("question", "answer"), asked, heading=1, ids=ids)


def _sent_again(again: Iterable[str], not_spent: Iterable[str]) -> str:
    says = (
        f"One that may have been spent: only on a walk that takes {_edges(again)}. There a claim on disk declares that the first "
        f"sending may have happened. Without these edges the model checker's process never sends one again. Rule: "
        f"{link('rule-i1', 'I1')}."
    )
    unspent = _edges(not_spent)
    return says + (
        f" One that was not processed: after {unspent} (no connection, a 429, a refused client). The answer says that it was not "
        "spent, so it counts as not sent, and a later walk sends it."
        if unspent
        else ""
    )


def _edges(addresses: Iterable[str]) -> str:
    return ", ".join(link(edge, mono(edge)) for edge in addresses)


def _of_a_proxy(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """The rows for a question: of each endpoint the one where a proxy's 403 page ends, then that of one that does not
    connect."""
    for begins, fits in (
        ("A page instead of an answer.", _is_a_page),
        ("<br>No tunnel, because the proxy answers CONNECT with a 403 (ProxyError).", _is_no_tunnel),
    ):
        found = [
            _answer(machines, title, rows, number)
            for title, rows in _rows(page_data)
            if (number := next((at for at, row in enumerate(rows, 1) if fits(row)), 0))
        ]
        if found:
            yield " ".join((begins, *found))


def _rows(page_data: PageData) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for title, listed in page_data.answers.items():
        rows = [dict(zip(listed["columns"], row, strict=False)) for row in listed["rows"]]
        if all("outcome" in row for row in rows):
            yield title, rows


def _is_a_page(row: Mapping[str, str]) -> bool:
    """A 403 whose body is no answer of this protocol comes to this row, if none above takes it."""
    return (
        not row.get("error") and not row.get("body") and not row.get("failure") and _takes(row.get("status", ""), 403)
    )


def _takes(statuses: str, status: int) -> bool:
    spans = [part.partition(" to ") for part in statuses.split(", ")]
    return not statuses or any(
        first.isdigit() and int(first) <= status <= int(last or first) for first, _, last in spans
    )


def _is_no_tunnel(row: Mapping[str, str]) -> bool:
    failures = row.get("failure", "").split(", ")
    return "ProxyError" in failures or "any" in failures


def _answer(machines: Mapping[str, Machine], title: str, rows: list[dict[str, str]], number: int) -> str:
    outcome = rows[number - 1]["outcome"]
    states = states_of({row["outcome"] for row in rows}, machines)
    leads = ", ".join(led(machines, state, outcome) for state in states)
    name = link(f"answer-{identifier(f'{title} {number}')}", escape(title))
    return f"{name}: {mono(outcome)}" + (f" {leads}." if leads else ", which is no step of a machine.")


def _sizes(machines: Mapping[str, Machine], page_data: PageData) -> str:
    rows = []
    for name, machine in machines.items():
        tests, count = page_data.tests(machine), len(edges(machine))
        walked = "not measured" if tests is None else f"{sum(map(bool, tests.values()))} of {count}"
        working = len(machine.states) - len(machine.rest)
        counts = (str(working), str(len(machine.rest)), str(count))
        rows.append((f'<a class="mono" href="#{escape(name)}">{escape(name)}</a>', *counts, walked))
    head = ("machine", "working states", "rest states", "edges", "walked by tests")
    return "<h3>Sizes</h3>\n" + table(head, rows, heading=1)
