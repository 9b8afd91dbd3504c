"""Seconds of a forward from its operations and what the device was measured to do: a roofline, summed.

Each operation costs a fixed time and then what its class costs for its size; nothing overlaps, as on one
thread nothing does. The classes add up to the total.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp, log
from typing import TYPE_CHECKING

from moe_plan.replica.measure.fixed import OWN_BYTES
from moe_plan.replica.measure.products import FEW, REACHES
from moe_plan.replica.measure.tiny import measured_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from moe_plan.replica.measure.calibrate import Rates
    from moe_plan.replica.measure.fixed import Table
    from moe_plan.replica.measure.trace import Operation

ITEM = 4
"""Bytes of the float32 numbers that sizes in bytes were swept with."""


def seconds(operations: Sequence[Operation], rates: Rates) -> dict[str, float]:
    """Seconds by class of operation; `overhead` is the fixed time of them all."""
    sums: dict[str, float] = {"overhead": 0.0}
    touched = sum(new_bytes(operation) for operation in operations)
    for operation, cost in zip(operations, fixed_costs(operations, rates), strict=True):
        sums["overhead"] += cost
        if operation.kind != "view":
            sums[operation.kind] = sums.get(operation.kind, 0.0) + work(operation, rates, touched)
    return sums


def fixed_costs(operations: Sequence[Operation], rates: Rates) -> Iterator[float]:
    """Fixed seconds of each operation, which are more the longer ago it ran.

    A forward follows one like it: an operation that has not run in it yet did at the same point before.
    """
    ends, at = [], 0
    for operation in operations:
        at += OWN_BYTES + new_bytes(operation)
        ends.append(at)
    names = [measured_name(operation.name) for operation in operations]
    last = {name: end - at for name, end in zip(names, ends, strict=True)}
    for operation, name, end in zip(operations, names, ends, strict=True):
        factor = interpolated(rates.fixed.chill, end - new_bytes(operation) - last[name], beyond=False)
        last[name] = end
        parts = rates.fixed.part * (operation.results - 1)
        yield rates.walk * factor * (rates.fixed.seconds[name] + parts)


def new_bytes(operation: Operation) -> int:
    """Bytes that an operation brings into the caches: what the forward had not touched before."""
    return operation.bytes_moved if operation.distance is None and operation.kind != "view" else 0


def work(operation: Operation, rates: Rates, touched_bytes: int) -> float:
    """Seconds beyond the fixed ones; `touched_bytes` is what a whole forward touches."""
    size, moved, sweeps = operation.elements, operation.bytes_moved, rates.sweeps
    if size == 0:
        return 0.0
    if operation.rows:
        distance = touched_bytes if operation.distance is None else operation.distance
        further = sweeps.batch * (operation.batch - 1)
        return size * per_element(operation, rates, distance) + further
    name = operation.name.removesuffix(" number").removesuffix("_")
    match operation.kind:
        case "mask":
            return size * interpolated(sweeps.mask, size) + _walked(operation, rates)
        case "transcendental":
            each = sweeps.transcendental.get(name, sweeps.transcendental["exp"])
            return size * each + _walked(operation, rates)
        case "softmax":
            return size * interpolated(sweeps.softmax, operation.width)
        case "reduction":
            return size * interpolated(sweeps.reduction, operation.width)
        case "gather":
            return moved / 2 * interpolated(sweeps.gather, operation.width)
        case "scatter":
            return moved / 2 * interpolated(sweeps.scatter, operation.width)
        case "sort":
            return size * interpolated(sweeps.sort, size)
        case "convolution":
            return size * sweeps.convolution
    return moved * interpolated(sweeps.elementwise, moved) + _walked(operation, rates)


def _walked(operation: Operation, rates: Rates) -> float:
    steps = operation.elements * rates.sweeps.scattered if operation.scattered else 0.0
    return steps + (operation.strips - 1) * rates.sweeps.strip


def per_element(operation: Operation, rates: Rates, distance: int) -> float:
    """Seconds of a product for each element of its right-hand side, which was touched `distance` bytes ago."""
    rows, products = operation.rows, rates.products
    run = operation.inner if operation.transposed else operation.columns
    few = min(rows, FEW)
    table = [(float(reach), _fetched(rates, index, operation, few, run)) for index, reach in enumerate(REACHES)]
    base = interpolated(table, distance, beyond=False)
    if rows <= FEW:
        return base
    whole = rows // FEW * FEW
    over = products.left_over[rows - whole - 1] if rows > whole else 0.0
    return base + linear(products.rise, whole) + over


def _fetched(rates: Rates, reach: int, operation: Operation, few: int, run: int) -> float:
    tables = rates.products.few[reach][int(operation.transposed)]
    return interpolated(tables[few - 1], run, beyond=False)


def linear(table: Table, size: float) -> float:
    """Value at `size`, linear between points and beyond the last."""
    sizes = [point for point, _ in table]
    right = min(max(bisect_left(sizes, size), 1), len(table) - 1)
    (x0, y0), (x1, y1) = table[right - 1], table[right]
    return y0 + (y1 - y0) * (size - x0) / (x1 - x0)


def interpolated(table: Iterable[tuple[float, float]], size: float, *, beyond: bool = False) -> float:
    """Value at `size`, linear between points on logarithmic axes; past the last held, or by its slope."""
    points = tuple(table)
    sizes: Sequence[float] = [point for point, _ in points]
    if size <= sizes[0] or (size >= sizes[-1] and not beyond):
        return points[0][1] if size <= sizes[0] else points[-1][1]
    right = min(max(bisect_left(sizes, size), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    if y0 <= 0 or y1 <= 0:
        return y1
    share = (log(size) - log(x0)) / (log(x1) - log(x0))
    return exp(log(y0) + share * (log(y1) - log(y0)))
