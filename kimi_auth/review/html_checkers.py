"""The proof's tables of other checkers: what they find in the exported model, beside what ours finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .html_parts import Row, escape, identifier, mono, number, table

__all__ = ["checkers"]

Figures = Mapping[str, Any]


def checkers(compared: Figures) -> Iterator[str]:
    """The tables of other checkers: worlds and ablations. Nothing where no figures were kept."""
    if not compared:
        return
    yield (
        "<h3>Other checkers</h3><p>The same machines and the same world, exported and checked by programs that this project did "
        "not write. A class is a state between two moves, after forgetting the names of the processes and every difference "
        "that has no effect any more. Ours, spin and TLC store exactly one state for each class, so the same world must have "
        "the same count. Quint simulates: it walks at random and checks the rules in each state, so it has samples and steps "
        "and no count. The row says which program, what it found and how long it took.</p>\n"
    )
    simulated = compared.get("simulated", ())
    yield table(
        ("world", "checker", "verdict", "classes", "classes, ours", "transitions", "seconds"),
        [*map(_world, compared.get("worlds", ())), *(_simulation(row) for row in simulated if not row["rule"])],
        heading=1,
    )
    yield "<h4>Ablations, by each</h4>\n"
    rows = [*map(_ablation, compared.get("ablations", ())), *(_simulated(row) for row in simulated if row["rule"])]
    head = ("part that is left out", "checker", "breaks", "in steps", "in steps, ours", "seconds", "counterexample")
    yield table(head, rows, heading=1)
    if left := compared.get("not_compared", {}):
        reasons: dict[str, list[str]] = {}
        for part, why in left.items():
            reasons.setdefault(why, []).append(part)
        yield "<p>Ablations that only our checker is asked, because the export has fewer features:</p>\n" + table(
            ("parts", "reason"), [("; ".join(map(escape, parts)), escape(why)) for why, parts in reasons.items()]
        )


def _checker(row: Figures) -> str:
    return escape(str(row.get("checker", "spin")))


def _world(row: Figures) -> Row:
    agrees = row["states"] == row["ours"] and row["verdict"] == "holds"
    verdict = f'<span class="{"good" if agrees else "bad"}">{escape(row["verdict"])}</span>'
    figures = (
        number(row["states"]),
        number(row["ours"]),
        number(row["transitions"] or ""),
        escape(str(row["seconds"])),
    )
    return (escape(row["world"]), _checker(row), verdict, *figures)


def _simulation(row: Figures) -> Row:
    seen = f"{number(row['samples'])} samples of {number(row['steps'])} steps"
    return (
        escape(row["about"]),
        _checker(row),
        f'<span class="good">no violation</span> in {seen}',
        "",
        "",
        "",
        escape(str(row["seconds"])),
    )


def _ablation(row: Figures) -> Row:
    seconds = escape(str(row["seconds"]))
    if not row["rule"]:
        told = f"nothing, in {number(row['states'])} classes"
        return (escape(row["about"]), _checker(row), told, "", f"nothing, in {number(row['ours'])}", seconds, "")
    course = "".join(f"<li>{escape(step)}</li>" for step in row["course"])
    name = identifier(f"{_checker(row)} without {row['about']} {row['rule']}")
    story = f'<details id="{escape(name)}"><summary>read it</summary><ol>{course}</ol></details>' if course else ""
    return (
        escape(row["about"]),
        _checker(row),
        mono(row["rule"]),
        number(row["steps"]),
        number(row["ours"]),
        seconds,
        story,
    )


def _simulated(row: Figures) -> Row:
    seen = f"at most {number(row['steps'])}, in {number(row['samples'])} samples at most"
    return (escape(row["about"]), _checker(row), mono(row["rule"]), seen, "", escape(str(row["seconds"])), "")
