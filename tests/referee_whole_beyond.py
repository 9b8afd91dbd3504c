"""Families that the catalogue has no model of, for what no model of the catalogue has.

GLM-5: an indexer that turns neighbouring channels, and layers that share its choice. Nemotron 3 Super: experts
in a latent. Qwen3.5: the same tensors as Qwen3-Next, fused otherwise. Each is made of a related model's spec.
"""

from __future__ import annotations

from functools import partial

import torch
from referee_whole_latent import DEEPSEEK, INDEXER, decided, deepseek_v32
from referee_whole_mamba import NEMOTRON, NEMOTRON_OUTER, nemotron
from referee_whole_recurrent import qwen3_next, qwen3_next_table
from whole_case import Case, Ours, Source, Table, one_tap_more
from whole_facts import Facts, always, names_of_layers

from moe_plan.api import load
from moe_plan.spec.attention import MlaAttention
from moe_plan.spec.model import ModelSpec, Run

LATENT = 1024


def glm5_spec() -> ModelSpec:
    """DeepSeek-V3.2 with GLM-5's rotation; in every other layer the choice is the layer's before."""
    spec = load("deepseek-v3.2").spec
    block = spec.attention["mla"]
    assert isinstance(block, MlaAttention)
    assert block.indexer is not None
    rope = None if block.rope is None else block.rope.model_copy(update={"scaling": None})
    chooses, shares = (
        block.model_copy(
            update={
                "rope": rope,
                "indexer": block.indexer.model_copy(update={"interleaved": True, "shared": shared}),
            }
        )
        for shared in (False, True)
    )
    layers = (
        Run(repeat=3, attention="full", ffn="dense"),
        Run(repeat=29, pattern=tuple(Run(attention=name, ffn="experts") for name in ("full", "shared"))),
    )
    blocks = {"full": chooses, "shared": shares}
    return spec.model_copy(update={"name": "glm-5-like", "attention": blocks, "layers": layers, "parts": {}})


def glm5(spec: ModelSpec) -> Facts:
    return deepseek_v32(spec) | {"indexer_types": names_of_layers(spec, "attention")}


def super_spec() -> ModelSpec:
    """Nemotron 3 Nano with experts in a latent."""
    spec = load("nemotron-3-nano-30b-a3b").spec
    experts = spec.ffn["experts"].model_copy(update={"latent": LATENT})
    return spec.model_copy(update={"name": "nemotron-3-super-like", "ffn": {"experts": experts}})


LATENT_EXPERTS: Table = {
    "mixer.fc1_latent_proj.weight": "experts.latent_down",
    "mixer.fc2_latent_proj.weight": "experts.latent_up",
}


def halves(ours: Ours, name: str, index: int) -> torch.Tensor:
    """The upper or the lower rows of a tensor of the mixer."""
    return ours[f"attention.{name}"].chunk(2)[index]


def queries_keys_values(ours: Ours) -> torch.Tensor:
    return torch.cat((ours["attention.in_qk"], halves(ours, "in_vz", 0)))


SEPARATE: dict[str, Source] = {
    "linear_attn.in_proj_qkv.weight": queries_keys_values,
    "linear_attn.in_proj_z.weight": partial(halves, name="in_vz", index=1),
    "linear_attn.in_proj_b.weight": partial(halves, name="in_ba", index=0),
    "linear_attn.in_proj_a.weight": partial(halves, name="in_ba", index=1),
}


def qwen35_spec() -> ModelSpec:
    """Qwen3-Next: the classes differ in how they fuse projections alone."""
    return load("qwen3-next-80b-a3b").spec.model_copy(update={"name": "qwen3.5-like"})


CASES = {
    "glm-5": Case("GlmMoeDsa", "glm-5-like", glm5, always(DEEPSEEK | INDEXER), spec=glm5_spec, tied=decided),
    "nemotron-3-super": Case(
        "NemotronH",
        "nemotron-3-super-like",
        nemotron,
        always(NEMOTRON | LATENT_EXPERTS),
        outer=NEMOTRON_OUTER,
        spec=super_spec,
        kept=one_tap_more,
    ),
    "qwen3.5-moe": Case(
        "Qwen3_5Moe",
        "qwen3.5-like",
        qwen3_next,
        lambda spec: qwen3_next_table(spec) | SEPARATE,
        config="Qwen3_5MoeTextConfig",
        spec=qwen35_spec,
        kept=one_tap_more,
        seed=18,
    ),
}
