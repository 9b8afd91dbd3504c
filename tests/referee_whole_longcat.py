"""LongCat-Flash of transformers as a whole model, beside ours: two attention blocks a layer, zero experts."""

from __future__ import annotations

from functools import partial

import torch
from referee_whole_latent import MLA, latent
from whole_case import Case, Ours, Source, Table
from whole_facts import Facts, dense_of, down, experts_of, gate_up, latent_of, norm, three

from moe_plan.spec.model import ModelSpec


def longcat(spec: ModelSpec) -> Facts:
    facts, moe = latent(spec), experts_of(spec)
    return facts | {
        "num_layers": facts.pop("num_hidden_layers"),
        # Of the rotary positions alone.
        "head_dim": latent_of(spec).rope_dim,
        "ffn_hidden_size": dense_of(spec).width,
        "expert_ffn_hidden_size": moe.width,
        "n_routed_experts": moe.experts,
        "zero_expert_num": moe.zero_experts,
        "moe_topk": moe.top_k,
        "routed_scaling_factor": moe.router.scale,
    }


def padded_gate_up(ours: Ours, zero: int) -> torch.Tensor:
    """Gate and up of the experts, and nothing for those that compute nothing."""
    real = gate_up(ours)
    return torch.cat((real, torch.full((zero, *real.shape[1:]), torch.nan)))


def longcat_table(spec: ModelSpec) -> Table:
    """Two attention blocks and two dense networks with their norms, and one mixture of experts."""
    table: dict[str, Source] = {
        "mlp.router.classifier.weight": "router.weight",
        "mlp.router.e_score_correction_bias": "router.correction_bias",
        "mlp.experts.gate_up_proj": partial(padded_gate_up, zero=experts_of(spec).zero_experts),
        "mlp.experts.down_proj": down,
    }
    for half in (0, 1):
        for name, source in MLA.items():
            numbered = str(source).replace("attention.", f"attention.{half}.")
            table[name.replace("self_attn.", f"self_attn.{half}.")] = numbered
        table |= three(f"mlps.{half}", f"dense.{half}")
        table[f"input_layernorm.{half}.weight"] = norm(2 * half)
        table[f"post_attention_layernorm.{half}.weight"] = norm(2 * half + 1)
    return table


CASES = {
    "longcat-flash": Case(
        "LongcatFlash",
        "longcat-flash",
        longcat,
        longcat_table,
        surplus="gate and up matrices of the zero experts, which the class never reads",
    ),
}
