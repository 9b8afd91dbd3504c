"""Seconds of matrix products, by what they depend on.

A product of few rows costs what its right-hand side costs to fetch and to rearrange: more from farther
away, and more where its contiguous runs are short. Beyond `FEW` rows each row adds the same, save that rows
are taken `FEW` at a time and those left over go through slower code.

Legend: M rows, [K, N] right-hand side, which lies in memory as it is or transposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.replica.measure.one_product import Case, Memory, seconds

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.measure.fixed import Table

FEW = 4
ROWS = range(1, FEW + 1)
LAYOUTS = (False, True)
"""Of a right-hand side: as it is, transposed."""
REACHES = (1 << 20, 12 << 20, 20 << 20, 36 << 20, 96 << 20)
"""Bytes that are cycled through: from what a core's own cache holds to what none does."""
RUNS = (64, 128, 256, 512, 1024, 4096)
"""Elements of the right-hand side that lie next to each other."""
ELEMENTS, LARGE = 1 << 18, 1 << 22
"""Elements of a right-hand side, and of a large one."""
FEWEST_RUNS = 256
SQUARE, USUAL_RUN = 512, 384
WRITTEN = (256, 64, 512)
"""M, K and N of a product that writes much for what it computes."""
MANY = (8, 16, 32, 64, 256)
INNERS = (16, 32, 64, 128, SQUARE)
STEEP = (64, 256)
"""Rows between which the cost of one more row is measured for other inner sizes."""
LEFT_OVER = (5, 6, 7)


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


def products(flat: Tensor) -> Products:
    """Measure them on right-hand sides cut from `flat`, one dimension, larger than the last cache."""
    bench = Bench(flat)
    base = bench.square(FEW)
    beyond = {rows: max(bench.square(rows) - base, 0.0) for rows in (*LEFT_OVER, *MANY)}
    slope = beyond[STEEP[1]] - beyond[STEEP[0]]
    return Products(
        few=tuple(bench.reached(reach) for reach in REACHES),
        rise=((float(FEW), 0.0), *((float(rows), beyond[rows]) for rows in MANY)),
        left_over=tuple(beyond[rows] for rows in LEFT_OVER),
        inner=tuple((float(inner), bench.slope(inner) / slope) for inner in INNERS),
        large=tuple(tuple(bench.large(rows, turned=turned) for rows in ROWS) for turned in LAYOUTS),
        out=bench.out(),
        itemsize=float(flat.element_size()),
    )


class Bench:
    """Measurements on one block of memory, less what a call takes that multiplies next to nothing."""

    def __init__(self, flat: Tensor) -> None:
        self.memory = Memory(flat)
        self.call = seconds(self.memory, Case(1, 8, 8))

    def per_element(self, case: Case) -> float:
        """Seconds for each element of the right-hand side."""
        return max(seconds(self.memory, case) - self.call, 0.0) / (case.inner * case.columns)

    def square(self, rows: int) -> float:
        """Of one right-hand side that is multiplied again and again."""
        return self.per_element(Case(rows, SQUARE, SQUARE))

    def fetched(self, rows: int, run: int, reach: int, *, turned: bool, elements: int = ELEMENTS) -> float:
        """Of right-hand sides with contiguous runs of `run` elements, which together take `reach` bytes."""
        runs = max(elements // run, FEWEST_RUNS)
        inner, columns = (run, runs) if turned else (runs, run)
        return self.per_element(Case(rows, inner, columns, turned, reach))

    def reached(self, reach: int) -> tuple[tuple[Table, ...], ...]:
        """For both layouts, for each of ROWS: by contiguous run."""
        self.memory.settle(reach)

        def table(rows: int, *, turned: bool) -> Table:
            return tuple((float(run), self.fetched(rows, run, reach, turned=turned)) for run in RUNS)

        return tuple(tuple(table(rows, turned=turned) for rows in ROWS) for turned in LAYOUTS)

    def large(self, rows: int, *, turned: bool) -> float:
        """How many times as long an element takes where there are LARGE of them, from the farthest reach."""
        small, whole = (
            self.fetched(rows, USUAL_RUN, REACHES[-1], turned=turned, elements=elements)
            for elements in (ELEMENTS, LARGE)
        )
        return whole / small

    def slope(self, inner: int) -> float:
        """What an element costs more with the most of STEEP rows than with the least."""
        low, high = (self.per_element(Case(rows, inner, SQUARE)) for rows in STEEP)
        return high - low

    def out(self) -> Table:
        """Seconds for each byte of a result, above those where its memory was only just written."""
        rows, inner, columns = WRITTEN
        size = rows * columns * self.memory.flat.element_size()
        taken = []
        for reach in (size, *REACHES[1:]):
            self.memory.settle(reach)
            taken.append(seconds(self.memory, Case(rows, inner, columns, out_reach_bytes=reach)) / size)
        more = (max(each - taken[0], 0.0) for each in taken[1:])
        return ((float(REACHES[0]), 0.0), *zip(map(float, REACHES[1:]), more, strict=True))
