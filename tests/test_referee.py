"""The referee: transformers' own classes, built on the meta device at full published width.

Nothing is shared with this project but the figures of each release's config.json, written out below. Total
parameters and those of every single layer must agree; for plain families the FLOPs of a forward too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from moe_plan.api import load
from moe_plan.estimate import flops
from moe_plan.estimate.params import is_parameter

REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
if os.environ.get("CI"):
    import torch
    import transformers
else:
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

ATTENTION_OR_LINEAR = ("linear_attention", "full_attention")


@dataclass(frozen=True)
class Release:
    """A shipped model, the configuration class of transformers, and what its config.json says."""

    name: str
    config: str
    facts: dict[str, Any] = field(repr=False)
    head: str = "ForCausalLM"
    layers: str = "model.layers"
    surplus: int = 0
    """Parameters that the class allocates and the release does not hold."""

    def build(self, **overrides: object) -> Any:
        config = getattr(transformers, self.config)(**(self.facts | overrides))
        family = self.config.removesuffix("Config").removesuffix("Text")
        with torch.device("meta"):
            return getattr(transformers, family + self.head)(config)


MLA_V3 = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
DEEPSEEK_V3 = MLA_V3 | {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "n_group": 8,
    "topk_group": 4,
}

RELEASES = [
    Release(
        "mixtral-8x7b",
        "MixtralConfig",
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
    ),
    Release(
        "llama-3.1-8b",
        "LlamaConfig",
        {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
    ),
    Release(
        "qwen2.5-72b",
        "Qwen2Config",
        {
            "vocab_size": 152064,
            "hidden_size": 8192,
            "intermediate_size": 29568,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
        },
    ),
    Release(
        "deepseek-v2-lite",
        "DeepseekV2Config",
        {
            "vocab_size": 102400,
            "hidden_size": 2048,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "q_lora_rank": None,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "greedy",
        },
    ),
    Release("deepseek-v3", "DeepseekV3Config", DEEPSEEK_V3),
    Release(
        "deepseek-v3.2",
        "DeepseekV32Config",
        DEEPSEEK_V3 | {"index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048},
    ),
    Release(
        "kimi-k2-instruct",
        "DeepseekV3Config",
        DEEPSEEK_V3
        | {
            "vocab_size": 163840,
            "num_attention_heads": 64,
            "num_key_value_heads": 64,
            "n_routed_experts": 384,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    Release(
        "mistral-small-4-119b",
        "Mistral4Config",
        {
            "vocab_size": 131072,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "q_lora_rank": 1024,
            "kv_lora_rank": 256,
            "qk_nope_head_dim": 64,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 4,
            "first_k_dense_replace": 0,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    Release(
        "qwen1.5-moe-a2.7b",
        "Qwen2MoeConfig",
        {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 60,
            "num_experts_per_tok": 4,
        },
    ),
    Release(
        "qwen3-30b-a3b",
        "Qwen3MoeConfig",
        {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "num_experts_per_tok": 8,
        },
    ),
    Release(
        "qwen3-next-80b-a3b",
        "Qwen3NextConfig",
        {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 5120,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4,
            "num_experts": 512,
            "num_experts_per_tok": 10,
        },
    ),
    Release(
        "gpt-oss-20b",
        "GptOssConfig",
        {
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "sliding_window": 128,
        },
    ),
    Release(
        "olmoe-1b-7b",
        "OlmoeConfig",
        {
            "vocab_size": 50304,
            "hidden_size": 2048,
            "intermediate_size": 1024,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 64,
            "num_experts_per_tok": 8,
        },
    ),
    Release(
        "phi-3.5-moe",
        "PhimoeConfig",
        {
            "vocab_size": 32064,
            "hidden_size": 4096,
            "intermediate_size": 6400,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 16,
            "num_experts_per_tok": 2,
            "attention_bias": True,
            "lm_head_bias": True,
        },
    ),
    Release(
        "dbrx",
        "DbrxConfig",
        {
            "vocab_size": 100352,
            "d_model": 6144,
            "n_heads": 48,
            "n_layers": 40,
            "max_seq_len": 32768,
            "attn_config": {"kv_n_heads": 8, "clip_qkv": 8, "rope_theta": 500000},
            "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
        },
        layers="transformer.blocks",
    ),
    Release(
        "granite-3.0-1b-a400m",
        "GraniteMoeConfig",
        {
            "vocab_size": 49152,
            "hidden_size": 1024,
            "intermediate_size": 512,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "num_local_experts": 32,
            "num_experts_per_tok": 8,
            "tie_word_embeddings": True,
        },
    ),
    Release(
        "granite-4.0-h-tiny",
        "GraniteMoeHybridConfig",
        {
            "vocab_size": 100352,
            "hidden_size": 1536,
            "intermediate_size": 512,
            "shared_intermediate_size": 1024,
            "num_hidden_layers": 40,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
            "num_local_experts": 64,
            "num_experts_per_tok": 6,
            "mamba_n_heads": 48,
            "mamba_d_head": 64,
            "mamba_d_state": 128,
            "mamba_n_groups": 1,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
            "tie_word_embeddings": True,
            "layer_types": ["attention" if i in (5, 15, 25, 35) else "mamba" for i in range(40)],
        },
    ),
    Release(
        "jamba-1.5-mini",
        "JambaConfig",
        {
            "vocab_size": 65536,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_experts": 16,
            "num_experts_per_tok": 2,
            "attn_layer_offset": 4,
            "attn_layer_period": 8,
            "expert_layer_offset": 1,
            "expert_layer_period": 2,
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_dt_rank": 256,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
            "use_mamba_kernels": False,
        },
    ),
    Release(
        "jetmoe-8b",
        "JetMoeConfig",
        {
            "vocab_size": 32000,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_key_value_heads": 16,
            "kv_channels": 128,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "tie_word_embeddings": True,
        },
    ),
    Release(
        "lfm2-8b-a1b",
        "Lfm2MoeConfig",
        {
            "vocab_size": 65536,
            "hidden_size": 2048,
            "intermediate_size": 7168,
            "moe_intermediate_size": 1792,
            "num_hidden_layers": 24,
            "num_dense_layers": 2,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_experts": 32,
            "num_experts_per_tok": 4,
            "use_expert_bias": True,
            "conv_L_cache": 3,
            "conv_bias": False,
            "tie_word_embeddings": True,
            "layer_types": ["full_attention" if i in (2, 6, 10, 14, 18, 21) else "conv" for i in range(24)],
        },
    ),
    Release(
        "minimax-text-01",
        "MiniMaxConfig",
        {
            "vocab_size": 200064,
            "hidden_size": 6144,
            "intermediate_size": 9216,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_local_experts": 32,
            "num_experts_per_tok": 2,
            "layer_types": [ATTENTION_OR_LINEAR[i % 8 == 7] for i in range(80)],
        },
    ),
    Release(
        "minimax-m2",
        "MiniMaxM2Config",
        {
            "vocab_size": 200064,
            "hidden_size": 3072,
            "intermediate_size": 1536,
            "num_hidden_layers": 62,
            "num_attention_heads": 48,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_local_experts": 256,
            "num_experts_per_tok": 8,
        },
    ),
    Release(
        "glm-4.5-air",
        "Glm4MoeConfig",
        {
            "vocab_size": 151552,
            "hidden_size": 4096,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 46,
            "num_attention_heads": 96,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "attention_bias": True,
            "use_qk_norm": False,
        },
    ),
    Release(
        "dots.llm1",
        "Dots1Config",
        {
            "vocab_size": 152064,
            "hidden_size": 4096,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 62,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "n_routed_experts": 128,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    Release(
        "ernie-4.5-21b-a3b",
        "Ernie4_5_MoeConfig",
        {
            "vocab_size": 103424,
            "hidden_size": 2560,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_hidden_layers": 28,
            "num_attention_heads": 20,
            "num_key_value_heads": 4,
            "moe_num_experts": 64,
            "moe_num_shared_experts": 2,
            "moe_k": 6,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": 27,
            "moe_layer_interval": 1,
            "use_bias": False,
            "tie_word_embeddings": True,
        },
    ),
    Release(
        "hunyuan-a13b",
        "HunYuanMoEV1Config",
        {
            "vocab_size": 128167,
            "hidden_size": 4096,
            "intermediate_size": 3072,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_experts": 64,
            "moe_topk": 8,
            "tie_word_embeddings": True,
        },
    ),
    Release(
        "llama-4-maverick",
        "Llama4TextConfig",
        {
            "vocab_size": 202048,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_local_experts": 128,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 8192,
        },
    ),
    Release(
        "kimi-linear-48b-a3b",
        "KimiLinearConfig",
        {
            "vocab_size": 163840,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "moe_intermediate_size": 1024,
            "num_hidden_layers": 27,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "head_dim": 72,
            "q_lora_rank": None,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "first_k_dense_replace": 1,
            "num_experts": 256,
            "num_experts_per_token": 8,
            "num_shared_experts": 1,
            "linear_attn_config": {
                "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
                "kda_layers": [i for i in range(1, 27) if i % 4],
                "head_dim": 128,
                "num_heads": 32,
                "short_conv_kernel_size": 4,
            },
        },
    ),
    Release(
        "nemotron-3-nano-30b-a3b",
        "NemotronHConfig",
        {
            "vocab_size": 131072,
            "hidden_size": 2688,
            "intermediate_size": 1856,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
            "num_hidden_layers": 52,
            "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
            "num_attention_heads": 32,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 6,
            "n_group": 1,
            "topk_group": 1,
            "mamba_num_heads": 64,
            "mamba_head_dim": 64,
            "ssm_state_size": 128,
            "n_groups": 8,
            "conv_kernel": 4,
            "expand": 2,
            "use_conv_bias": True,
            "use_bias": False,
            "mlp_hidden_act": "relu2",
            "use_mamba_kernels": False,
        },
    ),
    Release(
        "gemma-4-26b-a4b",
        "Gemma4TextConfig",
        {
            "vocab_size": 262144,
            "hidden_size": 2816,
            "intermediate_size": 2112,
            "moe_intermediate_size": 704,
            "num_hidden_layers": 30,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "num_global_key_value_heads": 2,
            "head_dim": 256,
            "global_head_dim": 512,
            "num_experts": 128,
            "top_k_experts": 8,
            "enable_moe_block": True,
            "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "use_double_wide_mlp": False,
            "sliding_window": 1024,
            "tie_word_embeddings": True,
            "layer_types": ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(30)],
        },
    ),
    Release(
        "longcat-flash",
        "LongcatFlashConfig",
        MLA_V3
        | {
            "vocab_size": 131072,
            "hidden_size": 6144,
            "num_layers": 28,
            "num_attention_heads": 64,
            "num_key_value_heads": 64,
            "ffn_hidden_size": 12288,
            "expert_ffn_hidden_size": 2048,
            "n_routed_experts": 512,
            "zero_expert_num": 256,
            "moe_topk": 12,
        },
        # The class gives its 256 zero experts gate and up matrices, which the release does not have.
        surplus=256 * 2 * 6144 * 2048,
    ),
    Release(
        "switch-base-8",
        "SwitchTransformersConfig",
        {
            "vocab_size": 32128,
            "d_model": 768,
            "d_kv": 64,
            "d_ff": 3072,
            "num_layers": 12,
            "num_decoder_layers": 12,
            "num_heads": 12,
            "num_experts": 8,
            "num_sparse_encoder_layers": 6,
            "num_sparse_decoder_layers": 6,
            "feed_forward_proj": "relu",
            "tie_word_embeddings": True,
        },
        head="ForConditionalGeneration",
        layers="decoder.block",
    ),
    Release(
        "deepseek-v4-flash",
        "DeepseekV4Config",
        {
            "vocab_size": 129280,
            "hidden_size": 4096,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 43,
            "num_attention_heads": 64,
            "head_dim": 512,
            "q_lora_rank": 1024,
            "o_groups": 8,
            "o_lora_rank": 1024,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "num_experts_per_tok": 6,
            "num_hash_layers": 3,
            "hc_mult": 4,
            "index_n_heads": 64,
            "index_head_dim": 128,
            "index_topk": 512,
            "sliding_window": 128,
            "compress_ratios": [0, 0] + [4, 128] * 20 + [4],
        },
    ),
]
BY_NAME = {release.name: release for release in RELEASES}

# Larger and smaller models of the same families, by what differs in their config.json.
SIBLINGS = {
    "llama-3.1-405b": (
        "llama-3.1-8b",
        {
            "hidden_size": 16384,
            "intermediate_size": 53248,
            "num_hidden_layers": 126,
            "num_attention_heads": 128,
        },
    ),
    "mixtral-8x22b": (
        "mixtral-8x7b",
        {"hidden_size": 6144, "intermediate_size": 16384, "num_hidden_layers": 56, "num_attention_heads": 48},
    ),
    "qwen3-235b-a22b": (
        "qwen3-30b-a3b",
        {
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_hidden_layers": 94,
            "num_attention_heads": 64,
        },
    ),
    "gpt-oss-120b": ("gpt-oss-20b", {"num_hidden_layers": 36, "num_local_experts": 128}),
    "llama-4-scout": ("llama-4-maverick", {"num_local_experts": 16, "interleave_moe_layer_step": 1}),
    "deepseek-v2": (
        "deepseek-v2-lite",
        {
            "hidden_size": 5120,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_hidden_layers": 60,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "q_lora_rank": 1536,
            "n_routed_experts": 160,
            "n_group": 8,
            "topk_group": 3,
            "topk_method": "group_limited_greedy",
        },
    ),
}
RELEASES += [
    replace(BY_NAME[base], name=name, facts=BY_NAME[base].facts | different)
    for name, (base, different) in SIBLINGS.items()
]


def counted_by_layer(name: str) -> dict[int, int]:
    """Parameters of each decoder layer by our inventory."""
    sums: dict[int, int] = {}
    for block in load(name).inventory.blocks:
        if block.part == "decoder":
            each = sum(w.copies * w.elements for w in block.weights if is_parameter(w))
            sums |= dict.fromkeys(block.layers, each)
    return dict(sorted(sums.items()))


def numel(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_parameters(release):
    """`parameters()` gives tied tensors once and no buffers, as total_params does."""
    built = release.build()
    layers = built.get_submodule(release.layers)
    theirs = {index: numel(layer) - release.surplus for index, layer in enumerate(layers)}
    assert counted_by_layer(release.name) == theirs
    assert load(release.name).total_params == numel(built) - release.surplus * len(theirs)


# Families whose forward runs on the meta device with exactly top-k experts and plain attention.
PLAIN = (
    "llama-3.1-8b",
    "mixtral-8x7b",
    "qwen1.5-moe-a2.7b",
    "qwen3-30b-a3b",
    "olmoe-1b-7b",
    "granite-3.0-1b-a400m",
    "gpt-oss-20b",
    "deepseek-v2-lite",
)
TOKENS = 128


def forward(built: Any, tokens: int, *, use_cache: bool) -> Any:
    """A forward over `tokens` tokens; to make a mask itself, transformers would look into empty tensors."""
    with torch.device("meta"), torch.no_grad():
        ids, mask = torch.zeros((1, tokens), dtype=torch.long), torch.zeros((1, 1, tokens, tokens))
        return built.eval()(input_ids=ids, attention_mask=mask, use_cache=use_cache)


def build_plain(name: str) -> Any:
    return BY_NAME[name].build(attn_implementation="eager", experts_implementation="batched_mm")


@pytest.mark.parametrize("name", PLAIN)
def test_flops(name):
    """torch's counter on a whole forward: no causal halving, MLA expanded, logits for every token."""
    from torch.utils.flop_counter import FlopCounterMode

    built = build_plain(name)
    with FlopCounterMode(display=False) as counter:
        forward(built, TOKENS, use_cache=False)
    terms = flops.flop_terms(load(name).inventory)
    assert terms.per_token == 0
    assert counter.get_total_flops() == terms.weights * TOKENS + terms.quadratic * TOKENS**2


@pytest.mark.parametrize("name", PLAIN)
def test_cache(name):
    """What a real cache holds after a prefill of 5 tokens, in elements."""
    cached = forward(build_plain(name), 5, use_cache=True).past_key_values
    elements = sum(layer.keys.numel() + layer.values.numel() for layer in cached.layers)
    assert load(name).kv_bytes(5, "bf16") == 2 * elements
