"""Every kind of attention with every option, and into how many ranks each of its tensors can be cut, and why.

Whatever a head owns is cut by heads: a rank keeps whole heads, or it would exchange scores. What every
head reads (latents, shared norms, routers, indexers) is 1: each rank holds all of it.
"""

from __future__ import annotations

from worked import HIDDEN

from moe_plan.spec.attention import (
    Attention,
    AttentionExperts,
    CompressedAttention,
    GatedDelta,
    Indexer,
    KimiDelta,
    LightningAttention,
    Mamba1,
    Mamba2,
    MlaAttention,
    ShortConv,
)

GQA = Attention(
    kind="gqa",
    heads=6,
    kv_heads=2,
    head_dim=4,
    value_dim=3,
    q_rank=5,
    bias=("q", "k", "v", "o"),
    qk_norm="head",
    gate=True,
    sinks=True,
    position_buckets=32,
)
INDEXER = Indexer(heads=3, head_dim=8, top_k=11)
COMPRESSED = CompressedAttention(
    kind="compressed",
    heads=6,
    head_dim=4,
    q_rank=5,
    o_groups=3,
    o_rank=7,
    sinks=True,
    window=9,
    ratio=2,
    overlap=True,
    indexer=INDEXER,
)

GQA_CUTS = {
    # The compressed query is read by every head, what makes heads of it is theirs.
    "q_a": 1,
    "q_a_norm": 1,
    "q_b": 6,
    "q_bias": 6,
    # One vector for all heads.
    "q_norm": 1,
    "k_norm": 1,
    # A column of the table is one head's.
    "position_bias": 6,
    # 2 key-value heads: ranks beyond hold copies of them, and of their cache.
    "k": 2,
    "v": 2,
    "k_bias": 2,
    "v_bias": 2,
    "keys": 2,
    "values": 2,
    # The output adds up over heads; its bias is added once.
    "o": 6,
    "o_bias": 1,
    "gate": 6,
    "sinks": 6,
}
MLA_CUTS = {
    "q_a": 1,
    "q_a_norm": 1,
    "q_b": 6,
    # The latent is one vector for all heads: its projection and its cache are on every rank.
    "kv_a": 1,
    "kv_a_norm": 1,
    "latent": 1,
    "rope_keys": 1,
    "kv_b": 6,
    "o": 6,
}
# A rank needs the choice over all of the indexer's heads.
INDEXER_CUTS = {f"indexer.{name}": 1 for name in ("q", "k", "k_norm", "weights", "keys")}
COMPRESSED_CUTS = {
    "attention.q_a": 1,
    "attention.q_a_norm": 1,
    "attention.q_b": 6,
    # One key-value vector serves every head, in the window as in the compressed entries.
    "attention.kv": 1,
    "attention.kv_norm": 1,
    "attention.window": 1,
    "compressor.kv": 1,
    "compressor.gate": 1,
    "compressor.position_bias": 1,
    "compressor.kv_norm": 1,
    "compressor.entries": 1,
    # The low-rank output has 3 groups of 2 heads.
    "attention.o_a": 3,
    "attention.o_b": 3,
    "attention.sinks": 6,
    **{f"indexer.{name}": 1 for name in ("kv", "gate", "position_bias", "kv_norm", "q", "weights", "keys")},
}
# Every rank holds its heads of all 5 experts; the router sees the whole hidden state.
MOA_CUTS = {"router": 1, "q": 3, "o": 3, "k": 3, "v": 3, "o_bias": 1, "keys": 3, "values": 3}
GATED_DELTA_CUTS = {
    # 2 key heads, and 6 value heads with a state each; a key head is copied to the ranks of its value heads.
    "in_qk": 2,
    "conv_qk": 2,
    "conv_qk_state": 2,
    "in_vz": 6,
    "in_ba": 6,
    "conv_v": 6,
    "conv_v_state": 6,
    "recurrent_state": 6,
    "dt_bias": 6,
    "a_log": 6,
    "o": 6,
    # One vector for all heads.
    "out_norm": 1,
}
KDA_CUTS = {
    **dict.fromkeys(("q", "k", "v", "conv", "conv_state", "recurrent_state", "o"), 3),
    # The first halves of the low-rank gates are read by every head.
    "f_a": 1,
    "f_b": 3,
    "g_a": 1,
    "g_b": 3,
    "beta": 3,
    "dt_bias": 3,
    "a_log": 3,
    # One vector for all heads.
    "out_norm": 1,
}
# The norm has a weight for each channel of each head.
LIGHTNING_CUTS = {"qkv": 3, "gate": 3, "out_norm": 3, "o": 3, "recurrent_state": 3}
MAMBA1_CUTS = {
    # Channels are independent but for dt, B and C, which x adds up over all of them and norms take as a whole.
    **dict.fromkeys(("in", "conv", "conv_bias", "x", "dt", "dt_bias", "a_log", "d", "o"), 20),
    **dict.fromkeys(("ssm_state", "conv_state"), 20),
    **dict.fromkeys(("dt_norm", "b_norm", "c_norm"), 1),
}
MAMBA2_CUTS = {
    # z, x and dt belong to 6 heads, B and C to 3 groups of two heads each.
    **dict.fromkeys(("in_zxdt", "conv_x", "conv_x_bias", "conv_x_state", "ssm_state"), 6),
    **dict.fromkeys(("dt_bias", "a_log", "d", "out_norm", "o"), 6),
    **dict.fromkeys(("in_bc", "conv_bc", "conv_bc_bias", "conv_bc_state"), 3),
}
# Every channel of the hidden state is convolved and gated for itself.
SHORT_CONV_CUTS = {"in": HIDDEN, "conv": HIDDEN, "o": HIDDEN, "conv_state": HIDDEN}


def of_attention(names: dict[str, int]) -> dict[str, int]:
    return {f"attention.{name}": ways for name, ways in names.items()}


MLA = {"kind": "mla", "heads": 6, "q_rank": 5, "kv_rank": 7, "nope_dim": 4, "rope_dim": 2, "v_dim": 3}
ATTENTION = {
    "gqa": (GQA, of_attention(GQA_CUTS)),
    "mla": (MlaAttention(**MLA, indexer=INDEXER), of_attention(MLA_CUTS) | INDEXER_CUTS),
    "compressed": (COMPRESSED, COMPRESSED_CUTS),
    "moa": (
        AttentionExperts(kind="moa", experts=5, top_k=2, heads=3, head_dim=4, output_bias=True),
        of_attention(MOA_CUTS),
    ),
    "gated-delta": (
        GatedDelta(kind="gated-delta", key_heads=2, value_heads=6, key_dim=3, value_dim=4, conv=5),
        of_attention(GATED_DELTA_CUTS),
    ),
    "kda": (KimiDelta(kind="kda", heads=3, head_dim=4, conv=5), of_attention(KDA_CUTS)),
    "lightning": (LightningAttention(kind="lightning", heads=3, head_dim=4), of_attention(LIGHTNING_CUTS)),
    "mamba1": (
        Mamba1(kind="mamba1", inner=20, state=3, dt_rank=7, conv=5, inner_norms=True),
        of_attention(MAMBA1_CUTS),
    ),
    "mamba2": (
        Mamba2(kind="mamba2", heads=6, head_dim=4, state=5, groups=3, conv=4),
        of_attention(MAMBA2_CUTS),
    ),
    "short-conv": (ShortConv(kind="short-conv", taps=3), of_attention(SHORT_CONV_CUTS)),
}
