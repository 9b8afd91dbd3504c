"""The replica's feed-forward side on its own: what it is called, every combination by hand, forced routing, meta."""

from __future__ import annotations

import os

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from moe_by_hand import EPS, fed, mixed, numpyless, routed

from moe_plan.anatomy.ffn import ffn_body
from moe_plan.replica.block import Block
from moe_plan.replica.call import Call, Options
from moe_plan.replica.ffn.build import feed_forward
from moe_plan.replica.ffn.dense import Dense
from moe_plan.replica.ffn.reference import run_experts_by_loop
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.routing import Balanced
from moe_plan.spec import catalogue
from moe_plan.spec.ffn import DenseFfn, MoeFfn, Router
from moe_plan.spec.model import Norm

HIDDEN, VOCAB = 14, 37
NORM = Norm(eps=EPS)


def made(spec, seed=7):
    built = feed_forward(spec, HIDDEN, VOCAB, NORM)
    generator = torch.Generator().manual_seed(seed)
    for module in built.modules():
        if isinstance(module, Block):
            module.materialise(torch.device("cpu"), generator)
    return built


def moe(router=None, **fields):
    sizes = {"experts": 11, "top_k": 3, "width": 5}
    return MoeFfn(kind="moe", router=Router(**router or {}), **sizes | fields)


def inputs(batch=2, tokens=9, seed=3):
    generator = torch.Generator().manual_seed(seed)
    x_BTD = torch.randn((batch, tokens, HIDDEN), generator=generator)
    ids_BT = torch.randint(0, VOCAB, (batch, tokens), generator=generator)
    return x_BTD, Call(ids_BT, 0, NORM, Options())


DENSE = [
    {},
    {"gated": False, "activation": "relu"},
    {"bias": True, "activation": "gelu"},
    {"gated": False, "bias": True, "activation": "gelu-tanh", "limit": 0.3},
    {"gated": False, "activation": "relu2"},
    {"activation": "gelu-tanh", "limit": 0.2},
    {"activation": "oai-swiglu", "bias": True, "limit": 0.5},
    {"activation": "oai-swiglu"},
]


