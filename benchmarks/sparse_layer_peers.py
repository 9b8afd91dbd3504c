"""The competitors of `sparse_layer.py`: our layer and transformers' own experts, on the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers.models.deepseek_v2.configuration_deepseek_v2 import DeepseekV2Config
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Experts
from transformers.models.mixtral.configuration_mixtral import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralExperts
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

from moe_plan.replica.ffn.activations import activation
from moe_plan.replica.ffn.experts import Choice, ExpertWeights, PackedExperts, pack, packable, run_experts
from moe_plan.replica.ffn.products import is_native

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from torch import Tensor

    Forward: TypeAlias = Callable[[Tensor, Choice], Tensor]

PEERS = ("eager", "grouped_mm", "batched_mm")


class Shape(NamedTuple):
    """A published sparse layer."""

    hidden: int
    width: int
    experts: int
    top_k: int

    def scaled(self, factor: float) -> Shape:
        """The same counts of experts, narrower."""
        return self._replace(hidden=int(self.hidden * factor), width=int(self.width * factor))

    @property
    def elements(self) -> int:
        """Weights of one expert."""
        return 3 * self.hidden * self.width


SHAPES = {
    "mixtral": Shape(2048, 7168, 8, 2),
    "deepseek-v2": Shape(2048, 1408, 64, 6),
    "qwen3": Shape(2048, 768, 128, 8),
}


class Family(NamedTuple):
    """transformers' own experts, and what their config calls the sizes."""

    config: Callable[..., Any]
    module: Callable[[Any], torch.nn.Module]
    width: str = "moe_intermediate_size"
    experts: str = "num_experts"


FAMILIES = {
    "mixtral": Family(MixtralConfig, MixtralExperts, "intermediate_size", "num_local_experts"),
    "deepseek-v2": Family(DeepseekV2Config, DeepseekV2Experts, experts="n_routed_experts"),
    "qwen3": Family(Qwen3MoeConfig, Qwen3MoeExperts),
}


def competitors(name: str, shape: Shape, dtype: torch.dtype) -> dict[str, Forward]:
    """Every forward on the same weights, ours first."""
    up = _experts(shape.experts, 2 * shape.width, shape.hidden, dtype)
    down = _experts(shape.experts, shape.hidden, shape.width, dtype)
    outputs_first = ExpertWeights(up.transpose(1, 2), down.transpose(1, 2))
    act = activation("silu", gated=True)

    def ours(weights: ExpertWeights | PackedExperts) -> Forward:
        return lambda x, choice: run_experts(x, choice, weights, act)

    found: dict[str, Forward] = {}
    if packable(outputs_first):
        found["ours"] = ours(pack(outputs_first))
    plain = outputs_first
    if is_native(dtype):
        plain = ExpertWeights(outputs_first.up_EDF.contiguous(), outputs_first.down_EFD.contiguous())
    found["unpacked" if found else "ours"] = ours(plain)
    for peer in PEERS:
        module = _module(name, shape, peer)
        module.gate_up_proj = torch.nn.Parameter(up, requires_grad=False)
        module.down_proj = torch.nn.Parameter(down, requires_grad=False)
        found[peer] = _peer(module)
    return found


def _experts(experts: int, outputs: int, inputs: int, dtype: torch.dtype) -> Tensor:
    """Random weights [E, out, in], all experts unlike: drawing every number would take longer than timing.

    Written into place: what is freed before the layouts are made scatters their pages, and costs a tenth.
    """
    made = torch.empty((experts, outputs, inputs), dtype=dtype)
    one = torch.randn(outputs, inputs).mul_(0.02)
    for expert in range(experts):
        made[expert, :expert] = one[outputs - expert :]
        made[expert, expert:] = one[: outputs - expert]
    return made


def _peer(module: torch.nn.Module) -> Forward:
    def forward(x: Tensor, choice: Choice) -> Tensor:
        output: Tensor = module(x, choice.experts_TK, choice.weights_TK)
        return output

    return forward


def _module(name: str, shape: Shape, implementation: str) -> torch.nn.Module:
    family = FAMILIES[name]
    sizes = {family.width: shape.width, family.experts: shape.experts}
    config = family.config(hidden_size=shape.hidden, hidden_act="silu", **sizes)
    config._experts_implementation = implementation  # noqa: SLF001
    with torch.device("meta"):
        module: torch.nn.Module = family.module(config)
    return module


def routed(tokens: int, shape: Shape, dtype: torch.dtype, seed: int) -> tuple[Tensor, Choice]:
    """Tokens and their experts, drawn uniformly."""
    generator = torch.Generator().manual_seed(seed % 2**32)
    x = torch.randn(tokens, shape.hidden, generator=generator).to(dtype)
    scores = torch.rand(tokens, shape.experts, generator=generator).softmax(-1)
    weights, experts = scores.topk(shape.top_k)
    return x, Choice(experts, (weights / weights.sum(-1, keepdim=True)).to(dtype))
