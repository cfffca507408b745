"""The page's section of one machine: its picture, its transitions, its hooks, its tests, and what a death leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kimi_auth.machine.spec import Edge, Machine

from .coverage import coverage, only_checked
from .html_parts import Row, escape, figure, identifier, link, mono, prose, table, tag, work
from .layout import layout_of
from .page_data import HOOK_COLUMNS, PageData
from .source_lines import promise, source_line
from .svg import drawing

__all__ = ["address_of", "machine_section"]

Killers = Mapping[str, Mapping[str, Any]]


def machine_section(machine: Machine, machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """The section as HTML."""
    tests, checked = page_data.tests(machine), only_checked(page_data, machines)
    graph, layout = layout_of(machine)
    yield f'<h2 class="mono">{escape(machine.name)}</h2>\n<p>{prose(machine.about)}</p>\n'
    if machine.holds:
        yield f"<p>Every state of this machine runs while {mono(machine.holds)} is held.</p>\n"
    yield figure(drawing(machine, graph, layout, link="#{}".format, titled=False), f"picture of {machine.name}")
    killers = (page_data.mutated(machines) or {}).get("killers", {})
    played = page_data.played(machines) or {}
    yield "<h3>Transitions</h3>\n"
    if killers:
        yield (
            "<p>“Led elsewhere”: each edge was led to each other state. Checks are tried in this order: lints when the machine "
            "is loaded, scenarios, small worlds of the checker. The first that notices is named, and behind a lint the scenario "
            "that notices, too.</p>\n"
        )
    yield _transitions(machine, tests, checked, killers, played.get("behind lints", {}))
    yield from _deaths(machine, played.get("dying", {}), played.get("files", {}))
    if hooks := page_data.hook_rows(machine):
        yield "<h3>Hooks</h3>\n" + _hooks(machine, hooks)
    yield "<h3>Tests that walk it</h3>\n"
    if tests is None:
        yield '<p class="muted">Not measured on this machine. Run <code>make test</code>, then <code>make diagrams</code>.</p>\n'
        return
    over = coverage(machine, graph, tests, checked)
    label = f"picture of {machine.name}, with the tests that walk it"
    yield figure(drawing(machine, graph, layout, over, link="#{}".format, titled=False), label)


def address_of(edge: Edge) -> str:
    """Its address in the page."""
    return f"{edge.machine}.{edge.source}.{edge.event}"


def _transitions(
    machine: Machine,
    tests: Mapping[Edge, Mapping[str, int]] | None,
    checked: Mapping[Edge, int],
    killers: Killers,
    behind: Killers,
) -> str:
    rows: list[Row] = []
    keys, ids, quiet = [], [], []
    for name, state in machine.states.items():
        at = f"{machine.name}.{name}"
        for count, (event, target) in enumerate(list(state.on.items()) or [("", "")]):
            edge = Edge(machine.name, name, event, target)
            address = f"{at}.{event}" if event else at
            # A state has an address of its own, at its first row.
            named = f'<span class="mono"{f" id={chr(34)}{escape(at)}{chr(34)}" if event and not count else ""}>'
            headed = f"{named}{escape(name)}</span>" + ("" if count else f" {tag(state)}")
            about = ("", "") if count else (work(state), prose(state.about))
            walks = _walks(edge, tests, checked) if event else ""
            rows.append(
                (headed, *about, _outcome(address, event), mono(target), walks, _noticed(edge, killers, behind))
            )
            keys.append(f"{name}.{event}" if event else name)
            ids.append(address)
            quiet.append(count > 0)
    head = ["state", "activity", "about", "outcome", "leads to", "walked", "led elsewhere"]
    shown = len(head) if killers else len(head) - 1
    return table(head[:shown], [row[:shown] for row in rows], keys, heading=1, ids=ids, quiet=quiet)


def _outcome(address: str, event: str) -> str:
    walk = (
        f' <a class="script" href="#to/{escape(address)}" aria-label="walk to {escape(address)}">▶</a>' if event else ""
    )
    return f"{mono(event)} {link(address)}{walk}"


def _walks(edge: Edge, tests: Mapping[Edge, Mapping[str, int]] | None, checked: Mapping[Edge, int]) -> str:
    """How often a transition in the table was walked; unfolded, by which tests. The list has an address of its own."""
    if tests is None:
        return '<span class="muted">not measured</span>'
    found = tests[edge]
    if not found:
        reached = f"by the checker, N={checked[edge]}" if edge in checked else "never"
        return f'<span class="{"checker" if edge in checked else "unwalked"}">{reached}</span>'
    lines = "".join(f"<li><code>{escape(test)}</code> ×{count}</li>" for test, count in found.items())
    many = f"{len(found)} test{'s' if len(found) > 1 else ''}"
    name = f"{address_of(edge)}.tests"
    return f'<details id="{escape(name)}"><summary><span class="walked">×{sum(found.values())}</span> {many}</summary><ul>{lines}</ul>{link(name)}</details>'


def _noticed(edge: Edge, killers: Killers, behind: Killers) -> str:
    """What notices that a transition leads to another state, with its address; behind a lint the scenario, too."""
    by = killers.get(str(edge), {})
    if not by:
        return ""
    also = behind.get(str(edge), {})
    lines = "".join(f"<li>{_first(edge, killed_by, targets, also)}</li>" for killed_by, targets in by.items())
    name = f"{address_of(edge)}.elsewhere"
    many = sum(map(len, by.values()))
    return f'<details id="{escape(name)}"><summary>{many} noticed</summary><ul>{lines}</ul>{link(name)}</details>'


def _first(edge: Edge, killed_by: str, targets: Iterable[str], also: Mapping[str, Iterable[str]]) -> str:
    kind, _, words = killed_by.partition(": ")
    addresses = {
        "scenario": f"scenario-{identifier(f'{edge.machine} {words}')}",
        "checker": f"rule-{identifier(words)}",
    }
    told = link(addresses[kind], escape(killed_by)) if kind in addresses else escape(killed_by)
    says = f"to {', '.join(map(mono, targets))}: first by {told}"
    if kind != "lint":
        return says
    found = {scenario: [target for target in targets if target in noticed] for scenario, noticed in also.items()}
    seen = [
        f"{', '.join(map(mono, those))} by scenario: "
        + link(f"scenario-{identifier(f'{edge.machine} {scenario}')}", escape(scenario))
        for scenario, those in found.items()
        if those
    ]
    left = [target for target in targets if not any(target in those for those in found.values())]
    unseen = [f"{', '.join(map(mono, left))} by the lint alone"] if left and also else []
    return says + (f"; behind it {'; '.join([*seen, *unseen])}" if seen or unseen else "")


def _deaths(machine: Machine, dying: Killers, files: Mapping[str, str]) -> Iterator[str]:
    found = {name: dying.get(f"{machine.name}.{name}") for name, state in machine.states.items() if not state.is_rest}
    columns = next((list(disk) for disk in found.values() if disk), [])
    if not columns:
        return
    yield (
        "<h3>If the process dies</h3><p>The files that the model checker finds after the process was killed in a state, before "
        "its activity took effect. The kernel frees the lock. The next walk begins at the initial state and decides from "
        "these files alone. Where several values are listed, earlier walks decide which. A state that only the interference of "
        "another program leads to is listed with the files that this leaves.</p>\n"
    )
    if named := [(escape(column), mono(files[column])) for column in columns if column in files]:
        yield (
            "<p>The columns are facts, and these files hold them (kimi-cli's home; <code>&lt;fp&gt;</code> is the fingerprint of "
            "the pair).</p>\n" + table(("column", "file"), named, heading=1)
        )
    rows = []
    for name, disk in found.items():
        head = f'<span class="mono">{escape(name)}</span> {link(f"{machine.name}.{name}.dies")}'
        if disk is None:
            rows.append((head, "no credential is touched yet: the files stay as they were", *[""] * (len(columns) - 1)))
        else:
            rows.append((head, *(escape(" or ".join(disk[column])) for column in columns)))
    ids = [f"{machine.name}.{name}.dies" for name in found]
    yield table(("state", *columns), rows, heading=1, ids=ids)


def _hooks(machine: Machine, hooks: list[tuple[str, ...]]) -> str:
    rows = []
    for activity, method, *others in hooks:
        said = promise(machine.name, activity)
        contract = f"<details><summary>contract</summary><p>{prose(said)}</p></details>" if said else ""
        shown = mono(method).replace(".", ".<wbr>")
        line = source_line(machine.name, activity)
        where = f'<a href="../{escape(line)}">{shown}</a>' if line else shown
        rows.append((mono(activity), where + contract, *map(escape, others)))
    return table(("activity", *HOOK_COLUMNS), rows, heading=1)
