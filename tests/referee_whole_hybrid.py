"""Families of transformers with several kinds of layers, or an attention of their own, as whole models."""

from __future__ import annotations

import torch
from recurrence_weights import mamba2_weights
from whole_case import OUTER, Case, Source, Table, one_tap_more
from whole_facts import (
    EXPERTS,
    NORMS,
    PROJECTIONS,
    Facts,
    always,
    attention_of,
    common,
    dense_of,
    experts_of,
    leading_dense,
    mixers_of,
    norm,
    plain,
    renamed,
    rope_parameters,
)

from moe_plan.spec.attention import AttentionExperts, Mamba2, ShortConv
from moe_plan.spec.model import ModelSpec

EXPERTS_OF_BLOCK = renamed(EXPERTS, "mlp.", "block_sparse_moe.")


def scales(spec: ModelSpec) -> Facts:
    """Granite's factors."""
    assert isinstance(spec.logit_scale, float)
    return {
        "embedding_multiplier": spec.embedding_scale,
        "residual_multiplier": spec.residual_scale,
        "logits_scaling": 1 / spec.logit_scale,
        "attention_multiplier": attention_of(spec).scale,
    }


def granite(spec: ModelSpec) -> Facts:
    block = experts_of(spec)
    return (
        plain(spec)
        | scales(spec)
        | {
            "intermediate_size": block.width,
            "num_local_experts": block.experts,
            "num_experts_per_tok": block.top_k,
        }
    )


def granite_hybrid(spec: ModelSpec) -> Facts:
    mixers = mixers_of(spec)
    mamba = next(block for block in mixers if isinstance(block, Mamba2))
    return granite(spec) | {
        "shared_intermediate_size": experts_of(spec).shared_width,
        "layer_types": ["mamba" if isinstance(block, Mamba2) else "attention" for block in mixers],
        "mamba_n_heads": mamba.heads,
        "mamba_d_head": mamba.head_dim,
        "mamba_d_state": mamba.state,
        "mamba_n_groups": mamba.groups,
        "mamba_d_conv": mamba.conv,
        "mamba_conv_bias": mamba.conv_bias,
        "mamba_expand": mamba.heads * mamba.head_dim // spec.hidden,
    }


