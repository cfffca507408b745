"""Where the parts of a picture are: numbers only, in whole pixels, the origin at the top left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["Layout", "Point", "Rect", "Route"]

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

    def covers(self, other: Rect) -> bool:
        """Whether two rectangles share more than an edge."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom


class Route(NamedTuple):
    """The path of one arrow, corner by corner, and the room that its label has (None without events)."""

    points: tuple[Point, ...]
    label: Rect | None

    @property
    def lines(self) -> Iterator[Rect]:
        """The stretches between the corners, a pixel wide."""
        for (x1, y1), (x2, y2) in zip(self.points, self.points[1:], strict=False):
            yield Rect(min(x1, x2), min(y1, y2), max(abs(x1 - x2), 1), max(abs(y1 - y2), 1))


class Layout(NamedTuple):
    """A whole picture: its size, boxes by state, frames by name, and one route for each arrow of the graph, in order."""

    width: int
    height: int
    boxes: Mapping[str, Rect]
    frames: Mapping[str, Rect]
    routes: tuple[Route, ...]

    def data(self) -> dict[str, Any]:
        """Where the parts are, as plain lists, for JSON."""
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
        """Where the parts are, as the inverse of `data`. Raises KeyError, TypeError or ValueError for anything else."""
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
