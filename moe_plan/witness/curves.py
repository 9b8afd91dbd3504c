"""Values between measured points."""

from __future__ import annotations

from bisect import bisect_left
from math import exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def linear(points: Sequence[tuple[float, float]], size: float) -> float:
    """Value at `size`, linear between points and past the last; before the first, that of the first."""
    if size <= points[0][0]:
        return points[0][1]
    right = _right(points, size)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (y1 - y0) * (size - x0) / (x1 - x0)


def interpolated(points: Sequence[tuple[float, float]], size: float) -> float:
    """Value at `size`, linear on logarithmic axes between points; outside, that of the nearest.

    Where a value is not above 0 the later of the two points holds.
    """
    if size <= points[0][0]:
        return points[0][1]
    if size >= points[-1][0]:
        return points[-1][1]
    right = _right(points, size)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    if y0 <= 0 or y1 <= 0:
        return y1
    share = (log(size) - log(x0)) / (log(x1) - log(x0))
    return exp(log(y0) + share * (log(y1) - log(y0)))


def _right(points: Sequence[tuple[float, float]], size: float) -> int:
    """The later of the two points between which `size` lies, or of the last two."""
    return min(max(bisect_left([point for point, _ in points], size), 1), len(points) - 1)
