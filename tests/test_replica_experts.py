"""The fast sparse layer against the readable loop, over activations, sizes, types and routings."""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install 'moe-plan[replica]'")

from hypothesis import given, settings
from hypothesis import strategies as st

from moe_plan.replica.ffn import experts as layer
from moe_plan.replica.ffn import products
from moe_plan.replica.ffn.activations import activation
from moe_plan.replica.ffn.experts import Choice, ExpertWeights, pack, packable, run_experts
from moe_plan.replica.ffn.reference import run_experts_by_loop
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.measure.flops import FlopCounter

GATED = ("silu", "gelu", "gelu-tanh", "relu", "relu2", "oai-swiglu")
PLAIN = GATED[:-1]
TYPES = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
PACKED = packable(ExpertWeights(torch.ones(1, 2, 2), torch.ones(1, 1, 2)))
LAYOUTS = ["plain", pytest.param("packed", marks=pytest.mark.skipif(not PACKED, reason="no oneDNN here"))]


class Shape(NamedTuple):
    """Odd and unequal, so that no two sizes can stand for each other."""

    tokens: int = 37
    hidden: int = 29
    width: int = 13
    experts: int = 7
    top_k: int = 3
    zero_experts: int = 0


def made(shape, seed=0, *, gated=True, bias=False, dtype=torch.float32):
    """Tokens, weights and a random choice of distinct experts."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes, scale=1.0):
        return (torch.randn(sizes, generator=generator) * scale).to(dtype)

    columns = shape.width * (2 if gated else 1)
    weights = ExpertWeights(
        normal(shape.experts, shape.hidden, columns, scale=shape.hidden**-0.5),
        normal(shape.experts, shape.width, shape.hidden, scale=shape.width**-0.5),
        normal(shape.experts, columns) if bias else None,
        normal(shape.experts, shape.hidden) if bias else None,
    )
    scores = torch.rand((shape.tokens, shape.experts + shape.zero_experts), generator=generator)
    chosen, ids = scores.softmax(-1).topk(shape.top_k)
    return normal(shape.tokens, shape.hidden), weights, Choice(ids, chosen.to(dtype))


def laid_out(weights, layout):
    return pack(weights) if layout == "packed" else weights


def assert_close(found, expected, tolerance):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    error = (found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30)
    assert error <= tolerance, f"relative error {error:.1e}"


def double(value):
    """The same numbers in float64: the loop over them is the truth that rounding is measured against."""
    return type(value)(
        *(v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for v in value)
    )


# What each activation is, written out of place from its definition.
def defined(name, gated, limit, up_nU):
    gate = up_nU.chunk(2, -1)[0] if gated else up_nU
    other = up_nU.chunk(2, -1)[1] if gated else None
    if limit is not None:
        gate = torch.minimum(gate, torch.tensor(limit))
        other = None if other is None else other.clamp(-limit, limit)
    if name == "oai-swiglu":
        return (other + 1) * gate / (1 + torch.exp(-1.702 * gate))
    value = {
        "silu": lambda g: g / (1 + torch.exp(-g)),
        "gelu": lambda g: g * 0.5 * (1 + torch.erf(g / 2**0.5)),
        "gelu-tanh": lambda g: 0.5 * g * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (g + 0.044715 * g**3))),
        "relu": lambda g: g * (g > 0),
        "relu2": lambda g: g * g * (g > 0),
    }[name](gate)
    return value if other is None else value * other


@pytest.mark.parametrize("limit", [None, 0.7])
@pytest.mark.parametrize(("name", "gated"), [(n, True) for n in GATED] + [(n, False) for n in PLAIN])
def test_an_activation_is_its_definition(name, gated, limit):
    up_nU = torch.randn((11, 26), generator=torch.Generator().manual_seed(1)) * 3
    found = activation(name, gated=gated, limit=limit)(up_nU.clone())
    torch.testing.assert_close(found, defined(name, gated, limit, up_nU), rtol=1e-5, atol=1e-6)


def test_an_unknown_activation_is_refused():
    with pytest.raises(KeyError):
        activation("mish", gated=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weigh_input", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("name", "gated"), [(n, True) for n in GATED] + [(n, False) for n in PLAIN])
def test_the_fast_layer_is_the_loop(name, gated, bias, weigh_input, layout):
    x, weights, choice = made(Shape(), gated=gated, bias=bias)
    act = activation(name, gated=gated, limit=1.5)
    expected = run_experts_by_loop(x, choice, weights, act, weigh_input=weigh_input)
    found = run_experts(x, choice, laid_out(weights, layout), act, weigh_input=weigh_input)
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("tokens", [1, 2, 5, 64, 700])
def test_every_type_stays_near_the_float64_truth(tokens, dtype, layout):
    x, weights, choice = made(Shape(tokens), dtype=dtype, bias=True)
    if layout == "packed" and not packable(weights):
        pytest.skip("oneDNN does not multiply this type here")
    act = activation("silu", gated=True)
    truth = run_experts_by_loop(x.double(), double(choice), double(weights), act)
    found = run_experts(x, choice, laid_out(weights, layout), act)
    assert found.dtype == dtype
    assert_close(found.double(), truth, TYPES[dtype])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "experts_TK",
    [
        pytest.param([[3]] * 41, id="all tokens to one expert"),
        pytest.param([[0, 4], [4, 0], [0, 4]], id="experts without tokens between"),
        pytest.param([[4, 3, 2, 1, 0]], id="one token to every expert"),
        pytest.param([[2]], id="one row"),
        pytest.param([[0]] * 1100 + [[1]] * 5, id="an expert with more rows than a group"),
        pytest.param([[1], [2], [2], [2], [2], [2], [3]], id="single rows at both ends"),
    ],
)
def test_uneven_loads(experts_TK, layout):
    ids = torch.tensor(experts_TK)
    x, weights, _ = made(Shape(tokens=len(ids), experts=5, top_k=1), bias=True)
    choice = Choice(ids, torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)))
    act = activation("silu", gated=True)
    found = run_experts(x, choice, laid_out(weights, layout), act)
    assert_close(found, run_experts_by_loop(x, choice, weights, act), 1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weigh_input", [False, True])
def test_zero_compute_experts_return_their_input(weigh_input, layout):
    x, weights, choice = made(Shape(experts=4, top_k=4, zero_experts=3))
    assert (choice.experts_TK >= 4).any()
    act = activation("silu", gated=True)
    found = run_experts(x, choice, laid_out(weights, layout), act, weigh_input=weigh_input)
    assert_close(found, run_experts_by_loop(x, choice, weights, act, weigh_input=weigh_input), 1e-6)


def test_only_zero_compute_experts():
    x, weights, _ = made(Shape(tokens=5, experts=4))
    choice = Choice(torch.tensor([[4, 5]] * 5), torch.tensor([[0.25, 0.5]] * 5))
    found = run_experts(x, choice, weights, activation("silu", gated=True))
    torch.testing.assert_close(found, x * 0.75)


def test_inputs_and_weights_are_left_alone():
    x, weights, choice = made(Shape(), bias=True)
    before = [t.clone() for t in (x, *weights, *choice[:2])]
    run_experts(x, choice, weights, activation("oai-swiglu", gated=True, limit=1.0), weigh_input=True)
    assert all(torch.equal(*pair) for pair in zip(before, (x, *weights, *choice[:2]), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_twice_is_the_same_and_slots_have_no_order(layout):
    x, weights, choice = made(Shape(tokens=300))
    weights = laid_out(weights, layout)
    act = activation("silu", gated=True)
    first = run_experts(x, choice, weights, act)
    assert torch.equal(first, run_experts(x, choice, weights, act))
    turned = Choice(choice.experts_TK.flip(1), choice.weights_TK.flip(1))
    assert torch.equal(first, run_experts(x, turned, weights, act))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [3, 700])
def test_the_steps_apart_are_the_layer_to_the_bit(tokens, dtype, layout):
    x, weights, choice = made(Shape(tokens), dtype=dtype)
    if layout == "packed" and not packable(weights):
        pytest.skip("oneDNN does not multiply this type here")
    weights, act = laid_out(weights, layout), activation("silu", gated=True)
    plan = layer.dispatch(choice, weights.experts)
    rows = layer.expert_rows(x[plan.token_N], plan.counts, weights, act)
    apart = layer.combine(rows, plan, tokens).to(dtype)
    assert torch.equal(apart, run_experts(x, choice, weights, act))


def test_the_sum_of_a_token_runs_over_ascending_experts():
    """One expert gives a number that swallows the other two when it comes before them, and not after."""
    scale = torch.tensor([1.0, 1.0, 2.0**24])
    weights = ExpertWeights(torch.ones(3, 1, 1), scale.view(3, 1, 1))
    choice = Choice(torch.tensor([[2, 0, 1]]), torch.ones(1, 3))
    found = run_experts(torch.ones(1, 1), choice, weights, activation("relu", gated=False))
    assert (
        found.item()
        == torch.tensor(1.0).add(1).add(2.0**24).item()
        != torch.tensor(2.0**24).add(1).add(1).item()
    )


@pytest.mark.parametrize("counts", [(0, 0), (5, 0, 7), (512, 1), (513,), (1, 1025, 3), (300, 300, 300)])
def test_groups_hold_every_row_once_and_cut_alike(counts):
    found = list(layer.groups(counts))
    ends = [span.stop for span, _ in found]
    assert [span.start for span, _ in found] == [0, *ends][: len(found)]
    assert (ends[-1] if ends else 0) == sum(counts)
    for span, group in found:
        assert span.stop - span.start == sum(rows for _, rows in group) <= layer.GROUP_ROWS
    parts = [(expert, rows) for _, group in found for expert, rows in group]
    for expert, count in enumerate(counts):
        own = [rows for owner, rows in parts if owner == expert]
        assert sum(own) == count
        assert own == [rows for _, group in layer.groups((count,)) for _, rows in group]


@pytest.mark.parametrize("gated", [False, True])
def test_meta_gives_the_shape_where_the_counts_are_given(gated):
    x, weights, choice = made(Shape(zero_experts=2), gated=gated, bias=True)
    counts = layer.dispatch(choice, weights.experts).counts
    there = Choice(*(t.to("meta") for t in choice[:2]), counts)
    on_meta = ExpertWeights(*(t.to("meta") for t in weights))
    found = run_experts(x.to("meta"), there, on_meta, activation("silu", gated=gated))
    assert (found.shape, found.device.type) == (x.shape, "meta")
    assert not packable(on_meta)


@pytest.mark.parametrize("bias", [False, True])
def test_plain_products_are_exactly_the_chosen_rows(bias):
    """Torch's own count of their FLOPs: two for each weight and row, nothing padded, nothing uncounted."""
    from torch.utils.flop_counter import FlopCounterMode

    shape = Shape(tokens=1)
    for tokens in (1, 2, 37):
        x, weights, choice = made(shape._replace(tokens=tokens), bias=bias)
        with FlopCounterMode(display=False) as counter:
            run_experts(x, choice, weights, activation("silu", gated=True))
        assert counter.get_total_flops() == 2 * tokens * shape.top_k * 3 * shape.hidden * shape.width


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_first_weights_give_the_same(dtype):
    x, weights, choice = made(Shape(), dtype=dtype)
    turned = ExpertWeights(*(w.transpose(1, 2).contiguous().transpose(1, 2) for w in weights[:2]))
    act = activation("silu", gated=True)
    expected = run_experts(x, choice, weights, act)
    assert_close(run_experts(x, choice, turned, act), expected, 0.2 * TYPES[dtype])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("block", [1, 64, 1 << 19])
