"""What a profile measures: its layers, their FLOPs and bytes, the formula of distinct experts, memory."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from statistics import fmean

import pytest

import moe_plan
from moe_plan.errors import InputError, ReplicaError
from moe_plan.plan.profiling import TWINS, Request, Routing
from moe_plan.plan.routed_layers import routed_layer, routed_layers
from moe_plan.replica.memory import Available
from moe_plan.replica.shrink import shrink
from moe_plan.spec.load import parse_spec
from moe_plan.witness.profile_layer import DEFAULT_BYTES, default_scale, layers_at
from moe_plan.witness.profile_memory import Asked, moment_bytes, needed_bytes

torch = pytest.importorskip("torch")

from moe_plan.replica.ffn import experts  # noqa: E402
from moe_plan.replica.measure.allocations import AllocationTracker  # noqa: E402
from moe_plan.replica.routing import Balanced  # noqa: E402
from moe_plan.witness import profile_memory, profile_ranks  # noqa: E402
from moe_plan.witness.profile import Bench  # noqa: E402
from moe_plan.witness.profile_routing import Draws  # noqa: E402
from moe_plan.witness.profile_run import (  # noqa: E402
    Given,
    Runner,
    forward,
    hidden_states,
    on_meta,
    with_packed_experts,
)

CPU = torch.device("cpu")
# Everything beside the routed experts that a sparse layer can have, in one model.
ODD = b"""
name: odd
source: https://example.org/config.json
published: {source: https://example.org}
hidden: 40
vocab: 61
attention:
  a: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 8}
ffn:
  dense: {kind: dense, width: 48}
  plain: {kind: moe, experts: 6, top_k: 2, width: 24, gated: false, bias: true, output_bias: true}
  rich:
    {kind: moe, experts: 7, top_k: 3, width: 20, zero_experts: 2, latent: 16, shared_width: 24, shared_gate: true,
     router: {score: sigmoid, correction_bias: buffer}}
layers:
  - {attention: a, ffn: dense}
  - {attention: a, ffn: rich}
  - {repeat: 2, attention: a, ffn: plain}
