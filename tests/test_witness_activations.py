"""Peak activation bytes: predicted from sizes and routing counts to the byte, and what a forgotten tensor does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from runnable import runnable
from strategies import on_models

from moe_plan import api
from moe_plan.replica import build
from moe_plan.replica.attention import attend
from moe_plan.replica.cache import Cache
from moe_plan.replica.call import Options
from moe_plan.replica.ffn import products
from moe_plan.replica.ffn.dense import Dense
from moe_plan.replica.ffn.router import Router
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.shrink import default_scale, shrink
from moe_plan.spec.catalogue import validated
from moe_plan.spec.flows import block_names
from moe_plan.spec.model import ModelSpec
from moe_plan.witness.activations import peak_lines, run_of
from moe_plan.witness.moments.attend import Sight, blocks
from moe_plan.witness.moments.model import moments
from moe_plan.witness.moments.moe import groups
from moe_plan.witness.moments.stack import layers_of
from moe_plan.witness.peaks import measured_peaks, routed_rows
from moe_plan.witness.run import Shape, tokens_of

CPU = torch.device("cpu")
SHAPES = (Shape(2, 24, 1), Shape(3, 37, 1), Shape(1, 1, 1))
LONG = Shape(1, 600, 1)
"""Three blocks of queries."""


@pytest.fixture(autouse=True)
def _no_grad():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def small(attention=None, ffn=None, /, **fields):
    """Two layers of odd sizes."""
    gqa = {"kind": "gqa", "heads": 6, "kv_heads": 3, "head_dim": 10}
    dense = {"kind": "dense", "width": 26}
    given = {
        "name": "small",
        "source": "none",
        "published": {"source": "none"},
        "hidden": 22,
        "vocab": 35,
        "attention": {"a": gqa | (attention or {})},
        "ffn": {"f": dense if ffn is None else ffn},
        "layers": ({"repeat": 2, "attention": "a", "ffn": "f"},),
    }
    return ModelSpec.model_validate(given | fields)


def moe(**options):
    return {"kind": "moe", "experts": 9, "top_k": 4, "width": 13} | options


def replica_of(spec, dtype="fp32"):
    return build.materialise(build.on_meta(spec, dtype), CPU, 3)


def differing(replica, shape):
    """Lines that are not equal to the byte."""
    lines = list(peak_lines(replica, shape, 0))
    # Of each phase the whole, twice, and at least one block.
    assert len(lines) >= 6
    assert all(line.unit == "bytes" and line.band is None and line.measured > 0 for line in lines)
    return [(line.name, line.predicted, line.measured) for line in lines if line.verdict != "equal"]


MODELS = (
    ("mixtral-8x7b", Shape(2, 24, 1), "fp32"),
    ("gpt-oss-20b", Shape(1, 300, 1), "fp32"),
    ("gemma-4-26b-a4b", Shape(3, 37, 1), "bf16"),
    ("switch-base-8", Shape(2, 33, 1), "fp32"),
    ("llama-4-scout", Shape(1, 65, 1), "fp16"),
    ("jetmoe-8b", Shape(2, 24, 1), "bf16"),
    ("arctic", Shape(3, 11, 1), "fp32"),
    ("deepseek-v3.2", Shape(1, 200, 1), "fp32"),
    ("deepseek-v4-flash", Shape(2, 24, 1), "bf16"),
    ("longcat-flash", Shape(3, 37, 1), "fp32"),
    ("granite-4.0-h-tiny", Shape(2, 24, 1), "fp32"),
    ("kimi-linear-48b-a3b", Shape(2, 24, 1), "bf16"),
)


@pytest.mark.parametrize(("name", "shape", "dtype"), MODELS, ids=[model for model, *_ in MODELS])
def test_catalogue(name, shape, dtype):
    spec = validated(api.load(name).spec)
    shrunk = shrink(spec, default_scale(spec), tokens=shape.tokens).spec
    assert differing(replica_of(shrunk, dtype), shape) == []


ATTENTION = {
    "plain": {},
    "multi-head": {"kv_heads": 6},
    "multi-query": {"kv_heads": 1},
    "one head": {"heads": 1, "kv_heads": 1},
    "narrow values": {"value_dim": 7},
    "wide values": {"value_dim": 17},
    "low-rank query": {"q_rank": 9},
    "biases": {"bias": ("q", "k", "v", "o")},
    "head norms": {"qk_norm": "head"},
    "whole norms": {"qk_norm": "whole"},
    "unit norms after rope": {"qk_norm": "unit", "qk_norm_after_rope": True},
    "norms without rope": {"qk_norm": "head", "rope": None},
    "whole norms without rope": {"qk_norm": "whole", "rope": None},
    "value norm": {"value_norm": True},
    "no rope": {"rope": None},
    "half a rope": {"rope": {"dim": 4}},
    "proportional rope": {"rope": {"dim": 4, "proportional": True}},
    "yarn": {"rope": {"scaling": {"kind": "yarn", "factor": 4.0, "original_context": 8}}},
    "llama 3's rope": {"rope": {"scaling": {"kind": "llama3", "factor": 4.0, "original_context": 8}}},
    "temperature": {"rope": None, "temperature": {"beta": 0.1, "span": 5}},
    "softcap": {"softcap": 30.0},
    "clip": {"clip": 0.5},
    "gate": {"gate": True},
    "sinks": {"sinks": True},
    "sinks in a window": {"sinks": True, "window": 9},
    "window": {"window": 9},
    "window of one": {"window": 1},
    "chunk": {"chunk": 8},
    "keys as values": {"keys_as_values": True},
    "bare keys as values": {"keys_as_values": True, "rope": None},
    "keys as values with their norm": {"keys_as_values": True, "value_norm": True},
    "relative positions": {"rope": None, "position_buckets": 8},
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("options", ATTENTION.values(), ids=ATTENTION)
def test_attention(options, dtype, shape):
    assert differing(replica_of(small(options), dtype), shape) == []


@pytest.mark.parametrize("name", ["plain", "multi-head", "window", "chunk", "sinks", "relative positions"])
def test_several_blocks_of_queries(name):
    assert differing(replica_of(small(ATTENTION[name])), LONG) == []


FFN = {
    "dense": {"kind": "dense", "width": 26},
    "plain dense": {"kind": "dense", "width": 26, "gated": False, "bias": True, "activation": "relu2"},
    "gpt-oss's dense": {"kind": "dense", "width": 26, "activation": "oai-swiglu", "limit": 7.0},
    "moe": moe(),
    "top one": moe(top_k=1),
    "all": moe(top_k=9),
    "biases": moe(bias=True, output_bias=True, activation="oai-swiglu"),
    "plain experts": moe(gated=False, activation="gelu-tanh", limit=2.0),
    "zero-compute experts": moe(zero_experts=5),
    "latent": moe(latent=9),
    "shared": moe(shared_width=31),
    "gated shared": moe(shared_width=31, shared_gate=True),
    "sigmoid": moe(router={"score": "sigmoid", "scale": 2.5, "correction_bias": "buffer"}),
    "not normed": moe(router={"normalize": False, "bias": True}),
    "sparsemixer": moe(zero_experts=2, router={"score": "sparsemixer", "normalize": False}),
    "groups": moe(router={"score": "sqrt-softplus", "groups": 3, "top_groups": 2}),
    "groups by their best": moe(router={"groups": 3, "top_groups": 2, "group_score": "max"}),
    "groups beside zero-compute": moe(zero_experts=2, router={"groups": 3, "top_groups": 2}),
    "weighed input": moe(top_k=1, router={"score": "sigmoid", "weigh_input": True}),
    "scaled": moe(router={"input_scale": True, "expert_scale": True}),
    "token table": moe(router={"token_table": True}),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("options", FFN.values(), ids=FFN)
def test_feed_forward(options, dtype, shape):
    assert differing(replica_of(small(None, options), dtype), shape) == []


@pytest.mark.parametrize("options", [moe(), moe(bias=True, gated=False), moe(latent=9, zero_experts=3)])
@pytest.mark.parametrize("block", [64, 1 << 19])
def test_experts_in_float32(options, block, monkeypatch):
    """Where the CPU is slow in the compute type, weights are converted a block at a time."""
    monkeypatch.setattr(products, "_NATIVE", frozenset({torch.float32}))
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", block)
    monkeypatch.setattr("moe_plan.witness.moments.moe.BLOCK_ELEMENTS", block)
    assert differing(replica_of(small(None, options), "bf16"), SHAPES[0]) == []


def test_experts_with_more_rows_than_a_group():
    """600 tokens times 4 of 9: several groups, and the last one's rows live on."""
    assert differing(replica_of(small(None, moe())), LONG) == []
    assert differing(replica_of(small(None, moe(experts=3, top_k=2))), LONG) == []


