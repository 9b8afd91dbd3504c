"""Families that the catalogue has no model of, for options that its models of transformers do not have.

Gemma 2: norms on both sides of each block, weights less one, scores squeezed (Grok-1 has two of these). MiMo-V2:
values narrower than keys, heads that differ between windows and full layers. Gemma 4 with layers that reuse keys
and values (as Hunyuan-Large). GLM-4.5's class with norms on queries and keys and experts in groups (Ling 2.0,
which has no class in transformers but computes the same).
"""

from __future__ import annotations

from referee_whole_families import GROUPED, glm4
from referee_whole_windows import GEMMA4, gemma4
from whole_case import Case, Table, one_less_than_window
from whole_facts import (
    ATTENTION,
    CORRECTION,
    DENSE,
    EXPERTS,
    NORMS,
    PROJECTIONS,
    QK_NORMS,
    Facts,
    always,
    common,
    dense_of,
    experts_of,
    mixers_of,
    norm,
    plain,
    rope_parameters,
    whole_shared_experts,
)

from moe_plan.api import load
from moe_plan.replica.unfold import layers_of
from moe_plan.spec.attention import Attention
from moe_plan.spec.ffn import DenseFfn, MoeFfn, Router
from moe_plan.spec.model import ModelSpec, Norm, Published, Run
from moe_plan.spec.rope import Rope

NOWHERE = {"source": "the defaults of the class", "published": Published(source="none")}


def gemma2_spec() -> ModelSpec:
    """Gemma 2 2B, as the class's defaults have it."""
    full = Attention(kind="gqa", heads=8, kv_heads=4, head_dim=256, scale=0.0625, softcap=50.0)
    return ModelSpec(
        **NOWHERE,
        name="gemma-2-like",
        hidden=2304,
        vocab=256_000,
        context=8192,
        tied=True,
        embedding_scale="sqrt-hidden",
        logit_softcap=30.0,
        norm=Norm(zero_centered=True),
        attention={"full": full, "sliding": full.model_copy(update={"window": 4096})},
        ffn={"dense": DenseFfn(kind="dense", width=9216, activation="gelu-tanh")},
        layers=(
            Run(
                repeat=13,
                pattern=tuple(
                    Run(attention=name, ffn="dense", flow="sandwich", norms=4) for name in ("sliding", "full")
                ),
            ),
        ),
    )