def test_a_slow_type_is_multiplied_in_float32(monkeypatch, block, turned):
    """However much is converted at a time, and however weights lie: rows and columns are cut in odd places."""
    monkeypatch.setattr(layer, "is_native", lambda dtype: dtype == torch.float32)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", block)
    x, weights, choice = made(Shape(), dtype=torch.bfloat16, bias=True)
    if turned:
        turn = (w.transpose(1, 2).contiguous().transpose(1, 2) for w in weights[:2])
        weights = ExpertWeights(*turn, *weights[2:])
    act = activation("silu", gated=True)
    truth = run_experts_by_loop(x.double(), double(choice), double(weights), act)
    # Rounded to bfloat16 only where an expert's rows end and at the end: closer than bfloat16 all through.
    assert_close(run_experts(x, choice, weights, act).double(), truth, 4e-3)


def test_converted_weights_are_counted_under_their_names(monkeypatch):
    """And what takes their place in memory later is not."""
    monkeypatch.setattr(layer, "is_native", lambda dtype: dtype == torch.float32)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 64)
    x, weights, choice = made(Shape(), dtype=torch.bfloat16)
    with FlopCounter([("up", weights.up_EDF), ("down", weights.down_EFD)]) as counter:
        run_experts(x, choice, weights, activation("silu", gated=True))
        later = [torch.ones(29, 2) for _ in range(50)]
        for matrix in later:
            torch.mm(matrix.T, matrix)
    each = 2 * choice.experts_TK.numel() * 29 * 13
    assert dict(counter.flops) == {"up": 2 * each, "down": each, "unnamed": 50 * 2 * 2 * 2 * 29}


