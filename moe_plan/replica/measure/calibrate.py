"""What this device can do, measured in seconds: products, memory, functions, the cost of an operation.

The numbers that a roofline needs. Nothing in it has seen a model: shapes are fixed, and a model's own shapes
are priced by interpolation.
"""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from moe_plan.replica.measure.fixed import fixed_seconds, in_turn
from moe_plan.replica.measure.one_product import Case, Memory
from moe_plan.replica.measure.one_product import seconds as seconds_of_product
from moe_plan.replica.measure.products import ELEMENTS, FEW, REACHES, USUAL_RUN, products
from moe_plan.replica.measure.sharing import foreign_bytes_per_s
from moe_plan.replica.measure.sweeps import sweeps
from moe_plan.replica.measure.tiny import tiny_operations

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.measure.fixed import Fixed
    from moe_plan.replica.measure.products import Products
    from moe_plan.replica.measure.sweeps import Sweeps

CACHED = 2
"""Of REACHES, how many are of what a cache holds: their seconds do not follow those of memory."""


class Rates(NamedTuple):
    """Seconds of each kind of work on one device, in one type, with one number of threads."""

    fixed: Fixed
    products: Products
    sweeps: Sweeps
    foreign: float = 0.0
    """Bytes a second that others bring into the cache that cores share."""


class Probe(NamedTuple):
    """A few of the same numbers, measured in a tenth of the time: what changes while others work."""

    fixed: float
    """Seconds of an operation, the mean of all in turn."""
    fetching: float
    """Seconds of a product of few rows whose right-hand side comes from memory."""
    foreign: float


def memory_beyond_caches(device: torch.device, dtype: torch.dtype) -> Tensor:
    """A flat block, larger than the last cache: what is measured reads from it and writes to it."""
    return torch.ones(REACHES[-1] // dtype.itemsize, device=device, dtype=dtype)


def calibrate(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure everything once. Call it again between measurements on a busy machine."""
    flat = memory_beyond_caches(device, dtype)
    return Rates(
        fixed_seconds(device, dtype, flat),
        products(flat),
        sweeps(device, dtype, flat),
        foreign_bytes_per_s(flat),
    )


def probe(flat: Tensor) -> Probe:
    """Measure those few; `flat` is `memory_beyond_caches`."""
    seconds, _ = in_turn(tiny_operations(flat.device, flat.dtype), flat, 0)
    fetched = Case(FEW, USUAL_RUN, ELEMENTS // USUAL_RUN, transposed=True, reach_bytes=REACHES[-1])
    fetching = seconds_of_product(Memory(flat), fetched)
    return Probe(fmean(seconds.values()), fetching, foreign_bytes_per_s(flat))


def rescaled(rates: Rates, before: Probe, now: Probe) -> Rates:
    """`rates`, measured when a probe gave `before`, as they are now that it gives `now`."""
    fixed = now.fixed / before.fixed
    fetching = now.fetching / before.fetching
    names = {name: seconds * fixed for name, seconds in rates.fixed.seconds.items()}
    near, far = rates.products.few[:CACHED], rates.products.few[CACHED:]
    few = (*near, *_times(far, fetching))
    return rates._replace(
        fixed=rates.fixed._replace(seconds=names, part=rates.fixed.part * fixed),
        products=rates.products._replace(few=few),
        foreign=now.foreign,
    )


def _times(tables: Any, factor: float) -> Any:
    """Nested tables of points, with every value multiplied."""
    if isinstance(tables[0], float):
        return (tables[0], tables[1] * factor)
    return tuple(_times(table, factor) for table in tables)


def typical(rates: list[Any]) -> Any:
    """Medians of several calibrations, or of several probes, number by number."""
    first = rates[0]
    if isinstance(first, float):
        return median(rates)
    if isinstance(first, dict):
        return {key: typical([each[key] for each in rates]) for key in first}
    parts = [typical(list(items)) for items in zip(*rates, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
