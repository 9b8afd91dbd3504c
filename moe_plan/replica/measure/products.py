"""Seconds of matrix products, by what they depend on.

A product of few rows costs what its right-hand side costs to fetch and to rearrange: more from farther
away, and more where its contiguous runs are short. Beyond `FEW` rows each row adds the same, save that rows
are taken `FEW` at a time and those left over go through slower code.

Legend: M rows, [K, N] right-hand side, which lies in memory as it is or transposed.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.measure.clock import now

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.measure.fixed import Table

FEW = 4
REACHES = (1 << 20, 8 << 20, 32 << 20, 96 << 20)
"""Bytes that are cycled through: from what a core's own cache holds to what none does."""
RUNS = (64, 192, 384, 768, 1536, 4096)
"""Elements of the right-hand side that lie next to each other."""
ELEMENTS = 1 << 18
"""Elements of a right-hand side."""
MANY = (8, 16, 32, 64, 256)
LEFT_OVER = (5, 6, 7)
SQUARE = 512
FEWEST = 5
SHORTEST_S = 0.0025
"""Seconds that each measurement takes at least."""


class Products(NamedTuple):
    """Seconds for each element of the right-hand side."""

    few: tuple[tuple[tuple[Table, ...], ...], ...]
    """For each of REACHES, for [K, N] and for transposed, for 1 to FEW rows: by contiguous run."""
    rise: Table
    """What more rows than FEW add, by rows that are a multiple of it."""
    left_over: tuple[float, ...]
    """What 1, 2, 3 rows beyond a multiple of FEW add."""


class Memory:
    """A block of memory, from which pieces are cut one after the other."""

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat
        self._position = 0

    def piece(self, count: int, reach_bytes: int) -> Tensor:
        """The next `count` elements of the first `reach_bytes`: met again after all of those were."""
        within = min(max(reach_bytes // self.flat.element_size(), count), self.flat.numel())
        start = self._position if self._position + count <= within else 0
        self._position = start + count
        return self.flat[start : start + count]


class Case(NamedTuple):
    """A product to be measured."""

    rows: int
    inner: int
    columns: int
    transposed: bool = False
    reach_bytes: int = 0
    """That the right-hand sides together take; 0 for one that is multiplied again and again."""


def products(flat: Tensor) -> Products:
    """Measure them on right-hand sides cut from `flat`, one dimension, larger than the last cache."""
    memory = Memory(flat)
    call = seconds(memory, Case(1, 8, 8))

    def per_element(case: Case) -> float:
        return max(seconds(memory, case) - call, 0.0) / (case.inner * case.columns)

    def few(rows: int, transposed: bool, reach: int) -> Table:  # noqa: FBT001  as Case has it
        runs = ((run, ELEMENTS // run) for run in RUNS)
        cases = [
            Case(rows, run, other, transposed=True, reach_bytes=reach)
            if transposed
            else Case(rows, other, run, reach_bytes=reach)
            for run, other in runs
        ]
        return tuple((float(run), per_element(case)) for run, case in zip(RUNS, cases, strict=True))

    base = per_element(Case(FEW, SQUARE, SQUARE))
    beyond = {rows: per_element(Case(rows, SQUARE, SQUARE)) - base for rows in (*LEFT_OVER, *MANY)}
    return Products(
        tuple(
            tuple(tuple(few(rows, turned, reach) for rows in range(1, FEW + 1)) for turned in (False, True))
            for reach in REACHES
        ),
        ((float(FEW), 0.0), *((float(rows), max(beyond[rows], 0.0)) for rows in MANY)),
        tuple(max(beyond[rows], 0.0) for rows in LEFT_OVER),
    )


def seconds(memory: Memory, case: Case) -> float:
    """Median of one product."""
    size = case.inner * case.columns
    left = memory.flat.new_ones((case.rows, case.inner))
    out = left.new_empty((case.rows, case.columns))
    taken: list[float] = []
    while len(taken) < FEWEST or sum(taken) < SHORTEST_S:
        piece = memory.piece(size, case.reach_bytes)
        right = piece.view(case.columns, case.inner).t() if case.transposed else piece.view(case.inner, -1)
        start = now(left.device)
        torch.mm(left, right, out=out)
        taken.append(now(left.device) - start)
    return median(taken)
