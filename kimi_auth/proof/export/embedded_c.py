"""The embedded C of the Promela file: what the hooks do, as nested tests, and what the machines say, as switches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kimi_auth.machine import ACQUIRED
from kimi_auth.proof.rules import RULES
from kimi_auth.proof.state import (
    ABSENT,
    CLOSED,
    CORRUPT,
    EMPTY,
    FOREIGN,
    GONE,
    NO_CLAIM,
    NOTHING,
    STALE,
)

from .model import Exported, Move, Position
from .relation import IMPOSSIBLE, Branch, Change, Flag, Leaf, Node, Value, Var

__all__ = ["STORY", "Embedded", "Lines", "rule_number"]

Lines = Iterator[str]

PART_MAX = 60
"""Lines of one piece of a relation."""

STORY = "@"
"""Begins each line that a replay of a counterexample prints."""

NUMBERED = ("record", "bearer", "pair", "staged")
NAMES = {EMPTY: "EMPTY", ABSENT: "ABSENT", CORRUPT: "CORRUPT", NOTHING: "NOTHING", STALE: "STALE", FOREIGN: "FOREIGN"}
OWNERS = {NO_CLAIM: "UNCLAIMED", GONE: "GONE", CLOSED: "CLOSED"}


def rule_number(rule: str) -> int:
    """The number by which the C model knows a rule: spin is asked for one with `-DWANTED=number`."""
    return [*RULES, IMPOSSIBLE].index(rule) + 1


class Embedded:
    """The functions and tables of one model, as C. `positions`: the number of each; `outcomes`: of each, as they are met."""

    def __init__(self, model: Exported) -> None:
        self.model = model
        self.outcomes: dict[str, int] = {}
        self.met: dict[Value, int] = {met: number for number, met in enumerate(model.domains.values["pair", "met"])}
        self.processes: int = model.config.processes
        self.pairs: int = model.domains.pairs
        self.logins: int = model.domains.logins
        self.positions: dict[str, int] = {
            position.name: number for number, position in enumerate((*model.roots, *model.children), 1)
        }

    def var(self, var: Var) -> str:
        if var.owner == "world":
            return "now.disk_full" if var.name == "full" else f"now.{var.name}"
        if var.owner == "pair":
            return f"now.pair[{var.number}].{var.name}"
        if var.owner == "login":
            return f"now.login[{var.number}].login"
        return f"now.p[me].{var.name}"

    def value(self, var: Var, value: Value) -> str:
        if isinstance(value, tuple):
            return str(self.met[value])
        if isinstance(value, str):
            return f"w_{value or 'none'}"
        if var.name == "owner":
            return OWNERS.get(value, str(value))
        if var.name in NUMBERED:
            return NAMES.get(value, str(value))
        return str(value)

    # --- relations ----------------------------------------------------------------------------------------------------

    def functions(self) -> Iterator[list[str]]:
        """A C function for each relation. With `c` below 0 it counts the moves; else it makes move `c` and returns what
        comes next."""
        yield ["static int broke;", "static const char *rule_wanted, *story_told;"]
        yield [
            "static void breaks(int rule) {",
            "  if (!rule_wanted || atoi(rule_wanted) == rule) broke = rule;",
            f'  if (story_told) printf("{STORY}breaks %d\\n", rule);',
            "}",
            f'static void says(int me, const char *text) {{ if (story_told) printf("{STORY}say %d %s\\n", me, text); }}',
        ]
        for relation in self.model.relations():
            yield from self._function(relation.name, relation.node)

    def _function(self, name: str, node: Node) -> Iterator[list[str]]:
        """The C function of a tree, after those of its large parts: spin takes no more than 64 KiB in one piece."""
        parts: dict[int, list[str]] = {}
        apart: list[list[str]] = []

        def written(node: Node) -> list[str]:
            lines = parts.get(id(node))
            if lines is None:
                lines = list(self._leaf(node.result)) if isinstance(node, Leaf) else branched(node)
                if len(lines) > PART_MAX:
                    part = f"{name}_{len(apart)}"
                    apart.append([f"static int {part}(int me, int c) {{", *lines, "}"])
                    lines = [f"return {part}(me, c);"]
                parts[id(node)] = lines
            return lines

        def branched(branch: Branch) -> list[str]:
            groups: dict[int, tuple[list[Value], Node]] = {}
            for value, child in branch.children:
                groups.setdefault(id(child), ([], child))[0].append(value)
            *others, last = sorted(groups.values(), key=lambda group: len(group[0]))
            lines = []
            for values, child in others:
                lines.append(f"if ({' || '.join(self._test(branch.on, value) for value in values)}) {{")
                lines += [" " + line for line in written(child)]
                lines.append("}")
            return lines + written(last[1])

        lines = written(node)
        yield from apart
        yield [f"static int {name}(int me, int c) {{", *lines, "}"]

    def _test(self, on: Var | Flag, value: Value) -> str:
        if isinstance(on, Flag):
            return f"{'!' * (not value)}({self.var(on.var)} & {1 << on.bit})"
        return f"{self.var(on)} == {self.value(on, value)}"

    def _leaf(self, result: object) -> Lines:
        if result == IMPOSSIBLE:
            yield f"if (c >= 0) breaks({rule_number(IMPOSSIBLE)}); return 1;"
        elif isinstance(result, bool):
            yield f"return {int(result)};"
        else:
            moves: tuple[Move, ...] = result  # type: ignore[assignment]
            yield f"if (c < 0) return {len(moves)};"
            for number, move in enumerate(moves):
                out = "CONTINUES" if not move.outcome else self._outcome(move.outcome)
                text = f"{move.outcome or '...'}{f' ({move.note})' if move.note else ''}"
                parts = [f'says(me, "{text}")', *self._changed(move.change)]
                parts += [f"breaks({rule_number(rule)})" for rule in move.broken]
                yield f"if (c == {number}) {{ {'; '.join(parts)}; return {out}; }}"
            yield "return STAYS;"

    def _changed(self, change: Change) -> Lines:
        for var, source in change.copies:
            yield f"{self.var(var)} = {self.var(source)}"
        for var, value in change.constants:
            if var.name == "location":
                yield "now.p[me].at = 0; now.p[me].sub = 0"
            else:
                yield f"{self.var(var)} = {self.value(var, value)}"
        for var, clear, put in change.bits:
            yield f"{self.var(var)} = {self.var(var)} & {~clear & 0x3FFF} | {put}"

    def _outcome(self, name: str) -> str:
        self.outcomes.setdefault(name, len(self.outcomes) + 2)
        return f"o_{name}"

    # --- tables -------------------------------------------------------------------------------------------------------

    def tables(self) -> Iterator[list[str]]:
        """What `walks.c` asks of the machines: switches over positions."""
        model = self.model
        positions = (*model.roots, *model.children)
        resting = [position for position in positions if not position.activity]
        roots = [position for position in model.roots if position.machine == "token_lifecycle"]
        self._outcome(ACQUIRED)
        yield self._switch(
            "const char *name_of(int position)", ((p, f'return "{p.machine}.{p.state}"') for p in positions), '""'
        )
        yield self._switch(
            "int perform(int position, int me, int c)",
            ((p, f"return h_{p.activity}(me, c)") for p in positions if p.activity in model.hooks),
            "c < 0 ? 1 : (breaks(RULE_CRASH), STAYS)",
        )
        yield self._switch(
            "int cancel(int position, int me, int c)",
            ((p, f"return c_{p.activity}(me, c)") for p in positions if p.activity),
            "0",
        )
        yield self._switch("int rests(int position)", ((p, "return 1") for p in resting), "0")
        yield self._switch("int is_root(int position)", ((p, "return 1") for p in roots if not p.activity), "0")
        for name, activities in (
            ("is_guarded", model.guarded),
            ("is_at_once", model.at_once),
            ("is_taking", model.taken_at_once),
            ("waits", model.waiting),
            ("is_stage", frozenset({"stage"})),
        ):
            yield self._switch(
                f"int {name}(int position)", ((p, "return 1") for p in positions if p.activity in activities), "0"
            )
        yield self._switch("int first_of(int position)", ((p, f"return {p.child}") for p in positions if p.child), "0")
        yield self._switch(
            "int holds_true(int position, int me)",
            ((p, f"return p_{p.name}(me, 0)") for p in resting if (p.machine, p.state) in model.lies),
            "1",
        )
        duties = list(model.owed)
        yield self._switch(
            "void duties(int position, int me)",
            (
                (
                    p,
                    " ".join(
                        f"if (d_{number}(me, 0)) breaks({rule_number(rule)});"
                        for number, (state, rule) in enumerate(duties)
                        if state == p.state
                    )
                    + " return",
                )
                for p in roots
                if not p.activity
            ),
            "",
        )
        yield self._switch(
            "int begin(int position, int event, int me, int c)",
            (
                (
                    p,
                    " ".join(
                        f"if (event == {number}) return b_{p.state}_{event}(me, c);"
                        for number, event in enumerate(p.on)
                    )
                    + " return 0",
                )
                for p in roots
                if not p.activity
            ),
            "0",
        )
        yield self._switch(
            "int after(int position, int out)",
            (
                (
                    p,
                    "switch (out) { "
                    + " ".join(
                        f"case {self._outcome(event)}: return {p.machine}_{target};" for event, target in p.on.items()
                    )
                    + " default: return 0; }",
                )
                for p in positions
            ),
            "0",
        )
        yield self._switch(
            "int rest_as_outcome(int position)",
            ((p, f"return {self._outcome(p.state)}") for p in model.children if not p.activity),
            "0",
        )
        inspecting = next(position for position in roots if position.activity == "inspect")
        yield [f"static int inspected(int out) {{ return after({inspecting.name}, out); }}"]
        yield [f"static const int storing = {model.storing or 0};"]
        calls = "".join(f"case {number}: return e_{number}(0, c); " for number in range(len(model.around)))
        yield [f"static int around(int number, int c) {{ switch (number) {{ {calls}default: return 0; }} }}"]

    def _switch(self, head: str, rows: Iterable[tuple[Position, str]], otherwise: str) -> list[str]:
        cases = [f"  case {position.name}: {code};" for position, code in rows]
        return [f"static {head} {{", "  switch (position) {", *cases, f"  default: return {otherwise};", "  }", "}"]