@pytest.mark.parametrize("fields", DENSE, ids=str)
def test_dense_by_hand(fields):
    spec = DenseFfn(kind="dense", width=9, **fields)
    built = made(spec)
    assert isinstance(built, Dense)
    x_BTD, _ = inputs()
    t = {name: numpyless(tensor) for name, tensor in built.tensors()}
    expected = [[fed(spec, t, "dense", x) for x in row] for row in numpyless(x_BTD)]
    torch.testing.assert_close(built(x_BTD), torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_dense_holds_its_up_product_and_its_output_and_no_more():
    built = made(DenseFfn(kind="dense", width=9, bias=True))
    x_BTD, _ = inputs()
    with AllocationTracker() as tracker:
        built(x_BTD)
    assert tracker.peak_bytes == 4 * x_BTD.shape[0] * x_BTD.shape[1] * (2 * 9 + HIDDEN)


MIXTURES = [
    {},
    {"router": {"score": "sigmoid", "bias": True, "normalize": False}, "gated": False, "bias": True},
    {"router": {"score": "sqrt-softplus", "scale": 1.7}, "shared_width": 7, "limit": 0.4},
    {"router": {"correction_bias": "buffer", "scale": 6.0}, "zero_experts": 4, "top_k": 6},
    {
        "router": {"groups": 4, "top_groups": 2, "group_score": "max", "correction_bias": "parameter"},
        "experts": 12,
        "zero_experts": 3,
        "top_k": 5,
        "width": 3,
    },
    {"router": {"score": "sigmoid", "groups": 5, "top_groups": 3}, "experts": 10, "top_k": 6},
    {"router": {"score": "sigmoid", "groups": 3, "top_groups": 1}, "experts": 12, "top_k": 3},
    {"router": {"groups": 11, "top_groups": 4, "score": "sigmoid"}, "top_k": 4},
    {
        "router": {"weigh_input": True, "score": "sigmoid"},
        "zero_experts": 2,
        "shared_width": 3,
        "shared_gate": True,
    },
    {"router": {"input_scale": True, "expert_scale": True}, "activation": "gelu-tanh", "output_bias": True},
    {"router": {"token_table": True, "score": "sqrt-softplus"}, "top_k": 5},
    {
        "latent": 6,
        "bias": True,
        "output_bias": True,
        "gated": False,
        "activation": "relu2",
        "shared_width": 8,
    },
    {"latent": 6, "zero_experts": 5, "router": {"weigh_input": True}},
    {"activation": "oai-swiglu", "bias": True, "limit": 0.5, "router": {"bias": True}},
    {"experts": 1, "top_k": 1},
    {"experts": 4, "top_k": 4, "router": {"normalize": False}},
]


@pytest.mark.parametrize("fields", MIXTURES, ids=str)
def test_mixture_by_hand(fields):
    spec = moe(**fields)
    built = made(spec)
    x_BTD, call = inputs()
    t = {name: numpyless(tensor) for name, tensor in built.tensors()}
    ids = call.ids_BT.tolist()
    expected = [
        [mixed(spec, t, x, routed(spec, t, x, ids[b][i])) for i, x in enumerate(row)]
        for b, row in enumerate(numpyless(x_BTD))
    ]
    torch.testing.assert_close(built(x_BTD, call), torch.tensor(expected), rtol=2e-5, atol=2e-6)


def catalogue_blocks():
    """Every feed-forward block that a layer of a shipped model names, with the width it works in."""
    for name in catalogue.names():
        spec = catalogue.find(name)
        for part in (spec, *(part for part in spec.parts.values() if part.role == "encoder")):
            for key, block in part.ffn.items():
                yield pytest.param(block, part.hidden or spec.hidden, spec.vocab, id=f"{name} {key}")


BLOCKS = list(catalogue_blocks())


def sizes_of(tensors):
    return {name: tensor.numel() for name, tensor in tensors}


@pytest.mark.parametrize(("block", "hidden", "vocab"), BLOCKS)
def test_tensors_are_those_of_the_inventory(block, hidden, vocab):
    built = feed_forward(block, hidden, vocab, NORM)
    rows = ffn_body(block, hidden, vocab).weights
    assert sizes_of(built.tensors()) == {row.name: row.copies * row.elements for row in rows}
    assert len(list(built.tensors())) == len(rows)
    buffers = {name.rpartition(".")[2] for name, _ in built.named_buffers()}
    assert buffers == {row.name.rpartition(".")[2] for row in rows if row.buffer}
    for name, tensor in built.tensors():
        (row,) = [row for row in rows if row.name == name]
        if row.copies == 1:
            assert tuple(tensor.shape) == row.shape
        elif row.use == "matmul":
            assert tuple(tensor.shape) == (row.copies, row.shape[1], row.shape[0]), "experts are [E, in, out]"
        else:
            assert tuple(tensor.shape) == (row.copies, *row.shape)


@pytest.mark.parametrize("fields", MIXTURES, ids=str)
def test_tensors_of_every_combination_are_those_of_the_inventory(fields):
    spec = moe(**fields)
    rows = ffn_body(spec, HIDDEN, VOCAB).weights
    assert sizes_of(made(spec).tensors()) == {row.name: row.copies * row.elements for row in rows}


@pytest.mark.parametrize(("block", "hidden", "vocab"), [p for p in BLOCKS if p.values[0].kind == "moe"])
def test_full_width_runs_on_meta(block, hidden, vocab):
    """Nothing has values there: forced ids and their counts come from the CPU."""
    built = feed_forward(block, hidden, vocab, NORM)
    counts = {}
    ids_BT = torch.zeros((2, 13), dtype=torch.int64, device="meta")
    call = Call(ids_BT, 0, NORM, Options(routing=Balanced(), counts=counts), layer=3)
    out = built(torch.zeros((2, 13, hidden), device="meta"), call)
    assert out.is_meta
    assert out.shape == (2, 13, hidden)
    choices = block.experts + block.zero_experts
    assert len(counts[3]) == choices
    assert sum(counts[3]) == 26 * block.top_k
    assert max(counts[3]) - min(counts[3]) <= 1


class Fixed:
    """A routing that was thought of before."""

    def __init__(self, ids_TK):
        self.ids_TK = ids_TK
        self.asked = []

    def choose(self, layer, tokens, top_k, choices):
        self.asked.append((layer, tokens, top_k, choices))
        return self.ids_TK


@pytest.mark.parametrize(
    "fields", [*MIXTURES, {"router": {"score": "sparsemixer", "normalize": False}}], ids=str
)
def test_forcing_the_routers_own_choice_changes_nothing(fields):
    spec = moe(**fields)
    built = made(spec)
    x_BTD, call = inputs()
    own = built.router(x_BTD.flatten(0, 1), call.ids_BT.flatten())
    routing = Fixed(own.experts_TK)
    forced = Call(call.ids_BT, 0, NORM, Options(routing=routing), layer=2)
    assert torch.equal(built(x_BTD, forced), built(x_BTD, call))
    assert routing.asked == [(2, 18, spec.top_k, spec.experts + spec.zero_experts)]


def test_forced_experts_are_weighed_by_their_scores():
    spec = moe(router={"score": "sigmoid", "scale": 2.0, "correction_bias": "buffer"})
    built = made(spec)
    x_BTD, call = inputs()
    ids_TK = Balanced().choose(0, 18, 3, 11)
    choice = built.router(x_BTD.flatten(0, 1), call.ids_BT.flatten(), ids_TK)
    scores_TE = (x_BTD.flatten(0, 1) @ built.router.weight.T).sigmoid()
    expected = scores_TE.gather(1, ids_TK)
    assert torch.equal(choice.experts_TK, ids_TK)
    torch.testing.assert_close(choice.weights_TK, 2 * expected / expected.sum(1, keepdim=True))


def test_counts_are_made_for_who_asks_and_not_otherwise():
    built = made(moe(zero_experts=4, top_k=6))
    x_BTD, call = inputs()
    assert built.route(x_BTD.flatten(0, 1), call).counts is None
    counts = {}
    asking = Call(call.ids_BT, 0, NORM, Options(counts=counts), layer=4)
    choice = built.route(x_BTD.flatten(0, 1), asking)
    chosen = choice.experts_TK.flatten().tolist()
    assert counts == {4: tuple(chosen.count(e) for e in range(15))}
    assert choice.counts == counts[4][:11]
    assert sum(counts[4][11:]) > 0


def test_what_computes_the_experts_can_be_exchanged():
    built = made(moe(shared_width=7, latent=6))
    x_BTD, call = inputs()
    expected = built(x_BTD, call)
    seen = []

    def run(x_TD, choice, weights, act, *, weigh_input):
        seen.append((x_TD.shape, choice.experts_TK.shape, len(weights.up_EDF), weigh_input))
        return run_experts_by_loop(x_TD, choice, weights, act, weigh_input=weigh_input)

    built.run = run
    torch.testing.assert_close(built(x_BTD, call), expected)
    assert seen == [((18, 6), (18, 3), 11, False)]


def test_the_router_may_see_something_else():
    built = made(moe())
    x_BTD, call = inputs()
    other_BTD, _ = inputs(seed=8)
    choice = built.route(other_BTD.flatten(0, 1), call)
    expected = built.mix(x_BTD.flatten(0, 1), choice).view(x_BTD.shape)
    assert torch.equal(built(x_BTD, call, other_BTD), expected)
    assert not torch.equal(built(x_BTD, call), expected)


def test_a_row_of_the_token_table_has_distinct_experts():
    table = made(moe(router={"token_table": True}, top_k=7)).router.token_table
    assert table.shape == (VOCAB, 7)
    assert all(len(set(row)) == 7 for row in table.tolist())
    assert set(table.flatten().tolist()) == set(range(11))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_stay_near_float32(dtype):
    """Where the choice is the same; weights and output are of the type that went in."""
    built = made(moe(shared_width=7, shared_gate=True, router={"score": "sigmoid"}))
    x_BTD, call = inputs()
    ids_TK = built.router(x_BTD.flatten(0, 1), None).experts_TK
    call = Call(call.ids_BT, 0, NORM, Options(routing=Fixed(ids_TK)))
    expected = built(x_BTD, call)
    narrow = built.to(dtype)
    assert narrow.router(x_BTD.flatten(0, 1).to(dtype), None).weights_TK.dtype == dtype
    found = narrow(x_BTD.to(dtype), call)
    assert found.dtype == dtype
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize(
    ("fields", "name", "inputs_of"),
    [
        ({"width": 160}, "gate", HIDDEN),
        ({"width": 160}, "up", HIDDEN),
        ({"width": 160}, "down", 160),
        ({"latent": 3}, "up", 3),
    ],
)
def test_random_experts_keep_the_size_of_what_goes_in(fields, name, inputs_of):
    """Fused or not, a matrix is scaled by its inputs: within a tenth, of at least 165 numbers a column."""
    weight = dict(made(moe(**fields)).tensors())[f"experts.{name}"]
    assert abs(weight.std() * inputs_of**0.5 - 1) < 0.1
