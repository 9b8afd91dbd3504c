"""DeepSeek-V4's attention and hyper-connections of transformers beside ours: tiny, weights copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from mixers import HIDDEN, NORM, made
from referee_latent import copy_weights
from transformers.models.deepseek_v4 import modeling_deepseek_v4 as code

from moe_plan.replica.attention.compressed import Compressed
from moe_plan.replica.hyper import Hyper, HyperHead
from moe_plan.spec.attention import CompressedAttention, Indexer
from moe_plan.spec.rope import Rope, Yarn

STREAMS, WINDOW = 3, 5
SPARSE, HEAVY = 3, 4
"""Tokens of an entry, with overlap and an indexer, and without."""
TOP_K = 2
YARN = Yarn(kind="yarn", factor=4.0, original_context=8, attention_factor=1.0)
COMPRESS = Rope(theta=500.0, dim=4, interleaved=True, scaling=YARN)
INDEXER = Indexer(heads=17, head_dim=8, top_k=TOP_K)

FACTS = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "head_dim": 10,
    "q_lora_rank": 13,
    "o_groups": 3,
    "o_lora_rank": 7,
    "sliding_window": WINDOW,
    "index_n_heads": 17,
    "index_head_dim": 8,
    "index_topk": TOP_K,
    "partial_rotary_factor": 0.4,
    "compress_rope_theta": 500.0,
    "hc_mult": STREAMS,
    "layer_types": ["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"],
    "compress_rates": {"compressed_sparse_attention": SPARSE, "heavily_compressed_attention": HEAVY},
    "rope_parameters": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 8,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
    },
    "vocab_size": 23,
    "attn_implementation": "eager",
}

BASE = {
    "heads": 6, "head_dim": 10, "q_rank": 13, "o_groups": 3, "o_rank": 7, "sinks": True, "window": WINDOW,
}  # fmt: skip
SPECS = {
    "window": BASE | {"rope": Rope(dim=4, interleaved=True)},
    "sparse": BASE | {"ratio": SPARSE, "overlap": True, "indexer": INDEXER, "rope": COMPRESS},
    "heavy": BASE | {"ratio": HEAVY, "rope": COMPRESS},
}
"""In the order of FACTS' layer types."""

WINDOW_TENSORS = {
    "sinks": "attention.sinks",
    "q_a_proj.weight": "attention.q_a",
    "q_a_norm.weight": "attention.q_a_norm",
    "q_b_proj.weight": "attention.q_b",
    "kv_proj.weight": "attention.kv",
    "kv_norm.weight": "attention.kv_norm",
    "o_a_proj.weight": "attention.o_a",
    "o_b_proj.weight": "attention.o_b",
}


def compressor(path: str, owner: str) -> dict[str, str]:
    return {
        f"{path}.kv_proj.weight": f"{owner}.kv",
        f"{path}.gate_proj.weight": f"{owner}.gate",
        f"{path}.position_bias": f"{owner}.position_bias",
        f"{path}.kv_norm.weight": f"{owner}.kv_norm",
    }


HEAVY_TENSORS = WINDOW_TENSORS | compressor("compressor", "compressor")
SPARSE_TENSORS = (
    HEAVY_TENSORS
    | compressor("compressor.indexer", "indexer")
    | {
        "compressor.indexer.q_b_proj.weight": "indexer.q",
        "compressor.indexer.scorer.weights_proj.weight": "indexer.weights",
    }
)
TENSORS = {"window": WINDOW_TENSORS, "sparse": SPARSE_TENSORS, "heavy": HEAVY_TENSORS}


def config() -> Any:
    return transformers.DeepseekV4Config(**FACTS)


def ours(name: str) -> Compressed:
    return made(Compressed(CompressedAttention(kind="compressed", **SPECS[name]), HIDDEN, NORM))


@dataclass
class Theirs:
    """One attention layer of transformers with what its model would give it."""

    config: Any
    attention: Any
    rope: Any
    layer: int

    @classmethod
    def like(cls, name: str, mixer: Compressed) -> Theirs:
        settings, layer = config(), list(SPECS).index(name)
        attention = code.DeepseekV4Attention(settings, layer).eval()
        copy_weights(attention, mixer, TENSORS[name])
        return cls(settings, attention, code.DeepseekV4RotaryEmbedding(settings), layer)

    def __call__(self, x: torch.Tensor, cache: Any = None, start: int = 0) -> torch.Tensor:
        positions = torch.arange(start, start + x.shape[1])[None]
        first = 0 if cache is None else start - min(start, WINDOW - 1)
        keys, queries = torch.arange(first, start + x.shape[1]), positions[0][:, None]
        hidden = (keys > queries) | (keys <= queries - WINDOW)
        mask = torch.zeros((x.shape[0], 1, x.shape[1], len(keys))).masked_fill_(hidden, float("-inf"))
        angles = {kind: self.rope(x, positions, layer_type=kind) for kind in ("main", "compress")}
        return self.attention(x, angles, positions, mask, past_key_values=cache)[0]

    def in_pieces(self, x: torch.Tensor, pieces: list[int]) -> torch.Tensor:
        cache, outs, start = transformers.DynamicCache(config=self.config), [], 0
        for new in pieces:
            outs.append(self(x[:, start : start + new], cache, start))
            start += new
        return torch.cat(outs, 1)


def connections() -> tuple[Hyper, Any]:
    mine, theirs = made(Hyper(STREAMS, HIDDEN, 1, NORM)), code.DeepseekV4HyperConnection(config())
    copy_weights(theirs, mine, {"fn": "hyper.1.maps", "base": "hyper.1.base", "scale": "hyper.1.scale"})
    return mine, theirs


def heads() -> tuple[HyperHead, Any]:
    mine, theirs = made(HyperHead(STREAMS, HIDDEN, NORM)), code.DeepseekV4HyperHead(config())
    table = {"hc_fn": "hyper.head.maps", "hc_base": "hyper.head.base", "hc_scale": "hyper.head.scale"}
    copy_weights(theirs, mine, table)
    return mine, theirs
