"""The files beside the pages that the pages show: hooks as people describe them, and figures that were measured.

    hooks.toml               by machine and activity: the method, its time limit, the files it may touch, ...
    answers.json             tables for reviewers: title -> {"columns": [...], "rows": [[...], ...]}
    walks.json               the walks to play: the checker's world of one process, its stories, the scenarios, and the
                             disk that a death leaves in each state (`kimi_auth.proof.walks`)
    measured/coverage.json   by machine: its digest, and by `state.outcome` how often which test walked it
    measured/checker.json    the model checker's figures: worlds with their sizes and the edges that no world before
                             walked, the invariants, and the one that breaks when a part of the protocol is left out
    measured/spin.json       spin's verdicts on the exported model beside ours, by world and by ablation
    measured/checkers.json   TLC's in the same form, and what Quint simulated
    measured/faults.json     the effect of each fault: {"faults": [{"at", "fault", "ends", "shown": [...], "walk"}, ...]};
                             `walk` is its address in the player
    measured/revision.json   the revision that was proved: its commit, the date of that, and whether files were edited since
    measured/mutation.json   how many edited machines were caught and by which check, for each edge by what, and why the
                             others survive

All are optional: a page shows "not measured" instead. Figures name the digest of the machines that they were measured on;
for other machines they count as not measured, so a page never shows a figure of another revision.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kimi_auth.machine.spec import Edge, Machine, digest

__all__ = ["HOOK_COLUMNS", "NO_PAGE_DATA", "PageData", "read_page_data"]

HOOK_COLUMNS = ("implemented by", "time limit", "may touch", "run twice", "specified in")
"""The keys of a hook in `hooks.toml`, as they head the columns of its table."""

_Json = Mapping[str, Any]


def _empty() -> _Json:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PageData:
    """The files as they were read; an empty mapping for a file that is missing."""

    hooks: _Json = field(default_factory=_empty)
    answers: _Json = field(default_factory=_empty)
    coverage: _Json = field(default_factory=_empty)
    checker: _Json = field(default_factory=_empty)
    mutation: _Json = field(default_factory=_empty)
    faults: _Json = field(default_factory=_empty)
    walks: _Json = field(default_factory=_empty)
    revision: _Json = field(default_factory=_empty)
    spin: _Json = field(default_factory=_empty)
    others: _Json = field(default_factory=_empty)

    def hook_rows(self, machine: Machine) -> list[tuple[str, ...]]:
        """The activities of `machine` from the file beside the pages, each as its name and its hook's values by
        `HOOK_COLUMNS`. Empty if no hook is described."""
        described = self.hooks.get(machine.name, {})
        activities = dict.fromkeys(state.activity for state in machine.states.values() if state.activity)
        return [
            (activity, *(str(described.get(activity, {}).get(column, "")) for column in HOOK_COLUMNS))
            for activity in activities
            if described
        ]

    def tests(self, machine: Machine) -> Mapping[Edge, Mapping[str, int]] | None:
        """How often each test walked an edge, from the file beside the pages; None if not measured on this machine."""
        measured = self.coverage.get(machine.name)
        if not measured or measured["digest"] != digest(machine):
            return None
        return {
            Edge(machine.name, name, event, target): measured["edges"].get(f"{name}.{event}", {})
            for name, state in machine.states.items()
            for event, target in state.on.items()
        }

    def checked(self, machines: Mapping[str, Machine]) -> _Json | None:
        """The checker's figures from the file beside the pages, if they are about exactly these machines."""
        return self.checker if self.checker.get("machines") == digest(machines) else None

    def compared(self, machines: Mapping[str, Machine]) -> _Json:
        """Other checkers' verdicts from the file beside the pages, if about exactly these machines; else empty."""
        current = [each for each in (self.spin, self.others) if each.get("machines") == digest(machines)]
        tables = ("worlds", "ablations", "simulated")
        merged: dict[str, Any] = {name: [row for each in current for row in each.get(name, ())] for name in tables}
        return merged | {"not_compared": self.spin.get("not_compared", {})} if current else {}

    def mutated(self, machines: Mapping[str, Machine]) -> _Json | None:
        """The figures of the mutations from the file beside the pages, if they are about exactly these machines."""
        return self.mutation if self.mutation.get("machines") == digest(machines) else None

    def proved(self, machines: Mapping[str, Machine]) -> _Json:
        """The proved revision from the file beside the pages, if recorded and with exactly these machines; else empty."""
        return self.revision if self.revision.get("machines") == digest(machines) and "commit" in self.revision else {}

    def played(self, machines: Mapping[str, Machine]) -> _Json | None:
        """The walks to play from the file beside the pages, if they are about exactly these machines."""
        return self.walks if self.walks.get("machines") == digest(machines) else None


NO_PAGE_DATA = PageData()


def read_page_data(folder: Path) -> PageData:
    """Reads the files beside the pages in `folder`. Raises ValueError, with the file's name, for one that cannot be read."""
    measured = {
        name: _read(folder / "measured" / f"{name}.json", json.loads)
        for name in ("coverage", "checker", "mutation", "faults", "revision", "spin")
    }
    return PageData(
        hooks=_read(folder / "hooks.toml", tomllib.loads),
        answers=_read(folder / "answers.json", json.loads),
        walks=_read(folder / "walks.json", json.loads),
        others=_read(folder / "measured" / "checkers.json", json.loads),
        **measured,
    )


def _read(file: Path, parse: Any) -> _Json:
    if not file.is_file():
        return _empty()
    try:
        found: _Json = parse(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}); make it again or remove it") from error
    return found
