"""What a replica will take, told from its spec alone, so that nothing is loaded, made or run to refuse it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.anatomy.build import inventory
from moe_plan.estimate.weights import uniform_storage, weight_bytes
from moe_plan.plan.verification import SEQUENCES
from moe_plan.replica.memory import budget_bytes, guard
from moe_plan.replica.shrink import TOKENS, default_scale, largest_scale, shrink
from moe_plan.units import binary_size
from moe_plan.witness.caches import predicted_bytes
from moe_plan.witness.moments.model import moments
from moe_plan.witness.moments.stack import layers_of, modules_of
from moe_plan.witness.moments.tape import Run

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.plan.verification import Request
    from moe_plan.replica.memory import Available
    from moe_plan.replica.shrink import Shrunk
    from moe_plan.spec.model import ModelSpec, Part
    from moe_plan.witness.moments.blocks import Counts
    from moe_plan.witness.moments.tape import Module

ITEMSIZE = {"fp32": 4, "bf16": 2, "fp16": 2}
DRAWN_BYTES = 8 << 20
"""Random numbers on their way into a tensor (`replica.block.DRAWN`)."""
CALIBRATION_BYTES = 176 << 20
"""What measuring the device takes beside the replica: operands beyond every cache, libraries' own buffers.

Measured: 131 MiB in fp32, 165 in bf16, 123 in fp16 for the first, 96 for each one after it.
"""


class Asked(NamedTuple):
    """What is to be run, and the memory there is."""

    spec: ModelSpec
    request: Request
    available: Available

    def shrunk(self) -> Shrunk:
        """The spec at the scale that was asked for, or that the promise of memory leaves, or by default."""
        scale, tokens = self.request.scale, self.request.tokens
        if scale is None and self.request.max_memory_bytes is not None:
            scale = self.largest(budget_bytes(self.available, self.request.max_memory_bytes))
        if scale is None:
            scale = default_scale(self.spec, partial(held_bytes, dtype="fp32"))
        return shrink(self.spec, scale, tokens=tokens)

    def largest(self, budget: int) -> Fraction | None:
        """The largest scale of which everything is within `budget` bytes."""
        return largest_scale(
            self.spec,
            budget,
            partial(needed_bytes, request=self.request),
            least_bytes_of=partial(held_bytes, dtype=self.request.dtype),
            tokens=self.request.tokens,
        )

    def guard(self, shrunk: Shrunk) -> None:
        """Refuse what takes more than it may, with the largest scale that fits. Raises ReplicaError."""
        # Weights alone are told at once; what they forbid is not weighed further.
        for needed in (held_bytes(shrunk.spec, self.request.dtype), needed_bytes(shrunk.spec, self.request)):
            guard(
                needed,
                self.available,
                what=f"a replica of {self.spec.name} at scale {shrunk.scale}",
                hint=self._hint,
                max_memory=self.request.max_memory_bytes,
            )

    def _hint(self, budget: int) -> str:
        scale = self.largest(budget)
        if scale is not None:
            return f"--scale {scale} fits"
        if self.request.tokens > TOKENS:
            return "no scale of it fits; fewer --tokens might"
        calibration = f"; --no-time takes {binary_size(CALIBRATION_BYTES)} less" if self.request.time else ""
        return f"no scale of it fits{calibration}"


def held_bytes(spec: ModelSpec, dtype: str) -> int:
    """Bytes of the weights alone."""
    return weight_bytes(inventory(spec), uniform_storage(dtype))


def needed_bytes(spec: ModelSpec, request: Request) -> int:
    """Bytes of weights, cache and the widest moment of a prefill."""
    book = inventory(spec)
    capacity = request.tokens + request.steps
    cache = SEQUENCES * sum(predicted_bytes(book, capacity, ITEMSIZE[request.dtype], capacity).values())
    running = round(cache) + widest_bytes(spec, request)
    beside = CALIBRATION_BYTES if request.time else 0
    return weight_bytes(book, uniform_storage(request.dtype)) + max(DRAWN_BYTES, running) + beside


def widest_bytes(spec: ModelSpec, request: Request) -> int:
    """Most bytes of activations that a prefill holds at once, were all tokens to choose the same experts."""
    run = Run(
        sequences=SEQUENCES,
        tokens=request.tokens,
        start=0,
        hidden=spec.hidden,
        itemsize=ITEMSIZE[request.dtype],
        source=request.tokens,
    )
    return moments(spec, run, _crowded(spec, run)).peak


def _crowded(spec: ModelSpec, run: Run) -> dict[Module, Counts]:
    """Rows of each expert where every token chooses the same: groups of rows are as full as they get."""
    counts: dict[Module, Counts] = {}
    parts: dict[str, ModelSpec | Part] = {"decoder": spec}
    parts |= {name: part for name, part in spec.parts.items() if part.role == "encoder"}
    for name, part in parts.items():
        for index, layer in enumerate(layers_of(part.layers)):
            for module in modules_of(name, index, layer):
                own = part.ffn if module.slot == "ffn" else part.attention
                block = own.get(module.name) or getattr(spec, module.slot)[module.name]
                counts[module] = (run.rows,) * getattr(block, "top_k", 0)
    return counts