def mamba_of_two_hidden(spec: ModelSpec) -> ModelSpec:
    """Heads together twice as wide as the residual stream."""
    (name,) = (name for name, block in spec.attention.items() if isinstance(block, Mamba2))
    block = spec.attention[name]
    assert isinstance(block, Mamba2)
    heads = next(heads for heads in range(block.heads, 2 * spec.hidden + 1) if 2 * spec.hidden % heads == 0)
    changed = block.model_copy(update={"heads": heads, "head_dim": 2 * spec.hidden // heads})
    return spec.model_copy(update={"attention": spec.attention | {name: changed}})


def mamba2(name: str) -> Source:
    return lambda ours: mamba2_weights({key.removeprefix("attention."): t for key, t in ours.items()})[name]


MAMBA2: Table = {
    f"mamba.{name}": mamba2(name)
    for name in (
        "in_proj.weight",
        "conv1d.weight",
        "conv1d.bias",
        "dt_bias",
        "A_log",
        "D",
        "norm.weight",
        "out_proj.weight",
    )
}
GRANITE: Table = (
    NORMS
    | PROJECTIONS
    | {
        "block_sparse_moe.router.weight": "router.weight",
        "block_sparse_moe.experts.gate_up_proj": EXPERTS["mlp.experts.gate_up_proj"],
        "block_sparse_moe.experts.down_proj": EXPERTS["mlp.experts.down_proj"],
    }
)
GRANITE_SHARED: Table = {
    "shared_mlp.input_linear.weight": lambda ours: torch.cat((ours["shared.gate"], ours["shared.up"])),
    "shared_mlp.output_linear.weight": "shared.down",
}


def one_number_of_experts(spec: ModelSpec) -> ModelSpec:
    """As many in attention as in the network."""
    (name,), (block,) = spec.attention, spec.attention.values()
    changed = block.model_copy(update={"experts": experts_of(spec).experts})
    return spec.model_copy(update={"attention": {name: changed}})


def jetmoe(spec: ModelSpec) -> Facts:
    (attention,), experts = spec.attention.values(), experts_of(spec)
    assert isinstance(attention, AttentionExperts)
    assert (attention.experts, attention.top_k) == (experts.experts, experts.top_k)
    return common(spec) | {
        "num_key_value_heads": attention.heads,
        "kv_channels": attention.head_dim,
        "head_dim": attention.head_dim,
        "intermediate_size": experts.width,
        "num_local_experts": experts.experts,
        "num_experts_per_tok": experts.top_k,
        "rope_parameters": rope_parameters(attention.rope, attention.head_dim),
    }


JETMOE: Table = NORMS | {
    "self_attention.experts.router.layer.weight": "attention.router",
    "self_attention.experts.input_linear.weight": "attention.q",
    "self_attention.experts.output_linear.weight": "attention.o",
    "self_attention.experts.bias": "attention.o_bias",
    "self_attention.kv_proj.weight": lambda ours: torch.cat((ours["attention.k"], ours["attention.v"])),
    "mlp.router.layer.weight": "router.weight",
    "mlp.input_linear.weight": EXPERTS["mlp.experts.gate_up_proj"],
    "mlp.output_linear.weight": EXPERTS["mlp.experts.down_proj"],
    "mlp.bias": "experts.output_bias",
}


def lfm2(spec: ModelSpec) -> Facts:
    block, mixers = experts_of(spec), mixers_of(spec)
    convolution = next(mixer for mixer in mixers if isinstance(mixer, ShortConv))
    return plain(spec) | {
        "norm_eps": spec.norm.eps,
        "max_position_embeddings": 64,
        "intermediate_size": dense_of(spec).width,
        "moe_intermediate_size": block.width,
        "num_dense_layers": leading_dense(spec),
        "num_experts": block.experts,
        "num_experts_per_tok": block.top_k,
        "conv_L_cache": convolution.taps,
        "layer_types": ["conv" if isinstance(mixer, ShortConv) else "full_attention" for mixer in mixers],
    }


LFM2: Table = {
    "operator_norm.weight": norm(0),
    "ffn_norm.weight": norm(1),
    "conv.in_proj.weight": "attention.in",
    "conv.conv.weight": "attention.conv",
    "conv.out_proj.weight": "attention.o",
    **{f"self_attn.{part}_proj.weight": f"attention.{part}" for part in "qkv"},
    "self_attn.out_proj.weight": "attention.o",
    "self_attn.q_layernorm.weight": "attention.q_norm",
    "self_attn.k_layernorm.weight": "attention.k_norm",
    "feed_forward.w1.weight": "dense.gate",
    "feed_forward.w3.weight": "dense.up",
    "feed_forward.w2.weight": "dense.down",
    "feed_forward.expert_bias": "router.correction_bias",
} | renamed(EXPERTS, "mlp.", "feed_forward.")


CASES = {
    "granite-3.0-1b-a400m": Case("GraniteMoe", "granite-3.0-1b-a400m", granite, always(GRANITE)),
    "granite-4.0-h-tiny": Case(
        "GraniteMoeHybrid",
        "granite-4.0-h-tiny",
        granite_hybrid,
        always(GRANITE | GRANITE_SHARED | MAMBA2),
        tied=mamba_of_two_hidden,
        kept=one_tap_more,
    ),
    "jetmoe-8b": Case("JetMoe", "jetmoe-8b", jetmoe, always(JETMOE), tied=one_number_of_experts),
    "lfm2-8b-a1b": Case(
        "Lfm2Moe",
        "lfm2-8b-a1b",
        lfm2,
        always(LFM2),
        outer=renamed(OUTER, "model.norm", "model.embedding_norm"),
        kept=one_tap_more,
    ),
}
