"""Weights and states of our recurrent mixers in the order of the classes of transformers."""

from __future__ import annotations

import torch
from mixers import HIDDEN

from moe_plan.spec.attention import (
    GatedDelta,
    KimiDelta,
    LightningAttention,
    Mamba1,
    Mamba2,
    ShortConv,
)

Tensors = dict[str, torch.Tensor]

DELTA = GatedDelta(kind="gated-delta", key_heads=3, value_heads=6, key_dim=5, value_dim=7, conv=4)
KIMI = KimiDelta(kind="kda", heads=3, head_dim=10, conv=4)
LIGHTNING = LightningAttention(kind="lightning", heads=3, head_dim=10, eps=1e-6)
MAMBA1 = Mamba1(kind="mamba1", inner=84, state=5, dt_rank=3, conv=4, inner_norms=True)
MAMBA2 = Mamba2(kind="mamba2", heads=12, head_dim=7, state=5, groups=3, conv=4)
SHORT = ShortConv(kind="short-conv", taps=3)


def delta_weights(ours: Tensors) -> Tensors:
    """Qwen3-Next fuses by key head: its query, its key, the values that share it, their gates."""
    heads = DELTA.key_heads
    queries, keys = ours["in_qk"].view(2, heads, -1, HIDDEN)
    values, gates = ours["in_vz"].view(2, heads, -1, HIDDEN)
    strengths, decays = ours["in_ba"].view(2, heads, -1, HIDDEN)
    return {
        "in_proj_qkvz.weight": torch.cat((queries, keys, values, gates), 1),
        "in_proj_ba.weight": torch.cat((strengths, decays), 1),
        "conv1d.weight": torch.cat((ours["conv_qk"], ours["conv_v"])),
        "dt_bias": ours["dt_bias"],
        "A_log": ours["a_log"],
        "norm.weight": ours["out_norm"],
        "out_proj.weight": ours["o"],
    }


def kimi_weights(ours: Tensors) -> Tensors:
    names = {
        "q_proj": "q",
        "k_proj": "k",
        "v_proj": "v",
        "conv1d": "conv",
        "b_proj": "beta",
        "forget_gate.f_a_proj": "f_a",
        "forget_gate.f_b_proj": "f_b",
        "g_a_proj": "g_a",
        "g_b_proj": "g_b",
        "o_norm": "out_norm",
        "o_proj": "o",
    }
    vectors = {"forget_gate.dt_bias": ours["dt_bias"], "forget_gate.A_log": ours["a_log"]}
    return {f"{theirs}.weight": ours[name] for theirs, name in names.items()} | vectors


def lightning_weights(ours: Tensors) -> Tensors:
    """MiniMax fuses by head: its query, its key, its value."""
    by_head = ours["qkv"].view(3, LIGHTNING.heads, -1, HIDDEN).transpose(0, 1)
    return {
        "qkv_proj.weight": by_head,
        "output_gate.weight": ours["gate"],
        "norm.weight": ours["out_norm"],
        "out_proj.weight": ours["o"],
    }


def mamba1_weights(ours: Tensors) -> Tensors:
    return {
        "in_proj.weight": ours["in"],
        "conv1d.weight": ours["conv"],
        **({"conv1d.bias": ours["conv_bias"]} if "conv_bias" in ours else {}),
        "x_proj.weight": ours["x"],
        "dt_proj.weight": ours["dt"],
        "dt_proj.bias": ours["dt_bias"],
        "A_log": ours["a_log"],
        "D": ours["d"],
        "dt_layernorm.weight": ours["dt_norm"],
        "b_layernorm.weight": ours["b_norm"],
        "c_layernorm.weight": ours["c_norm"],
        "out_proj.weight": ours["o"],
    }


def mamba2_weights(ours: Tensors) -> Tensors:
    """One projection to gates, inputs, B, C and time steps, and one convolution over inputs, B and C."""
    heads = len(ours["d"])
    both, steps = ours["in_zxdt"][:-heads], ours["in_zxdt"][-heads:]
    biases = (
        {"conv1d.bias": torch.cat((ours["conv_x_bias"], ours["conv_bc_bias"]))}
        if "conv_x_bias" in ours
        else {}
    )
    return biases | {
        "in_proj.weight": torch.cat((both, ours["in_bc"], steps)),
        "conv1d.weight": torch.cat((ours["conv_x"], ours["conv_bc"])),
        "dt_bias": ours["dt_bias"],
        "A_log": ours["a_log"],
        "D": ours["d"],
        "norm.weight": ours["out_norm"],
        "out_proj.weight": ours["o"],
    }


def short_conv_weights(ours: Tensors) -> Tensors:
    return {"in_proj.weight": ours["in"], "conv.weight": ours["conv"], "out_proj.weight": ours["o"]}


def same_state(state: torch.Tensor) -> torch.Tensor:
    return state


def delta_state(state: torch.Tensor) -> torch.Tensor:
    """Ours by key head [B, G, K, R x e], theirs by value head [B, H, K, e]."""
    batch, heads, width, _ = state.shape
    return state.view(batch, heads, width, -1, DELTA.value_dim).transpose(2, 3).flatten(1, 2)


def mamba1_state(state: torch.Tensor) -> torch.Tensor:
    """Ours [B, 1, n, I], theirs [B, I, n]."""
    return state.squeeze(1).transpose(1, 2)


def mamba2_state(head_dim: int, state: torch.Tensor) -> torch.Tensor:
    """Ours by group [B, G, n, R x p], theirs by head [B, H, p, n]."""
    batch, groups, width, _ = state.shape
    return state.view(batch, groups, width, -1, head_dim).permute(0, 1, 3, 4, 2).flatten(1, 2)
