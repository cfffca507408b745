"""More states and arrows in a picture whose geometry is known: nothing that stands moves, so a reviewer finds it again.

New boxes stand in a column at the right. A new arrow takes the cheapest way between the lines along everything that
stands, where a bend and a stretch beside another arrow cost extra; its label stands on its own line, where there is room.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from .geometry import Layout, Point, Rect, Route
from .sketch import Arrow, Box, Sketch

__all__ = ["extended"]

CLEAR = 8
"""How far from boxes and labels a new line keeps, in pixels."""

GUTTER = 56
BEND, BESIDE = 40, 8
STEP = 10


def extended(drawn: Sketch, places: Layout, boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> Layout | None:
    """`places` of `drawn` with more `boxes`, and with routes for `arrows` behind those that are there; None without room."""
    column = max((box.width for box in boxes.values()), default=0)
    width = places.width + (column + GUTTER if boxes else 0) + (GUTTER if arrows else 0)
    stand, y = dict(places.boxes), GUTTER
    for name, box in boxes.items():
        stand[name] = Rect(places.width + GUTTER // 2, y, box.width, box.height)
        y = stand[name].bottom + GUTTER
    height = max(places.height + (GUTTER if arrows else 0), y)
    routes = list(places.routes)
    picture = Rect(0, 0, width, height)
    for arrow in arrows:
        route = _route(picture, stand, routes, arrow)
        if route is None:
            return None
        routes.append(route)
    return Layout(width, height, stand, places.frames, tuple(routes))


def _route(picture: Rect, stand: Mapping[str, Rect], routes: Sequence[Route], arrow: Arrow) -> Route | None:
    """The shortest way if its label has room there, else the one over the nearest place that has."""
    room, source, target = _Room(picture, stand, routes), stand[arrow.source], stand[arrow.target]
    points = room.way(source, target)
    if label := room.along(points, *arrow.label_size):
        return Route(points, label)
    if (spot := room.nearest(source, target, *arrow.label_size)) is None:
        return None
    there = _Room(picture, stand, [*routes, Route((), spot)]).way(source, spot)
    back = _Room(picture, stand, [*routes, Route(there, spot)]).way(spot, target)
    return Route(_straight((*there, *_within(spot, there[-1], back[0]), *back)), spot) if there and back else None


def _within(label: Rect, entry: Point, leave: Point) -> tuple[Point, ...]:
    """The corners below a label, from where its line comes in to where it goes out."""
    x, y = label.x + label.width // 2, label.y + label.height // 2
    match entry[0] in (label.x, label.right), leave[0] in (label.x, label.right):
        case True, True:
            return (x, entry[1]), (x, leave[1])
        case True, False:
            return ((leave[0], entry[1]),)
        case False, True:
            return ((entry[0], leave[1]),)
        case _:
            return (entry[0], y), (leave[0], y)


def _straight(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points without those in the middle of a straight line."""
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and (kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]):
            kept.pop()
        kept.append(point)
    return tuple(kept)


_Heading = tuple[Point, bool]
"""A crossing, and whether it was reached on the level."""


class _Segment(NamedTuple):
    """A straight stretch: it lies at `at` on one axis, from `low` to `high` on the other."""

    at: int
    low: int
    high: int


