"""Mixture of attention experts: against JetMoE of transformers, itself in pieces, and the inventory."""

from __future__ import annotations

import os

import pytest

if os.environ.get("CI"):
    import torch
    import transformers
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

from mixers import (
    HIDDEN,
    NORM,
    at_once,
    call_of,
    counted,
    difference,
    held,
    in_pieces,
    inputs,
    made,
    predicted,
    predicted_shapes,
    shapes,
)
from transformers.models.jetmoe.modeling_jetmoe import JetMoeAttention, JetMoeRotaryEmbedding

from moe_plan.anatomy.attention import attention_body
from moe_plan.replica.attention.moa import AttentionMixture
from moe_plan.replica.measure.allocations import AllocationTracker
from moe_plan.replica.routing import Balanced, Uniform
from moe_plan.spec.attention import AttentionExperts
from moe_plan.spec.catalogue import find
from moe_plan.spec.rope import Rope

TOKENS = 19
PIECES = {
    "whole": [19],
    "steps": [1] * 19,
    "prompt": [9] + [1] * 10,
    "chunks": [8, 4, 7],
    "mixed": [1, 6, 1, 11],
}
CLOSE = 2e-6
"""Of the largest value: float32 sums in another order."""
ROPE = Rope(theta=100.0)
SPECS = {
    "two of five": {"experts": 5, "top_k": 2},
    "three of seven": {"experts": 7, "top_k": 3},
    "one of four": {"experts": 4, "top_k": 1},
    "all of two": {"experts": 2, "top_k": 2},
}
every = pytest.mark.parametrize("name", SPECS)
in_every_way = pytest.mark.parametrize("pieces", PIECES)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def spec_of(name, **changes):
    fields = {"heads": 3, "head_dim": 10, "output_bias": True, "rope": ROPE} | SPECS[name] | changes
    return AttentionExperts(kind="moa", **fields)


def ours_of(name, **changes):
    return made(AttentionMixture(spec_of(name, **changes), HIDDEN, NORM))


class Theirs:
    """JetMoE's attention with our weights."""

    def __init__(self, ours):
        spec = ours.spec
        self.config = transformers.JetMoeConfig(
            hidden_size=HIDDEN,
            num_hidden_layers=1,
            num_key_value_heads=spec.heads,
            kv_channels=spec.head_dim,
            num_local_experts=spec.experts,
            num_experts_per_tok=spec.top_k,
            rope_parameters={"rope_type": "default", "rope_theta": spec.rope.theta},
            attn_implementation="eager",
        )
        self.attention = JetMoeAttention(self.config, 0).eval()
        self.rope = JetMoeRotaryEmbedding(self.config)
        weights = {
            "experts.router.layer.weight": ours.router,
            "experts.input_linear.weight": ours.q,
            "experts.output_linear.weight": ours.o,
            "experts.bias": ours.o_bias,
            "kv_proj.weight": torch.cat((ours.k, ours.v)),
        }
        parameters = dict(self.attention.named_parameters())
        assert parameters.keys() == weights.keys()
        for name, weight in weights.items():
            parameters[name].data.copy_(weight)
        assert sum(p.numel() for p in parameters.values()) == sum(t.numel() for _, t in ours.tensors())

    def in_pieces(self, x, pieces):
        cache, outs, start = transformers.DynamicCache(config=self.config), [], 0
        for new in pieces:
            positions = torch.arange(start, start + new)
            mask = torch.zeros((x.shape[0], 1, new, start + new))
            mask.masked_fill_(torch.arange(start + new) > positions[:, None], torch.finfo(x.dtype).min)
            part = x[:, start : start + new]
            rope = self.rope(part, positions[None])
            outs.append(self.attention(part, mask, rope, cache)[0])
            start += new
        return torch.cat(outs, 1)


@in_every_way
@every
def test_transformers_computes_the_same(name, pieces):
    ours, x = ours_of(name), inputs(2, TOKENS)
    theirs = Theirs(ours).in_pieces(x, PIECES[pieces])
    assert difference(in_pieces(ours, x, PIECES[pieces]), theirs) < CLOSE


@pytest.mark.parametrize("options", [{}, {"query_block": 1}, {"query_block": 4}])
@pytest.mark.parametrize("batch", [1, 3])
@in_every_way
@every
def test_pieces_and_blocks_make_no_difference(name, pieces, batch, options):
    ours, x = ours_of(name), inputs(batch, TOKENS)
    assert difference(in_pieces(ours, x, PIECES[pieces], **options), at_once(ours, x)) < CLOSE


def by_hand(ours, x_TD, chosen_TK):
    """One token, one expert, one head at a time; no positions, no bias."""
    spec, out_TD = ours.spec, torch.zeros_like(x_TD)
    keys_TW, values_TW = x_TD @ ours.k.T, x_TD @ ours.v.T
    for t, x_D in enumerate(x_TD):
        experts = chosen_TK[t].tolist()
        weights = torch.softmax(torch.stack([x_D @ ours.router[expert] for expert in experts]), 0)
        for expert, weight in zip(experts, weights, strict=True):
            query_W, mixed_W = ours.q[expert] @ x_D, torch.zeros(keys_TW.shape[1])
            for head in range(spec.heads):
                channels = slice(head * spec.head_dim, (head + 1) * spec.head_dim)
                scores = keys_TW[: t + 1, channels] @ query_W[channels] * spec.head_dim**-0.5
                mixed_W[channels] = torch.softmax(scores, 0) @ values_TW[: t + 1, channels]
            out_TD[t] += weight * (ours.o[expert] @ mixed_W)
    return out_TD


