"""Families of transformers whose layers see a window, a chunk or everything, as whole models."""

from __future__ import annotations

import torch
from whole_case import Case, Table, one_less_than_window
from whole_facts import (
    DENSE,
    EXPERTS,
    NORMS,
    PROJECTIONS,
    QK_NORMS,
    Facts,
    always,
    dense_of,
    experts_of,
    mixers_of,
    norm,
    plain,
    renamed,
    rope_parameters,
    three,
    whole_shared_experts,
)

from moe_plan.replica.unfold import layers_of
from moe_plan.spec.model import ModelSpec


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
    full = next(block for block in mixers if not block.window)
    # Where no layer has a window, no layer reads what is said of those that have.
    sliding = next((block for block in mixers if block.window), full)
    turned = rope_parameters(full.rope, full.head_dim) | {"rope_type": "proportional"}
    return plain(spec) | {
        "num_key_value_heads": sliding.kv_heads,
        "head_dim": sliding.head_dim,
        "num_global_key_value_heads": full.kv_heads,
        "global_head_dim": full.head_dim,
        "attention_k_eq_v": full.keys_as_values,
        "sliding_window": sliding.window or 1,
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


CASES = {
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
        seed=14,
        kept=one_less_than_window,
    ),
}
