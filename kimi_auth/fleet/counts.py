"""What a worker counts, as OpenMetrics 1.0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kimi_auth.store.postgres.due import Queue

__all__ = ["CONTENT_TYPE", "Counts"]

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class Counts:
    """`ends`: walks by the rest state that they reached."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.recovered: int = 0
        self.unreachable: int = 0
        """Times that the database could not be asked for due rows."""
        self.in_flight: int = 0
        self._late: Counter[float] = Counter()
        self._late_sum_s = 0.0
        self.queue: Queue = Queue(0, 0, 0)

    def was_late(self, seconds: float) -> None:
        """Counts a login that was taken so many seconds after it was due."""
        self._late_sum_s += max(0.0, seconds)
        self._late[next((bound for bound in BOUNDS_S if seconds <= bound), float("inf"))] += 1

    def state(self) -> dict[str, object]:
        """The counts for another process: what `add` takes."""
        return {
            "ends": dict(self.ends),
            "recovered": self.recovered,
            "unreachable": self.unreachable,
            "in_flight": self.in_flight,
            "late": dict(self._late),
            "late_sum_s": self._late_sum_s,
            "queue": tuple(self.queue),
        }

    def add(self, state: Mapping[str, Any]) -> None:
        """Adds the counts of another worker of the same table."""
        self.ends.update(state["ends"])
        self.recovered += state["recovered"]
        self.unreachable += state["unreachable"]
        self.in_flight += state["in_flight"]
        self._late.update(state["late"])
        self._late_sum_s += state["late_sum_s"]
        self.queue = Queue(*state["queue"])

    def text(self) -> str:
        """The counts as OpenMetrics. No login has a label of its own: a key may name a person."""
        lines = ["# TYPE kimi_auth_rotations counter", "# HELP kimi_auth_rotations Walks by their end."]
        lines += [f'kimi_auth_rotations_total{{end="{end}"}} {count}' for end, count in sorted(self.ends.items())]
        for name, value, about in (
            ("recoveries", self.recovered, "Rotations whose earlier answer was lost."),
            ("unreachable", self.unreachable, "Times that the database could not be asked."),
        ):
            lines += [f"# TYPE kimi_auth_{name} counter", f"# HELP kimi_auth_{name} {about}"]
            lines.append(f"kimi_auth_{name}_total {value}")
        for name, number, about in (
            ("in_flight", self.in_flight, "Rotations under way in this worker."),
            ("logins", self.queue.kept, "Logins that are kept."),
            ("overdue", self.queue.overdue, "Logins that are overdue by more than a second."),
            ("held", self.queue.held, "Due logins that a worker has taken."),
        ):
            lines += [
                f"# TYPE kimi_auth_{name} gauge",
                f"# HELP kimi_auth_{name} {about}",
                f"kimi_auth_{name} {number}",
            ]
        lines += ["# TYPE kimi_auth_late_seconds histogram", "# HELP kimi_auth_late_seconds From due to taken."]
        total = 0
        for bound in (*BOUNDS_S, float("inf")):
            total += self._late[bound]
            label = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'kimi_auth_late_seconds_bucket{{le="{label}"}} {total}')
        lines += [f"kimi_auth_late_seconds_sum {self._late_sum_s:.3f}", f"kimi_auth_late_seconds_count {total}"]
        return "\n".join([*lines, "# EOF", ""])
