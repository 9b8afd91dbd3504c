"""What this device can do, measured in seconds: products by rows, memory by reach, the cost of an operation.

The few numbers that a roofline needs. Nothing in it has seen a model: shapes are fixed, and a model's own
shapes are priced by interpolation.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional

from moe_plan.replica.measure.clock import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REACHES = (1 << 20, 4 << 20, 16 << 20, 32 << 20, 96 << 20)
"""Bytes that are cycled through: from what a core's own cache holds to what none does."""
SIZES = (1 << 12, 1 << 15, 1 << 18, 1 << 20, 1 << 22)
"""Elements of a tensor."""
FEW_ROWS = 16
FEW_MATRICES = 6
BATCH = 8
REPEATS = 200
SHORTEST_S = 0.004
"""Seconds that each measurement takes at least."""

Table = tuple[tuple[float, float], ...]
"""(size, seconds) points, to be interpolated on logarithmic axes."""


class Rates(NamedTuple):
    """Seconds of each kind of work on one device, in one type, with one number of threads."""

    operation: float
    """Fixed seconds of an operation that runs a kernel."""
    view: float
    """Seconds of one that only makes a view."""
    products: tuple[Table, ...]
    """For each of REACHES: seconds for each element of the [K, N] operand, by rows M."""
    scores: Table
    """The same of a batched product with few inner channels (queries and keys), by rows."""
    mix: Table
    """The same of one with few columns (weights and values), by rows."""
    batch: float
    """Fixed seconds for each further product of a batch."""
    elementwise: Table
    """Seconds for each byte moved, by elements."""
    transcendental: Table
    """Seconds for each element of silu, by elements."""
    softmax: Table
    reduction: Table
    """Seconds for each byte moved of a mean over rows."""
    gather: Table
    """Seconds for each byte moved of rows picked by index."""
    walk: float = 1.0
    """How many times as long the fixed part takes in a model, which walks through far more code than a loop."""


def calibrate(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure everything once; about a second. Call it again between measurements on a busy machine."""
    bench = Bench(device, dtype)
    width = torch.empty(0, dtype=dtype).element_size()
    return Rates(
        bench.operation,
        bench.view,
        tuple(bench.products(reach) for reach in REACHES),
        bench.batched(inner=64, columns=256),
        bench.batched(inner=256, columns=64),
        bench.batch(),
        bench.by_size(_sum, 3 * width),
        bench.by_size(functional.silu, 1),
        bench.by_size(_softmax, 1),
        bench.by_size(_mean, width),
        bench.by_size(_picked, 2 * width),
    )


class Bench:
    """Measurements on one device in one type, less the fixed seconds of an operation."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.new = partial(torch.randn, device=device, dtype=dtype)
        tiny = torch.zeros(8, device=device, dtype=dtype)
        self.operation = self.seconds(partial(_often, tiny.add, 1)) / REPEATS
        self.view = self.seconds(partial(_often, tiny.view, 2, 4)) / REPEATS

    def seconds(self, work: Callable[[], object]) -> float:
        """Median seconds of `work`."""
        return seconds_of(work, self.device, SHORTEST_S)

    def products(self, reach: int) -> Table:
        """Seconds for each element of [512, 512] matrices that together take `reach` bytes, by rows."""
        inner = columns = 512
        size = inner * columns
        matrices = [
            self.new(inner, columns) for _ in range(max(1, reach // (size * self.new(1).element_size())))
        ]
        points = []
        for rows in ROWS:
            # With many rows the product takes far longer than fetching the matrix; a few of them tell.
            cycled = matrices if rows <= FEW_ROWS else matrices[:FEW_MATRICES]
            taken = self.seconds(partial(_multiply, self.new(rows, inner), cycled, self.new(rows, columns)))
            points.append((float(rows), max(taken / len(cycled) - self.operation, 0.0) / size))
        return tuple(points)

    def batched(self, *, inner: int, columns: int) -> Table:
        """Seconds for each element of the right-hand side of a batched product, by rows."""
        points = []
        shape = (BATCH, columns, inner) if inner < columns else (BATCH, inner, columns)
        right = self.new(*shape)
        right = right.transpose(1, 2) if inner < columns else right
        for rows in ROWS:
            taken = self.seconds(partial(torch.bmm, self.new(BATCH, rows, inner), right))
            points.append((float(rows), max(taken - self.operation, 0.0) / (BATCH * inner * columns)))
        return tuple(points)

    def batch(self) -> float:
        """Seconds of one more product in a batch."""
        one, many = (
            self.seconds(partial(torch.bmm, self.new(count, 1, 8), self.new(count, 8, 8)))
            for count in (1, 65)
        )
        return max(many - one, 0.0) / 64

    def by_size(self, work: Callable[[Tensor], Tensor], unit: int) -> Table:
        """Seconds for each element of a tensor, divided by `unit`, by its elements."""
        points = []
        for size in SIZES:
            taken = self.seconds(partial(work, self.new(size // 64, 64)))
            points.append((float(size), max(taken - self.operation, 0.0) / (size * unit)))
        return tuple(points)


def _often(operation: Callable[..., Tensor], *args: int) -> None:
    for _ in range(REPEATS):
        operation(*args)


def _multiply(left: Tensor, matrices: list[Tensor], out: Tensor) -> None:
    for matrix in matrices:
        torch.mm(left, matrix, out=out)


def _sum(x: Tensor) -> Tensor:
    return x + x


def _softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)


def _mean(x: Tensor) -> Tensor:
    return x.mean(-1)


def _picked(x: Tensor) -> Tensor:
    return x.index_select(0, torch.arange(len(x), device=x.device))


def typical(rates: list[Rates]) -> Rates:
    """Medians of several calibrations, number by number."""
    return Rates(*(_median(values) for values in zip(*rates, strict=True)))


def _median(values: Any) -> Any:
    if isinstance(values[0], float):
        return median(values)
    return tuple(_median(items) for items in zip(*values, strict=True))
