"""Seconds of a forward from its operations and what the device was measured to do: a roofline, summed.

Each operation costs a fixed time and then what its class costs for its size; nothing overlaps, as on one
thread nothing does. The classes add up to the total.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp, log
from typing import TYPE_CHECKING

from moe_plan.replica.measure.calibrate import REACHES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moe_plan.replica.measure.calibrate import Rates, Table
    from moe_plan.replica.measure.trace import Operation


def seconds(operations: Iterable[Operation], rates: Rates, reach_bytes: int) -> dict[str, float]:
    """Seconds by class of operation; `overhead` is the fixed time of them all.

    `reach_bytes`: how much is touched between two uses of the same weight, which decides where it is
    fetched from.
    """
    sums: dict[str, float] = {"overhead": 0.0}
    for operation in operations:
        sums["overhead"] += rates.walk * (rates.view if operation.kind == "view" else rates.operation)
        if operation.kind != "view":
            sums[operation.kind] = sums.get(operation.kind, 0.0) + _work(operation, rates, reach_bytes)
    return sums


def _work(operation: Operation, rates: Rates, reach_bytes: int) -> float:
    size, moved = operation.elements, operation.bytes_moved
    if size == 0:
        return 0.0
    if operation.kind == "product":
        return operation.inner * operation.columns * _per_element(operation.rows, rates, reach_bytes)
    if operation.kind == "batched-product":
        table = rates.scores if operation.inner <= operation.columns else rates.mix
        each = operation.inner * operation.columns * interpolated(table, operation.rows)
        return operation.batch * (each + rates.batch)
    amount, table = {
        "elementwise": (moved, rates.elementwise),
        "transcendental": (size, rates.transcendental),
        "softmax": (size, rates.softmax),
        "reduction": (moved, rates.reduction),
        "gather": (moved, rates.gather),
    }[operation.kind]
    return amount * interpolated(table, size)


def _per_element(rows: int, rates: Rates, reach_bytes: int) -> float:
    levels = [interpolated(table, rows) for table in rates.products]
    return interpolated(tuple(zip(map(float, REACHES), levels, strict=True)), reach_bytes, beyond=False)


def interpolated(table: Table, size: float, *, beyond: bool = True) -> float:
    """Value at `size`, linear between points on logarithmic axes; past the last by its slope, or held."""
    sizes: Sequence[float] = [point for point, _ in table]
    if size <= sizes[0] or (size >= sizes[-1] and not beyond):
        return table[0][1] if size <= sizes[0] else table[-1][1]
    right = min(max(bisect_left(sizes, size), 1), len(table) - 1)
    (x0, y0), (x1, y1) = table[right - 1], table[right]
    if y0 <= 0 or y1 <= 0:
        return y1
    share = (log(size) - log(x0)) / (log(x1) - log(x0))
    return exp(log(y0) + share * (log(y1) - log(y0)))
