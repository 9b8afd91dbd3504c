"""Families of transformers with routers of their own, and all families together: odd, unequal sizes."""

from __future__ import annotations

from typing import Any

from referee_moe import (
    CORRECTED,
    EXPERTS,
    HIDDEN,
    TOP_K,
    USUAL,
    WIDTH,
    Family,
    deepseek,
    gate_up,
    hash_choice,
    lfm2_choice,
    llama4_choice,
    minimax_m2_choice,
    padded_gate_up,
    plain,
    renamed,
    shared,
    switch_choice,
    switch_experts,
)
from referee_moe_softmax import LOCAL, QWEN, ROUTED_BY_ROUTER, SOFTMAX

V4 = {
    "n_routed_experts": EXPERTS,
    "num_experts_per_tok": TOP_K,
    "moe_intermediate_size": WIDTH,
    "swiglu_limit": 0.7,
}
V4_SPEC: dict[str, Any] = {"shared_width": WIDTH, "limit": 0.7}
NEMOTRON = {
    "gate.weight": "router.weight",
    "gate.e_score_correction_bias": "router.correction_bias",
    "experts.up_proj": lambda ours: ours["experts.up"].mT,
    "experts.down_proj": lambda ours: ours["experts.down"].mT,
    "shared_experts.up_proj.weight": "shared.up",
    "shared_experts.down_proj.weight": "shared.down",
}
NEMOTRON_LATENT = NEMOTRON | {
    "fc1_latent_proj.weight": "experts.latent_down",
    "fc2_latent_proj.weight": "experts.latent_up",
}


def nemotron(latent: int | None) -> Family:
    base = deepseek("nemotron_h", "NemotronH")
    facts = base.facts | {"moe_shared_expert_intermediate_size": 23, "moe_latent_size": latent}
    spec = {"gated": False, "activation": "relu2", "shared_width": 23, "latent": latent}
    tensors = NEMOTRON if latent is None else NEMOTRON_LATENT
    return Family(base.block, base.config, facts, base.router, spec, tensors)


