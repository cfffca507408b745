"""Where the parts of a picture are: numbers only, in whole pixels, the origin at the top left."""

from __future__ import annotations

from collections.abc import Mapping
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


class Route(NamedTuple):
    """The path of one arrow, corner by corner, and the room that its label has (None without events)."""

    points: tuple[Point, ...]
    label: Rect | None


class Layout(NamedTuple):
    """A whole picture: its size, boxes by state, frames by name, and one route for each arrow of the graph, in order."""

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
        """The inverse of `data`. Raises KeyError, TypeError or ValueError for anything else."""
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
