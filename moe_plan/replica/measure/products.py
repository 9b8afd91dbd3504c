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
REACHES = (1 << 20, 12 << 20, 20 << 20, 36 << 20, 96 << 20)
"""Bytes that are cycled through: from what a core's own cache holds to what none does."""
RUNS = (64, 128, 256, 512, 1024, 4096)
"""Elements of the right-hand side that lie next to each other."""
ELEMENTS, LARGE = 1 << 18, 1 << 22
"""Elements of a right-hand side, and of a large one."""
SQUARE, USUAL_RUN = 512, 384
WRITTEN = (256, 64, 512)
"""M, K and N of a product that writes much for what it computes."""
MANY = (8, 16, 32, 64, 256)
INNERS = (16, 32, 64, 128, SQUARE)
STEEP = (64, 256)
"""Rows between which the cost of one more row is measured for other inner sizes."""
LEFT_OVER = (5, 6, 7)
FEWEST = 5
SETTLING = 4
SHORTEST_S = 0.002
"""Seconds that each measurement takes at least."""


class Products(NamedTuple):
    """Seconds for each element of the right-hand side."""

    few: tuple[tuple[tuple[Table, ...], ...], ...]
    """For each of REACHES, for [K, N] and for transposed, for 1 to FEW rows: by contiguous run."""
    rise: Table
    """What more rows than FEW add, by rows that are a multiple of it."""
    left_over: tuple[float, ...]
    """What 1, 2, 3 rows beyond a multiple of FEW add."""
    inner: Table
    """Times as much as that, by inner size."""
    large: tuple[tuple[float, ...], ...]
    """Times as much as `few` where the right-hand side has LARGE elements, for both layouts, by rows."""
    out: Table
    """What each byte of the result costs, by the bytes touched since its memory was last touched."""
    itemsize: float
    """Bytes of an element."""


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

    def settle(self, reach_bytes: int) -> bool:
        """Let the first `reach_bytes` come to lie where they will stay; a cache takes a few rounds. True."""
        within = self.flat[: reach_bytes // self.flat.element_size()]
        for _ in range(SETTLING):
            within.sum()
        return True


class Case(NamedTuple):
    """A product to be measured."""

    rows: int
    inner: int
    columns: int
    transposed: bool = False
    reach_bytes: int = 0
    """That the right-hand sides together take; 0 for one that is multiplied again and again."""
    out_reach_bytes: int = 0
    """The same of the results."""


def products(flat: Tensor) -> Products:
    """Measure them on right-hand sides cut from `flat`, one dimension, larger than the last cache."""
    memory = Memory(flat)
    call = seconds(memory, Case(1, 8, 8))

    def per_element(case: Case) -> float:
        return max(seconds(memory, case) - call, 0.0) / (case.inner * case.columns)

    def fetched(rows: int, run: int, reach: int, *, turned: bool, elements: int = ELEMENTS) -> float:
        inner, columns = (run, elements // run) if turned else (elements // run, run)
        return per_element(Case(rows, inner, columns, turned, reach))

    def few(rows: int, reach: int, *, turned: bool) -> Table:
        return tuple((float(run), fetched(rows, run, reach, turned=turned)) for run in RUNS)

    def large(rows: int, *, turned: bool) -> float:
        small, whole = (
            fetched(rows, USUAL_RUN, REACHES[-1], turned=turned, elements=elements)
            for elements in (ELEMENTS, LARGE)
        )
        return whole / small

    def steepness(inner: int) -> float:
        low, high = (per_element(Case(rows, inner, SQUARE)) for rows in STEEP)
        return high - low

    base = per_element(Case(FEW, SQUARE, SQUARE))
    beyond = {rows: per_element(Case(rows, SQUARE, SQUARE)) - base for rows in (*LEFT_OVER, *MANY)}
    return Products(
        tuple(
            tuple(
                tuple(few(rows, reach, turned=turned) for rows in range(1, FEW + 1))
                for turned in (False, True)
            )
            for reach in REACHES
            if memory.settle(reach)
        ),
        ((float(FEW), 0.0), *((float(rows), max(beyond[rows], 0.0)) for rows in MANY)),
        tuple(max(beyond[rows], 0.0) for rows in LEFT_OVER),
        tuple((float(inner), steepness(inner) / (beyond[STEEP[1]] - beyond[STEEP[0]])) for inner in INNERS),
        tuple(tuple(large(rows, turned=turned) for rows in range(1, FEW + 1)) for turned in (False, True)),
        _results(memory),
        float(flat.element_size()),
    )


def _results(memory: Memory) -> Table:
    rows, inner, columns = WRITTEN
    size = rows * columns * memory.flat.element_size()
    near, *others = (
        seconds(memory, Case(rows, inner, columns, out_reach_bytes=reach))
        for reach in (size, *REACHES[1:])
        if memory.settle(reach)
    )
    more = (max(each - near, 0.0) / size for each in others)
    return ((float(REACHES[0]), 0.0), *zip(map(float, REACHES[1:]), more, strict=True))


def seconds(memory: Memory, case: Case) -> float:
    """Median of one product."""
    size = case.inner * case.columns
    left = memory.flat.new_ones((case.rows, case.inner))
    out = left.new_empty((case.rows, case.columns))
    right = left.new_ones((case.inner, case.columns))
    taken: list[float] = []
    while len(taken) < FEWEST or sum(taken) < SHORTEST_S:
        if case.out_reach_bytes:
            out = memory.piece(out.numel(), case.out_reach_bytes).view(out.shape)
        else:
            piece = memory.piece(size, case.reach_bytes)
            right = piece.view(case.columns, -1).t() if case.transposed else piece.view(case.inner, -1)
        start = now(left.device)
        torch.mm(left, right, out=out)
        taken.append(now(left.device) - start)
    return median(taken)