@every
def test_a_forced_routing_by_hand(name):
    """Experts that the router would not have chosen, weighed by what it thinks of them."""
    ours, x = ours_of(name, rope=None, output_bias=False), inputs(1, TOKENS)
    chosen = Uniform(3).choose(0, TOKENS, ours.spec.top_k, ours.spec.experts)
    forced = at_once(ours, x, routing=Uniform(3))[0]
    assert difference(forced, by_hand(ours, x[0], chosen)) < CLOSE
    if ours.spec.top_k < ours.spec.experts:
        assert difference(forced, at_once(ours, x)[0]) > 0.01


@every
def test_tensors_are_those_of_the_inventory(name):
    for bias in (True, False):
        ours = ours_of(name, output_bias=bias)
        assert shapes(ours) == predicted_shapes(ours.spec)


@pytest.mark.parametrize("routing", [None, Uniform(1), Balanced()])
@every
def test_prefill_multiplies_what_is_predicted(name, routing):
    """A query at a time, where no masked score is computed."""
    ours, x = ours_of(name), inputs(2, TOKENS)
    flops = counted(ours, lambda: at_once(ours, x, query_block=1, routing=routing))
    expected = predicted(ours.spec, "prefill", TOKENS, TOKENS)
    assert flops == {part: 2 * count for part, count in expected.items()}


@every
def test_a_decode_step_multiplies_what_is_predicted(name):
    ours, x = ours_of(name), inputs(3, TOKENS + 1)
    state = ours.state(3, TOKENS + 1, x)
    ours(x[:, :TOKENS], state, call_of(x[:, :TOKENS]))
    last = x[:, TOKENS:]
    flops = counted(ours, lambda: ours(last, state, call_of(last, TOKENS)))
    assert flops == {part: 3 * count for part, count in predicted(ours.spec, "decode", 1, TOKENS + 1).items()}


@in_every_way
@every
def test_a_token_adds_a_key_and_a_value_a_head(name, pieces):
    ours, x = ours_of(name), inputs(2, TOKENS)
    states = attention_body(ours.spec, HIDDEN).states

    def watch(tokens, state):
        per_row = {each: elements * ours.spec.heads for each, elements in held(state).items()}
        assert per_row == {s.name: s.elements * s.reach.entries(tokens) for s in states}

    in_pieces(ours, x, PIECES[pieces], watch)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_narrow_types(dtype, limit):
    """With a routing that does not depend on rounding."""
    ours, x = ours_of("two of five"), inputs(2, TOKENS)
    wide = at_once(ours, x, routing=Balanced())
    narrow = at_once(ours.to(dtype), x.to(dtype), routing=Balanced())
    assert narrow.dtype == dtype
    assert difference(narrow, wide) < limit
    assert in_pieces(ours, x.to(dtype), PIECES["mixed"]).isfinite().all()


@pytest.mark.parametrize("options", [{}, {"query_block": 1}, {"routing": Uniform(2)}])
@every
def test_on_meta(name, options):
    ours, x = AttentionMixture(spec_of(name), HIDDEN, NORM), torch.empty((2, TOKENS, HIDDEN), device="meta")
    assert in_pieces(ours, x, PIECES["mixed"], **options).shape == x.shape


def test_full_width_on_meta():
    """JetMoE-8B as published: tensors, and the FLOPs of a few tokens."""
    model = find("jetmoe-8b")
    spec = model.attention["moa"]
    ours = AttentionMixture(spec, model.hidden, NORM)
    body = attention_body(spec, model.hidden)
    assert shapes(ours) == {w.name: (w.copies, *w.shape) if w.copies > 1 else w.shape for w in body.weights}
    x = torch.empty((1, 3, model.hidden), device="meta")
    expected = {w.name: 3 * w.flops_per_token for w in body.weights if w.flops_per_token}
    expected |= {o.name: o.flops * o.reach.entries_over_prefill(3) for o in body.operations}
    assert counted(ours, lambda: at_once(ours, x, query_block=1)) == expected


@pytest.mark.parametrize("tokens", [40, 77])
@every
def test_widest_moment(name, tokens):
    """Bytes that the module's docstring says live together in a prefill of one sequence."""
    ours, x = ours_of(name), inputs(1, tokens)
    heads, rows = ours.spec.heads, tokens * ours.spec.top_k
    state, call = ours.state(1, tokens, x), call_of(x)
    tables = call.rope(ROPE, ours.spec.head_dim, x.dtype)
    known = [x, *tables, *ours.parameters(), *(kept.slots_NSW for kept in state.values())]
    with AllocationTracker(known) as tracker:
        ours(x, state, call)
    mixed, scores = rows * heads * ours.spec.head_dim, heads * rows * tokens
    widest = 2 * mixed + scores + max(mixed, scores)
    assert tracker.peak_bytes == 4 * widest + rows * (4 + 8 + 8)
