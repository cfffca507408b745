"""Events, forbidden events, and how long a refused request counts as excused."""

from __future__ import annotations

import random
from collections import Counter, deque

from life.year.laptop import EPOCH_S, Laptop

__all__ = ["Book"]

VIOLATIONS_MAX = 5
"""More of them say nothing new: the life ends."""

STORY_LINES = 15


class Book:
    """The book of one life. Everything random is drawn from its `seed`, by a name for each purpose, so that two lives of
    one seed have the same nights, bursts and requests, whatever else happens in them."""

    def __init__(self, seed: int, laptop: Laptop) -> None:
        self.seed = seed
        self.happened: Counter[str] = Counter()
        self.violations: list[str] = []
        self._laptop = laptop
        self._story: deque[str] = deque(maxlen=STORY_LINES)
        self._excused_until_s = 0.0
        self._kept_excused_until_s = 0.0

    def dice(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def count(self, what: str, words: str = "") -> None:
        self.happened[what] += 1
        self.note(words or what)

    def note(self, words: str) -> None:
        day, rest_s = divmod(self._laptop.true_s - EPOCH_S, 86_400)
        self._story.append(f"day {day:.0f} {rest_s / 3600:05.2f} h: {words}")

    def violate(self, words: str) -> None:
        self.note(f"NOT SO: {words}")
        if not self.is_full:
            self.violations.append("\n  ".join([f"seed {self.seed}: {words}; what led to it:", *self._story]))

    @property
    def is_full(self) -> bool:
        return len(self.violations) >= VIOLATIONS_MAX

    def excuse(self, seconds: float, *, kept_s: float = 0.0) -> None:
        """For so many seconds from now a refused request is right, and for `kept_s` more a kept client's old token."""
        now_s = self._laptop.true_s
        self._excused_until_s = max(self._excused_until_s, now_s + seconds)
        self._kept_excused_until_s = max(self._kept_excused_until_s, now_s + seconds + kept_s)

    @property
    def is_excused(self) -> bool:
        return self._laptop.true_s < self._excused_until_s

    @property
    def is_kept_excused(self) -> bool:
        return self._laptop.true_s < self._kept_excused_until_s
