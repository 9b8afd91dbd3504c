"""What a profile will take, told from the spec alone before any of it is taken, and the scale that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.plan.profiling import TWINS
from moe_plan.replica.memory import budget_bytes, guard
from moe_plan.replica.shrink import largest_scale
from moe_plan.witness.profile_layer import default_scale, in_widths_of, layers_at

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.plan.profiling import Request
    from moe_plan.plan.routed_layers import Routed
    from moe_plan.replica.memory import Available
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.profile_layer import Layers

READ_BYTES = 128 << 20
"""Buffer that is read between runs: more than the last cache of one processor holds."""
SIDE = 2048
"""Of the square matrices of the product that stands for the peak."""
BUFFER_BYTES = READ_BYTES + 4 * SIDE * SIDE * 4
_GROUP_ROWS = 512
"""Rows that the sparse layer handles together (`replica.ffn.experts.GROUP_ROWS`; a test holds them equal)."""
_FLOAT, _INDEX = 4, 8


class Asked(NamedTuple):
    """What is to be measured, and the memory there is."""

    spec: ModelSpec
    routed: Routed
    request: Request
    available: Available

    def scale(self) -> Fraction:
        """The scale that was asked for, or that the promise of memory leaves, or the default."""
        request = self.request
        if request.scale is not None:
            return request.scale
        found = None
        if request.max_memory_bytes is not None:
            found = self._largest(budget_bytes(self.available, request.max_memory_bytes))
        return found or default_scale(self.spec, self.routed, request.dtype)

    def layers(self, scale: Fraction) -> Layers:
        """The layers at `scale`. Raises ReplicaError where they would take more than they may."""
        layers = layers_at(self.spec, self.routed, scale)
        guard(
            needed_bytes(layers, self.request),
            self.available,
            what=f"a profile of {self.spec.name} at scale {scale}",
            hint=self._hint,
            max_memory=self.request.max_memory_bytes,
        )
        return layers

    def _hint(self, budget: int) -> str:
        scale = self._largest(budget)
        return f"--scale {scale} fits" if scale is not None else "no scale of it fits; try fewer --tokens"

    def _largest(self, budget: int) -> Fraction | None:
        return largest_scale(
            self.spec, budget, lambda smaller: needed_bytes(in_widths_of(smaller, self.routed), self.request)
        )


def needed_bytes(layers: Layers, request: Request) -> int:
    """Everything that a profile holds at its widest moment, or more.

    Weights count twice: for a moment one is there as drawn and in the layout that its products prefer.
    """
    tokens = max(request.tokens)
    moment = max(moment_bytes(layers.block(twin), layers.hidden, tokens) for twin in TWINS)
    if request.dtype != "fp32":
        # Where a type is slow, one expert's weights and its rows are converted at a time.
        moment = 2 * moment + _FLOAT * layers.size("total").parameters
    inputs = 2 * tokens * layers.hidden * _FLOAT
    # Skewed choices are drawn with two numbers in float64 for every token and expert.
    drawn = tokens * 2 * 8 * (layers.sparse.experts + layers.sparse.zero_experts)
    return 2 * layers.all_bytes(request.dtype) + BUFFER_BYTES + moment + inputs + drawn


def moment_bytes(block: MoeFfn, hidden: int, tokens: int) -> int:
    """What a forward of one layer holds beside weights and input, at most."""
    ups, inner = 2 if block.gated else 1, block.latent or hidden
    rows = min(_GROUP_ROWS, tokens * block.top_k)
    group = rows * 3 * (inner + ups * block.width) * _FLOAT
    shared = tokens * ((ups + 1) * (block.shared_width or 0) + hidden) * _FLOAT
    outputs = tokens * 3 * (hidden + inner) * _FLOAT
    scores = tokens * 6 * (block.experts + block.zero_experts) * _FLOAT
    choices = tokens * 8 * block.top_k * _INDEX
    return group + shared + outputs + scores + choices
