"""Families of transformers whose routers are a softmax and its best, one entry each: odd, unequal sizes."""

from __future__ import annotations

from referee_moe import (
    EXPERTS,
    HIDDEN,
    TOP_K,
    USUAL,
    WIDTH,
    Family,
    dbrx_choice,
    flat,
    gate_up,
    interleaved,
    jetmoe_choice,
    plain,
    renamed,
    shared,
)

LOCAL = {"num_local_experts": EXPERTS, "intermediate_size": WIDTH}
QWEN = {"num_experts": EXPERTS, "moe_intermediate_size": WIDTH}
SHARED_QWEN = {"shared_expert_intermediate_size": 23}
QWEN_SHARED_TENSORS = USUAL | shared("shared_expert") | {"shared_expert_gate.weight": "shared_gate.weight"}
ROUTED_BY_ROUTER = renamed(USUAL, "gate.weight", "router.weight")
SOFTMAX = {
    "mixtral": plain("mixtral.MixtralSparseMoeBlock", "MixtralConfig", LOCAL),
    "minimax": plain("minimax.MiniMaxSparseMoeBlock", "MiniMaxConfig", LOCAL),
    "qwen3_moe": plain("qwen3_moe.Qwen3MoeSparseMoeBlock", "Qwen3MoeConfig", QWEN | {"norm_topk_prob": True}),
    "qwen3_next": plain(
        "qwen3_next.Qwen3NextSparseMoeBlock",
        "Qwen3NextConfig",
        QWEN | SHARED_QWEN | {"norm_topk_prob": True},
        spec={"shared_width": 23, "shared_gate": True},
        tensors=QWEN_SHARED_TENSORS,
    ),
    "qwen2_moe": Family(
        "qwen2_moe.Qwen2MoeSparseMoeBlock",
        "Qwen2MoeConfig",
        QWEN | SHARED_QWEN | {"num_experts_per_tok": TOP_K},
        {"normalize": False},
        {"shared_width": 23, "shared_gate": True},
        QWEN_SHARED_TENSORS,
    ),
    "olmoe": Family(
        "olmoe.OlmoeSparseMoeBlock",
        "OlmoeConfig",
        {"num_experts": EXPERTS, "intermediate_size": WIDTH, "num_experts_per_tok": TOP_K},
        {"normalize": False},
    ),
    "jamba": Family(
        "jamba.JambaSparseMoeBlock",
        "JambaConfig",
        {"num_experts": EXPERTS, "intermediate_size": WIDTH, "num_experts_per_tok": TOP_K},
        {"normalize": False},
        tensors=ROUTED_BY_ROUTER,
    ),
    "granitemoe": plain("granitemoe.GraniteMoeMoE", "GraniteMoeConfig", LOCAL, tensors=ROUTED_BY_ROUTER),
    "granitemoehybrid": plain(
        "granitemoehybrid.GraniteMoeHybridMoE",
        "GraniteMoeHybridConfig",
        LOCAL | {"mamba_n_heads": 6},
        tensors=ROUTED_BY_ROUTER,
    ),
    "hunyuan_v1_moe": plain(
        "hunyuan_v1_moe.HunYuanMoEV1Moe",
        "HunYuanMoEV1Config",
        {"num_experts": EXPERTS, "intermediate_size": WIDTH, "moe_topk": TOP_K},
        spec={"shared_width": WIDTH},
        tensors=renamed(USUAL, "gate.weight", "gate.wg.weight") | shared("shared_mlp"),
    ),
    "gpt_oss": plain(
        "gpt_oss.GptOssMLP",
        "GptOssConfig",
        LOCAL | {"swiglu_limit": 0.7},
        router={"bias": True},
        spec={"bias": True, "activation": "oai-swiglu", "limit": 0.7},
        tensors={
            "router.weight": "router.weight",
            "router.bias": "router.bias",
            "experts.gate_up_proj": lambda ours: interleaved(ours["experts.gate"], ours["experts.up"]),
            "experts.gate_up_proj_bias": lambda ours: interleaved(
                ours["experts.gate_bias"], ours["experts.up_bias"]
            ),
            "experts.down_proj": "experts.down",
            "experts.down_proj_bias": "experts.down_bias",
        },
    ),
    "dbrx": plain(
        "dbrx.DbrxFFN",
        "DbrxConfig",
        {
            "d_model": HIDDEN,
            "ffn_config": {
                "hidden_size": HIDDEN,
                "ffn_hidden_size": WIDTH,
                "moe_num_experts": EXPERTS,
                "moe_top_k": TOP_K,
                "moe_normalize_expert_weights": 1.0,
            },
        },
        tensors={
            "router.layer.weight": "router.weight",
            "experts.mlp.w1": flat("experts.gate", out_first=True),
            "experts.mlp.v1": flat("experts.up", out_first=True),
            "experts.mlp.w2": flat("experts.down", out_first=False),
        },
        choice=dbrx_choice,
    ),
    "jetmoe": plain(
        "jetmoe.JetMoeMoE",
        "JetMoeConfig",
        LOCAL,
        spec={"output_bias": True},
        tensors={
            "router.layer.weight": "router.weight",
            "input_linear.weight": gate_up,
            "output_linear.weight": lambda ours: ours["experts.down"].mT,
            "bias": "experts.output_bias",
        },
        choice=jetmoe_choice,
    ),
}
