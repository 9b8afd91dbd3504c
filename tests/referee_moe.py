"""Mixtures of experts of transformers beside ours: configurations, and which of their tensors is which of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
import transformers

from moe_plan.replica.ffn.build import feed_forward
from moe_plan.replica.ffn.moe import Moe
from moe_plan.spec.ffn import MoeFfn, Router
from moe_plan.spec.model import Norm

HIDDEN, VOCAB, WIDTH = 42, 61, 19
EXPERTS, TOP_K = 15, 4

Ours = dict[str, torch.Tensor]


def gate_up(ours: Ours) -> torch.Tensor:
    """[E, 2F, D], as most classes hold it."""
    return torch.cat((ours["experts.gate"], ours["experts.up"]), 2).mT


def interleaved(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Gate and up column by column (gpt-oss)."""
    return torch.stack((gate, up), -1).flatten(-2)


def flat(name: str, *, out_first: bool) -> Callable[[Ours], torch.Tensor]:
    """Experts stacked in one matrix of hidden columns (DBRX)."""
    return lambda ours: (ours[name].mT if out_first else ours[name]).flatten(0, 1)


USUAL: dict[str, Any] = {
    "gate.weight": "router.weight",
    "experts.gate_up_proj": gate_up,
    "experts.down_proj": lambda ours: ours["experts.down"].mT,
}
CORRECTED = USUAL | {"gate.e_score_correction_bias": "router.correction_bias"}


