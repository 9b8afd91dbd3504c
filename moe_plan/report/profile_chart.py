"""A profile as pictures of plain characters: time per token by batch, and the load of the experts."""

from __future__ import annotations

from math import ceil, floor, log10
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.plan.profiling import TWINS
from moe_plan.report import numbers
from moe_plan.report.table import Chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moe_plan.plan.profiling import Load, Point, Profile, Twin

PIPE_WIDTH = 80
WIDEST = 160
NARROWEST_PLOT = 20
MARKS: dict[Twin, str] = {"sparse": "s", "active": "a", "total": "t"}
BINS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Bounds of the histogram: rows of an expert over the mean of all experts."""
BIN_NAMES = ("none", "to 1/2", "to 1", "to 2", "to 4", "above")
_STEPS = (1, 2, 5)
_GAP = 2


class Axis(NamedTuple):
    """A logarithmic axis of `columns` characters."""

    least: float
    most: float
    columns: int

    def place(self, value: float) -> int:
        """The column of `value`, from 0."""
        span = log10(self.most / self.least)
        return round(log10(value / self.least) / span * (self.columns - 1)) if span else 0

    def ticks(self) -> dict[int, str]:
        """Labels by column, at 1, 2 and 5 of each decade where they have room, powers of ten first."""
        decades = range(floor(log10(self.least)), ceil(log10(self.most)) + 1)
        found: dict[int, str] = {}
        for step in _STEPS:
            for value in (step * 10.0**decade for decade in decades):
                if self.least <= value <= self.most:
                    self._add(found, self.place(value), _short_seconds(value))
        return dict(sorted(found.items()))

    def _add(self, found: dict[int, str], column: int, label: str) -> None:
        end = column + len(label) + _GAP
        is_free = all(end <= other or other + len(text) + _GAP <= column for other, text in found.items())
        if is_free and column + len(label) <= self.columns:
            found[column] = label


def charts(profile: Profile, width: int | None) -> tuple[Chart, ...]:
    """Both, at most `width` characters wide where the width allows any picture at all."""
    room = min(width or PIPE_WIDTH, WIDEST)
    return time_chart(profile, room), load_chart(profile.points[-1], room)


def time_chart(profile: Profile, room: int) -> Chart:
    """A row a batch, a mark a layer, further right is slower; at the end what binds the sparse layer."""
    points = profile.points
    labels = [numbers.exact(point.tokens) for point in points]
    margin = max(len("tokens"), *map(len, labels))
    bounds = [profile.ceiling.bound(point.sparse) for point in points]
    columns = max(NARROWEST_PLOT, room - margin - 2 * _GAP - len("compute"))
    times = [_per_token(point, twin) for point in points for twin in TWINS]
    axis = Axis(min(times), max(times), columns)
    ticks = axis.ticks()
    head = f"{'tokens':>{margin}}{' ' * _GAP}{_labelled(ticks)}"
    rows = [
        f"{label:>{margin}}{' ' * _GAP}{_row(point, axis, ticks):<{columns}}{' ' * _GAP}{bound}"
        for label, point, bound in zip(labels, points, bounds, strict=True)
    ]
    title = (
        "time per token, logarithmic: s sparse, a dense of equal active, t dense of equal total size, "
        "* several; last: what binds the sparse layer"
    )
    return Chart(title, (head, *rows))


def _per_token(point: Point, twin: Twin) -> float:
    return point.step(twin).seconds.middle / point.tokens


def _labelled(ticks: dict[int, str]) -> str:
    line = ""
    for column, label in ticks.items():
        line = line.ljust(column) + label
    return line


def _row(point: Point, axis: Axis, ticks: Iterable[int]) -> str:
    cells = [" "] * axis.columns
    for column in ticks:
        cells[column] = "."
    taken: set[int] = set()
    for twin in TWINS:
        column = axis.place(_per_token(point, twin))
        cells[column] = "*" if column in taken else MARKS[twin]
        taken.add(column)
    return "".join(cells)


def load_chart(point: Point, room: int) -> Chart:
    """A bar a bin: how many experts have so many times the mean of rows, mean over repeats."""
    shares = histogram(point.load)
    experts = sum(shares)
    margin = max(map(len, BIN_NAMES))
    figures = [f"{share:.1f}" for share in shares]
    columns = max(NARROWEST_PLOT, room - margin - 2 * _GAP - max(map(len, figures)))
    most = max(shares)
    lines = [
        f"{name:>{margin}}{' ' * _GAP}{_bar(share / most, columns)}{' ' * _GAP if share else ''}{figure}"
        for name, share, figure in zip(BIN_NAMES, shares, figures, strict=True)
    ]
    title = (
        f"load at {numbers.exact(point.tokens)} tokens: how many of {numbers.exact(round(experts))} experts "
        "have no row, up to 1/2, 1, 2, 4 times the mean of rows, or more"
    )
    return Chart(title, tuple(lines))


def _bar(share: float, columns: int) -> str:
    return "#" * max(1, round(share * columns)) if share else ""


def histogram(load: Load) -> list[float]:
    """Experts in each bin, mean over repeats: idle, up to each bound, above the last."""
    each = [_binned(rows) for rows in load.rows]
    return [fmean(of) for of in zip(*each, strict=True)]


def _binned(rows: Sequence[int]) -> list[int]:
    mean = sum(rows) / len(rows)
    counts = [0] * len(BIN_NAMES)
    for count in rows:
        ratio = count / mean if mean else 0.0
        counts[next((index for index, bound in enumerate(BINS) if ratio <= bound), len(BINS))] += 1
    return counts


def _short_seconds(value: float) -> str:
    """`1 us`, `50 ms`: numbers with one figure."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        # 0.001 times 1e3 may be a hair below 1.
        if value * factor >= 1 - 1e-9:
            return f"{value * factor:.0f} {unit}"
    return f"{value * 1e9:.0f} ns"
