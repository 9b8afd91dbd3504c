"""One layer of a profile: run by the clock with a given routing, its FLOPs and bytes taken beside it.

Legend: B sequences (one here), T tokens, K experts of a token, D hidden.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from moe_plan.replica import build
from moe_plan.replica.call import Call, Options
from moe_plan.replica.ffn.experts import pack, packable, run_experts
from moe_plan.replica.ffn.moe import Moe
from moe_plan.replica.measure.clock import now
from moe_plan.replica.measure.flops import FlopCounter

if TYPE_CHECKING:
    from moe_plan.plan.profiling import Twin
    from moe_plan.replica.call import Routing
    from moe_plan.replica.ffn.dispatch import Choice
    from moe_plan.replica.ffn.experts import ExpertWeights, PackedExperts
    from moe_plan.replica.ffn.products import Act
    from moe_plan.witness.profile_layer import Layers


class Given:
    """A routing that was drawn before, so that drawing is not timed."""

    def __init__(self, chosen_TK: Tensor) -> None:
        self.chosen_TK = chosen_TK

    def choose(self, layer: int, tokens: int, top_k: int, choices: int) -> Tensor:  # noqa: ARG002  a Routing
        """What was drawn."""
        return self.chosen_TK


class Work(NamedTuple):
    """What one step had to do."""

    flops: int
    bytes: int


class Runner:
    """One layer that can be timed, and the same on the meta device for its counts."""

    def __init__(self, layers: Layers, twin: Twin, dtype: str, device: torch.device, seed: int) -> None:
        """Makes the layer; its weights are packed where the CPU multiplies few rows faster so."""
        self._meta = meta = on_meta(layers, twin, dtype)
        self._real = with_packed_experts(build.materialise(on_meta(layers, twin, dtype), device, seed))
        weights = meta.experts.weights
        held = [tensor for tensor in weights if tensor is not None]
        self._expert_bytes = sum(tensor.nbytes for tensor in held) // weights.experts
        whole = sum(tensor.nbytes for tensor in meta.parameters())
        self._other_bytes = whole - self._expert_bytes * weights.experts
        self.is_sparse = weights.experts > 1

    def routing(self, drawn: Given) -> Given:
        """`drawn` for a sparse layer, and for a dense twin its only expert for every token."""
        return drawn if self.is_sparse else Given(drawn.chosen_TK.new_zeros((len(drawn.chosen_TK), 1)))

    def seconds(self, x_BTD: Tensor, drawn: Given) -> tuple[float, tuple[int, ...]]:
        """Of one step, and the rows of each expert that holds weights."""
        routing, device = self.routing(drawn), x_BTD.device
        start = now(device)
        rows = forward(self._real, x_BTD, routing)
        return now(device) - start, rows

    def work(self, x_BTD: Tensor, drawn: Given, rows: tuple[int, ...]) -> Work:
        """FLOPs of the operations that this routing leads to, and the bytes that they cannot do without."""
        shadow_BTD = torch.empty_like(x_BTD, device="meta")
        with FlopCounter(()) as counter:
            forward(self._meta, shadow_BTD, self.routing(drawn))
        touched = sum(count > 0 for count in rows)
        moved = self._other_bytes + touched * self._expert_bytes + 2 * x_BTD.nbytes
        return Work(counter.total, moved)


def on_meta(layers: Layers, twin: Twin, dtype: str) -> Moe:
    """That layer without memory."""
    with build.default_dtype(build.DTYPES[dtype]):
        return Moe(layers.block(twin), layers.hidden, layers.vocab, layers.norm).eval()


def with_packed_experts(moe: Moe) -> Moe:
    """`moe` with its experts in the layout of oneDNN's products, which it then holds alone."""
    if packable(moe.experts.weights):
        moe.run = partial(_run_packed, pack(moe.experts.weights))
        for name in ("up", "down"):
            empty = torch.empty_like(getattr(moe.experts, name), device="meta")
            setattr(moe.experts, name, nn.Parameter(empty, requires_grad=False))
    return moe


def _run_packed(
    packed: PackedExperts, x_TD: Tensor, choice: Choice, _: ExpertWeights, act: Act, *, weigh_input: bool
) -> Tensor:
    return run_experts(x_TD, choice, packed, act, weigh_input=weigh_input)


def forward(moe: Moe, x_BTD: Tensor, routing: Routing) -> tuple[int, ...]:
    """Run the layer; the rows of each expert that holds weights, as the layer itself counted them."""
    counts: dict[int, tuple[int, ...]] = {}
    ids_BT = torch.zeros(x_BTD.shape[:2], dtype=torch.int64, device=x_BTD.device)
    moe(x_BTD, Call(ids_BT, 0, moe.router.norm, Options(routing=routing, counts=counts)))
    return counts[0][: moe.spec.experts]


def hidden_states(layers: Layers, tokens: int, dtype: str, device: torch.device, seed: int = 0) -> Tensor:
    """What a layer is given, [1, tokens, D]."""
    shape = (1, tokens, layers.hidden)
    if device.type == "meta":
        return torch.empty(shape, dtype=build.DTYPES[dtype], device=device)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(device=device, dtype=build.DTYPES[dtype])
