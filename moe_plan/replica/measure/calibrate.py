"""What this device can do, measured in seconds: products by rows, memory by reach, and the cost of one operation.

The few numbers that a roofline needs. Nothing in it has seen a model: shapes are fixed, and a model's own
shapes are priced by interpolation.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from moe_plan.replica.measure.clock import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REACHES = (1 << 20, 8 << 20, 96 << 20)
"""Bytes that are cycled through: what a core's own cache holds, what the shared one does, and neither."""
SIZES = (1 << 12, 1 << 15, 1 << 18, 1 << 20, 1 << 22)
"""Elements of a tensor."""
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
    """Measure everything once; a few seconds. Call it again between measurements on a busy machine."""
    measured = partial(_seconds, device)
    tiny = torch.zeros(8, device=device, dtype=dtype)
    operation = measured(lambda: [tiny.add(1) for _ in range(200)]) / 200
    view = measured(lambda: [tiny.view(2, 4) for _ in range(200)]) / 200
    new = partial(torch.randn, device=device, dtype=dtype)
    return Rates(
        operation,
        view,
        tuple(_products(reach, new, measured, operation) for reach in REACHES),
        _batched(new, measured, operation, inner=64, columns=256),
        _batched(new, measured, operation, inner=256, columns=64),
        _batch(new, measured),
        _by_size(lambda x: x.add(x), 3 * tiny.element_size(), new, measured, operation),
        _by_size(functional.silu, 1, new, measured, operation),
        _by_size(lambda x: torch.softmax(x, -1), 1, new, measured, operation),
        _by_size(lambda x: x.mean(-1), tiny.element_size(), new, measured, operation),
        _by_size(_picked, 2 * tiny.element_size(), new, measured, operation),
    )


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    return seconds_of(work, device, SHORTEST_S)


Measured = "Callable[[Callable[[], object]], float]"


def _products(
    reach: int,
    new: Callable[..., Tensor],
    measured: Callable[[Callable[[], object]], float],
    operation: float,
) -> Table:
    inner = columns = 512
    size = inner * columns
    matrices = [new(inner, columns) for _ in range(max(1, reach // (size * new(1).element_size())))]
    points = []
    for rows in ROWS:
        # With many rows the product takes far longer than fetching the matrix; a few of them tell.
        cycled = matrices if rows <= ROWS[4] else matrices[: max(1, len(matrices) // 8)]
        left, out = new(rows, inner), new(rows, columns)
        taken = measured(
            lambda left=left, out=out, cycled=cycled: [torch.mm(left, w, out=out) for w in cycled]
        )
        points.append((float(rows), max(taken / len(cycled) - operation, 0.0) / size))
    return tuple(points)


def _batched(
    new: Callable[..., Tensor],
    measured: Callable[[Callable[[], object]], float],
    operation: float,
    *,
    inner: int,
    columns: int,
) -> Table:
    batch, points = 8, []
    right = new(batch, columns, inner).transpose(1, 2) if inner < columns else new(batch, inner, columns)
    for rows in ROWS:
        left = new(batch, rows, inner)
        taken = measured(lambda left=left: torch.bmm(left, right))
        points.append((float(rows), max(taken - operation, 0.0) / (batch * inner * columns)))
    return tuple(points)


def _batch(new: Callable[..., Tensor], measured: Callable[[Callable[[], object]], float]) -> float:
    few, many = (new(count, 1, 8) for count in (1, 65))
    rights = new(1, 8, 8), new(65, 8, 8)
    return (
        max(measured(lambda: torch.bmm(many, rights[1])) - measured(lambda: torch.bmm(few, rights[0])), 0)
        / 64
    )


def _by_size(
    work: Callable[[Tensor], Tensor],
    unit: int,
    new: Callable[..., Tensor],
    measured: Callable[[Callable[[], object]], float],
    operation: float,
) -> Table:
    points = []
    for size in SIZES:
        x = new(size // 64, 64)
        taken = measured(lambda x=x: work(x))
        points.append((float(size), max(taken - operation, 0.0) / (size * unit)))
    return tuple(points)


def _picked(x: Tensor) -> Tensor:
    return x.index_select(0, torch.arange(len(x), device=x.device))


def typical(rates: list[Rates]) -> Rates:
    """Medians of several calibrations, number by number."""
    return Rates(*(_median(values) for values in zip(*rates, strict=True)))


def _median(values: tuple[object, ...]) -> object:
    if isinstance(values[0], float):
        return median(values)
    return tuple(_median(items) for items in zip(*values, strict=True))