LAYERS = {
    "sandwich": {"layers": ({"repeat": 2, "attention": "a", "ffn": "f", "flow": "sandwich"},)},
    "normed residual": {"layers": ({"attention": "a", "ffn": "f", "flow": "normed-residual"},) * 2},
    "dense residual": {"layers": ({"attention": "a", "ffn": ("d", "f"), "flow": "dense-residual"},) * 2},
    "shortcut": {"layers": ({"attention": ("a", "a"), "ffn": ("d", "d", "f"), "flow": "shortcut"},) * 2},
    "parallel": {"layers": ({"attention": "a", "ffn": ("d", "f"), "flow": "parallel-sandwich"},) * 2},
    "bare": {"layers": ({"ffn": "f"}, {"attention": "a"}, {}), "final_norm": False},
    "layer norm": {"norm": {"kind": "layer", "bias": True}},
    "centred norm": {"norm": {"zero_centered": True}},
    "centred layer norm": {"norm": {"kind": "layer", "zero_centered": True}},
    "streams": {"hyper_connections": 3},
    "scales": {"embedding_scale": 2.0, "residual_scale": 0.5, "logit_scale": 0.5, "logit_softcap": 30.0},
    "tied": {"tied": True, "head_bias": True},
}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("fields", LAYERS.values(), ids=LAYERS)
def test_layers(fields, dtype):
    networks = {"d": {"kind": "dense", "width": 26}, "f": moe(shared_width=31)}
    assert differing(replica_of(small(None, None, ffn=networks, **fields), dtype), Shape(2, 13, 1)) == []


