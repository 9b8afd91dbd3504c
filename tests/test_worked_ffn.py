"""Worked by hand: dense networks, and 2 of 5 experts with every option."""

from __future__ import annotations

from worked import HIDDEN, VOCAB, routed, shapes

from moe_plan.anatomy.ffn import ffn_body
from moe_plan.anatomy.inventory import Body
from moe_plan.estimate.weights import uniform_storage
from moe_plan.spec.ffn import DenseFfn, MoeFfn, Router


def test_dense():
    gated = ffn_body(DenseFfn(kind="dense", width=7, bias=True), HIDDEN, VOCAB)
    plain = ffn_body(DenseFfn(kind="dense", width=7, gated=False, bias=True), HIDDEN, VOCAB)
    up = {"dense.up": (7, 10), "dense.down": (10, 7), "dense.up_bias": (7,), "dense.down_bias": (10,)}
    assert shapes(gated) == up | {"dense.gate": (7, 10), "dense.gate_bias": (7,)}
    assert shapes(plain) == up


def experts(**options) -> Body:
    """2 of 5 experts of width 7."""
    return ffn_body(MoeFfn(**{"kind": "moe", "experts": 5, "top_k": 2, "width": 7} | options), HIDDEN, VOCAB)


def test_experts():
    body = experts()
    assert shapes(body) == {
        "router.weight": (5, 10),
        "experts.gate": (7, 10),
        "experts.up": (7, 10),
        "experts.down": (10, 7),
    }
    assert routed(body) == {f"experts.{name}": (5, 2, 5) for name in ("gate", "up", "down")}
    assert shapes(experts(gated=False)).keys() == {"router.weight", "experts.up", "experts.down"}


def test_expert_biases():
    body = experts(bias=True)
    biases = {"experts.gate_bias": (7,), "experts.up_bias": (7,), "experts.down_bias": (10,)}
    assert shapes(body) == shapes(experts()) | biases
    assert {name: routed(body)[name] for name in biases} == dict.fromkeys(biases, (5, 2, 5))
    output = experts(output_bias=True)
    assert shapes(output) == shapes(experts()) | {"experts.output_bias": (10,)}
    assert "experts.output_bias" not in routed(output)


def test_zero_experts():
    """3 experts without weights: the router scores 8, 5 hold weights, a token chooses 2 of 8."""
    body = experts(zero_experts=3)
    assert shapes(body) == shapes(experts()) | {"router.weight": (8, 10)}
    assert routed(body) == {f"experts.{name}": (5, 2, 8) for name in ("gate", "up", "down")}


def test_latent_experts():
    """Experts work in width 4, reached by two projections that every token uses; biases follow the width."""
    body = experts(latent=4, bias=True)
    assert shapes(body) == {
        "router.weight": (5, 10),
        "experts.gate": (7, 4),
        "experts.up": (7, 4),
        "experts.down": (4, 7),
        "experts.gate_bias": (7,),
        "experts.up_bias": (7,),
        "experts.down_bias": (4,),
        "experts.latent_down": (4, 10),
        "experts.latent_up": (10, 4),
    }
    assert not {"experts.latent_down", "experts.latent_up"} & routed(body).keys()


def test_more_choices_than_experts():
    """6 of 2 experts and 10 that compute nothing: both experts at most, and 6 draws of 12 choices."""
    body = experts(experts=2, top_k=6, zero_experts=10)
    matrices = [weight for weight in body.weights if weight.component == "routed_experts"]
    assert {(w.copies, w.used, w.pool, w.draws) for w in matrices} == {(2, 2, 12, 6)}
    # Each expert is among a token's 6 of 12 with even odds: 2 * 1/2, then 2 * (1 - 1/4), 2 * (1 - 1/8).
    assert {tuple(w.copies_touched(tokens) for tokens in (1, 2, 3)) for w in matrices} == {(1.0, 1.5, 1.75)}
    assert sum(w.flops_per_token for w in matrices) == 2 * 2 * 3 * 7 * 10


def test_shared_experts():
    shared = {"shared.gate": (13, 10), "shared.up": (13, 10), "shared.down": (10, 13)}
    body = experts(shared_width=13, shared_gate=True)
    assert shapes(body) == shapes(experts()) | shared | {"shared_gate.weight": (1, 10)}
    assert not shared.keys() & routed(body).keys()
    assert shapes(experts(shared_width=13, gated=False)).keys() & shared.keys() == {
        "shared.up",
        "shared.down",
    }
    assert {w.component for w in body.weights if w.name in shared} == {"shared_experts"}


def test_router_extras():
    body = experts(
        zero_experts=3,
        router=Router(
            bias=True, correction_bias="buffer", input_scale=True, expert_scale=True, token_table=True
        ),
    )
    assert {name: shape for name, shape in shapes(body).items() if name.startswith("router")} == {
        "router.weight": (8, 10),
        "router.bias": (8,),
        "router.correction_bias": (8,),
        "router.input_scale": (10,),
        "router.expert_scale": (8,),
        "router.token_table": (2,),
    }
    assert {w.name: w.buffer for w in body.weights if w.buffer} == {
        "router.correction_bias": "fp32",
        "router.token_table": "int64",
    }
    assert routed(body)["router.token_table"] == (VOCAB, 1, 0)
    trained = experts(router=Router(correction_bias="parameter"))
    assert all(weight.buffer is None for weight in trained.weights)


def test_shared_gate_is_a_vector_to_llama_cpp():
    """It keeps the gate's one row as a vector in fp32, as it does the router, and converts the shared expert."""
    storage = uniform_storage("q4_k")
    rows = experts(shared_width=13, shared_gate=True).weights
    kept = {weight.name: storage.format_of(weight) for weight in rows}
    assert kept == dict.fromkeys(kept, "q4_k") | {"router.weight": "fp32", "shared_gate.weight": "fp32"}
