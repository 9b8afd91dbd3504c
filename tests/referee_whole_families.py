"""Sparse families of transformers with attention of one kind, as whole models."""

from __future__ import annotations

import torch
from whole_case import OUTER, Case, Ours, Source, Table, one_less_than_window
from whole_facts import (
    ATTENTION,
    BIASES,
    CORRECTION,
    DENSE,
    EXPERTS,
    QK_NORMS,
    Facts,
    always,
    attention_of,
    common,
    dense_of,
    experts_of,
    hidden_of_heads,
    leading_dense,
    norm,
    plain,
    renamed,
    rope_parameters,
    three,
    whole_shared_experts,
)

from moe_plan.replica.unfold import layers_of
from moe_plan.spec.model import ModelSpec


def deepseek_experts(spec: ModelSpec) -> Facts:
    """DeepSeek-V3's names, which several families took over."""
    block = experts_of(spec)
    return {
        "intermediate_size": dense_of(spec).width,
        "first_k_dense_replace": leading_dense(spec),
        "n_routed_experts": block.experts,
        "num_experts_per_tok": block.top_k,
        "moe_intermediate_size": block.width,
        # Shared experts are one network: the class multiplies its width by their number.
        "n_shared_experts": (block.shared_width or 0) // block.width,
        "routed_scaling_factor": block.router.scale,
        "norm_topk_prob": block.router.normalize,
        "n_group": block.router.groups or 1,
        "topk_group": block.router.top_groups or 1,
    }


def glm4(spec: ModelSpec) -> Facts:
    block = attention_of(spec)
    choices = {"attention_bias": bool(block.bias), "use_qk_norm": block.qk_norm == "head"}
    return plain(spec) | deepseek_experts(spec) | choices


def dots1(spec: ModelSpec) -> Facts:
    return plain(spec) | deepseek_experts(spec) | {"sliding_window": None}


def ernie(spec: ModelSpec) -> Facts:
    block = experts_of(spec)
    return plain(spec) | {
        "intermediate_size": dense_of(spec).width,
        "moe_intermediate_size": block.width,
        "moe_num_experts": block.experts,
        "moe_k": block.top_k,
        "moe_num_shared_experts": (block.shared_width or 0) // block.width,
        "moe_layer_start_index": leading_dense(spec),
        "use_bias": False,
    }


def hunyuan(spec: ModelSpec) -> Facts:
    block = experts_of(spec)
    assert block.shared_width == block.width
    return plain(spec) | {
        "intermediate_size": block.width,
        "num_experts": block.experts,
        "moe_topk": block.top_k,
    }


def minimax_m2(spec: ModelSpec) -> Facts:
    block = experts_of(spec)
    return plain(spec) | {
        "intermediate_size": block.width,
        "num_local_experts": block.experts,
        "num_experts_per_tok": block.top_k,
    }


def gpt_oss(spec: ModelSpec) -> Facts:
    block = experts_of(spec)
    windows = [spec.attention[str(run.attention)].window for run in layers_of(spec.layers)]
    return plain(spec) | {
        "intermediate_size": block.width,
        "num_local_experts": block.experts,
        "num_experts_per_tok": block.top_k,
        "swiglu_limit": block.limit,
        "sliding_window": next(filter(None, windows)),
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }


def dbrx(spec: ModelSpec) -> Facts:
    block, attention = experts_of(spec), attention_of(spec)
    assert spec.norm.eps == 1e-5
    return common(spec) | {
        "d_model": spec.hidden,
        "n_heads": attention.heads,
        "n_layers": len(layers_of(spec.layers)),
        "max_seq_len": spec.context,
        "rope_parameters": rope_parameters(attention.rope, attention.head_dim),
        "attn_config": {
            "kv_n_heads": attention.kv_heads,
            "clip_qkv": attention.clip,
            "rope_theta": attention.rope.theta,
        },
        "ffn_config": {
            "ffn_hidden_size": block.width,
            "moe_num_experts": block.experts,
            "moe_top_k": block.top_k,
        },
    }