"""
SPEC = parse_spec(ODD, "odd.yaml")
QUICK = Request(tokens=(1, 16), repeats=2)
NAMES = (
    "mixtral-8x7b",
    "deepseek-v3",
    "longcat-flash",
    "gpt-oss-20b",
    "llama-4-scout",
    "nemotron-3-nano-30b-a3b",
)


def runner(layers, twin="sparse"):
    return Runner(layers, twin, "fp32", CPU, 0)


def test_layers_that_route():
    found = routed_layers(SPEC)
    assert {layer: routed.name for layer, routed in found.items()} == {1: "rich", 2: "plain", 3: "plain"}
    assert found[1].pool == (9, 3)
    assert routed_layer(SPEC, None) == found[1]
    assert routed_layer(SPEC, 3) == found[3]
    for layer in (0, 4):
        with pytest.raises(
            InputError, match=r"MP306.*layer . routes no tokens to experts; those that do are 1-3"
        ):
            routed_layer(SPEC, layer)


@pytest.mark.parametrize("name", NAMES)
def test_only_widths_shrink_and_twins_are_of_equal_size(name):
    spec = moe_plan.load(name).spec
    routed = routed_layer(spec, None)
    layers = layers_at(spec, routed, default_scale(spec, routed, "fp32"))
    kept = ("experts", "top_k", "zero_experts", "router", "gated", "activation")
    assert [getattr(layers.sparse, of) for of in kept] == [getattr(routed.block, of) for of in kept]
    assert layers.weight_bytes("sparse", "fp32") <= DEFAULT_BYTES
    sparse, active, total = (layers.size(twin) for twin in TWINS)
    # Widths are multiples of eight.
    step = 8 * 3 * layers.hidden
    assert abs(active.parameters - sparse.active_parameters) <= step
    assert abs(total.parameters - sparse.parameters) <= step
    for twin in TWINS:
        meta = on_meta(layers, twin, "fp32")
        assert sum(tensor.numel() for tensor in meta.parameters()) == layers.size(twin).parameters


def test_flops_and_bytes_are_those_of_the_rows_and_of_the_experts_touched():
    """Of the layer with everything: 3 of 7 experts and 2 that hold no weights, in a latent of 16."""
    layers = layers_at(SPEC, routed_layer(SPEC, 1), Fraction(1))
    expert = 3 * 16 * 20
    # Router, latent down and up, shared expert, its gate; the correction bias is no parameter.
    matrices = 9 * 40 + 2 * 40 * 16 + 3 * 40 * 24 + 40
    # 4,560 parameters and 3 or 7 experts, in multiples of eight columns of 3 x 40.
    assert [layers.size(twin).width for twin in TWINS] == [20, 64, 96]
    tokens = torch.tensor([[0, 1, 2], [0, 1, 7], [7, 8, 0], [5, 7, 8]])
    x_BTD = hidden_states(layers, 4, "fp32", CPU)
    sparse = runner(layers)
    _, rows = sparse.seconds(x_BTD, Given(tokens))
    assert rows == (3, 2, 1, 0, 0, 1, 0)
    work = sparse.work(x_BTD, Given(tokens), rows)
    assert work.flops == 2 * (4 * matrices + 7 * expert)
    assert work.bytes == 4 * (matrices + 4 * expert + 2 * 4 * 40)
    dense = runner(layers, "active")
    _, rows = dense.seconds(x_BTD, Given(tokens))
    assert rows == (4,)
    size = layers.size("active")
    assert dense.work(x_BTD, Given(tokens), rows) == (
        2 * 4 * size.parameters,
        4 * (size.parameters + 2 * 4 * 40),
    )


@pytest.mark.parametrize("layer", [1, 2])
def test_packed_experts_compute_the_same(layer):
    layers = layers_at(SPEC, routed_layer(SPEC, layer), Fraction(1))
    from moe_plan.replica import build
    from moe_plan.replica.call import Call, Options

    plain, packed = (build.materialise(on_meta(layers, "sparse", "fp32"), CPU, 3) for _ in range(2))
    with_packed_experts(packed)
    x_BTD = hidden_states(layers, 33, "fp32", CPU)
    call = Call(torch.zeros((1, 33), dtype=torch.int64), 0, plain.router.norm, Options())
    expected = plain(x_BTD, call)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(packed(x_BTD, call), expected, rtol=1e-4, atol=1e-5)
    if experts.packable(plain.experts.weights):
        assert packed.experts.up.is_meta
        assert packed.experts.down.is_meta


def test_distinct_experts_by_the_formula_are_the_mean_of_all_choices():
    routed = routed_layer(SPEC, 1)
    every = [len({expert for expert in chosen if expert < 7}) for chosen in combinations(range(9), 3)]
    assert Draws(Request(), routed).expected_distinct(1) == pytest.approx(fmean(every))
    layers = ((), (5, 1, 1, 0, 0, 0, 0, 9, 0), (1,) * 6, (1,) * 6)
    counted = Draws(Request(routing=Routing("counts", path="f", layers=layers)), routed)
    # Three of the four that are ever chosen, one of which holds no weights; many tokens find them all.
    assert counted.expected_distinct(10_000) == pytest.approx(3)
    drawn = counted.draw(2_000).chosen_TK
    assert set(drawn.flatten().tolist()) == {0, 1, 2, 7}
    zipf = Draws(Request(routing=Routing("zipf", 1.5)), routed)
    measured = fmean(
        len({e for e in zipf.draw(2).chosen_TK.flatten().tolist() if e < 7}) for _ in range(4_000)
    )
    assert measured == pytest.approx(zipf.expected_distinct(2), abs=0.08)


def test_points_have_what_was_asked_for():
    said = []
    bench = Bench(SPEC, routed_layer(SPEC, None), QUICK)
    points = list(bench.points(said.append))
    assert [point.tokens for point in points] == [1, 16]
    for point in points:
        assert [point.step(twin).seconds.runs for twin in TWINS] == [2, 2, 2]
        assert all(len(rows) == 7 for rows in point.load.rows)
        assert all(sum(rows) <= 3 * point.tokens for rows in point.load.rows)
        assert point.load.distinct.middle == fmean(sum(map(bool, rows)) for rows in point.load.rows)
        assert point.load.imbalance.least >= 1
        for twin in TWINS:
            step = point.step(twin)
            assert 0 < step.seconds.least <= step.seconds.middle <= step.seconds.most
            assert step.flops > 0
            assert step.bytes > 0
        assert point.ceiling.ridge > 0
    assert said[0] == "1 tokens, 1 of 2: sparse, once before it is timed"
    assert said[-1] == "16 tokens, 2 of 2: what the machine can do"
    again = [point.load.rows for point in Bench(SPEC, routed_layer(SPEC, None), QUICK).points()]
    assert again == [point.load.rows for point in points]


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_told_before_it_is_taken(name):
    spec = moe_plan.load(name).spec
    routed = routed_layer(spec, None)
    layers = layers_at(spec, routed, Fraction(1, 16))
    for twin in TWINS:
        moe = on_meta(layers, twin, "fp32")
        for tokens in (1, 300, 2_000):
            x_BTD = hidden_states(layers, tokens, "fp32", torch.device("meta"))
            with torch.no_grad(), AllocationTracker() as tracker:
                forward(moe, x_BTD, Balanced())
            assert tracker.peak_bytes <= moment_bytes(layers.block(twin), layers.hidden, tokens), (
                twin,
                tokens,
            )
    assert experts.GROUP_ROWS == profile_memory._GROUP_ROWS


def test_a_promise_of_memory_picks_the_scale_and_is_kept():
    spec = moe_plan.load("qwen3-30b-a3b").spec
    routed = routed_layer(spec, None)
    plenty = Available(64 << 30, "a large machine")
    scales = []
    for promise in (400 << 20, 1 << 30, 4 << 30):
        request = Request(tokens=(512,), max_memory_bytes=promise)
        asked = Asked(spec, routed, request, plenty)
        scales.append(asked.scale())
        assert needed_bytes(asked.layers(scales[-1]), request) <= promise
    assert scales == sorted(scales)
    assert scales[0] < scales[-1]
    request = Request(scale=Fraction(1), max_memory_bytes=1 << 30)
    with pytest.raises(
        ReplicaError, match=rf"scale 1 needs .* --max-memory allows 1.00 GiB; --scale {scales[1]} fits"
    ):
        Asked(spec, routed, request._replace(tokens=(512,)), plenty).layers(Fraction(1))
    with pytest.raises(ReplicaError, match=r"a small machine.* no scale of it fits; try fewer --tokens"):
        Asked(spec, routed, Request(), Available(64 << 20, "a small machine")).layers(Fraction(1, 8))


def test_a_model_over_ranks_routes_as_published():
    spec = moe_plan.load("deepseek-v3").spec
    over = profile_ranks.Over(2, 60)
    model = profile_ranks.sized(spec, Request(), over)
    (published, *_), (small, *_) = routed_layers(spec).values(), routed_layers(model.spec).values()
    assert (small.block.experts, small.block.top_k, small.block.router) == (256, 8, published.block.router)
    assert model.spec.hidden < spec.hidden
    with pytest.raises(ReplicaError, match=r"over 2 ranks needs .* try a smaller --scale or fewer ranks"):
        profile_ranks.sized(spec, Request(max_memory_bytes=64 << 20), over)
    counts = tuple(() if layer < 3 else (layer,) * 256 for layer in range(61))
    request = Request(routing=Routing("counts", path="f", layers=counts), seed=5)
    routing = profile_ranks.routing_of(request, spec, model.spec)
    kept = routed_layers(model.spec)
    # Layers that were left out take their counts with them: the first that routes speaks for its block.
    assert routing["layers"] == [[3] * 256 if layer in kept else [] for layer in range(max(kept) + 1)]
    assert (routing["kind"], routing["seed"]) == ("counts", 5)


def test_experts_that_shrinking_leaves_out_are_put_back():
    text = ODD.replace(b"experts: 6, top_k: 2", b"experts: 8192, top_k: 4").replace(
        b"hidden: 40", b"hidden: 256"
    )
    spec = parse_spec(text.replace(b"width: 24,", b"width: 64,"), "many.yaml")
    request = Request(scale=Fraction(1, 16))
    (shrunk, model) = (
        shrink(spec, request.scale).spec,
        profile_ranks.sized(spec, request, profile_ranks.Over(2, 9)).spec,
    )
    assert shrunk.ffn["plain"].experts < 8192
    assert (model.ffn["plain"].experts, model.ffn["plain"].top_k) == (8192, 4)
    assert model.ffn["plain"].width == shrunk.ffn["plain"].width < 64
    assert model.ffn["dense"] == shrunk.ffn["dense"]
    layers = layers_at(spec, routed_layer(spec, 2), request.scale)
    assert (layers.sparse.experts, layers.sparse.width) == (8192, shrunk.ffn["plain"].width)


def test_sequences_are_dealt_out_evenly():
    assert profile_ranks.dealt(7, 3) == (3, 2, 2)
    assert profile_ranks.dealt(1, 4) == (1, 0, 0, 0)