@pytest.mark.skipif(not PACKED, reason="no oneDNN here")
def test_trackers_see_packed_products():
    """At most the idle rows more than the chosen ones, and the peak of an expert by its allocations."""
    x, weights, choice = made(Shape(tokens=300, hidden=64, width=128))
    held, act = pack(weights), activation("silu", gated=True)
    counts = layer.dispatch(choice, held.experts).counts
    each = 2 * 3 * 64 * 128
    with FlopCounter(()) as counter:
        run_experts(x, choice, held, act)
    assert counter.total == sum(counts) * each
    with AllocationTracker([x, *choice[:2]]) as tracker:
        layer.expert_rows(x[:77], (77,), held, act)
    # The rows that were taken from x are views; [n, D] to return, then U, F and D columns of one expert.
    assert tracker.peak_bytes == 4 * 77 * (64 + 2 * 128 + 128 + 64)
    few = x[:1]
    with FlopCounter(()) as counter:
        layer.expert_rows(few, (1,), held, act)
    assert counter.total == held.least_rows * each


@pytest.mark.parametrize("layout", [*LAYOUTS, "widened"])
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("gated", [False, True])
def test_a_row_is_the_same_wherever_its_expert_runs(name, gated, layout, monkeypatch):
    """Alone, behind others or before them, with neighbours that hold other numbers: to the bit."""
    dtype = torch.bfloat16 if layout == "widened" else torch.float32
    if layout == "widened":
        monkeypatch.setattr(layer, "is_native", lambda dtype: dtype == torch.float32)
    x, weights, _ = made(Shape(tokens=41), gated=gated, bias=True, dtype=dtype)
    weights, act = laid_out(weights, layout), activation(name, gated=gated)
    for count in (1, 2, 3, 4, 7, 13):
        rows = x[:count]
        alone = layer.expert_rows(rows, (0, 0, count, 0), weights, act)
        for before, after in ((0, 5), (1, 0), (3, 1), (6, 8), (0, 1)):
            among = torch.cat((x[20 : 20 + before], rows, x[30 : 30 + after]))
            found = layer.expert_rows(among, (0, before, count, after), weights, act)
            assert torch.equal(found[before : before + count], alone)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 33), st.integers(1, 21), st.integers(1, 9), st.integers(0, 3),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.data(),
)  # fmt: skip
def test_any_routing(tokens, hidden, width, experts, zero_experts, gated, bias, weigh_input, packs, data):
    top_k = data.draw(st.integers(1, experts + zero_experts))
    shape = Shape(tokens, hidden, width, experts, top_k, zero_experts)
    x, weights, choice = made(shape, data.draw(st.integers(0, 999)), gated=gated, bias=bias)
    act = activation("silu", gated=gated)
    expected = run_experts_by_loop(x, choice, weights, act, weigh_input=weigh_input)
    found = run_experts(
        x, choice, laid_out(weights, "packed" if packs and PACKED else "plain"), act, weigh_input=weigh_input
    )
    assert_close(found, expected, 2e-6)
