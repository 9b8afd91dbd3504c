"""Families of transformers with several kinds of layers, or an attention of their own, as whole models."""

from __future__ import annotations

import torch
from recurrence_weights import mamba2_weights
from whole_case import OUTER, Case, Source, Table, one_less_than_window, one_tap_more
from whole_facts import (
    DENSE,
    EXPERTS,
    NORMS,
    PROJECTIONS,
    QK_NORMS,
    Facts,
    always,
    attention_of,
    common,
    dense_of,
    experts_of,
    latent_of,
    leading_dense,
    mixers_of,
    norm,
    plain,
    renamed,
    rope_parameters,
    three,
    whole_shared_experts,
)

from moe_plan.replica.unfold import layers_of
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


def llama4(spec: ModelSpec) -> Facts:
    experts, mixers = experts_of(spec), mixers_of(spec)
    chunked = next(block for block in mixers if block.chunk)
    full = next(block for block in mixers if block.temperature)
    ffns = [spec.ffn[str(run.ffn)] for run in layers_of(spec.layers)]
    dense = [block.width for block in ffns if block.kind == "dense"]
    assert full.temperature.first == 1
    return plain(spec) | {
        "rope_parameters": rope_parameters(chunked.rope, chunked.head_dim),
        "intermediate_size": experts.width,
        "intermediate_size_mlp": dense[0] if dense else experts.width,
        "num_local_experts": experts.experts,
        "num_experts_per_tok": experts.top_k,
        "moe_layers": [index for index, block in enumerate(ffns) if block.kind == "moe"],
        "use_qk_norm": chunked.qk_norm == "unit",
        "no_rope_layers": [int(block.rope is not None) for block in mixers],
        "attention_chunk_size": chunked.chunk,
        "layer_types": ["chunked_attention" if block.chunk else "full_attention" for block in mixers],
        "floor_scale": full.temperature.span,
        "attn_scale": full.temperature.beta,
    }


LLAMA4: Table = (
    NORMS
    | PROJECTIONS
    | three("feed_forward", "dense")
    | three("feed_forward.shared_expert", "shared")
    | {
        "feed_forward.router.weight": "router.weight",
        "feed_forward.experts.gate_up_proj": lambda ours: torch.cat(
            (ours["experts.gate"], ours["experts.up"]), 2
        ),
        "feed_forward.experts.down_proj": "experts.down",
    }
)


def gemma4(spec: ModelSpec) -> Facts:
    experts, mixers = experts_of(spec), mixers_of(spec)
    sliding = next(block for block in mixers if block.window)
    full = next(block for block in mixers if not block.window)
    turned = rope_parameters(full.rope, full.head_dim) | {"rope_type": "proportional"}
    return plain(spec) | {
        "num_key_value_heads": sliding.kv_heads,
        "head_dim": sliding.head_dim,
        "num_global_key_value_heads": full.kv_heads,
        "global_head_dim": full.head_dim,
        "attention_k_eq_v": full.keys_as_values,
        "sliding_window": sliding.window,
        "layer_types": ["sliding_attention" if block.window else "full_attention" for block in mixers],
        "rope_parameters": {
            "sliding_attention": rope_parameters(sliding.rope, sliding.head_dim),
            "full_attention": turned,
        },
        "intermediate_size": dense_of(spec).width,
        "moe_intermediate_size": experts.width,
        "num_experts": experts.experts,
        "top_k_experts": experts.top_k,
        "enable_moe_block": True,
        "hidden_size_per_layer_input": 0,
        "final_logit_softcapping": spec.logit_softcap,
    }


GEMMA4_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm_1",
    "pre_feedforward_layernorm_2",
    "post_feedforward_layernorm_2",
    "post_feedforward_layernorm",
)
GEMMA4: Table = (
    PROJECTIONS
    | QK_NORMS
    | DENSE
    | {f"{name}.weight": norm(index) for index, name in enumerate(GEMMA4_NORMS)}
    | renamed(EXPERTS, "mlp.experts", "experts")
    | {
        "layer_scalar": "layer_scalar",
        "router.proj.weight": "router.weight",
        "router.scale": "router.input_scale",
        "router.per_expert_scale": "router.expert_scale",
    }
)


def mistral4(spec: ModelSpec) -> Facts:
    attention, experts = latent_of(spec), experts_of(spec)
    rope, width = attention.rope, attention.nope_dim + attention.rope_dim
    return common(spec) | {
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.heads,
        "q_lora_rank": attention.q_rank,
        "kv_lora_rank": attention.kv_rank,
        "qk_nope_head_dim": attention.nope_dim,
        "qk_rope_head_dim": attention.rope_dim,
        "v_head_dim": attention.v_dim,
        "head_dim": width,
        "rope_parameters": rope_parameters(rope, width)
        | {"type": "yarn", "llama_4_scaling_beta": attention.temperature.beta},
        "moe_intermediate_size": experts.width,
        "n_routed_experts": experts.experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": experts.top_k,
    }


def one_span(spec: ModelSpec) -> ModelSpec:
    """The class has one number for YaRN's original context and for the span of the temperature."""
    (name,), span = spec.attention, 12
    block = latent_of(spec)
    assert block.rope is not None
    assert block.rope.scaling is not None
    assert block.temperature is not None
    scaling = block.rope.scaling.model_copy(update={"original_context": span})
    changed = block.model_copy(
        update={
            "rope": block.rope.model_copy(update={"scaling": scaling}),
            "temperature": block.temperature.model_copy(update={"span": span}),
        }
    )
    return whole_shared_experts(spec.model_copy(update={"attention": {name: changed}}))


MISTRAL4: Table = (
    NORMS
    | EXPERTS
    | three("mlp.shared_experts", "shared")
    | {
        "self_attn.q_a_proj.weight": "attention.q_a",
        "self_attn.q_a_layernorm.weight": "attention.q_a_norm",
        "self_attn.q_b_proj.weight": "attention.q_b",
        "self_attn.kv_a_proj_with_mqa.weight": "attention.kv_a",
        "self_attn.kv_a_layernorm.weight": "attention.kv_a_norm",
        "self_attn.kv_b_proj.weight": "attention.kv_b",
        "self_attn.o_proj.weight": "attention.o",
    }
)

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
    **{
        name: Case(
            "Llama4",
            name,
            llama4,
            always(LLAMA4),
            config="Llama4TextConfig",
            tied=whole_shared_experts,
            kept=one_less_than_window,
        )
        for name in ("llama-4-scout", "llama-4-maverick")
    },
    "gemma-4-26b-a4b": Case(
        "Gemma4",
        "gemma-4-26b-a4b",
        gemma4,
        always(GEMMA4),
        config="Gemma4TextConfig",
        kept=one_less_than_window,
    ),
    "mistral-small-4-119b": Case(
        "Mistral4", "mistral-small-4-119b", mistral4, always(MISTRAL4), tied=one_span
    ),
}
