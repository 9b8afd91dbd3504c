"""Whole models of transformers that mix state spaces with attention, beside ours."""

from __future__ import annotations

import torch
from referee_whole_latent import weights, with_attention
from referee_whole_recurrent import CHUNK, block_of, layer_types, of_mixer
from whole_case import OUTER, Case, Ours, Table, one_tap_more
from whole_facts import (
    CORRECTION,
    DENSE,
    EXPERTS,
    PROJECTIONS,
    Facts,
    always,
    dense_of,
    experts_of,
    names_of_layers,
    norm,
    plain,
    renamed,
    three,
)

from moe_plan.spec.attention import Mamba1, Mamba2
from moe_plan.spec.model import ModelSpec


def jamba(spec: ModelSpec) -> Facts:
    mamba, moe = block_of(spec, Mamba1), experts_of(spec)
    types = layer_types(spec)
    first, layers = types.index("full_attention"), len(types)
    assert names_of_layers(spec, "ffn") == ["experts" if i % 2 else "dense" for i in range(layers)]
    return plain(spec) | {
        "attn_layer_offset": first,
        "attn_layer_period": layers,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "intermediate_size": moe.width,
        "num_experts": moe.experts,
        "num_experts_per_tok": moe.top_k,
        "mamba_expand": mamba.inner // spec.hidden,
        "mamba_d_state": mamba.state,
        "mamba_dt_rank": mamba.dt_rank,
        "mamba_d_conv": mamba.conv,
        "mamba_conv_bias": mamba.conv_bias,
    }


def one_width(spec: ModelSpec) -> ModelSpec:
    """Dense networks as wide as an expert, and twice as many inner channels as the residual stream has."""
    dense = dense_of(spec).model_copy(update={"width": experts_of(spec).width})
    spec = spec.model_copy(update={"ffn": spec.ffn | {"dense": dense}})
    return with_attention(spec, inner=lambda _: 2 * spec.hidden)


JAMBA: Table = {
    **PROJECTIONS,
    "input_layernorm.weight": norm(0),
    "pre_ff_layernorm.weight": norm(1),
    **weights(
        "mamba",
        "attention",
        {
            "in_proj": "in",
            "conv1d": "conv",
            "x_proj": "x",
            "dt_proj": "dt",
            "dt_layernorm": "dt_norm",
            "b_layernorm": "b_norm",
            "c_layernorm": "c_norm",
            "out_proj": "o",
        },
    ),
    "mamba.conv1d.bias": "attention.conv_bias",
    "mamba.dt_proj.bias": "attention.dt_bias",
    "mamba.A_log": "attention.a_log",
    "mamba.D": "attention.d",
    **renamed(DENSE, "mlp", "feed_forward"),
    **renamed(renamed(EXPERTS, "mlp", "feed_forward"), "gate.weight", "router.weight"),
}


def nemotron(spec: ModelSpec) -> Facts:
    mamba, moe = block_of(spec, Mamba2), experts_of(spec)
    facts = plain(spec)
    del facts["num_hidden_layers"]
    has_experts = [bool(name) for name in names_of_layers(spec, "ffn")]
    types = ["moe" if e else kind for e, kind in zip(has_experts, layer_types(spec), strict=True)]
    return facts | {
        "layers_block_type": types,
        "layer_norm_epsilon": spec.norm.eps,
        "mamba_num_heads": mamba.heads,
        "mamba_head_dim": mamba.head_dim,
        "ssm_state_size": mamba.state,
        "n_groups": mamba.groups,
        "conv_kernel": mamba.conv,
        "use_conv_bias": mamba.conv_bias,
        "chunk_size": CHUNK,
        # As good as the release's 0, of which the class would take the logarithm for weights of its own.
        "time_step_min": 1e-30,
        "n_routed_experts": moe.experts,
        "num_experts_per_tok": moe.top_k,
        "moe_intermediate_size": moe.width,
        "moe_shared_expert_intermediate_size": moe.shared_width,
        "moe_latent_size": moe.latent,
        "mlp_hidden_act": moe.activation,
        "routed_scaling_factor": moe.router.scale,
        "norm_topk_prob": moe.router.normalize,
    }


def nemotron_in_proj(ours: Ours) -> torch.Tensor:
    """Gates and inputs, B and C, time steps."""
    heads = len(ours["attention.d"])
    zxdt = ours["attention.in_zxdt"]
    return torch.cat((zxdt[:-heads], ours["attention.in_bc"], zxdt[-heads:]))


NEMOTRON: Table = {
    "norm.weight": "norm.weight",
    **{
        f"mixer.{name}": source
        for name, source in (
            renamed(PROJECTIONS, "self_attn.", "")
            | renamed(EXPERTS | CORRECTION | three("mlp.shared_experts", "shared"), "mlp.", "")
        ).items()
    },
    "mixer.experts.up_proj": lambda ours: ours["experts.up"].mT,
    "mixer.in_proj.weight": nemotron_in_proj,
    "mixer.conv1d.weight": of_mixer("conv_x", "conv_bc"),
    "mixer.conv1d.bias": of_mixer("conv_x_bias", "conv_bc_bias"),
    "mixer.dt_bias": "attention.dt_bias",
    "mixer.A_log": "attention.a_log",
    "mixer.D": "attention.d",
    "mixer.norm.weight": "attention.out_norm",
    "mixer.out_proj.weight": "attention.o",
}
NEMOTRON_OUTER = renamed(renamed(OUTER, "embed_tokens", "embeddings"), "model.norm.", "model.norm_f.")

CASES = {
    "jamba-1.5-mini": Case(
        "Jamba",
        "jamba-1.5-mini",
        jamba,
        always(JAMBA),
        outer=renamed(OUTER, "model.norm.", "model.final_layernorm."),
        tied=one_width,
        kept=one_tap_more,
        seed=18,
        quirks=("the class takes several tokens only while its cache is empty: the prompt comes at once",),
    ),
    "nemotron-3-nano-30b-a3b": Case(
        "NemotronH",
        "nemotron-3-nano-30b-a3b",
        nemotron,
        always(NEMOTRON),
        outer=NEMOTRON_OUTER,
        kept=one_tap_more,
        quirks=("in a prefill the class clips time steps from below (time_step_min): here at nothing",),
    ),
}