FAMILIES = SOFTMAX | {
    "phimoe": Family(
        "phimoe.PhimoeSparseMoeBlock",
        "PhimoeConfig",
        LOCAL | {"num_experts_per_tok": 2},
        {"score": "sparsemixer", "normalize": False},
        {"top_k": 2},
        ROUTED_BY_ROUTER,
    ),
    "llama4": Family(
        "llama4.Llama4TextMoe",
        "Llama4TextConfig",
        LOCAL | {"num_experts_per_tok": 3},
        {"score": "sigmoid", "normalize": False, "weigh_input": True},
        {"top_k": 3, "shared_width": WIDTH},
        {
            "router.weight": "router.weight",
            "experts.gate_up_proj": lambda ours: gate_up(ours).mT,
            "experts.down_proj": "experts.down",
        }
        | shared("shared_expert"),
        llama4_choice,
    ),
    "deepseek_v2": Family(
        "deepseek_v2.DeepseekV2Moe",
        "DeepseekV2Config",
        {
            "num_attention_heads": 6,
            "n_routed_experts": EXPERTS,
            "num_experts_per_tok": TOP_K,
            "moe_intermediate_size": WIDTH,
            "n_shared_experts": 2,
            "n_group": 5,
            "topk_group": 3,
            "topk_method": "group_limited_greedy",
            "routed_scaling_factor": 16.0,
        },
        {"normalize": False, "scale": 16.0, "groups": 5, "top_groups": 3, "group_score": "max"},
        {"shared_width": 2 * WIDTH},
        USUAL | shared("shared_experts"),
    ),
    "deepseek_v3": deepseek("deepseek_v3", "DeepseekV3"),
    "glm4_moe": deepseek("glm4_moe", "Glm4Moe"),
    "dots1": deepseek("dots1", "Dots1"),
    "kimi_linear": deepseek("kimi_linear", "KimiLinear", num_experts=EXPERTS),
    "bailing_hybrid": deepseek("bailing_hybrid", "BailingHybrid", num_experts=EXPERTS),
    "nemotron_h": nemotron(None),
    "nemotron_h latent": nemotron(13),
    "mistral4": Family(
        "mistral4.Mistral4MoE",
        "Mistral4Config",
        deepseek("mistral4", "Mistral4").facts,
        {"scale": 2.5, "groups": 5, "top_groups": 3},
        {"shared_width": 2 * WIDTH},
        USUAL | shared("shared_experts"),
    ),
    "ernie4_5_moe": plain(
        "ernie4_5_moe.Ernie4_5_MoeSparseMoeBlock",
        "Ernie4_5_MoeConfig",
        {
            "moe_num_experts": EXPERTS,
            "moe_k": TOP_K,
            "moe_intermediate_size": WIDTH,
            "moe_num_shared_experts": 2,
        },
        router={"correction_bias": "parameter"},
        spec={"shared_width": 2 * WIDTH},
        tensors=USUAL
        | shared("shared_experts")
        | {"gate.moe_statics.e_score_correction_bias": "router.correction_bias"},
    ),
    "lfm2_moe": Family(
        "lfm2_moe.Lfm2MoeSparseMoeBlock",
        "Lfm2MoeConfig",
        QWEN | {"num_experts_per_tok": TOP_K, "use_expert_bias": True, "norm_topk_prob": True},
        {"score": "sigmoid", "correction_bias": "buffer"},
        tensors=renamed(CORRECTED, "gate.e_score_correction_bias", "expert_bias"),
        choice=lfm2_choice,
    ),
    "minimax_m2": Family(
        "minimax_m2.MiniMaxM2SparseMoeBlock",
        "MiniMaxM2Config",
        LOCAL | {"num_experts_per_tok": TOP_K},
        {"score": "sigmoid", "correction_bias": "buffer"},
        tensors=renamed(CORRECTED, "gate.e_score_correction_bias", "e_score_correction_bias"),
        choice=minimax_m2_choice,
    ),
    "longcat_flash": Family(
        "longcat_flash.LongcatFlashMoE",
        "LongcatFlashConfig",
        {
            "n_routed_experts": EXPERTS,
            "zero_expert_num": 6,
            "moe_topk": TOP_K,
            "expert_ffn_hidden_size": WIDTH,
            "routed_scaling_factor": 6.0,
        },
        {"normalize": False, "scale": 6.0, "correction_bias": "buffer"},
        {"zero_experts": 6},
        {
            "router.classifier.weight": "router.weight",
            "router.e_score_correction_bias": "router.correction_bias",
            "experts.gate_up_proj": padded_gate_up(6),
            "experts.down_proj": USUAL["experts.down_proj"],
        },
    ),
    "deepseek_v4": Family(
        "deepseek_v4.DeepseekV4SparseMoeBlock",
        "DeepseekV4Config",
        V4 | {"mlp_layer_types": ["moe"], "num_hidden_layers": 1, "routed_scaling_factor": 1.5},
        {"score": "sqrt-softplus", "scale": 1.5, "correction_bias": "buffer"},
        V4_SPEC,
        CORRECTED | shared("shared_experts"),
        arguments=(0,),
    ),
    "deepseek_v4 hash": Family(
        "deepseek_v4.DeepseekV4SparseMoeBlock",
        "DeepseekV4Config",
        V4 | {"mlp_layer_types": ["hash_moe"], "num_hidden_layers": 1, "routed_scaling_factor": 1.5},
        {"score": "sqrt-softplus", "scale": 1.5, "token_table": True},
        V4_SPEC,
        USUAL | shared("shared_experts") | {"gate.tid2eid": "router.token_table"},
        hash_choice,
        arguments=(0,),
        takes_ids=True,
    ),
    "gemma4": Family(
        "gemma4.",
        "Gemma4TextConfig",
        QWEN | {"top_k_experts": TOP_K, "enable_moe_block": True, "rms_norm_eps": 1e-5},
        {"input_scale": True, "expert_scale": True},
        {"activation": "gelu-tanh"},
        {
            "router.proj.weight": "router.weight",
            "router.scale": "router.input_scale",
            "router.per_expert_scale": "router.expert_scale",
            "experts.gate_up_proj": gate_up,
            "experts.down_proj": USUAL["experts.down_proj"],
        },
    ),
    "switch_transformers": Family(
        "switch_transformers.SwitchTransformersSparseMLP",
        "SwitchTransformersConfig",
        {"d_model": HIDDEN, "d_ff": WIDTH, "num_experts": EXPERTS, "expert_capacity": 64},
        {"normalize": False},
        {"top_k": 1, "gated": False, "activation": "relu"},
        {"router.classifier.weight": "router.weight"} | switch_experts(),
        switch_choice,
    ),
}