class _Room:
    """What is taken in a picture, and the ways that are left."""

    def __init__(self, picture: Rect, boxes: Mapping[str, Rect], routes: Sequence[Route]) -> None:
        self._picture = picture
        self._taken = [*boxes.values(), *(route.label for route in routes if route.label)]
        lines = [line for route in routes for line in pairwise(route.points)]
        self._level = [_Segment(a[1], *sorted((a[0], b[0]))) for a, b in lines if a[1] == b[1]]
        self._upright = [_Segment(a[0], *sorted((a[1], b[1]))) for a, b in lines if a[0] == b[0]]
        self._near: dict[tuple[bool, int], list[_Segment]] = {}

    def way(self, source: Rect, target: Rect) -> tuple[Point, ...]:
        """Corner by corner from one box to another, () if there is none."""
        starts, ends = dict(_ports(source)), dict(_ports(target))
        around = [self._picture, *self._taken]
        xs = sorted({x for x, _ in (*starts, *ends)} | {x for r in around for x in _sides(r.x, r.right)})
        ys = sorted({y for _, y in (*starts, *ends)} | {y for r in around for y in _sides(r.y, r.bottom)})
        xs = [x for x in xs if self._picture.x < x < self._picture.right]
        ys = [y for y in ys if self._picture.y < y < self._picture.bottom]
        shut = self._shut(xs, ys)
        queue: list[tuple[int, Point, bool, Point | None, bool]] = []
        for start, port in starts.items():
            if start[0] in xs and start[1] in ys and start not in shut:
                heapq.heappush(queue, (0, start, start[1] == port[1], None, False))
        came: dict[_Heading, _Heading | None] = {}
        while queue:
            cost, at, is_level, before, was_level = heapq.heappop(queue)
            if (at, is_level) in came:
                continue
            came[at, is_level] = (before, was_level) if before else None
            if at in ends and is_level == (ends[at][1] == at[1]):
                return self._corners(came, (at, is_level), starts, ends[at])
            for to in _neighbours(at, xs, ys):
                level = to[1] == at[1]
                if to not in shut and (to, level) not in came:
                    step = self._cost(at, to, level=level) + (0 if level == is_level else BEND)
                    heapq.heappush(queue, (cost + step, to, level, at, is_level))
        return ()

    def nearest(self, source: Rect, target: Rect, width: int, height: int) -> Rect | None:
        """The place nearest to both boxes where a label has room."""
        ends = [(box.x + box.width // 2, box.y + box.height // 2) for box in (source, target)]
        spots = [
            Rect(x - width // 2, y - height // 2, width, height)
            for x in range(0, self._picture.right, 2 * STEP)
            for y in range(0, self._picture.bottom, 2 * STEP)
        ]

        def far(spot: Rect) -> int:
            return sum(abs(spot.x + width // 2 - x) + abs(spot.y + height // 2 - y) for x, y in ends)

        return next((spot for spot in sorted(spots, key=far) if self._is_free(spot, CLEAR + 2)), None)

    def along(self, points: Sequence[Point], width: int, height: int) -> Rect | None:
        """Where a label has room on the line: on its longest stretch first, near the middle first."""
        for a, b in sorted(
            pairwise(points), key=lambda line: -abs(line[0][0] - line[1][0]) - abs(line[0][1] - line[1][1])
        ):
            length = abs(a[0] - b[0]) + abs(a[1] - b[1])
            for off in sorted(range(0, length + 1, STEP), key=lambda off: abs(off - length // 2)):
                x, y = (a[i] + (b[i] - a[i]) * off // (length or 1) for i in (0, 1))
                spot = Rect(x - width // 2, y - height // 2, width, height)
                if self._is_free(spot, 0):
                    return spot
        return None

    def _is_free(self, spot: Rect, clear: int) -> bool:
        picture = self._picture
        spot = Rect(spot.x - clear, spot.y - clear, spot.width + 2 * clear, spot.height + 2 * clear)
        if spot.x < 4 or spot.y < 4 or spot.right > picture.right - 4 or spot.bottom > picture.bottom - 4:
            return False
        return not any(spot.overlaps(rect) for rect in self._taken) and not any(
            spot.overlaps(line)
            for line in (
                *(Rect(line.low, line.at, line.high - line.low, 1) for line in self._level),
                *(Rect(line.at, line.low, 1, line.high - line.low) for line in self._upright),
            )
        )

    def _shut(self, xs: list[int], ys: list[int]) -> set[Point]:
        """The crossings that lie in or too near to what is taken."""
        return {
            (x, y)
            for rect in self._taken
            for x in xs[bisect_right(xs, rect.x - CLEAR) : bisect_left(xs, rect.right + CLEAR)]
            for y in ys[bisect_right(ys, rect.y - CLEAR) : bisect_left(ys, rect.bottom + CLEAR)]
        }

    def _cost(self, at: Point, to: Point, *, level: bool) -> int:
        """The length of a step; beside another line it counts many times, for one must be able to tell the two apart."""
        across, along = (1, 0) if level else (0, 1)
        low, high = sorted((at[along], to[along]))
        lines = self._near.get((level, at[across]))
        if lines is None:
            every = self._level if level else self._upright
            lines = self._near[level, at[across]] = [line for line in every if abs(line.at - at[across]) < CLEAR]
        near = any(line.low < high and low < line.high for line in lines)
        return (high - low) * (BESIDE if near else 1)

    @staticmethod
    def _corners(
        came: Mapping[_Heading, _Heading | None], here: _Heading | None, starts: Mapping[Point, Point], end: Point
    ) -> tuple[Point, ...]:
        """The way back, as the corners from port to port."""
        points = [end]
        while here:
            points.append(here[0])
            here = came[here]
        return _straight([starts[points[-1]], *reversed(points)])


def _ports(box: Rect) -> Iterator[tuple[Point, Point]]:
    """Where an arrow may touch a box, by the crossing just outside of it."""
    for part in (1, 3):
        x, y = box.x + box.width * part // 4, box.y + box.height * part // 4
        yield (box.right + CLEAR, y), (box.right, y)
        yield (box.x - CLEAR, y), (box.x, y)
        yield (x, box.y - CLEAR), (x, box.y)
        yield (x, box.bottom + CLEAR), (x, box.bottom)


def _sides(low: int, high: int) -> tuple[int, ...]:
    return low - CLEAR, low + CLEAR, high - CLEAR, high + CLEAR


def _neighbours(at: Point, xs: list[int], ys: list[int]) -> Iterator[Point]:
    x, y = bisect_left(xs, at[0]), bisect_left(ys, at[1])
    for column in (x - 1, x + 1):
        if 0 <= column < len(xs):
            yield xs[column], at[1]
    for row in (y - 1, y + 1):
        if 0 <= row < len(ys):
            yield at[0], ys[row]
