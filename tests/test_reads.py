"""Distinct experts and the weight bytes that a decode step reads."""

from __future__ import annotations

import random
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FORMAT_NAMES, dense, deterministic, moe, on_models, specs

from moe_plan.anatomy.inventory import Weight
from moe_plan.api import load, model
from moe_plan.estimate.reads import decode_weight_bytes, mean_distinct_experts
from moe_plan.estimate.weights import uniform_storage, weight_bytes_of

without_zero = moe(zero_experts=st.just(0))


@st.composite
def routings(draw: st.DrawFn) -> tuple[int, int]:
    experts = draw(st.integers(1, 1000))
    return experts, draw(st.integers(1, experts))


def expert(experts: int, top_k: int, pool: int = 0) -> Weight:
    return Weight("experts.down", "routed_experts", (3, 5), experts, top_k, pool)


@deterministic
@given(routings(), st.integers(1, 5000))
def test_distinct_experts_bounds(routing, tokens):
    experts, top_k = routing
    touched = expert(experts, top_k).copies_touched(tokens)
    assert top_k * (1 - 1e-12) <= touched <= min(experts, tokens * top_k) * (1 + 1e-12)
    assert touched <= expert(experts, top_k).copies_touched(tokens + 1)
    assert isclose(expert(experts, top_k).copies_touched(1), top_k, rel_tol=1e-12)
    closed_form = experts * (1 - (1 - top_k / experts) ** tokens)
    assert isclose(closed_form, touched, rel_tol=1e-9)


@deterministic
@given(routings())
def test_distinct_experts_tend_to_all(routing):
    experts, top_k = routing
    assert isclose(expert(experts, top_k).copies_touched(60 * experts), experts, rel_tol=1e-12)


def test_distinct_experts_of_a_real_routing():
    """A uniform router drawn 2,000 times: 8 of 64 experts for 16 tokens touch 56.4 on average."""
    draws = random.Random(0)
    touched = [len({e for _ in range(16) for e in draws.sample(range(64), 8)}) for _ in range(2000)]
    assert isclose(sum(touched) / len(touched), expert(64, 8).copies_touched(16), rel_tol=5e-3)


def test_zero_experts_are_touched_and_weigh_nothing():
    """LongCat: of 12 chosen among 512 real and 256 zero experts, 8 are real on average."""
    assert isclose(expert(512, 12, 768).copies_touched(1), 8)
    assert isclose(load("longcat-flash").distinct_experts(1), 8)


@on_models
@given(specs(ffn=without_zero), st.sampled_from(FORMAT_NAMES))
def test_one_token_reads_the_active_bytes(spec, name):
    """Every tensor once, k of E experts, one row of a table: the bytes of what a token uses."""
    inventory, storage = model(spec).inventory, uniform_storage(name)
    expected = sum(
        n * weight_bytes_of(w, storage) * w.used / w.copies
        for w, n in inventory.text_weights_run("decode")
        if not w.copy
    )
    assert isclose(decode_weight_bytes(inventory, storage, 1), expected, rel_tol=1e-12, abs_tol=1)


@on_models
@given(specs(), st.integers(1, 100), st.integers(1, 100))
def test_reads_grow_with_the_batch_up_to_all_weights(spec, one, two):
    counted = model(spec)
    low, high = sorted((one, two))
    head = 2 * spec.vocab * spec.hidden if spec.tied else 0
    assert counted.decode_weight_bytes(low, "bf16") <= counted.decode_weight_bytes(high, "bf16")
    assert counted.decode_weight_bytes(high, "bf16") <= counted.weight_bytes("bf16") + head
    assert type(counted.decode_weight_bytes(high, "bf16")) is int


@on_models
@given(specs(ffn=dense))
def test_dense_models_have_no_experts_to_touch(spec):
    assert model(spec).distinct_experts(32) is None


def test_mixtral_by_hand():
    """At B=1 all but 6 of 8 experts and all but one row of the table; at B=1,000 all but rows."""
    shipped = load("mixtral-8x7b")
    expert_bytes, row = 2 * 3 * 4096 * 14336, 2 * 4096
    everything = shipped.weight_bytes("bf16")
    assert shipped.decode_weight_bytes(1, "bf16") == everything - 32 * 6 * expert_bytes - 31_999 * row
    touched = 32_000 * (1 - (1 - 1 / 32_000) ** 1000)
    assert isclose(
        shipped.decode_weight_bytes(1000, "bf16"), everything - (32_000 - touched) * row, rel_tol=1e-9
    )


def test_tied_head_is_read():
    """A tied table is stored once, read by row at the start and whole at the end."""
    shipped = load("granite-3.0-1b-a400m")
    table = 2 * shipped.spec.vocab * shipped.spec.hidden
    untied = shipped.decode_weight_bytes(1, "bf16") - 2 * shipped.spec.hidden
    assert shipped.inventory.blocks[0].weights[0].name == "embedding"
    experts = sum(
        n * 2 * w.elements * (w.copies - w.used)
        for w, n in shipped.inventory.text_weights()
        if w.component == "routed_experts"
    )
    assert untied == shipped.weight_bytes("bf16") - table + table - experts


@pytest.mark.parametrize(("batch", "expected"), [(1, 8.0), (32, 163.3), (128, 251.6), (1024, 256.0)])
def test_deepseek_v3_distinct_experts(batch, expected):
    """256 * (1 - (1 - 8/256)^B)."""
    assert round(load("deepseek-v3").distinct_experts(batch), 1) == expected


def test_mean_is_over_moe_layers_only():
    """Dense layers have no experts: 3 of DeepSeek-V3's 61 do not lower the mean."""
    assert isclose(mean_distinct_experts(load("deepseek-v3").inventory, 1), 8)