def test_shared_keys():
    gqa = {"kind": "gqa", "heads": 6, "kv_heads": 3, "head_dim": 10, "window": 9}
    blocks = {"a": gqa, "b": gqa | {"shared_kv": True}}
    layers = ({"attention": "a", "ffn": "f"}, {"attention": "b", "ffn": "f"}, {"attention": "a", "ffn": "f"})
    assert differing(replica_of(small(attention=blocks, layers=layers)), Shape(2, 13, 1)) == []


@pytest.mark.parametrize("pieces", [(7, 5, 1), (13, 1, 9), (1, 1, 22)], ids=str)
@pytest.mark.parametrize("name", ["plain", "window", "sinks in a window", "chunk", "relative positions"])
def test_prompt_in_pieces(name, pieces):
    """Several new tokens after earlier ones: of a ring, those that are looked at are joined."""
    replica = replica_of(small(ATTENTION[name]))
    shape = Shape(2, sum(pieces), 1)
    cache, ids_BT = Cache(replica, 2, shape.tokens + 1), tokens_of(replica, shape, 0)
    start = 0
    for new in pieces:
        part_BT = ids_BT[:, start : start + new].contiguous()
        with AllocationTracker() as tracker:
            replica(part_BT, cache, Options(logits="last"))
        run = run_of(replica, shape, 0)._replace(tokens=new, start=start)
        assert moments(replica.spec, run, {}, logits="last").peak == tracker.peak_bytes, start
        start += new


RECURRENCES = {"gated-delta", "kda", "lightning", "mamba1", "mamba2", "short-conv"}


def mixers_of(part):
    return {name for layer in layers_of(part.layers) for name in block_names(layer.attention)}


@settings(on_models, max_examples=25, phases=(Phase.generate,))
@given(
    runnable(),
    st.sampled_from([Shape(2, 7, 1), Shape(1, 1, 1), Shape(3, 11, 1)]),
    st.sampled_from(["fp32", "bf16"]),
)
def test_random_specs(spec, shape, dtype):
    """No release has a recurrence in an encoder: there is no cache there, so that its state is an activation
    too, which the moments leave to the cache."""
    encoders = [part for part in spec.parts.values() if part.role == "encoder"]
    kinds = {(spec.attention | part.attention)[name].kind for part in encoders for name in mixers_of(part)}
    assume(not kinds & RECURRENCES)
    assert differing(replica_of(spec, dtype), shape) == []


