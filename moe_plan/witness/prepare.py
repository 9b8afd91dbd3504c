"""A replica of the right size on the right device: chosen, weighed, and only then given memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.errors import UnavailableError
from moe_plan.replica import build
from moe_plan.replica.cache import Cache
from moe_plan.replica.memory import Available, available_memory, budget_bytes, cuda_memory, guard
from moe_plan.replica.routing import Balanced
from moe_plan.replica.shrink import Shrunk, default_scale, largest_scale, shrink
from moe_plan.witness.run import Shape, peak_activation_bytes

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.plan.verification import Request
    from moe_plan.replica.model import Replica
    from moe_plan.spec.model import ModelSpec

SEQUENCES = 2


class Prepared(NamedTuple):
    """A replica that has its memory, and what it was made from."""

    replica: Replica
    shrunk: Shrunk
    shape: Shape
    device: torch.device


def prepared(spec: ModelSpec, request: Request) -> Prepared:
    """The replica that `request` asks for.

    Raises ReplicaError, before anything is allocated, where it would take more than it may; UnavailableError
    where there is no such device.
    """
    device = device_of(request.device)
    shape = Shape(SEQUENCES, request.tokens, request.steps)
    available = memory_of(device)
    shrunk = _shrunk(spec, request, shape, available)
    replica = build.on_meta(shrunk.spec, request.dtype)
    guard(
        needed_bytes(shrunk.spec, request.dtype, shape),
        available,
        what=f"a replica of {spec.name} at scale {shrunk.scale}",
        hint=lambda budget: _hint(spec, request, shape, budget),
        max_memory=request.max_memory_bytes,
    )
    return Prepared(build.materialise(replica, device, request.seed), shrunk, shape, device)


def _shrunk(spec: ModelSpec, request: Request, shape: Shape, available: Available) -> Shrunk:
    scale = request.scale
    if scale is None and request.max_memory_bytes is not None:
        budget = budget_bytes(available, request.max_memory_bytes)
        scale = _largest(spec, request, shape, budget)
    return shrink(spec, scale if scale is not None else default_scale(spec), tokens=shape.tokens)


def _largest(spec: ModelSpec, request: Request, shape: Shape, budget: int) -> Fraction | None:
    return largest_scale(
        spec, budget, lambda smaller: needed_bytes(smaller, request.dtype, shape), tokens=shape.tokens
    )


def _hint(spec: ModelSpec, request: Request, shape: Shape, budget: int) -> str:
    scale = _largest(spec, request, shape, budget)
    return f"--scale {scale} fits" if scale is not None else "no scale of it fits"


def needed_bytes(spec: ModelSpec, dtype: str, shape: Shape) -> int:
    """Weights, cache and the widest moment of a prefill, found without allocating any of them.

    The float32 numbers that the largest tensor is drawn from before it is converted count too.
    """
    replica = build.on_meta(spec, dtype)
    weights = build.weight_bytes(replica)
    largest = max(4 * tensor.numel() for tensor in replica.parameters())
    prefill, decode = peak_activation_bytes(replica, shape, 0, Balanced())
    kept = Cache(replica, shape.sequences, shape.tokens + shape.steps)
    cache = sum(held.allocated_bytes for held in kept.held())
    return weights + max(largest, cache + max(prefill, decode))


def memory_of(device: torch.device) -> Available:
    """What could be taken on `device` now."""
    return cuda_memory(device.index or 0) if device.type == "cuda" else available_memory()


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is an accelerator where there is one. Raises UnavailableError."""
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "mps") if has[kind]), "cpu"))
    if not has[name]:
        message = f"torch {torch.__version__} sees no {name} device here; --device cpu always works"
        raise UnavailableError(message)
    return torch.device(name)
