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
    asked = Asked(spec, request, Shape(SEQUENCES, request.tokens, request.steps), memory_of(device))
    shrunk = asked.shrunk()
    replica = build.on_meta(shrunk.spec, request.dtype)
    # Weights alone are known at once; what is far too large is refused without being walked through.
    for needed in (build.weight_bytes(replica), asked.bytes_of(replica)):
        asked.guard(needed, shrunk.scale)
    return Prepared(build.materialise(replica, device, request.seed), shrunk, asked.shape, device)


class Asked(NamedTuple):
    """What is to be run, and the memory there is."""

    spec: ModelSpec
    request: Request
    shape: Shape
    available: Available

    def shrunk(self) -> Shrunk:
        """The spec at the scale that was asked for, or that the promise of memory leaves, or by default."""
        scale = self.request.scale
        if scale is None and self.request.max_memory_bytes is not None:
            scale = self.largest(budget_bytes(self.available, self.request.max_memory_bytes))
        return shrink(
            self.spec, scale if scale is not None else default_scale(self.spec), tokens=self.shape.tokens
        )

    def largest(self, budget: int) -> Fraction | None:
        """The largest scale of which everything is within `budget` bytes."""
        return largest_scale(
            self.spec,
            budget,
            lambda smaller: self.bytes_of(build.on_meta(smaller, self.request.dtype)),
            least_bytes_of=lambda smaller: build.weight_bytes(build.on_meta(smaller, self.request.dtype)),
            tokens=self.shape.tokens,
        )

    def guard(self, needed: int, scale: Fraction) -> None:
        """Refuse what takes more than it may, with the largest scale that fits."""
        guard(
            needed,
            self.available,
            what=f"a replica of {self.spec.name} at scale {scale}",
            hint=self._hint,
            max_memory=self.request.max_memory_bytes,
        )

    def _hint(self, budget: int) -> str:
        scale = self.largest(budget)
        return f"--scale {scale} fits" if scale is not None else "no scale of it fits"

    def bytes_of(self, replica: Replica) -> int:
        """Weights, cache and the widest moment of a prefill, found without allocating any of them.

        The float32 numbers that the largest tensor is drawn from before it is converted count too.
        """
        shape = self.shape
        largest = max(4 * tensor.numel() for tensor in replica.parameters())
        prefill, decode = peak_activation_bytes(replica, shape, 0, Balanced())
        kept = Cache(replica, shape.sequences, shape.tokens + shape.steps)
        cache = sum(held.allocated_bytes for held in kept.held())
        return build.weight_bytes(replica) + max(largest, cache + max(prefill, decode))


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