def renamed(table: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {(new if name == old else name): source for name, source in table.items()}


def shared(module: str) -> dict[str, str]:
    return {f"{module}.{part}_proj.weight": f"shared.{part}" for part in ("gate", "up", "down")}


def usual_choice(block: Any, x_TD: torch.Tensor, _ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights, from a router that returns logits, weights, ids."""
    router = getattr(block, "gate", None) or block.router
    _, weights, ids = router(x_TD)
    return ids, weights


@dataclass(frozen=True)
class Family:
    """One class of transformers, and the spec that should be the same."""

    block: str
    """module.Class"""
    config: str
    facts: dict[str, Any]
    router: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=lambda: USUAL)
    choice: Callable[..., tuple[torch.Tensor, torch.Tensor]] = usual_choice
    arguments: tuple[Any, ...] = ()
    takes_ids: bool = False

    def ours(self) -> Moe:
        """Our module with random weights."""
        fields = {"experts": EXPERTS, "top_k": TOP_K, "width": WIDTH} | self.spec
        spec = MoeFfn(kind="moe", router=Router(**self.router), **fields)
        built = feed_forward(spec, HIDDEN, VOCAB, Norm(eps=1e-5))
        generator = torch.Generator().manual_seed(11)
        for module in built.modules():
            if hasattr(module, "materialise"):
                module.materialise(torch.device("cpu"), generator)
        assert isinstance(built, Moe)
        return built

    def theirs(self, ours: Moe) -> Any:
        """Their module with our weights: every tensor of it is given one, and every element of ours is used."""
        config = getattr(transformers, self.config)(hidden_size=HIDDEN, vocab_size=VOCAB, **self.facts)
        config._experts_implementation = "eager"
        package, name = self.block.split(".")
        module = import_module(f"transformers.models.{package}.modeling_{package}")
        block_class = GemmaBlock if package == "gemma4" else getattr(module, name)
        block = block_class(config, *self.arguments).float().eval()
        mine = dict(ours.tensors())
        state = {}
        for their_name, source in self.tensors.items():
            state[their_name] = mine[source] if isinstance(source, str) else source(mine)
        shapes = {key: tensor.shape for key, tensor in block.state_dict().items()}
        state = {key: tensor.reshape(shapes[key]) for key, tensor in state.items()}
        assert sum(int((~tensor.isnan()).sum()) for tensor in state.values()) == sum(
            map(torch.numel, mine.values())
        )
        block.load_state_dict(state, strict=True)
        return block


class GemmaBlock(torch.nn.Module):
    """What a layer of Gemma 4 does between two norms: routed by one tensor, fed with another."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        module = import_module("transformers.models.gemma4.modeling_gemma4")
        self.router, self.experts = module.Gemma4TextRouter(config), module.Gemma4TextExperts(config)

    def forward(self, x_BTD: torch.Tensor, routed_by_BTD: torch.Tensor) -> torch.Tensor:
        _, weights, ids = self.router(routed_by_BTD.flatten(0, 1))
        return self.experts(x_BTD.flatten(0, 1), ids, weights).view(x_BTD.shape)


def llama4_choice(block: Any, x_TD: torch.Tensor, _ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scores_TE, _ = block.router(x_TD)
    weights, ids = scores_TE.topk(block.top_k, 1)
    return ids, weights


def jetmoe_choice(block: Any, x_TD: torch.Tensor, _ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Their router returns rows sorted by expert."""
    order, _, gates, sizes, _ = block.router(x_TD)
    ids = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    back = order.argsort()
    return ids[back].view(len(x_TD), -1), gates[back].view(len(x_TD), -1)


def dbrx_choice(block: Any, x_TD: torch.Tensor, _ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    weights, ids = block.route_tokens_to_experts(block.router(x_TD))
    return ids, weights


def lfm2_choice(block: Any, x_TD: torch.Tensor, _ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    _, weights, ids = block.gate(x_TD, block.expert_bias)
    return ids, weights


def minimax_m2_choice(
    block: Any, x_TD: torch.Tensor, _ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    _, weights, ids = block.gate(x_TD, block.e_score_correction_bias)
    return ids, weights


def hash_choice(block: Any, x_TD: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    _, weights, chosen = block.gate(x_TD, ids)
    return chosen, weights


def switch_choice(block: Any, x_TD: torch.Tensor, _ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    one_hot, weights, _ = block.router(x_TD[None])
    return one_hot[0].argmax(1, keepdim=True), weights[0]


def switch_experts() -> dict[str, Any]:
    def of(expert: int, part: str) -> Callable[[Ours], torch.Tensor]:
        return lambda ours: ours[f"experts.{part}"][expert].T

    parts = {"wi": "up", "wo": "down"}
    return {
        f"experts.expert_{e}.{theirs}.weight": of(e, part)
        for e in range(EXPERTS)
        for theirs, part in parts.items()
    }


def padded_gate_up(zero: int) -> Callable[[Ours], torch.Tensor]:
    """The class of LongCat allocates gate and up for its zero experts too, and never reads them."""

    def made(ours: Ours) -> torch.Tensor:
        real = gate_up(ours)
        return torch.cat((real, torch.full((zero, *real.shape[1:]), torch.nan)))

    return made


def deepseek(package: str, prefix: str, **facts: Any) -> Family:
    """The router of DeepSeek-V3, which several families took over."""
    grouped = {"n_group": 5, "topk_group": 3, "routed_scaling_factor": 2.5, "norm_topk_prob": True}
    sizes = {"n_routed_experts": EXPERTS, "num_experts_per_tok": TOP_K, "moe_intermediate_size": WIDTH}
    return Family(
        f"{package}.{prefix}MoE",
        f"{prefix}Config",
        grouped | sizes | {"n_shared_experts": 2} | facts,
        {"score": "sigmoid", "scale": 2.5, "correction_bias": "buffer", "groups": 5, "top_groups": 3},
        {"shared_width": 2 * WIDTH},
        CORRECTED | shared("shared_experts"),
    )


def plain(block: str, config: str, facts: dict[str, Any], **more: Any) -> Family:
    """A softmax over all experts, the best of them, their weights divided by their sum."""
    router = {"score": "softmax", "normalize": True} | more.pop("router", {})
    return Family(block, config, {"num_experts_per_tok": TOP_K} | facts, router, **more)
