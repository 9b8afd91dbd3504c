"""Which scale fits: a ladder from the model itself down to a thousandth of its width."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from moe_plan.replica.shrink import shrink
from moe_plan.units import binary_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from moe_plan.spec.model import ModelSpec

    BytesOf = Callable[[ModelSpec], int]

_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
LADDER = tuple(Fraction(1, step) for step in _STEPS)
DEFAULT_BYTES = 32 << 20
"""Weights of a replica whose scale nobody chose: one core checks the whole catalogue in minutes."""


def largest_scale(spec: ModelSpec, budget_bytes: int, bytes_of: BytesOf) -> Fraction | None:
    """The largest step of LADDER at which `bytes_of` the shrunk spec are within `budget_bytes`, or None."""
    below = _largest(spec, budget_bytes, bytes_of)
    # The model itself has all layers, which takes longest to count: only where half of it fits.
    if below == LADDER[1] and bytes_of(shrink(spec, 1).spec) <= budget_bytes:
        return LADDER[0]
    return below


def default_scale(spec: ModelSpec, bytes_of: BytesOf, budget_bytes: int = DEFAULT_BYTES) -> Fraction:
    """The scale where the user gives none: below 1, so that windows are felt; the least if nothing fits."""
    return _largest(spec, budget_bytes, bytes_of) or LADDER[-1]


def scale_hint(spec: ModelSpec, bytes_of: BytesOf) -> Callable[[int], str]:
    """What a refusal adds, given the budget in bytes: the largest scale that fits."""

    def hint(budget_bytes: int) -> str:
        scale = largest_scale(spec, budget_bytes, bytes_of)
        if scale is None:
            return f"not even scale {LADDER[-1]} fits into {binary_size(budget_bytes)}"
        return f"the largest scale that fits is {scale}"

    return hint


def _largest(spec: ModelSpec, budget_bytes: int, bytes_of: BytesOf) -> Fraction | None:
    fitting = (scale for scale in LADDER[1:] if bytes_of(shrink(spec, scale).spec) <= budget_bytes)
    return next(fitting, None)
