"""FLOPs: decode, causal prefill and training, and how they agree with each other."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import dense, deterministic, gqa, mla, moe, on_models, specs

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.inventory import Block, Inventory
from moe_plan.api import load, model
from moe_plan.estimate import flops
from moe_plan.estimate.params import is_parameter

contexts = st.integers(1, 120)
# Kinds whose decode runs the same operations as their prefill; MLA expands in one and absorbs in the other.
ALIKE = ("gqa", "compressed", "moa", "gated-delta", "kda", "lightning", "mamba1", "mamba2", "short-conv")


def is_causal(inventory: Inventory) -> bool:
    reaches = [op.reach for block in inventory.text for op in block.operations if op.reach is not None]
    return all(reach.causal for reach in reaches)


@on_models
@given(specs(), contexts)
def test_weight_flops_are_twice_the_multiplied_parameters_on_the_path(spec, context):
    """Active parameters less tables and vectors, plus a tied head, which is a table and multiplied too."""
    counted = model(spec)
    idle = sum(
        n * w.elements * (w.copies if w.use == "lookup" else w.used)
        for w, n in counted.inventory.text_weights()
        if is_parameter(w) and w.use in ("lookup", "vector")
    )
    head = spec.vocab * spec.hidden if spec.tied else 0
    buffers = sum(
        n * w.elements * w.used
        for w, n in counted.inventory.text_weights()
        if w.use == "matmul" and w.buffer is not None
    )
    assert flops.weight_flops(counted.inventory) == 2 * (counted.active_params - idle + head + buffers)


@on_models
@given(specs(kinds=ALIKE), contexts)
def test_decode_steps_sum_to_the_prefill(spec, context):
    inventory = model(spec).inventory
    assume(is_causal(inventory))
    assume(all(w.phase == "both" for w, _ in inventory.text_weights()))
    steps = sum(flops.decode_flops(inventory, s) for s in range(1, context + 1))
    assert flops.prefill_flops(inventory, context) == steps


@on_models
@given(specs(), contexts)
def test_training_is_three_forwards(spec, context):
    inventory = model(spec).inventory
    forward = Fraction(flops.prefill_flops(inventory, context), context)
    assert flops.prefill_flops_per_token(inventory, context) == forward
    assert flops.training_flops_per_token(inventory, context) == 3 * forward


@on_models
@given(specs(), contexts)
def test_flops_grow_with_context_outside_chunks(spec, context):
    inventory = model(spec).inventory
    assume(not any(op.reach and op.reach.chunk for block in inventory.text for op in block.operations))
    assert flops.decode_flops(inventory, context) <= flops.decode_flops(inventory, context + 1)
    assert flops.prefill_flops(inventory, context) < flops.prefill_flops(inventory, context + 1)


@on_models
@given(specs(), contexts)
def test_flops_are_exact(spec, context):
    inventory = model(spec).inventory
    assert type(flops.decode_flops(inventory, context)) is int
    assert type(flops.prefill_flops(inventory, context)) is int
    assert type(flops.prefill_flops_per_token(inventory, context)) is Fraction
    assert type(flops.training_flops_per_token(inventory, context)) is Fraction


@deterministic
@given(gqa(), contexts)
def test_gqa_scores_closed_form(block, context):
    """4 * h * d_h * s where values are as wide as keys."""
    body = attention_body(block, 8)
    seen = context
    if block.window is not None:
        seen = min(context, block.window)
    if block.chunk is not None:
        seen = (context - 1) % block.chunk + 1
    each = 2 * block.heads * (block.head_dim + (block.value_dim or block.head_dim))
    assert sum(op.flops * op.reach.entries(context) for op in body.operations) == each * seen


@deterministic
@given(mla, contexts)
def test_mla_scores_closed_form(block, context):
    """Expanded 2h(nope + rope + v)s, absorbed 2h(2r + rope)s; an indexer scores all and keeps top_k."""
    body = attention_body(block, 8)
    seen = context if block.indexer is None else min(context, block.indexer.top_k)
    scored = 0 if block.indexer is None else 2 * block.indexer.heads * block.indexer.head_dim * context

    def at(phase: str) -> int:
        return sum(
            op.flops * op.reach.entries(context) for op in body.operations if op.phase in ("both", phase)
        )

    assert at("prefill") == scored + 2 * block.heads * (block.nope_dim + block.rope_dim + block.v_dim) * seen
    assert at("decode") == scored + 2 * block.heads * (2 * block.kv_rank + block.rope_dim) * seen


@pytest.mark.parametrize(
    "name", ["mixtral-8x7b", "deepseek-v3", "qwen3-30b-a3b", "llama-3.1-8b", "gpt-oss-20b"]
)
def test_six_n_d(name):
    """Training is about 6 * N FLOPs a token at a short context, N the active parameters without the table.

    6ND of arXiv 2001.08361, section 2.1; vectors (norms, biases, sinks) are in N and multiply nothing.
    """
    shipped = load(name)
    assert abs(shipped.training_flops_per_token(1) / (6 * shipped.active_compute_params) - 1) < Fraction(
        1, 1000
    )


def test_routed_experts_count_top_k_times():
    """Mixtral's 32 layers run 2 of 8 experts of 3 * 4096 * 14336: 22.5 GFLOP of its 25.5 a token."""
    shipped = load("mixtral-8x7b")
    rows = [(w, n) for w, n in shipped.inventory.text_weights() if w.component == "routed_experts"]
    assert sum(n * w.flops_per_token for w, n in rows) == 2 * 32 * 2 * 3 * 4096 * 14336
    assert flops.weight_flops(shipped.inventory) == 25_497_174_016


