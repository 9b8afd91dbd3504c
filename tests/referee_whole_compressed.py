"""DeepSeek-V4 of transformers as a whole model, beside ours: its configuration, its tensors, its cache."""

from __future__ import annotations

from referee_whole_latent import INDEXER_HEADS, ROPE_DIM, SHARED, weights, with_attention
from whole_case import OUTER, Case, Kept, Table
from whole_facts import (
    CORRECTION,
    EXPERTS,
    NORMS,
    Facts,
    always,
    common,
    experts_of,
    names_of_layers,
    rope_parameters,
    whole_shared_experts,
)

from moe_plan.spec.attention import CompressedAttention, Indexer
from moe_plan.spec.model import ModelSpec
from moe_plan.spec.rope import Rope

SPARSE, HEAVY = "compressed_sparse_attention", "heavily_compressed_attention"
LAYER_TYPES = {"window": "sliding_attention", "every-4": SPARSE, "every-128": HEAVY}
"""Theirs for the names of the catalogue's attention blocks."""
MLP_TYPES = {"by-token": "hash_moe", "experts": "moe"}


def facts(spec: ModelSpec) -> Facts:
    window, sparse, heavy = (spec.attention[name] for name in LAYER_TYPES)
    moe = experts_of(spec)
    return common(spec) | {
        "layer_types": [LAYER_TYPES[name] for name in names_of_layers(spec, "attention")],
        "mlp_layer_types": [MLP_TYPES[name] for name in names_of_layers(spec, "ffn")],
        "num_attention_heads": window.heads,
        "head_dim": window.head_dim,
        "q_lora_rank": window.q_rank,
        "o_groups": window.o_groups,
        "o_lora_rank": window.o_rank,
        "sliding_window": window.window,
        "rope_theta": window.rope.theta,
        "compress_rates": {SPARSE: sparse.ratio, HEAVY: heavy.ratio},
        "compress_rope_theta": sparse.rope.theta,
        "rope_parameters": rope_parameters(sparse.rope, sparse.head_dim),
        "partial_rotary_factor": sparse.rope.dim / sparse.head_dim,
        "index_n_heads": sparse.indexer.heads,
        "index_head_dim": sparse.indexer.head_dim,
        "index_topk": sparse.indexer.top_k,
        "hc_mult": spec.hyper_connections,
        "moe_intermediate_size": moe.width,
        "n_routed_experts": moe.experts,
        "num_experts_per_tok": moe.top_k,
        "routed_scaling_factor": moe.router.scale,
        "swiglu_limit": moe.limit,
    }


def compressor(module: str, owner: str) -> Table:
    matrices = weights(module, owner, {"kv_proj": "kv", "gate_proj": "gate", "kv_norm": "kv_norm"})
    return matrices | {f"{module}.position_bias": f"{owner}.position_bias"}


def connections(module: str, owner: str) -> Table:
    """The maps of one block, with what is added to them and what they are multiplied by."""
    parts = {"fn": "maps", "base": "base", "scale": "scale"}
    return {f"{module}{theirs}": f"{owner}.{ours}" for theirs, ours in parts.items()}


INDEXER = "self_attn.compressor.indexer"
TABLE: Table = {
    **weights(
        "self_attn", "attention", {f"{name}_proj": name for name in ("q_a", "q_b", "kv", "o_a", "o_b")}
    ),
    **weights("self_attn", "attention", {name: name for name in ("q_a_norm", "kv_norm")}),
    "self_attn.sinks": "attention.sinks",
    **compressor("self_attn.compressor", "compressor"),
    **compressor(INDEXER, "indexer"),
    **weights(INDEXER, "indexer", {"q_b_proj": "q", "scorer.weights_proj": "weights"}),
    **EXPERTS,
    **CORRECTION,
    **SHARED,
    "mlp.gate.tid2eid": "router.token_table",
    **NORMS,
    **connections("attn_hc.", "hyper.0"),
    **connections("ffn_hc.", "hyper.1"),
}


def decided(spec: ModelSpec) -> ModelSpec:
    """An indexer of so many heads that its choices are clear, and as many rotary channels as the release has.

    The shared expert is as wide as a routed one.
    """

    def wide(indexer: Indexer | None) -> Indexer | None:
        return indexer and indexer.model_copy(update={"heads": INDEXER_HEADS, "head_dim": ROPE_DIM + 2})

    def turned(rope: Rope) -> Rope:
        return rope.model_copy(update={"dim": ROPE_DIM})

    changed = with_attention(spec, indexer=wide, rope=turned, head_dim=lambda _: ROPE_DIM + 6)
    return whole_shared_experts(changed)


def kept(ours: Kept) -> int:
    """The window, what waits for an entry, and entries, as the class keeps them.

    A window drops a token sooner, and a layer that has nothing else keeps its one vector a token twice, as
    keys and as values. Of projections whose entry is complete only the half is kept that, with overlap, the
    next entry needs; ours keeps both halves of as many tokens as may be needed.
    """
    (mixer,) = ours.mixers
    assert isinstance(mixer, CompressedAttention)
    window = ours.batch * min(ours.tokens, mixer.window - 1) * mixer.head_dim
    if mixer.ratio is None:
        return 2 * window
    made, waiting = divmod(ours.tokens, mixer.ratio)
    width = mixer.head_dim + (mixer.indexer.head_dim if mixer.indexer is not None else 0)
    entries = ours.elements["compressor.entries"] + ours.elements.get("indexer.keys", 0)
    assert entries == ours.batch * made * width
    halves = waiting * (1 + mixer.overlap) + mixer.overlap * mixer.ratio * min(made, 1)
    return window + entries + 2 * ours.batch * halves * width


CASES = {
    "deepseek-v4-flash": Case(
        "DeepseekV4",
        "deepseek-v4-flash",
        facts,
        always(TABLE),
        outer=OUTER | connections("model.hc_head.hc_", "hyper.head"),
        kept=kept,
        tied=decided,
        quirks=(
            "what waits for an entry is counted as the class keeps it: it does not grow with the context",
        ),
    ),
}
