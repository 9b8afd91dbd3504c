"""Attention over latents, and DeepSeek-V4's, of transformers beside ours: tiny configurations, weights copied.

Sizes are odd and unequal. Both sides run in one go, or in pieces through their own caches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import torch
import transformers
from mixers import HIDDEN, NORM, call_of, made

from moe_plan.replica.attention.mla import MlaMixer
from moe_plan.spec.attention import Indexer, MlaAttention
from moe_plan.spec.rope import Rope, Temperature, Yarn

SIZES = {"heads": 3, "kv_rank": 11, "nope_dim": 7, "rope_dim": 6, "v_dim": 5}
Q_RANK = 13
TOP_K = 5
# Enough heads that no score is exactly 0, where the choice would be anybody's.
INDEXER = Indexer(heads=17, head_dim=10, top_k=TOP_K)

FACTS = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "q_lora_rank": Q_RANK,
    "kv_lora_rank": 11,
    "qk_nope_head_dim": 7,
    "qk_rope_head_dim": 6,
    "v_head_dim": 5,
    "head_dim": 6,
    "vocab_size": 23,
    "pad_token_id": None,
    "attn_implementation": "eager",
}
INDEX_FACTS = {"index_n_heads": 17, "index_head_dim": 10, "index_topk": TOP_K}

YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 8}
SCALING = Yarn(kind="yarn", factor=4.0, original_context=8)


def yarn(**temperatures: float) -> Rope:
    return Rope(interleaved=True, scaling=SCALING.model_copy(update=temperatures))


TENSORS = {
    "q_a_proj.weight": "attention.q_a",
    "q_a_layernorm.weight": "attention.q_a_norm",
    "q_b_proj.weight": "attention.q_b",
    "kv_a_proj_with_mqa.weight": "attention.kv_a",
    "kv_a_layernorm.weight": "attention.kv_a_norm",
    "kv_b_proj.weight": "attention.kv_b",
    "o_proj.weight": "attention.o",
}
# Where a class wants rows of even width.
EVEN_SPEC = {"nope_dim": 8, "kv_rank": 12}
EVEN_FACTS = {"qk_nope_head_dim": 8, "kv_lora_rank": 12}

DIRECT = {name: ours for name, ours in TENSORS.items() if not name.startswith("q_")} | {
    "q_proj.weight": "attention.q"
}
INDEXED = TENSORS | {
    "indexer.wq_b.weight": "indexer.q",
    "indexer.wk.weight": "indexer.k",
    "indexer.k_norm.weight": lambda ours: ours["indexer.k_norm"][0],
    "indexer.k_norm.bias": lambda ours: ours["indexer.k_norm"][1],
    "indexer.weights_proj.weight": "indexer.weights",
}


@dataclass(frozen=True)
class Family:
    """One attention class of transformers, and the spec that should be the same."""

    module: str
    prefix: str
    attention: str = "Attention"
    facts: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=lambda: {"q_rank": Q_RANK})
    tensors: dict[str, Any] = field(default_factory=lambda: TENSORS)
    has_rope: bool = True

    def ours(self) -> MlaMixer:
        return made(MlaMixer(MlaAttention(kind="mla", **SIZES | self.spec), HIDDEN, NORM))

    def theirs(self, ours: MlaMixer) -> Theirs:
        code = import_module(f"transformers.models.{self.module}.modeling_{self.module}")
        config = getattr(transformers, f"{self.prefix}Config")(**FACTS | self.facts)
        # A tiny vocabulary needs no experts; only the attention is built.
        attention = getattr(code, f"{self.prefix}{self.attention}")(config, 0)
        copy_weights(attention, ours, self.tensors)
        rope = getattr(code, f"{self.prefix}RotaryEmbedding")(config) if self.has_rope else None
        return Theirs(config, attention.eval(), rope)


@dataclass
class Theirs:
    """An attention module of transformers with what its model would give it."""

    config: Any
    attention: Any
    rope: Any
    extra: dict[str, Any] = field(default_factory=dict)

    def cache(self) -> Any:
        return transformers.DynamicCache(config=self.config)

    def __call__(self, x: torch.Tensor, cache: Any = None, start: int = 0) -> torch.Tensor:
        return self.outputs(x, cache, start)[0]

    def outputs(self, x: torch.Tensor, cache: Any = None, start: int = 0) -> tuple[torch.Tensor, ...]:
        positions = torch.arange(start, start + x.shape[1])[None]
        keys = torch.arange(start + x.shape[1])
        mask = torch.zeros((x.shape[0], 1, x.shape[1], start + x.shape[1]))
        mask.masked_fill_(keys > positions[0][:, None], torch.finfo(x.dtype).min)
        given = dict(self.extra)
        if self.rope is not None:
            given["position_embeddings"] = self.rope(x, positions)
        return self.attention(x, attention_mask=mask, past_key_values=cache, position_ids=positions, **given)

    def in_pieces(self, x: torch.Tensor, pieces: list[int]) -> torch.Tensor:
        cache, outs, start = self.cache(), [], 0
        for new in pieces:
            outs.append(self(x[:, start : start + new], cache, start))
            start += new
        return torch.cat(outs, 1)


def copy_weights(theirs: Any, ours: Any, table: dict[str, str | Callable[[Any], torch.Tensor]]) -> None:
    """Every parameter of theirs, from ours: none may be left over on either side."""
    tensors = dict(ours.tensors())
    parameters = dict(theirs.named_parameters())
    assert parameters.keys() == table.keys()
    assert sum(p.numel() for p in parameters.values()) == sum(t.numel() for t in tensors.values())
    for name, source in table.items():
        value = tensors[source] if isinstance(source, str) else source(tensors)
        parameters[name].data.copy_(value.view(parameters[name].shape))


FAMILIES = {
    "deepseek-v2": Family(
        "deepseek_v2",
        "DeepseekV2",
        facts=EVEN_FACTS
        | {"q_lora_rank": None, "rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 0.8}},
        spec=EVEN_SPEC | {"rope": yarn(mscale=0.7, mscale_all_dim=0.8)},
        tensors=DIRECT,
    ),
    "deepseek-v3": Family(
        "deepseek_v3",
        "DeepseekV3",
        facts={"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
        spec={"q_rank": Q_RANK, "rope": yarn(mscale=1.0, mscale_all_dim=1.0)},
    ),
    "deepseek-v3.2": Family(
        "deepseek_v32",
        "DeepseekV32",
        facts=INDEX_FACTS | {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
        spec={"q_rank": Q_RANK, "indexer": INDEXER, "rope": yarn(mscale=1.0, mscale_all_dim=1.0)},
        tensors=INDEXED,
    ),
    "glm-5": Family(
        "glm_moe_dsa",
        "GlmMoeDsa",
        facts=INDEX_FACTS | {"indexer_types": ["full"]},
        spec={"q_rank": Q_RANK, "indexer": INDEXER.model_copy(update={"interleaved": True})},
        tensors=INDEXED,
    ),
    "longcat": Family(
        "longcat_flash",
        "LongcatFlash",
        "MLA",
        facts={"rope_parameters": {"rope_type": "default", "rope_theta": 1e7}, "num_layers": 1},
        spec={"q_rank": Q_RANK, "rank_scaling": True, "rope": Rope(theta=1e7, interleaved=True)},
    ),
    "mistral-small-4": Family(
        "mistral4",
        "Mistral4",
        facts=EVEN_FACTS
        | {
            "head_dim": 14,
            "rope_parameters": YARN
            | {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3, "type": "yarn"},
        },
        spec=EVEN_SPEC
        | {
            "q_rank": Q_RANK,
            "rope": yarn(mscale=1.0, mscale_all_dim=1.0),
            "temperature": Temperature(beta=0.3, span=8),
        },
    ),
    "kimi-linear": Family(
        "kimi_linear",
        "KimiLinear",
        facts={"q_lora_rank": None, "layer_types": ["full_attention"]},
        spec={"rope": None},
        tensors=DIRECT,
        has_rope=False,
    ),
}


def shared_choice(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of a second layer which attends to what the indexer of a first has chosen: ours and theirs."""
    family = FAMILIES["glm-5"]
    first = family.ours()
    spec = first.spec.model_copy(update={"indexer": INDEXER.model_copy(update={"shared": True})})
    second = made(MlaMixer(spec, HIDDEN, NORM), seed=8)
    call = call_of(x, query_block=4)
    first(x, None, call)
    facts = family.facts | {"indexer_types": ["full", "shared"], "num_hidden_layers": 2}
    theirs = replace(family, facts=facts).theirs(first)
    code = import_module("transformers.models.glm_moe_dsa.modeling_glm_moe_dsa")
    sharing = code.GlmMoeDsaAttention(theirs.config, 1).eval()
    copy_weights(sharing, second, TENSORS)
    theirs_second = replace(theirs, attention=sharing, extra={"prev_topk_indices": theirs.outputs(x)[2]})
    return second(x, None, call), theirs_second(x)
