"""Cache and state: bytes as a function of context, and its inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ATTENTION_KINDS, dense, deterministic, gqa, mla, on_models, specs

from moe_plan.anatomy.attention import attention_body
from moe_plan.anatomy.inventory import Block, Inventory, Reach, State, Weight
from moe_plan.api import load, model
from moe_plan.estimate import cache
from moe_plan.estimate.cache import KV_FORMATS, cache_elements, kv_bytes, max_context

contexts = st.integers(0, 200)
kv_formats = st.sampled_from(sorted(KV_FORMATS))
reaches = st.builds(
    Reach,
    limit=st.none() | st.integers(1, 30),
    chunk=st.none() | st.integers(1, 30),
    stride=st.integers(1, 9),
    causal=st.booleans(),
)


def holding(*states: State, layers: int = 1) -> Inventory:
    weight = Weight("w", "attention", (1, 1))
    return Inventory("made by hand", (Block("decoder", "decoder", tuple(range(layers)), (weight,), states),))


def test_reach_by_hand():
    assert [Reach().entries(s) for s in (0, 1, 9)] == [0, 1, 9]
    assert [Reach(limit=4).entries(s) for s in (0, 3, 4, 5, 100)] == [0, 3, 4, 4, 4]
    assert [Reach(chunk=4).entries(s) for s in range(10)] == [0, 1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert [Reach(stride=4).entries(s) for s in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]
    assert [Reach(stride=4, limit=2).entries(s) for s in (3, 4, 8, 12, 100)] == [0, 1, 2, 2, 2]


def test_reach_over_a_prefill_by_hand():
    assert Reach().entries_over_prefill(9) == 45
    assert Reach(limit=4).entries_over_prefill(9) == 1 + 2 + 3 + 4 * 6
    assert Reach(chunk=4).entries_over_prefill(9) == 10 + 10 + 1
    assert Reach(stride=4).entries_over_prefill(9) == 1 * 4 + 2 * 2
    assert Reach(causal=False).entries_over_prefill(9) == 81
    assert Reach(chunk=4, causal=False).entries_over_prefill(9) == 16 + 16 + 1


def seen_from(reach, position, context):
    """A token that is not causal sees to the end of its chunk, or of the sequence."""
    if reach.chunk is None:
        return context
    return min(-(-position // reach.chunk) * reach.chunk, context)


@deterministic
@given(reaches, contexts)
def test_entries_over_prefill_is_the_sum_of_entries(reach, context):
    positions = range(1, context + 1)
    brute = sum(reach.entries(s if reach.causal else seen_from(reach, s, context)) for s in positions)
    assert reach.entries_over_prefill(context) == brute


@deterministic
@given(st.integers(1, 1 << 30), st.integers(0, 1 << 40))
def test_huge_reaches_stay_exact(limit, context):
    ramp = min(limit, context)
    expected = ramp * (ramp + 1) // 2 + (context - ramp) * limit
    assert Reach(limit=limit).entries_over_prefill(context) == expected


@on_models
@given(specs(), contexts, contexts, kv_formats)
def test_bytes_never_fall_with_context(spec, one, two, form):
    inventory = model(spec).inventory
    low, high = sorted((one, two))
    assert kv_bytes(inventory, low, form) <= kv_bytes(inventory, high, form)


@on_models
@given(specs(), st.integers(0, 1 << 40), kv_formats)
def test_max_context_is_the_inverse(spec, budget, form):
    inventory = model(spec).inventory
    longest = max_context(inventory, budget, form)
    if longest is None:
        assert kv_bytes(inventory, cache.CONTEXT_LIMIT, form) <= budget
    elif longest < 0:
        assert kv_bytes(inventory, 0, form) > budget
    else:
        assert kv_bytes(inventory, longest, form) <= budget < kv_bytes(inventory, longest + 1, form)


@on_models
@given(specs(), contexts)
def test_max_context_of_exactly_a_context(spec, context):
    inventory = model(spec).inventory
    longest = max_context(inventory, kv_bytes(inventory, context, "bf16"), "bf16")
    assert longest is None or longest >= context


@on_models
@given(specs(kinds=("gqa", "mla", "moa")), contexts)
def test_bytes_at_a_context_are_the_sum_of_the_growths(spec, context):
    """Where nothing is compressed: rate * s, windows up to their limit, sources like the context, states once."""
    inventory = model(spec).inventory
    elements = cache_elements(inventory)
    assert elements.per_token_compressed == 0
    steady = elements.per_token_unbounded + elements.per_token_indexer + elements.per_source_token
    total = kv_bytes(inventory, context, "bf16")
    assert 2 * context * steady <= total <= 2 * context * (steady + elements.per_token_bounded)
    assert kv_bytes(inventory, 1, "bf16") == 2 * (steady + elements.per_token_bounded)


@on_models
@given(specs(kinds=("gqa", "mla", "moa", "kda", "mamba2")), contexts)
def test_per_token_rate_is_the_growth_at_that_context(spec, context):
    inventory = model(spec).inventory
    grown = kv_bytes(inventory, context + 1, "bf16") - kv_bytes(inventory, context, "bf16")
    source = 2 * cache_elements(inventory).per_source_token
    assert cache.kv_bytes_per_token(inventory, "bf16", context) == grown - source


@on_models
@given(specs(kinds=("compressed",)), st.integers(60, 200))
def test_per_token_rate_of_compressed_layers_is_their_average(spec, context):
    """Beyond every window: the growth over 2,520 tokens, a multiple of every ratio up to 9."""
    inventory = model(spec).inventory
    grown = kv_bytes(inventory, context + 2520, "bf16") - kv_bytes(inventory, context, "bf16")
    rate = cache.kv_bytes_per_token(inventory, "bf16", context)
    assert (rate - 1) * 2520 < grown <= rate * 2520


def test_plain_gqa_closed_form():
    """2 * L * G * d_h * 2 bytes a token, the formula on every blog."""
    for name, layers, kv_heads, head_dim in (
        ("llama-3.1-8b", 32, 8, 128),
        ("mixtral-8x7b", 32, 8, 128),
        ("qwen2.5-72b", 80, 8, 128),
        ("qwen3-235b-a22b", 94, 4, 128),
    ):
        shipped = load(name)
        assert shipped.kv_bytes_per_token() == 2 * layers * kv_heads * head_dim * 2
        assert shipped.kv_bytes(131_072) == 131_072 * shipped.kv_bytes_per_token()


@deterministic
@given(gqa(), contexts)
def test_gqa_cache_closed_form(block, context):
    body = attention_body(block, 8)
    tokens = min(context, block.window or block.chunk or context)
    width = block.kv_heads * (block.head_dim + (block.value_dim or block.head_dim))
    expected = 0 if block.shared_kv or not block.causal else 2 * tokens * width
    assert kv_bytes(holding(*body.states), context, "bf16") == expected


@deterministic
@given(mla, contexts)
def test_mla_cache_closed_form(block, context):
    """(r_kv + d_rope) elements a token and layer, whatever the heads; an indexer adds its keys."""
    body = attention_body(block, 8)
    keys = block.indexer.head_dim if block.indexer else 0
    assert kv_bytes(holding(*body.states), context, "bf16") == 2 * context * (
        block.kv_rank + block.rope_dim + keys
    )


def test_windows_have_a_ceiling():
    """gpt-oss-20b: 12 layers keep 128 tokens, 12 keep all; each caches 2 * 8 * 64 elements a token."""
    shipped = load("gpt-oss-20b")
    rate = 2 * 8 * 64 * 2
    assert shipped.kv_bytes(100) == 24 * rate * 100
    assert shipped.kv_bytes(131_072) == 12 * rate * (131_072 + 128)
    assert shipped.kv_bytes_per_token() == 24 * rate
    assert shipped.kv_bytes_per_token(context=128) == 12 * rate


def test_window_applies_to_its_layers_only():
    """Gemma 4 26B-A4B: 25 layers keep 1,024 tokens of 8 x 256, 5 keep all of 2 x 512, keys and values both."""
    shipped = load("gemma-4-26b-a4b")
    elements = 25 * 2 * 8 * 256 * 1024 + 5 * 2 * 2 * 512 * 32_768
    assert shipped.kv_bytes(32_768) == 2 * elements


def test_chunks_have_a_ceiling():
    """Llama 4: 36 of 48 layers keep a chunk of 8,192 tokens."""
    shipped = load("llama-4-maverick")
    rate = 2 * 8 * 128 * 2
    assert shipped.kv_bytes(1_000_000) == rate * (12 * 1_000_000 + 36 * 8_192)


def test_recurrent_layers_keep_a_fixed_state():
    """Qwen3-Next: 12 attention layers of 2 x 2 x 256; 36 layers with a 32x128x128 fp32 state and 3 conv taps."""
    shipped = load("qwen3-next-80b-a3b")
    state = 36 * (32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2)
    assert shipped.kv_bytes(0) == state
    assert shipped.kv_bytes(10_000) == state + 10_000 * 12 * 2 * 2 * 256 * 2
    assert cache.state_bytes(shipped.inventory) == state


def test_compressed_cache():
    """DeepSeek-V4-Flash: 43 windows of 128 x 512; 21 layers keep 512 + 128 a 4 tokens, 20 keep 512 a 128 tokens."""
    shipped = load("deepseek-v4-flash")
    entries = 21 * (512 + 128) * (65_536 // 4) + 20 * 512 * (65_536 // 128)
    assert shipped.kv_bytes(65_536) == 2 * (43 * 128 * 512 + entries)
    assert cache_elements(shipped.inventory).per_token_compressed == 3440


def test_shared_kv_caches_once():
    """Hunyuan-Large: every second of 64 layers reuses the 8 x 80 wide keys and values of the one before."""
    assert load("hunyuan-large").kv_bytes_per_token() == 32 * 2 * 8 * 80 * 2


def test_max_context_ends():
    """None where the cache stops growing, -1 where the state alone is too big."""
    windowed = holding(State("keys", 10, Reach(limit=5)))
    assert max_context(windowed, 99, "bf16") == 4
    assert max_context(windowed, 100, "bf16") is None
    recurrent = holding(State("state", 10, None, "fp32"))
    assert max_context(recurrent, 39, "bf16") == -1
    assert max_context(recurrent, 40, "bf16") is None


def test_bytes_of_32_elements():
    inventory = holding(State("keys", 32, Reach()))
    assert {form: kv_bytes(inventory, 1, form) for form in KV_FORMATS} == {
        "fp32": 128,
        "bf16": 64,
        "fp16": 64,
        "fp8": 32,
        "int8": 32,
        # One fp16 scale for each block of 32 (block_q8_0, block_q4_0 of llama.cpp).
        "q8_0": 34,
        "q4_0": 18,
    }


def test_packed_formats_round_up_once():
    """q8_0 is 34 bytes for 32 elements, q4_0 18: 3 layers of 5 elements are 15.9 and 8.4 bytes."""
    inventory = holding(State("keys", 5, Reach()), layers=3)
    assert [kv_bytes(inventory, 1, form) for form in ("bf16", "fp8", "q8_0", "q4_0")] == [30, 15, 16, 9]


@on_models
@given(specs(ffn=dense), contexts)
def test_bytes_are_whole(spec, context):
    inventory = model(spec).inventory
    assert all(type(kv_bytes(inventory, context, form)) is int for form in KV_FORMATS)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@deterministic
@given(data=st.data())
def test_every_kind_keeps_something(kind, data):
    """A layer without any cache or state would decode for free; only shared and two-way attention may."""
    block = data.draw(ATTENTION_KINDS[kind])
    shares = getattr(block, "shared_kv", False) or not getattr(block, "causal", True)
    assert bool(attention_body(block, 8).states) is not shares
