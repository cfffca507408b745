"""Where everything stands in a picture: numbers only, in whole pixels, the origin at the top left."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any, NamedTuple

__all__ = ["Layout", "Point", "Rect", "Route", "meetings"]

Point = tuple[int, int]


class Rect(NamedTuple):
    """A rectangle: its top left corner and its size."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    def overlaps(self, other: Rect) -> bool:
        """Whether the two share more than an edge."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom


class Route(NamedTuple):
    """The way of one arrow, corner by corner, and the place of its label (None without events)."""

    points: tuple[Point, ...]
    label: Rect | None


class Layout(NamedTuple):
    """A whole picture: its size, boxes by state, frames by name, and one route for each arrow of the sketch, in order."""

    width: int
    height: int
    boxes: Mapping[str, Rect]
    frames: Mapping[str, Rect]
    routes: tuple[Route, ...]

    def data(self) -> dict[str, Any]:
        """The layout as plain lists, for JSON."""
        return {
            "size": [self.width, self.height],
            "boxes": {name: list(rect) for name, rect in self.boxes.items()},
            "frames": {name: list(rect) for name, rect in self.frames.items()},
            "routes": [
                {"points": [list(p) for p in points], "label": label and list(label)} for points, label in self.routes
            ],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Layout:
        """What `data` gave. Raises KeyError, TypeError or ValueError for anything else."""
        width, height = data["size"]
        return cls(
            width,
            height,
            {name: Rect(*rect) for name, rect in data["boxes"].items()},
            {name: Rect(*rect) for name, rect in data["frames"].items()},
            tuple(
                Route(tuple((x, y) for x, y in route["points"]), Rect(*route["label"]) if route["label"] else None)
                for route in data["routes"]
            ),
        )


def meetings(places: Layout) -> tuple[list[tuple[int, int]], int]:
    """The pairs of routes that lie on each other for a stretch, by their numbers, and how often routes cross."""
    shared: list[tuple[int, int]] = []
    crossings = 0
    lines = [[(min(a, b), max(a, b), a[1] == b[1]) for a, b in pairwise(route.points)] for route in places.routes]
    for (one, ours), (other, theirs) in combinations(enumerate(lines), 2):
        for (a, b, level), (c, d, flat) in ((mine, his) for mine in ours for his in theirs):
            across, along = (1, 0) if level else (0, 1)
            if level == flat:
                if a[across] == c[across] and min(b[along], d[along]) > max(a[along], c[along]):
                    shared.append((one, other))
            elif c[across] < a[across] < d[across] and a[along] < c[along] < b[along]:
                crossings += 1
    return shared, crossings