def near_softcap(spec: ModelSpec) -> ModelSpec:
    """Scores that the cap reaches, and a hidden width that the heads divide."""
    blocks = {name: block.model_copy(update={"softcap": 1.0}) for name, block in spec.attention.items()}
    heads = mixers_of(spec)[0].heads
    return spec.model_copy(update={"attention": blocks, "hidden": -(-spec.hidden // heads) * heads})


def gemma2(spec: ModelSpec) -> Facts:
    mixers = mixers_of(spec)
    return plain(spec) | {
        "intermediate_size": dense_of(spec).width,
        "query_pre_attn_scalar": round(mixers[0].scale ** -2),
        "attn_logit_softcapping": mixers[0].softcap,
        "final_logit_softcapping": spec.logit_softcap,
        "sliding_window": next(block.window for block in mixers if block.window),
        "layer_types": ["sliding_attention" if block.window else "full_attention" for block in mixers],
    }


SANDWICH: Table = {
    "input_layernorm.weight": norm(0),
    "post_attention_layernorm.weight": norm(1),
    "pre_feedforward_layernorm.weight": norm(2),
    "post_feedforward_layernorm.weight": norm(3),
}


def mimo_spec() -> ModelSpec:
    """MiMo-V2-Flash, as the class's defaults have it, but for its factor on values."""
    full = Attention(
        kind="gqa", heads=64, kv_heads=4, head_dim=192, value_dim=128, rope=Rope(theta=5_000_000.0, dim=64)
    )
    near = {"kv_heads": 8, "window": 129, "sinks": True, "rope": Rope(theta=10_000.0, dim=64)}
    router = Router(score="sigmoid", correction_bias="buffer")
    return ModelSpec(
        **NOWHERE,
        name="mimo-v2-flash-like",
        hidden=4096,
        vocab=152_576,
        context=131_072,
        norm=Norm(eps=1e-5),
        attention={"full": full, "near": full.model_copy(update=near)},
        ffn={
            "dense": DenseFfn(kind="dense", width=16_384),
            "experts": MoeFfn(kind="moe", experts=256, top_k=8, width=2048, router=router),
        },
        layers=(
            Run(attention="full", ffn="dense"),
            Run(repeat=4, attention="near", ffn="experts"),
            Run(attention="full", ffn="experts"),
        ),
    )


def twice_the_keys(spec: ModelSpec) -> ModelSpec:
    """A layer with a window has twice the key heads of a full one."""
    near, full = spec.attention["near"], spec.attention["full"]
    blocks = {
        "full": full.model_copy(update={"heads": 8, "kv_heads": 2}),
        "near": near.model_copy(update={"heads": 8, "kv_heads": 4}),
    }
    return spec.model_copy(update={"attention": blocks})


def mimo(spec: ModelSpec) -> Facts:
    near, full, experts = spec.attention["near"], spec.attention["full"], experts_of(spec)
    assert isinstance(near, Attention)
    assert isinstance(full, Attention)
    runs = layers_of(spec.layers)
    return common(spec) | {
        "num_attention_heads": full.heads,
        "num_key_value_heads": full.kv_heads,
        "head_dim": full.head_dim,
        "v_head_dim": full.value_dim,
        "attention_value_scale": None,
        "sliding_window": near.window,
        "layer_types": ["sliding_attention" if run.attention == "near" else "full_attention" for run in runs],
        "mlp_layer_types": ["dense" if run.ffn == "dense" else "sparse" for run in runs],
        "rope_parameters": {
            "sliding_attention": rope_parameters(near.rope or Rope(), near.head_dim),
            "full_attention": rope_parameters(full.rope or Rope(), full.head_dim),
        },
        "intermediate_size": dense_of(spec).width,
        "moe_intermediate_size": experts.width,
        "n_routed_experts": experts.experts,
        "num_experts_per_tok": experts.top_k,
    }


def reusing_spec() -> ModelSpec:
    """Gemma 4's full layers, of which the later half has no keys and values of its own."""
    spec = load("gemma-4-26b-a4b").spec
    run = layers_of(spec.layers)[-1]
    own = spec.attention["global"]
    blocks = {"own": own, "reusing": own.model_copy(update={"shared_kv": True, "keys_as_values": False})}
    layers = tuple(
        Run(repeat=3, attention=name, ffn=run.ffn, flow=run.flow, tensors=run.tensors) for name in blocks
    )
    return spec.model_copy(
        update={"name": "gemma-4-reusing-like", "attention": blocks, "layers": layers, "parts": {}}
    )


def reusing(spec: ModelSpec) -> Facts:
    shared = sum(block.shared_kv for block in mixers_of(spec))
    return gemma4(spec) | {"num_kv_shared_layers": shared, "output_hidden_states": True}


CASES = {
    "glm-4.5-in-groups": Case(
        "Glm4Moe",
        "ling-mini-2.0",
        glm4,
        always(ATTENTION | QK_NORMS | GROUPED),
        spec=lambda: load("ling-mini-2.0").spec,
        tied=whole_shared_experts,
    ),
    "gemma-2": Case(
        "Gemma2",
        "gemma-2-like",
        gemma2,
        always(SANDWICH | PROJECTIONS | DENSE),
        spec=gemma2_spec,
        kept=one_less_than_window,
        tied=near_softcap,
    ),
    "mimo-v2-flash": Case(
        "MiMoV2Flash",
        "mimo-v2-flash-like",
        mimo,
        always(NORMS | PROJECTIONS | {"self_attn.sinks": "attention.sinks"} | DENSE | EXPERTS | CORRECTION),
        spec=mimo_spec,
        kept=one_less_than_window,
        tied=twice_the_keys,
        quirks=("values are multiplied by 0.707, which no spec says; left out on both sides",),
    ),
    "gemma-4-reusing": Case(
        "Gemma4",
        "gemma-4-reusing-like",
        reusing,
        always(GEMMA4),
        config="Gemma4TextConfig",
        spec=reusing_spec,
        seed=14,
        quirks=(
            "without inputs for each layer it only runs where it may not skip the prompt's reusing layers",
        ),
    ),
}
