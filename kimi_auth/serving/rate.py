"""How often a grant may ask: a bucket for each, in memory."""

from __future__ import annotations

from .records import Grant

__all__ = ["Rates"]


class Rates:
    """One bucket for each grant: it holds `per_minute` requests and is refilled evenly."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, grant: Grant, now_s: float) -> float:
        """Takes one request out of the bucket: 0.0 if it may be served, else how long to wait, in seconds."""
        size = float(grant.per_minute)
        left, since_s = self._buckets.get(grant.id, (size, now_s))
        left = min(size, left + (now_s - since_s) * size / 60.0)
        if left < 1.0:
            self._buckets[grant.id] = (left, now_s)
            return (1.0 - left) * 60.0 / size
        self._buckets[grant.id] = (left - 1.0, now_s)
        return 0.0

    def forget(self, grant_id: str) -> None:
        """The grant has ended."""
        self._buckets.pop(grant_id, None)
