"""The witness on small models of every kind: what holds, and what must be told as a difference."""

from __future__ import annotations

import os

import pytest

if os.environ.get("CI"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the replica needs torch: pip install -e '.[replica]'")

from moe_plan.anatomy.build import inventory
from moe_plan.replica.build import materialise, on_meta
from moe_plan.spec.load import parse_spec
from moe_plan.witness.lines import compared
from moe_plan.witness.names import Place, place, unnumbered
from moe_plan.witness.operations import Forward, predicted_flops
from moe_plan.witness.parameters import parameter_lines
from moe_plan.witness.run import Shape
from moe_plan.witness.verify import run_lines

HEAD = b"""
name: small
source: https://example.org/config.json
published: {source: https://example.org}
hidden: 14
vocab: 61
tied: true
"""
DECODER = (
    HEAD
    + b"""
attention:
  full: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 6, value_dim: 5, bias: [q, k], gate: true}
  near: {kind: gqa, heads: 3, kv_heads: 3, head_dim: 4, window: 3, sinks: true}
  part: {kind: gqa, heads: 3, kv_heads: 1, head_dim: 4, chunk: 4, qk_norm: whole}
  latent: {kind: mla, heads: 3, q_rank: 5, kv_rank: 7, nope_dim: 6, rope_dim: 4, v_dim: 3,
           indexer: {heads: 2, head_dim: 4, top_k: 3}}
  plain: {kind: mla, heads: 2, kv_rank: 5, nope_dim: 4, rope_dim: 2, v_dim: 3}
  squeezed: {kind: compressed, heads: 4, head_dim: 6, q_rank: 5, o_groups: 2, o_rank: 3, window: 4, ratio: 2,
             overlap: true}
  delta: {kind: gated-delta, key_heads: 2, value_heads: 4, key_dim: 3, value_dim: 5, conv: 3}
  mamba: {kind: mamba2, heads: 4, head_dim: 3, state: 5, groups: 2, conv: 4}
  mixed: {kind: moa, experts: 5, top_k: 2, heads: 2, head_dim: 4}
ffn:
  dense: {kind: dense, width: 9}
  experts: {kind: moe, experts: 7, top_k: 3, width: 6, shared_width: 8, shared_gate: true}
  zero: {kind: moe, experts: 5, top_k: 4, width: 3, latent: 6, zero_experts: 3, bias: true, router: {score: sigmoid}}
layers:
  - {attention: full, ffn: dense}
  - {attention: [near, part], ffn: experts}
  - {attention: [latent, plain], ffn: zero}
  - {repeat: 2, attention: delta, ffn: [experts, dense]}
  - {attention: mamba, ffn: zero, flow: sandwich}
  - {attention: mixed}
  - {ffn: [experts, experts]}
  - {attention: squeezed}
"""
)
READER = (
    HEAD
    + b"""
attention:
  full: {kind: gqa, heads: 4, kv_heads: 2, head_dim: 6}
  source: {kind: gqa, heads: 2, kv_heads: 1, head_dim: 5, rope: null, cross: true}
ffn:
  dense: {kind: dense, width: 9}
  experts: {kind: moe, experts: 7, top_k: 3, width: 6}
layers:
  - {repeat: 2, attention: [full, source], ffn: dense}
  - {attention: [full, source], ffn: experts}
parts:
  reader:
    role: encoder
    attention: {both: {kind: gqa, heads: 3, kv_heads: 3, head_dim: 4, causal: false}}
    layers: [{repeat: 4, attention: both, ffn: experts}]
"""
)
SHAPE = Shape(2, 6, 1)
"""Longer than every window and chunk, with an entry that is not complete."""


def different(lines):
    found = list(lines)
    assert len(found) > 20
    return [line for line in found if line.predicted != line.measured]


def test_a_decoder_of_every_kind():
    spec = parse_spec(DECODER, "small.yaml")
    replica = materialise(on_meta(spec), torch.device("cpu"), 4)
    assert different(parameter_lines(inventory(spec), replica)) == []
    assert different(run_lines(spec, replica, SHAPE, 1)) == []


def test_a_decoder_on_meta():
    spec = parse_spec(DECODER, "small.yaml")
    assert different(run_lines(spec, on_meta(spec, "bf16"), SHAPE, 1)) == []


def test_an_encoder_and_its_decoder():
    spec = parse_spec(READER, "small.yaml")
    replica = materialise(on_meta(spec), torch.device("cpu"), 4)
    assert different(parameter_lines(inventory(spec), replica)) == []
    assert different(run_lines(spec, replica, SHAPE, 1)) == []


def test_a_causal_encoder_keeps_nothing():
    """It is run once; what its attention saw is in its output."""
    spec = parse_spec(READER.replace(b", causal: false", b""), "small.yaml")
    replica = materialise(on_meta(spec), torch.device("cpu"), 4)
    assert different(run_lines(spec, replica, SHAPE, 1)) == []


def test_what_stands_in_one_book_only_is_a_difference():
    ours = {Place("decoder", layer, "attention.q"): 8.0 for layer in range(3)}
    theirs = {where: count for where, count in ours.items() if where.layer != 1}
    theirs[Place("decoder", None, "lm_head")] = 5.0
    lines = {line.name: line for line in compared("FLOPs", "FLOP", ours, theirs)}
    assert {name: (line.predicted, line.measured, line.verdict) for name, line in lines.items()} == {
        "attention.q": (24.0, 16.0, "differs"),
        "layer 1 attention.q": (8.0, 0, "differs"),
        "lm_head": (0, 5.0, "differs"),
    }


def test_layers_that_cancel_are_told():
    ours = {Place("decoder", layer, "attention.q"): 8.0 for layer in range(2)}
    theirs = {Place("decoder", layer, "attention.q"): count for layer, count in enumerate((7.0, 9.0))}
    verdicts = [line.verdict for line in compared("FLOPs", "FLOP", ours, theirs)]
    assert verdicts == ["equal", "differs", "differs"]


def test_names():
    assert place("decoder.3.attention.1.q") == Place("decoder", 3, "attention.1.q")
    assert place("decoder.lm_head") == Place("decoder", None, "lm_head")
    assert place("reader.norm.final.weight") == Place("reader", None, "norm.final.weight")
    assert Place("decoder", 3, "attention.q").path == "decoder.3.attention.q"
    assert unnumbered("attention.1.q") == "attention.q"


def test_flops_by_hand():
    """Two sequences of 5 tokens each; a window of 3 sees 1 + 2 + 3 + 3 + 3 keys, the fifth token after it 3."""
    text = (
        HEAD
        + b"""
attention: {near: {kind: gqa, heads: 3, kv_heads: 1, head_dim: 4, window: 3}}
ffn: {zero: {kind: moe, experts: 5, top_k: 2, width: 3, zero_experts: 2}}
layers: [{attention: near, ffn: zero}]
"""
    )
    book = inventory(parse_spec(text, "small.yaml"))
    prefill = predicted_flops(book, Forward("prefill", 2, 5, 5, 5, {0: 13}))
    scores = 2 * 2 * 3 * 4
    expected = {
        "attention.q": 10 * 2 * 12 * 14,
        "attention.k": 10 * 2 * 4 * 14,
        "attention.v": 10 * 2 * 4 * 14,
        "attention.o": 10 * 2 * 14 * 12,
        "attention.scores": scores * 12,
        "attention.mix": scores * 12,
        "router.weight": 10 * 2 * 7 * 14,
        **dict.fromkeys(("experts.gate", "experts.up", "experts.down"), 13 * 2 * 3 * 14),
    }
    assert {where.name: flops for where, flops in prefill.items() if where.layer == 0} == expected
    assert prefill[Place("decoder", None, "lm_head")] == 10 * 2 * 61 * 14
    decode = predicted_flops(book, Forward("decode", 2, 1, 6, 5, {0: 4}))
    assert decode[Place("decoder", 0, "attention.scores")] == scores * 3
    assert decode[Place("decoder", 0, "experts.up")] == 4 * 2 * 3 * 14
