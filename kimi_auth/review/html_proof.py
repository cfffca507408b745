"""The page's sections of figures: proofs, faults that were lived through, and the outcome of each answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from kimi_auth.machine.spec import Machine

from .html_checkers import checkers
from .html_parts import Row, escape, identifier, led, link, mono, number, states_of, table
from .page_data import PageData

__all__ = ["answers_section", "faults_section", "proof_section"]

Figures = Mapping[str, Any]

_MISSING = '<p class="muted">Not measured on these machines. Run <code>make verify</code>, then <code>make diagrams</code>.</p>\n'


def proof_section(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """The figures of the proofs: worlds, invariants, ablations, scenarios and mutants."""
    checked, mutated = page_data.checked(machines), page_data.mutated(machines)
    walks = page_data.played(machines) or {}
    yield "<h2>Proof</h2>\n<h3>Model checker</h3>\n"
    if checked is None:
        yield _MISSING
    else:
        yield _verdict(checked, page_data.proved(machines))
        left = walks.get("not asked", {})
        yield from _worlds(checked, left)
        yield from _invariants(checked, left, mutated or {})
        yield from _ablations(checked, walks.get("stories", ()))
    yield from checkers(page_data.compared(machines))
    yield from _scenarios(walks.get("scenarios", ()), mutated or {})
    yield "<h3>Edge mutation</h3>\n"
    yield from _mutants(mutated) if mutated is not None else [_MISSING]


def _verdict(checked: Figures, revision: Figures) -> str:
    runs = checked["runs"]
    broken = [run for run in runs if not _holds(run)]
    states = sum(run["states"] for run in runs)
    verdict = "BROKEN" if broken else "holds"
    told = (
        f"{len(broken)} of {len(runs)} worlds break a rule" if broken else f"every rule holds in all {len(runs)} worlds"
    )
    edited = ", with edits that were not committed" if revision.get("edited") == "yes" else ""
    when = (
        f"Proved at revision <code>{escape(revision['commit'])}</code> of {escape(revision['date'])}{edited}."
        if revision
        else "The revision was not recorded with these figures."
    )
    return (
        f'<p class="verdict"><span class="tag {"bad" if broken else "good"}">{verdict}</span> {escape(told)}, '
        f"{number(states)} states, each visited. {when} The figures belong to exactly these machines: their digest is "
        f"<code>{escape(str(checked.get('machines', ''))[:16])}</code>.</p>\n<p>{escape(checked.get('about', ''))}</p>\n"
    )


def _holds(run: Figures) -> bool:
    # Figures are written only if every world holds; those of an earlier form do not repeat it in each row.
    return bool(run.get("holds", True))


def _worlds(checked: Figures, left: Figures) -> Iterator[str]:
    yield "<h3>Worlds</h3>\n"
    rows: list[Row] = []
    ids: list[str] = []
    for run in checked["runs"]:
        name = run.get("world", "")
        columns = ("processes", "policy", "states", "edges", "depth", "longest_walk")
        figures = (number(run.get(column, "")) for column in columns)
        verdict = _tagged("holds" if _holds(run) else "BROKEN")
        unasked = "; ".join(f"{rule}: {why}" for rule, why in left.get(name, {}).items())
        ids.append(_id("world", f"{len(ids) + 1} {name}"))
        apart = "; ".join(f"{rule} in {number(count)} moves" for rule, count in run.get("apart", {}).items())
        rows.append((escape(name), *figures, verdict, escape(unasked), escape(apart)))
    figures_head = ("N", "server", "states", "moves", "depth", "longest walk", "verdict")
    head = ("world", *figures_head, "rules left to other worlds", "broken by the other program")
    yield table(head, rows, heading=1, ids=ids)


def _invariants(checked: Figures, left: Figures, mutated: Figures) -> Iterator[str]:
    yield (
        "<h3>Invariants</h3><p>Each rule is checked in every state of every world that asks it. A mutant is an edge that was led "
        "to another state; it counts for the check that found it first.</p>\n"
    )
    missed: dict[str, list[str]] = {}
    for gone in checked.get("ablations", ()):
        missed.setdefault(gone["rule"], []).append(gone["about"])
    rows: list[Row] = []
    for rule in checked.get("invariants", ()):
        name = rule["name"]
        asked = [run for run in checked["runs"] if name not in left.get(run.get("world"), {})]
        holds = all(map(_holds, asked))
        verdict = f"{_tagged('holds' if holds else 'BROKEN')} in {len(asked)} of {len(checked['runs'])} worlds"
        states = number(sum(run["states"] for run in asked))
        without = "<br>".join(link(_id("without", f"{part} {name}"), escape(part)) for part in missed.get(name, ()))
        killed = _killed(f"checker: {name}", mutated)
        about = escape(rule["about"])
        if "across hosts" in rule:
            about += f"<br>Across hosts: {escape(rule['across hosts'])}"
        rows.append((f"{mono(name)} {link(_id('rule', name))}", about, verdict, states, without, killed))
    head = ("invariant", "rule", "verdict", "states", "breaks when this is left out", "mutants it kills")
    yield table(head, rows, heading=1, ids=[_id("rule", rule["name"]) for rule in checked.get("invariants", ())])


def _killed(killer: str, mutated: Figures) -> str:
    """The figures of the mutants that `killer` finds: how many, and where they are listed, which."""
    lines = [
        f"<li>{escape(edge)}, led to {', '.join(map(mono, by[killer]))}</li>"
        for edge, by in mutated.get("killers", {}).items()
        if killer in by
    ]
    count = mutated.get("by", {}).get(killer, 0)
    if not lines:
        return number(count) if mutated else ""
    count = sum(len(by.get(killer, ())) for by in mutated["killers"].values())
    return f"<details><summary>{number(count)}</summary><ul>{''.join(lines)}</ul></details>"


def _ablations(checked: Figures, stories: Any) -> Iterator[str]:
    yield (
        "<h3>Ablations</h3><p>A checker that finds nothing proves little. Each row takes one precaution away; the checker then "
        "finds a rule broken, and the story is its shortest counterexample.</p>\n"
    )
    playable = {(story["title"], story["rule"]): story["id"] for story in stories}
    rows: list[Row] = []
    ids: list[str] = []
    for gone in checked.get("ablations", ()):
        story = playable.get((f"left out: {gone['about']}", gone["rule"]))
        play = link(f"story/{story}", "play it") if story else ""
        course = "".join(f"<li>{escape(step)}</li>" for step in gone.get("course", ()))
        told = f"<details><summary>read it</summary><ol>{course}</ol></details>" if course else ""
        ids.append(_id("without", f"{gone['about']} {gone['rule']}"))
        rows.append((escape(gone["about"]), mono(gone["rule"]), number(gone["steps"]), f"{play} {told}".strip()))
    yield table(("part that is left out", "breaks", "in steps", "shortest counterexample"), rows, heading=1, ids=ids)


def _scenarios(scenarios: Any, mutated: Figures) -> Iterator[str]:
    if not scenarios:
        return
    yield (
        "<h3>Scenarios</h3><p>A scenario is a short walk on which users rely. Given these answers, the machine must take this "
        "course and come to this end; it forbids every other course and every other end. Some stand for several walks.</p>\n"
    )
    rows: list[Row] = []
    for one in scenarios:
        walks = "".join(f"<li>{_walk(one['machine'], walk)}</li>" for walk in one["walks"])
        many = f"{len(one['walks'])} walk{'s' if len(one['walks']) > 1 else ''}"
        listed = f"<details><summary>{many}</summary><ul>{walks}</ul></details>"
        ends = sorted({end for _, _, end in one["walks"]})
        forbids = f"any end but {', '.join(map(mono, ends))}, and any detour"
        killed = _killed(f"scenario: {one['says']}", mutated)
        rows.append((escape(one["says"]), mono(one["machine"]), listed, forbids, killed))
    head = ("scenario", "machine", "walks", "forbids", "mutants it kills")
    yield table(head, rows, heading=1, ids=[_id("scenario", f"{one['machine']} {one['says']}") for one in scenarios])


def _walk(machine: str, walk: Any) -> str:
    start, course, end = walk
    state, _, event = start.partition(" ")
    outcomes = [step.partition(" ")[2] for step in course.split(", ")]
    begin = f"{machine}.{state}/{event}" if state else machine
    address = "/".join(["walk", begin, *outcomes])
    begins = f"from {mono(state)} by {mono(event)}" if state else "from the beginning"
    return f"{begins}: {escape(course)}; ends in {mono(end)} {link(address, 'play')}"


def _mutants(mutated: Figures) -> Iterator[str]:
    yield (
        "<p>Each edge of each machine is led to every other state of its machine, one at a time. An edit is caught when the "
        "lints refuse it, a scenario takes another course, or the checker finds a rule broken.</p>\n"
    )
    figures = (("edits of an edge", mutated["mutants"]), ("caught", mutated["killed"]))
    blocks = "".join(f'<div><span class="big">{number(count)}</span>{title}</div>' for title, count in figures)
    yield f'<div class="figures">{blocks}</div>\n'
    caught = [(escape(by), number(count)) for by, count in mutated.get("by", {}).items()]
    yield table(("caught by", "edits"), caught, heading=1) if caught else ""
    if not mutated["survivors"]:
        yield "<p>Every edit is caught: no survivor needs an argument.</p>\n"
        return
    survivors = [(escape(one["mutant"]), escape(one["argument"])) for one in mutated["survivors"]]
    yield table(("edit that survives", "why it may"), survivors, heading=1)


def faults_section(page_data: PageData) -> Iterator[str]:
    """Each fault that was lived through, by where it happens."""
    yield (
        "<h2>Faults</h2>\n<p>The effect of each fault: where it happens, the token or the error that its caller gets, and the messages that the user "
        "reads. Each was lived through once against a server on loopback.</p>\n"
        '<p class="script"><label>Search the faults <input type="search" id="faults-search" size="30"></label> '
        '<span id="faults-found" role="status"></span></p>\n'
    )
    seen: Counter[str] = Counter()
    for at, faults in groupby(page_data.faults.get("faults", ()), key=lambda one: str(one["at"])):
        rows: list[Row] = []
        ids = []
        for one in faults:
            said = "<br>".join(map(escape, one.get("shown", ())))
            name = _id("fault", f"{at} {one['fault']}")
            seen[name] += 1
            ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
            play = f" {link(one['walk'], '▶ play')}" if one.get("walk") else ""
            rows.append((f"{escape(one['fault'])} {link(ids[-1])}{play}", mono(one["ends"]) or "a token", said))
        listed = table(("fault", "the caller gets", "messages"), rows, heading=1, ids=ids)
        many = f"{len(rows)} fault{'s' if len(rows) > 1 else ''}"
        yield f'<details class="group"><summary><b>{escape(at)}</b> {many}</summary>\n{listed}</details>\n'


def answers_section(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """The tables of a server's answers; an outcome leads to its edges."""
    yield "<h2>Answers</h2>\n<p>The outcome of each answer of a server, and the edge that it takes: the state in which the answer comes → the state that it leads to. Rows are tried from the top; the first that fits decides.</p>\n"
    for title, listed in page_data.answers.items():
        outcome = listed["columns"].index("outcome") if "outcome" in listed["columns"] else -1
        states = states_of({row[outcome] for row in listed["rows"]}, machines) if outcome >= 0 else []
        rows, ids = [], []
        for count, row in enumerate(listed["rows"], 1):
            ids.append(_id("answer", f"{title} {count}"))
            cells = [escape(cell) for cell in row]
            if outcome >= 0:
                edges = " ".join(led(machines, state, row[outcome]) for state in states)
                cells[outcome] = f"{mono(row[outcome])} {edges}".strip()
            rows.append((f"{count} {link(ids[-1])}", *cells))
        yield f"<h3>{escape(title)}</h3>\n" + table(("#", *listed["columns"]), rows, heading=1, ids=ids)


def _tagged(verdict: str) -> str:
    return f'<span class="{"good" if verdict == "holds" else "bad"}">{verdict}</span>'


def _id(kind: str, words: str) -> str:
    return f"{kind}-{identifier(words)}"
