"""Seconds of a forward from its operations and what the device was measured to do: a roofline, summed.

Each operation costs a fixed time and then what its class costs for its size; nothing overlaps, as on one
thread nothing does. The classes add up to the total.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from moe_plan.replica.measure.fixed import OWN_BYTES
from moe_plan.replica.measure.products import ELEMENTS, FEW, LARGE, REACHES
from moe_plan.replica.measure.tiny import measured_name
from moe_plan.witness.curves import interpolated, linear

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.replica.measure.calibrate import Rates
    from moe_plan.replica.measure.trace import Operation


ROUNDS = 2
"""Times that a forward is priced: the second time, with what others do while it runs."""


def seconds(operations: Sequence[Operation], rates: Rates) -> dict[str, float]:
    """Seconds by class of operation; `overhead` is the fixed time of them all."""
    sums: dict[str, float] = {"overhead": 0.0}
    for operation, (fixed, worked) in zip(operations, costs(operations, rates), strict=True):
        sums["overhead"] += fixed
        if operation.kind != "view":
            sums[operation.kind] = sums.get(operation.kind, 0.0) + worked
    return sums


def costs(operations: Sequence[Operation], rates: Rates) -> list[tuple[float, float]]:
    """Fixed seconds of each operation, and those of its work.

    What others bring into the cache meanwhile depends on the time that all this takes: it is priced as if
    nobody did, and then again.
    """
    found = [(0.0, 0.0)] * len(operations)
    for _ in range(ROUNDS):
        times = list(accumulate((sum(cost) for cost in found), initial=0.0))
        touched = sum(map(new_bytes, operations)) + rates.foreign * times[-1]
        found = [
            (fixed, 0.0 if operation.kind == "view" else work(operation, rates, touched))
            for operation, fixed in zip(operations, fixed_costs(operations, rates, times), strict=True)
        ]
    return found


def fixed_costs(operations: Sequence[Operation], rates: Rates, times: Sequence[float]) -> Iterator[float]:
    """Fixed seconds of each operation, which are more the longer ago the same line of code ran.

    A forward follows one like it: a line that has not run in it yet did at the same point before. `times`
    are seconds from the start, before each operation and at the end.
    """
    own = accumulate((OWN_BYTES + new_bytes(operation) for operation in operations), initial=0)
    ends = [size + rates.foreign * at for size, at in zip(own, times, strict=True)]
    places = [(operation.site, operation.name) for operation in operations]
    last = {place: end - ends[-1] for place, end in zip(places, ends[1:], strict=True)}
    cycles = zip(rates.fixed.chill, rates.fixed.cycles, strict=True)
    chill = [(size + rates.foreign * cycle, factor) for (size, factor), cycle in cycles]
    for operation, place, start, end in zip(operations, places, ends, ends[1:], strict=False):
        factor = interpolated(chill, start + OWN_BYTES - last[place])
        last[place] = end
        parts = rates.fixed.part * max(operation.results - 2, 0)
        yield factor * (rates.fixed.seconds[measured_name(operation.name)] + parts)


def new_bytes(operation: Operation) -> int:
    """Bytes that an operation brings into the caches: what the forward had not touched before."""
    return operation.bytes_moved if operation.distance is None and operation.kind != "view" else 0


def work(operation: Operation, rates: Rates, touched_bytes: float) -> float:
    """Seconds beyond the fixed ones; `touched_bytes` is what a whole forward touches."""
    if operation.elements == 0:
        return 0.0
    distance = touched_bytes if operation.distance is None else operation.distance
    recycled = touched_bytes if operation.recycled is None else operation.recycled
    if operation.rows:
        further = rates.sweeps.batch * (operation.batch - 1)
        out = operation.written_bytes * linear(rates.products.out, recycled)
        return operation.elements * per_element(operation, rates, distance) + further + out
    far = operation.written_bytes * linear(rates.sweeps.far, recycled)
    read = max(operation.bytes_moved - operation.written_bytes, 0)
    return near(operation, rates) + read * linear(rates.sweeps.far, distance) + far


def near(operation: Operation, rates: Rates) -> float:
    """Seconds of work on what lies in the nearest caches."""
    sweeps, size, width = rates.sweeps, operation.elements, operation.width
    stepping = size * sweeps.scattered if operation.scattered else 0.0
    match operation.kind:
        case "mask":
            each = sweeps.mask
        case "transcendental":
            known, name = sweeps.transcendental, operation.name
            each = known.get(name, known.get(name.removesuffix("_"), known["exp"]))
        case "softmax" | "reduction" | "gather" | "scatter":
            each = interpolated(sweeps.by_width[operation.kind], width)
        case "sort":
            each = interpolated(sweeps.sort, size)
        case "convolution":
            each = sweeps.convolution
        case _:
            return operation.bytes_moved * sweeps.elementwise + stepping
    return size * each + stepping


def per_element(operation: Operation, rates: Rates, distance: float) -> float:
    """Seconds of a product for each element of its right-hand side, last touched `distance` bytes ago."""
    rows, products = operation.rows, rates.products
    run = operation.inner if operation.transposed else operation.columns
    few = min(rows, FEW)
    table = []
    for index, reach in enumerate(REACHES):
        each = _fetched(rates, index, operation, few, run)
        table.append((reach + rates.foreign * each * reach / products.itemsize, each))
    base = interpolated(table, distance) * _sized(operation, rates, few)
    if rows <= FEW:
        return base
    whole = rows // FEW * FEW
    over = products.left_over[rows - whole - 1] if rows > whole else 0.0
    steep = interpolated(products.inner, operation.inner)
    return base + (linear(products.rise, whole) + over) * steep


def _sized(operation: Operation, rates: Rates, few: int) -> float:
    """How much longer each element takes where the right-hand side is large."""
    each = operation.inner * operation.columns
    factor = rates.products.large[int(operation.transposed)][few - 1]
    return interpolated(((float(ELEMENTS), 1.0), (float(LARGE), factor)), each)


def _fetched(rates: Rates, reach: int, operation: Operation, few: int, run: int) -> float:
    tables = rates.products.few[reach][int(operation.transposed)]
    return interpolated(tables[few - 1], run)
