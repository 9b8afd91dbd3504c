"""Whole models of transformers that mix recurrences with attention, beside ours."""

from __future__ import annotations

import torch
from referee_whole_latent import DEEPSEEK, latent, weights, with_attention
from whole_case import Case, Ours, Source, Table, one_tap_more
from whole_facts import (
    EXPERTS,
    NORMS,
    PROJECTIONS,
    QK_NORMS,
    Facts,
    always,
    dense_of,
    experts_of,
    names_of_layers,
    plain,
    three,
    whole_shared_experts,
)

from moe_plan.replica.unfold import layers_of
from moe_plan.spec.attention import (
    AnyAttention,
    Attention,
    GatedDelta,
    KimiDelta,
    LightningAttention,
)
from moe_plan.spec.model import ModelSpec
from moe_plan.spec.rope import Rope

CHUNK = 7
"""Tokens that a class handles at once, where it has a choice: a prompt is several and no whole number of them."""


def block_of(spec: ModelSpec, kind: type) -> AnyAttention:
    """The one block of a class."""
    (found,) = (block for block in spec.attention.values() if isinstance(block, kind))
    return found


def layer_types(spec: ModelSpec, recurrent: str = "linear_attention") -> list[str]:
    """Theirs for each layer: full attention or not."""
    blocks = [spec.attention.get(name) for name in names_of_layers(spec, "attention")]
    full = [block is not None and block.kind in ("gqa", "mla") for block in blocks]
    return ["full_attention" if is_full else recurrent for is_full in full]


def of_mixer(*names: str) -> Source:
    """Tensors of the mixer, one below the other."""
    return lambda ours: torch.cat([ours[f"attention.{name}"] for name in names])


def by_head(heads: int, *names: str) -> Source:
    """Rows of several matrices, head by head: what the first matrices have for head 0, what the second, ...

    A name may stand for several matrices below each other: `in_qk/2`.
    """

    def made(ours: Ours) -> torch.Tensor:
        parts: list[torch.Tensor] = []
        for name in names:
            tensor, _, count = name.partition("/")
            parts += ours[f"attention.{tensor}"].chunk(int(count or 1))
        return torch.cat([part.view(heads, -1, part.shape[-1]) for part in parts], 1)

    return made


def qwen3_next(spec: ModelSpec) -> Facts:
    delta, moe = block_of(spec, GatedDelta), experts_of(spec)
    return plain(spec) | {
        "layer_types": layer_types(spec),
        "linear_num_key_heads": delta.key_heads,
        "linear_num_value_heads": delta.value_heads,
        "linear_key_head_dim": delta.key_dim,
        "linear_value_head_dim": delta.value_dim,
        "linear_conv_kernel_dim": delta.conv,
        "num_experts": moe.experts,
        "num_experts_per_tok": moe.top_k,
        "moe_intermediate_size": moe.width,
        "shared_expert_intermediate_size": moe.shared_width,
        "norm_topk_prob": moe.router.normalize,
    }


def qwen3_next_table(spec: ModelSpec) -> Table:
    """Fused by key head: its query, its key, the values that share it, their gates; queries with their gates."""
    delta, full = block_of(spec, GatedDelta), block_of(spec, Attention)
    mixer: Table = {
        "in_proj_qkvz.weight": by_head(delta.key_heads, "in_qk/2", "in_vz/2"),
        "in_proj_ba.weight": by_head(delta.key_heads, "in_ba/2"),
        "conv1d.weight": of_mixer("conv_qk", "conv_v"),
        "dt_bias": "attention.dt_bias",
        "A_log": "attention.a_log",
        "norm.weight": "attention.out_norm",
        "out_proj.weight": "attention.o",
    }
    shared = three("mlp.shared_expert", "shared") | {"mlp.shared_expert_gate.weight": "shared_gate.weight"}
    gated = {"self_attn.q_proj.weight": by_head(full.heads, "q", "gate")}
    linear = {f"linear_attn.{name}": source for name, source in mixer.items()}
    return NORMS | PROJECTIONS | QK_NORMS | gated | linear | EXPERTS | shared


