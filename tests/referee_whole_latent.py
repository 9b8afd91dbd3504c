"""Whole models of transformers with latent attention, beside ours: configurations and names of tensors."""

from __future__ import annotations

from typing import Any

from whole_case import Case, Table
from whole_facts import (
    CORRECTION,
    DENSE,
    EXPERTS,
    NORMS,
    Facts,
    always,
    common,
    dense_of,
    experts_of,
    latent_of,
    leading_dense,
    rope_parameters,
    three,
    whole_shared_experts,
    with_hidden,
)

from moe_plan.spec.attention import AnyAttention, Indexer
from moe_plan.spec.model import ModelSpec

ROPE_DIM = 64
INDEXER_HEADS = 17
"""So many that no score of a key is exactly 0: among several zeros the choice would be anybody's."""


def weights(module: str, owner: str, names: dict[str, str]) -> Table:
    """Matrices and norms of a module of theirs, each with its name in ours."""
    return {f"{module}.{theirs}.weight": f"{owner}.{ours}" for theirs, ours in names.items()}


MLA = weights(
    "self_attn",
    "attention",
    {
        "q_proj": "q",
        "q_a_proj": "q_a",
        "q_a_layernorm": "q_a_norm",
        "q_b_proj": "q_b",
        "kv_a_proj_with_mqa": "kv_a",
        "kv_a_layernorm": "kv_a_norm",
        "kv_b_proj": "kv_b",
        "o_proj": "o",
    },
)
SHARED = three("mlp.shared_experts", "shared")
DEEPSEEK: Table = MLA | NORMS | DENSE | EXPERTS | CORRECTION | SHARED
INDEXER: Table = {
    **weights("self_attn.indexer", "indexer", {"wq_b": "q", "wk": "k", "weights_proj": "weights"}),
    "self_attn.indexer.k_norm.weight": lambda ours: ours["indexer.k_norm"][0],
    "self_attn.indexer.k_norm.bias": lambda ours: ours["indexer.k_norm"][1],
}


def latent(spec: ModelSpec) -> Facts:
    """`common`, and one kind of latent attention."""
    block = latent_of(spec)
    facts = common(spec) | {
        "num_attention_heads": block.heads,
        "num_key_value_heads": block.heads,
        "q_lora_rank": block.q_rank,
        "kv_lora_rank": block.kv_rank,
        "qk_nope_head_dim": block.nope_dim,
        "qk_rope_head_dim": block.rope_dim,
        "v_head_dim": block.v_dim,
    }
    if block.rope is not None:
        facts["rope_parameters"] = rope_parameters(block.rope, block.rope_dim)
    return facts


def deepseek(spec: ModelSpec) -> Facts:
    """Latent attention, and experts after some dense layers, where there are any."""
    moe, router = experts_of(spec), experts_of(spec).router
    facts = latent(spec) | {
        "first_k_dense_replace": leading_dense(spec),
        "n_routed_experts": moe.experts,
        "num_experts_per_tok": moe.top_k,
        "moe_intermediate_size": moe.width,
        # Shared experts are one network: the class multiplies its width by their number.
        "n_shared_experts": (moe.shared_width or 0) // moe.width,
        "n_group": router.groups or 1,
        "topk_group": router.top_groups or 1,
        "routed_scaling_factor": router.scale,
        "norm_topk_prob": router.normalize,
    }
    if leading_dense(spec):
        facts["intermediate_size"] = dense_of(spec).width
    return facts


def deepseek_v2(spec: ModelSpec) -> Facts:
    router = experts_of(spec).router
    # The class never divides by the sum, whatever its configuration says, and knows no correction.
    assert not router.normalize
    return deepseek(spec) | {"topk_method": "greedy" if router.groups is None else "group_limited_greedy"}


def with_attention(spec: ModelSpec, **changed: Any) -> ModelSpec:
    """Each attention block with new values: what the functions of `changed` make of those it has."""

    def change(block: AnyAttention) -> AnyAttention:
        fields = {name: value for name, value in changed.items() if hasattr(block, name)}
        return block.model_copy(update={name: value(getattr(block, name)) for name, value in fields.items()})

    return spec.model_copy(
        update={"attention": {name: change(block) for name, block in spec.attention.items()}}
    )


def of_many_pairs(spec: ModelSpec) -> ModelSpec:
    """As many rotary channels as the release has: among few, a ramp between two of them is a step."""
    return with_attention(whole_shared_experts(spec), rope_dim=lambda _: ROPE_DIM)


def even(size: int) -> int:
    return size + size % 2


def paired(spec: ModelSpec) -> ModelSpec:
    """Queries without positions and latents of even width, as a view of theirs as pairs of channels needs."""
    return with_attention(whole_shared_experts(spec), nope_dim=even, kv_rank=even)


def of_whole_heads(spec: ModelSpec) -> ModelSpec:
    """A residual stream that the heads divide, which V2's configuration demands and its class has no use for."""
    heads = latent_of(spec).heads
    return with_hidden(paired(spec), -(-spec.hidden // heads) * heads)


def deepseek_v32(spec: ModelSpec) -> Facts:
    indexer = latent_of(spec).indexer
    assert indexer is not None
    return deepseek(spec) | {
        "index_n_heads": indexer.heads,
        "index_head_dim": indexer.head_dim,
        "index_topk": indexer.top_k,
    }


def more_heads(indexer: Indexer | None) -> Indexer | None:
    """An indexer with INDEXER_HEADS."""
    return indexer and indexer.model_copy(update={"heads": INDEXER_HEADS})


def decided(spec: ModelSpec) -> ModelSpec:
    """Indexers of so many heads that their choices are clear."""
    return with_attention(whole_shared_experts(spec), indexer=more_heads)


def mistral4(spec: ModelSpec) -> Facts:
    block, facts = latent_of(spec), deepseek(spec)
    assert block.temperature is not None
    facts["rope_parameters"] |= {"type": "yarn", "llama_4_scaling_beta": block.temperature.beta}
    return facts


def one_span(spec: ModelSpec) -> ModelSpec:
    """YaRN's original context and the span of the temperature alike: one number of their configuration.

    It is short, so that a temperature is felt, and the ramp is moved to where so short a context has one.
    """
    block = latent_of(spec)
    assert block.rope is not None
    assert block.rope.scaling is not None
    assert block.temperature is not None
    ramp = {"original_context": block.temperature.span, "beta_fast": 0.5, "beta_slow": 0.1}
    scaling = block.rope.scaling.model_copy(update=ramp)
    rope = block.rope.model_copy(update={"scaling": scaling})
    return with_attention(of_many_pairs(paired(spec)), rope=lambda _: rope)


CASES = {
    **{
        name: Case("DeepseekV2", name, deepseek_v2, always(DEEPSEEK), tied=of_whole_heads)
        for name in ("deepseek-v2", "deepseek-v2-lite")
    },
    **{
        name: Case("DeepseekV3", name, deepseek, always(DEEPSEEK), tied=of_many_pairs)
        for name in ("deepseek-v3", "kimi-k2-instruct")
    },
    "deepseek-v3.2": Case(
        "DeepseekV32",
        "deepseek-v3.2",
        deepseek_v32,
        always(DEEPSEEK | INDEXER),
        tied=decided,
        quirks=(
            "as ours, the class leaves out the indexer's Hadamard transform, which changes no score, and fp8",
        ),
    ),
    "mistral-small-4-119b": Case(
        "Mistral4", "mistral-small-4-119b", mistral4, always(DEEPSEEK), tied=one_span
    ),
}