def interleaved(gate: str, up: str) -> Source:
    """Gate and up column by column."""
    return lambda ours: torch.stack((ours[gate], ours[up]), -1).flatten(-2)


GPT_OSS: Table = {
    "self_attn.sinks": "attention.sinks",
    "mlp.router.weight": "router.weight",
    "mlp.router.bias": "router.bias",
    "mlp.experts.gate_up_proj": interleaved("experts.gate", "experts.up"),
    "mlp.experts.gate_up_proj_bias": interleaved("experts.gate_bias", "experts.up_bias"),
    "mlp.experts.down_proj": "experts.down",
    "mlp.experts.down_proj_bias": "experts.down_bias",
}


def qkv(ours: Ours) -> torch.Tensor:
    return torch.cat([ours[f"attention.{part}"] for part in "qkv"])


DBRX: Table = {
    "norm_attn_norm.norm_1.weight": norm(0),
    "norm_attn_norm.norm_2.weight": norm(1),
    "norm_attn_norm.attn.Wqkv.weight": qkv,
    "norm_attn_norm.attn.out_proj.weight": "attention.o",
    "ffn.router.layer.weight": "router.weight",
    "ffn.experts.mlp.w1": lambda ours: ours["experts.gate"].mT.flatten(0, 1),
    "ffn.experts.mlp.v1": lambda ours: ours["experts.up"].mT.flatten(0, 1),
    "ffn.experts.mlp.w2": lambda ours: ours["experts.down"].flatten(0, 1),
}
DBRX_OUTER = renamed(
    renamed(OUTER, "model.embed_tokens", "transformer.wte"), "model.norm", "transformer.norm_f"
)
SHARED = three("mlp.shared_experts", "shared")
HUNYUAN_NORMS: Table = {
    "self_attn.query_layernorm.weight": "attention.q_norm",
    "self_attn.key_layernorm.weight": "attention.k_norm",
}

GROUPED = DENSE | EXPERTS | CORRECTION | SHARED

CASES = {
    "glm-4.5-air": Case(
        "Glm4Moe",
        "glm-4.5-air",
        glm4,
        always(ATTENTION | BIASES | GROUPED),
        tied=whole_shared_experts,
    ),
    "dots.llm1": Case(
        "Dots1",
        "dots.llm1",
        dots1,
        always(ATTENTION | QK_NORMS | GROUPED),
        tied=whole_shared_experts,
    ),
    "ernie-4.5-21b-a3b": Case(
        "Ernie4_5_Moe",
        "ernie-4.5-21b-a3b",
        ernie,
        always(
            ATTENTION
            | DENSE
            | EXPERTS
            | SHARED
            | {"mlp.gate.moe_statics.e_score_correction_bias": "router.correction_bias"}
        ),
        tied=whole_shared_experts,
    ),
    "hunyuan-a13b": Case(
        "HunYuanMoEV1",
        "hunyuan-a13b",
        hunyuan,
        always(
            ATTENTION
            | HUNYUAN_NORMS
            | renamed(EXPERTS, "mlp.gate.", "mlp.gate.wg.")
            | three("mlp.shared_mlp", "shared")
        ),
        tied=whole_shared_experts,
    ),
    "minimax-m2": Case(
        "MiniMaxM2",
        "minimax-m2",
        minimax_m2,
        always(ATTENTION | QK_NORMS | EXPERTS | {"mlp.e_score_correction_bias": "router.correction_bias"}),
    ),
    **{
        name: Case("GptOss", name, gpt_oss, always(ATTENTION | BIASES | GPT_OSS), kept=one_less_than_window)
        for name in ("gpt-oss-20b", "gpt-oss-120b")
    },
    "dbrx": Case(
        "Dbrx",
        "dbrx",
        dbrx,
        always(DBRX),
        outer=DBRX_OUTER,
        stacks={"decoder": "transformer.blocks"},
        tied=hidden_of_heads,
        quirks=(
            "the rotary base stands in rope_parameters; that of attn_config, where the release has it, is ignored",
        ),
    ),
}
