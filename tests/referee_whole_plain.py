"""Plain decoders of transformers, dense and sparse, as whole models: configurations and names of tensors."""

from __future__ import annotations

from whole_case import OUTER, Case
from whole_facts import (
    ATTENTION,
    BIASES,
    DENSE,
    EXPERTS,
    NORM_BIASES,
    QK_NORMS,
    Facts,
    always,
    dense_of,
    experts_of,
    hidden_in_heads,
    hidden_of_heads,
    plain,
    renamed,
    three,
)

from moe_plan.spec.model import ModelSpec

LOCAL_EXPERTS = renamed(EXPERTS, "mlp.gate.", "mlp.router.")


def dense(spec: ModelSpec) -> Facts:
    return plain(spec) | {"intermediate_size": dense_of(spec).width}


def local_experts(spec: ModelSpec) -> Facts:
    """Mixtral's names, which several families took over."""
    block = experts_of(spec)
    return plain(spec) | {
        "num_local_experts": block.experts,
        "num_experts_per_tok": block.top_k,
        "intermediate_size": block.width,
    }


def qwen_experts(spec: ModelSpec) -> Facts:
    """Qwen's names."""
    block = experts_of(spec)
    return plain(spec) | {
        "num_experts": block.experts,
        "num_experts_per_tok": block.top_k,
        "moe_intermediate_size": block.width,
        "shared_expert_intermediate_size": block.shared_width,
        "norm_topk_prob": block.router.normalize,
    }


def olmoe(spec: ModelSpec) -> Facts:
    return qwen_experts(spec) | {"intermediate_size": experts_of(spec).width}


def phimoe(spec: ModelSpec) -> Facts:
    return local_experts(spec) | {"attention_bias": True, "lm_head_bias": True}


SHARED = three("mlp.shared_expert", "shared") | {"mlp.shared_expert_gate.weight": "shared_gate.weight"}
# One class stands for both sizes of a family; each size is a case, since each is a YAML of its own.
CASES = {
    **{
        name: Case("Llama", name, dense, always(ATTENTION | DENSE), tied=hidden_in_heads)
        for name in ("llama-3.1-8b", "llama-3.1-405b")
    },
    "qwen2.5-72b": Case("Qwen2", "qwen2.5-72b", dense, always(ATTENTION | BIASES | DENSE)),
    **{
        name: Case("Mixtral", name, local_experts, always(ATTENTION | EXPERTS))
        for name in ("mixtral-8x7b", "mixtral-8x22b")
    },
    "qwen1.5-moe-a2.7b": Case(
        "Qwen2Moe", "qwen1.5-moe-a2.7b", qwen_experts, always(ATTENTION | BIASES | EXPERTS | SHARED)
    ),
    **{
        name: Case("Qwen3Moe", name, qwen_experts, always(ATTENTION | QK_NORMS | EXPERTS))
        for name in ("qwen3-30b-a3b", "qwen3-235b-a22b")
    },
    "olmoe-1b-7b": Case(
        "Olmoe", "olmoe-1b-7b", olmoe, always(ATTENTION | QK_NORMS | EXPERTS), tied=hidden_of_heads
    ),
    "phi-3.5-moe": Case(
        "Phimoe",
        "phi-3.5-moe",
        phimoe,
        always(ATTENTION | NORM_BIASES | BIASES | LOCAL_EXPERTS),
        OUTER | {"lm_head.bias": "lm_head.bias", "model.norm.bias": "norm.final.bias"},
    ),
}
UNREFEREED = {
    "arctic": "transformers ships no class; the release has its own code",
    "grok-1": "transformers ships no class; the release is JAX",
    "hunyuan-large": "HunYuanMoEV1 has no keys shared between layers, and divides the one chosen weight by itself",
    "ling-mini-2.0": "transformers ships BailingHybrid only, of MLA and delta layers; Glm4Moe computes the same (glm-4.5-in-groups)",
    "step3": "transformers ships Step 3.7 only, whose attention and router are others",
}
