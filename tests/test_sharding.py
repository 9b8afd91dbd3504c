"""Into how many ranks tensor parallelism cuts every tensor and state, by hand; beyond it ranks hold replicas."""

from __future__ import annotations

from typing import get_args

import pytest
from cuts import ATTENTION, GQA, MLA
from worked import HIDDEN, VOCAB, cuts

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.build import inventory
from moe_plan.anatomy.ffn import ffn_body
from moe_plan.spec.attention import AnyAttention, MlaAttention
from moe_plan.spec.ffn import AnyFfn, DenseFfn, MoeFfn, Router
from moe_plan.spec.model import ModelSpec, Norm, Part, Published, Run, Tensor


@pytest.mark.parametrize("kind", sorted(ATTENTION))
def test_attention(kind):
    block, expected = ATTENTION[kind]
    assert cuts(attention_body(block, HIDDEN)) == expected


def test_every_kind_is_here():
    blocks = [block for block, _ in ATTENTION.values()]
    assert {type(block) for block in blocks} == set(get_args(get_args(AnyAttention)[0]))
    assert {kind: block.kind for kind, (block, _) in ATTENTION.items()} == {kind: kind for kind in ATTENTION}
    assert set(get_args(get_args(AnyFfn)[0])) == {DenseFfn, MoeFfn}


def test_gqa_norms_over_all_heads_are_cut_with_them():
    whole = GQA.model_copy(update={"qk_norm": "whole", "q_rank": None})
    found = cuts(attention_body(whole, HIDDEN))
    assert (found["attention.q"], found["attention.q_norm"], found["attention.k_norm"]) == (6, 6, 2)


def test_mla_direct_query():
    assert cuts(attention_body(MlaAttention(**MLA | {"q_rank": None}), HIDDEN))["attention.q"] == 6


def test_dense():
    """By width; the bias of the output is added once, after the ranks' parts are."""
    body = ffn_body(DenseFfn(kind="dense", width=30, bias=True), HIDDEN, VOCAB)
    assert cuts(body) == {
        "dense.gate": 30,
        "dense.up": 30,
        "dense.down": 30,
        "dense.gate_bias": 30,
        "dense.up_bias": 30,
        "dense.down_bias": 1,
    }


def test_experts():
    """Each expert by its width; the projections around them and the router are on every rank."""
    options = {"bias": True, "correction_bias": "buffer", "input_scale": True, "expert_scale": True}
    block = MoeFfn(
        kind="moe",
        experts=5,
        top_k=2,
        width=7,
        bias=True,
        output_bias=True,
        latent=4,
        shared_width=13,
        shared_gate=True,
        router=Router(**options, token_table=True),
    )
    routers = ("weight", "bias", "correction_bias", "input_scale", "expert_scale", "token_table")
    assert cuts(ffn_body(block, HIDDEN, VOCAB)) == {f"router.{name}": 1 for name in routers} | {
        "experts.gate": 7,
        "experts.up": 7,
        "experts.down": 7,
        "experts.gate_bias": 7,
        "experts.up_bias": 7,
        "experts.down_bias": 1,
        "experts.output_bias": 1,
        "experts.latent_down": 1,
        "experts.latent_up": 1,
        "shared.gate": 13,
        "shared.up": 13,
        "shared.down": 13,
        "shared_gate.weight": 1,
    }


def test_outside_the_blocks():
    """Table and head by rows of the vocabulary; norms, stream maps and extra tensors are on every rank."""
    extra = (Tensor(name="map", shape=(10, 10)), Tensor(name="positions", shape=(50, 10), use="lookup"))
    spec = ModelSpec(
        name="cut",
        source="this test",
        published=Published(source="this test"),
        hidden=HIDDEN,
        vocab=VOCAB,
        head_bias=True,
        norm=Norm(kind="layer", bias=True),
        ffn={"dense": DenseFfn(kind="dense", width=30)},
        layers=(Run(ffn="dense"),),
        tensors=extra,
        hyper_connections=4,
        parts={"draft": Part(role="mtp", layers=(Run(ffn="dense"),), final_norm=False)},
    )
    found = {
        weight.name: weight.max_tp
        for block in inventory(spec).blocks
        for weight in block.weights
        if not weight.name.startswith("dense")
    }
    maps = {f"hyper.{owner}.{name}": 1 for owner in ("0", "head") for name in ("maps", "base", "scale")}
    norms = {f"norm.{name}": 1 for name in ("weight", "bias", "final.weight", "final.bias")}
    tables = {"embedding": VOCAB, "lm_head": VOCAB, "lm_head.bias": VOCAB}
    assert found == tables | norms | maps | {"map": 1, "positions": 1}