def kimi_linear(spec: ModelSpec) -> Facts:
    delta, moe = block_of(spec, KimiDelta), experts_of(spec)
    return latent(spec) | {
        "layer_types": layer_types(spec),
        "linear_num_heads": delta.heads,
        "linear_head_dim": delta.head_dim,
        "linear_conv_kernel_dim": delta.conv,
        "mlp_layer_types": [
            "dense" if name == "dense" else "sparse" for name in names_of_layers(spec, "ffn")
        ],
        "intermediate_size": dense_of(spec).width,
        "moe_intermediate_size": moe.width,
        "num_experts": moe.experts,
        "num_experts_per_token": moe.top_k,
        "num_shared_experts": (moe.shared_width or 0) // moe.width,
        "routed_scaling_factor": moe.router.scale,
        "moe_renormalize": moe.router.normalize,
    }


KIMI_DELTA = weights(
    "self_attn",
    "attention",
    {
        "k_proj": "k",
        "v_proj": "v",
        "conv1d": "conv",
        "b_proj": "beta",
        "forget_gate.f_a_proj": "f_a",
        "forget_gate.f_b_proj": "f_b",
        "g_a_proj": "g_a",
        "g_b_proj": "g_b",
        "o_norm": "out_norm",
    },
) | {f"self_attn.forget_gate.{name}": f"attention.{name.lower()}" for name in ("dt_bias", "A_log")}


def minimax(spec: ModelSpec) -> Facts:
    moe, lightning, full = experts_of(spec), block_of(spec, LightningAttention), block_of(spec, Attention)
    assert (lightning.heads, lightning.head_dim) == (full.heads, full.head_dim)
    (alpha,) = {run.residual_alpha for run in layers_of(spec.layers)}
    alphas = {f"{block}_alpha_factor": alpha for block in ("full_attn", "linear_attn", "mlp")}
    return (
        plain(spec)
        | alphas
        | {
            "layer_types": layer_types(spec),
            "max_position_embeddings": 64,
            "block_size": CHUNK,
            "intermediate_size": moe.width,
            "num_local_experts": moe.experts,
            "num_experts_per_tok": moe.top_k,
        }
    )


def all_turned(spec: ModelSpec) -> ModelSpec:
    """Rotary positions of whole heads."""

    def whole(rope: Rope | None) -> Rope | None:
        return rope and rope.model_copy(update={"dim": None})

    return with_attention(spec, rope=whole)


def minimax_table(spec: ModelSpec) -> Table:
    """Fused by head: its query, its key, its value."""
    lightning: Table = {
        "qkv_proj.weight": by_head(block_of(spec, LightningAttention).heads, "qkv/3"),
        "output_gate.weight": "attention.gate",
        "norm.weight": "attention.out_norm",
        "out_proj.weight": "attention.o",
    }
    return NORMS | PROJECTIONS | EXPERTS | {f"self_attn.{name}": source for name, source in lightning.items()}


CASES = {
    "qwen3-next-80b-a3b": Case(
        "Qwen3Next", "qwen3-next-80b-a3b", qwen3_next, qwen3_next_table, kept=one_tap_more, seed=18
    ),
    "kimi-linear-48b-a3b": Case(
        "KimiLinear",
        "kimi-linear-48b-a3b",
        kimi_linear,
        always(DEEPSEEK | KIMI_DELTA),
        tied=whole_shared_experts,
        kept=one_tap_more,
        seed=10,
    ),
    "minimax-text-01": Case(
        "MiniMax",
        "minimax-text-01",
        minimax,
        minimax_table,
        tied=all_turned,
        positions=True,
        computed=("slope_rate", "query_decay", "key_decay", "diagonal_decay"),
        quirks=(
            "the class turns whole heads, the release (rotary_dim) half of each: here both turn whole heads",
        ),
    ),
}
