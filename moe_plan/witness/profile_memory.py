"""What a profile will take, found before any of it is taken, and the scale that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from moe_plan.replica import build
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.memory import budget_bytes, guard
from moe_plan.replica.routing import Balanced
from moe_plan.replica.shrink import largest_scale
from moe_plan.witness.prepare import memory_of
from moe_plan.witness.profile_ceiling import buffer_bytes
from moe_plan.witness.profile_layer import default_scale, in_widths_of, layers_at, weight_bytes
from moe_plan.witness.profile_run import forward, hidden_states

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.plan.profiling import Request, Twin
    from moe_plan.plan.routed_layers import Routed
    from moe_plan.replica.memory import Available
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.profile_layer import Layers

_FLOAT = torch.float32.itemsize


def fitting(
    spec: ModelSpec, routed: Routed, request: Request, device: torch.device
) -> tuple[Layers, Fraction]:
    """The layers and their scale. Raises ReplicaError where they would take more than they may."""
    available = memory_of(device)
    scale = request.scale
    if scale is None and request.max_memory_bytes is not None:
        scale = _largest(spec, routed, request, budget_bytes(available, request.max_memory_bytes))
    scale = default_scale(spec, routed, request.dtype) if scale is None else scale
    layers = layers_at(spec, routed, scale)
    _guard(layers, available, spec, routed, request._replace(scale=scale))
    return layers, scale


def _guard(
    layers: Layers, available: Available, spec: ModelSpec, routed: Routed, request: Request
) -> None:
    def hint(budget: int) -> str:
        scale = _largest(spec, routed, request, budget)
        return f"--scale {scale} fits" if scale is not None else "no scale of it fits; try fewer --tokens"

    guard(
        needed_bytes(layers, request),
        available,
        what=f"a profile of {spec.name} at scale {request.scale}",
        hint=hint,
        max_memory=request.max_memory_bytes,
    )


def _largest(spec: ModelSpec, routed: Routed, request: Request, budget: int) -> Fraction | None:
    return largest_scale(
        spec,
        budget,
        lambda smaller: needed_bytes(in_widths_of(smaller, routed), request),
        least_bytes_of=lambda smaller: _held_bytes(in_widths_of(smaller, routed), request.dtype),
    )


def _held_bytes(layers: Layers, dtype: str) -> int:
    """Weights, and for a moment each of them twice: as drawn, or in the layout that a product prefers."""
    weights = 2 * weight_bytes(layers, dtype)
    return weights + buffer_bytes(build.DTYPES[dtype])


def needed_bytes(layers: Layers, request: Request) -> int:
    """Everything that a profile holds at its widest moment, found on the meta device."""
    tokens = max(request.tokens)
    peak = max(_peak_bytes(layers, twin, tokens, request.dtype) for twin in ("sparse", "active", "total"))
    choices = layers.sparse.experts + layers.sparse.zero_experts
    # Skewed choices are drawn with two numbers in float64 for every token and expert.
    drawn = tokens * (2 * 8 * choices + 2 * 8 * layers.sparse.top_k)
    if build.DTYPES[request.dtype] != torch.float32:
        # Where a type is slow, one expert's weights and its rows are converted at a time.
        peak = 2 * peak + _FLOAT * layers.size("total").parameters
    inputs = hidden_states(layers, tokens, request.dtype, torch.device("meta")).nbytes
    return _held_bytes(layers, request.dtype) + peak + drawn + 2 * inputs


def _peak_bytes(layers: Layers, twin: Twin, tokens: int, dtype: str) -> int:
    moe = layers.on_meta(twin, dtype)
    x_BTD = hidden_states(layers, tokens, dtype, torch.device("meta"))
    with torch.no_grad(), AllocationTracker() as tracker:
        forward(moe, x_BTD, Balanced())
    return tracker.peak_bytes