# What shows, and what does not hide.


def names_of(replica, shape=SHAPES[0]):
    return {name for name, *_ in differing(replica, shape)}


def test_a_tensor_that_is_held_too_long_shows(monkeypatch):
    forward = Dense.forward

    def hoarding(self, x, call=None):
        held = x.clone()
        return forward(self, x, call) + 0 * held.sum()

    monkeypatch.setattr(Dense, "forward", hoarding)
    assert "ffn f alone" in names_of(replica_of(small()))


def test_a_copy_of_the_scores_shows_where_the_head_hides_it(monkeypatch):
    """Here the head is widest, and the forward as a whole says nothing of it; the block alone does."""
    softmax = attend._softmax

    def hoarding(scores, sinks):
        held = scores[0].clone()
        weights = softmax(scores, sinks)
        return weights if held.numel() else held

    monkeypatch.setattr(attend, "_softmax", hoarding)
    found = names_of(replica_of(small(None, None, vocab=5000)), Shape(2, 24, 1))
    assert "attention a alone" in found
    assert "whole forward" not in found


def test_counts_of_rows_decide():
    """All tokens to the same experts is not the same as each to its own."""
    replica = replica_of(small(None, moe(top_k=1, activation="oai-swiglu", width=200)))
    shape = Shape(2, 24, 1)
    prefill, _ = routed_rows(replica, shape, 0)
    run = run_of(replica, shape, 0)
    peak = moments(replica.spec, run, prefill, logits="last").peak
    assert peak == measured_peaks(replica, shape, 0, "last")[0].whole
    to_one = {module: (sum(counts), *(0 for _ in counts[1:])) for module, counts in prefill.items()}
    assert moments(replica.spec, run, to_one, logits="last").peak > peak


def test_counts_are_those_of_the_router():
    replica = replica_of(small(None, moe(zero_experts=3)))
    shape = Shape(2, 9, 1)
    chosen = []
    for module in replica.modules():
        if isinstance(module, Router):
            module.register_forward_hook(
                lambda _module, _given, choice: chosen.append(choice.experts_TK.clone())
            )
    prefill, decode = routed_rows(replica, shape, 0)
    for counts, ids in zip((*prefill.values(), *decode.values()), chosen, strict=True):
        assert counts == tuple(int((ids == choice).sum()) for choice in range(12))


def test_the_prediction_runs_nothing():
    code = (
        "import sys; sys.modules['torch'] = None; import moe_plan.witness.moments.model;"
        "from moe_plan.witness.moments import compressed, delta, gqa, lightning, mamba1, mamba2, mla, moa"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).stderr == b""


@pytest.mark.parametrize("counts", [(0, 5, 0, 3), (512,), (513,), (500, 12, 1), (1300, 0, 7), (511, 2, 1030)])
def test_groups_are_those_of_the_layer(counts):
    from moe_plan.replica.ffn import experts

    theirs = [[rows for _, rows in group] for _, group in experts.groups(counts)]
    assert list(groups(counts)) == theirs
    assert sum(map(sum, theirs)) == sum(counts)


@pytest.mark.parametrize("window", [1, 4, 300])
def test_blocks_cover_all_keys_once(window):
    """Of a window, no block is given more than its own tokens and the window before them."""
    run = run_of(replica_of(small()), Shape(1, 600, 1), 0)
    found = list(blocks(run, Sight(window=window), 600))
    assert [block.queries for block in found] == [256, 256, 88]
    assert all(block.keys <= block.queries + window - 1 for block in found)
    assert found[-1].keys == 88 + min(512, window - 1)


def test_a_number_made_a_tensor_hides_no_later_one():
    """torch makes a tensor of a number before the tracker sees it; where it stood, another may stand next."""
    kept = []
    with AllocationTracker() as tracker:
        x = torch.zeros(16)
        for _ in range(50):
            x[3:] = 0.5
            kept.append(torch.zeros(16))
    assert tracker.live_bytes == 51 * 64