def test_prefill_sees_half_the_context():
    """Causal: (s + 1) / 2 keys on average. Llama-3.1-8B, 32 layers of 32 heads of 128, s = 4,096."""
    shipped = load("llama-3.1-8b")
    attention = 32 * 4 * 32 * 128 * Fraction(4097, 2)
    assert shipped.prefill_flops_per_token(4096) == flops.weight_flops(shipped.inventory) + attention


def test_mla_prefill_is_expanded_and_decode_absorbed():
    """DeepSeek-V3, 61 layers of 128 heads: 192 + 128 wide expanded, 576 + 512 absorbed."""
    shipped = load("deepseek-v3")
    weights = flops.weight_flops(shipped.inventory)
    assert shipped.decode_flops(4096) == weights + 61 * 2 * 128 * (576 + 512) * 4096
    assert shipped.prefill_flops_per_token(4096) == weights + 61 * 2 * 128 * (192 + 128) * Fraction(4097, 2)


def test_sparse_attention_keeps_top_k():
    """DeepSeek-V3.2: the indexer scores every key at 64 heads of 128, attention runs over 2,048 of them."""
    shipped = load("deepseek-v3.2")
    weights = flops.weight_flops(shipped.inventory)
    scored, attended = 61 * 2 * 64 * 128 * 100_000, 61 * 2 * 128 * (576 + 512) * 2048
    assert shipped.decode_flops(100_000) == weights + scored + attended


def test_window_bounds_the_scores():
    """gpt-oss-20b at 10,000 tokens: 12 layers see 128 keys, 12 see all; 64 heads of 64."""
    shipped = load("gpt-oss-20b")
    weights = flops.weight_flops(shipped.inventory)
    assert shipped.decode_flops(10_000) == weights + 12 * 4 * 64 * 64 * (128 + 10_000)


def test_chunk_is_a_position_inside_it():
    """Llama 4 at 10,000 tokens: 36 layers see the 1,808 tokens since the last multiple of 8,192."""
    shipped = load("llama-4-maverick")
    weights = flops.weight_flops(shipped.inventory)
    assert shipped.decode_flops(10_000) == weights + 4 * 40 * 128 * (36 * 1_808 + 12 * 10_000)


def test_flop_terms():
    """What a FLOP counter sees of a forward that masks nothing: Mixtral, and Qwen3-Next's recurrence."""
    terms = flops.flop_terms(load("mixtral-8x7b").inventory)
    assert (terms.weights, terms.per_token, terms.quadratic) == (25_497_174_016, 0, 524_288)
    hybrid = flops.flop_terms(load("qwen3-next-80b-a3b").inventory)
    assert hybrid.per_token == 36 * 6 * 32 * 128 * 128
    assert hybrid.quadratic == 12 * 4 * 16 * 256


@on_models
@given(specs(ffn=moe(zero_experts=st.just(0))), specs(ffn=dense))
def test_parts_cost_no_text_flops(sparse, plain):
    for spec in (sparse, plain):
        counted = model(spec)
        text = Inventory("text only", tuple(b for b in counted.inventory.blocks if b.in_text))
        assert flops.decode_flops(text, 17) == counted.decode_flops(17)
        assert all(isinstance(block, Block) for block in text.blocks)
