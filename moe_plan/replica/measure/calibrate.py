"""What this device can do, measured in seconds: products, memory, functions, the cost of an operation.

The numbers that a roofline needs. Nothing in it has seen a model: shapes are fixed, and a model's own shapes
are priced by interpolation.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from moe_plan.replica.measure.fixed import fixed_seconds
from moe_plan.replica.measure.products import REACHES, products
from moe_plan.replica.measure.sharing import foreign_bytes_per_s
from moe_plan.replica.measure.sweeps import sweeps

if TYPE_CHECKING:
    from moe_plan.replica.measure.fixed import Fixed
    from moe_plan.replica.measure.products import Products
    from moe_plan.replica.measure.sweeps import Sweeps


class Rates(NamedTuple):
    """Seconds of each kind of work on one device, in one type, with one number of threads."""

    fixed: Fixed
    products: Products
    sweeps: Sweeps
    foreign: float = 0.0
    """Bytes a second that others bring into the cache that cores share."""
    walk: float = 1.0
    """How many times as long the fixed part takes in a model as in a list of calls."""


def calibrate(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure everything once. Call it again between measurements on a busy machine."""
    flat = torch.ones(REACHES[-1] // dtype.itemsize, device=device, dtype=dtype)
    return Rates(
        fixed_seconds(device, dtype, flat),
        products(flat),
        sweeps(device, dtype, flat),
        foreign_bytes_per_s(flat),
    )


def typical(rates: list[Rates]) -> Rates:
    """Medians of several calibrations, number by number."""
    middle: Rates = _median(rates)
    return middle


def _median(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, float):
        return median(values)
    if isinstance(first, dict):
        return {key: _median([value[key] for value in values]) for key in first}
    parts = [_median(list(items)) for items in zip(*values, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
