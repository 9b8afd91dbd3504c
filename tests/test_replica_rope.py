"""Rotary positions against transformers: frequencies, factors, and the rotation in each of its styles."""

from __future__ import annotations

import math
import os
from importlib import import_module

import pytest

from moe_plan.spec.rope import Llama3, Rope, Yarn

if os.environ.get("CI"):
    import torch
    import transformers
else:
    REASON = "the referee needs the test extra: pip install -e '.[test]' (torch, transformers)"
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from moe_plan.replica.rope import inverse_frequencies, rotate, softmax_scale_factor, tables
from moe_plan.spec.catalogue import find

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def theirs(kind, head_dim, **parameters):
    config = transformers.LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        head_dim=head_dim,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": kind, **parameters},
    )
    return ROPE_INIT_FUNCTIONS[kind](config, "cpu")


def yarn(**fields):
    return Yarn(kind="yarn", **fields)


STRETCHED = {
    "yarn": yarn(factor=32.0, original_context=4096),
    "yarn over whole channels": yarn(factor=32.0, original_context=4096, truncate=False),
    "yarn of one beta": yarn(factor=32.0, original_context=4096, beta_fast=1.0),
    "yarn with mscale": yarn(factor=40.0, original_context=4096, mscale=0.9, mscale_all_dim=0.707),
    "yarn with equal mscale": yarn(factor=40.0, original_context=4096, mscale=1.0, mscale_all_dim=1.0),
    "yarn with mscale alone": yarn(factor=40.0, original_context=4096, mscale=0.7),
    "yarn with a factor of its own": yarn(factor=16.0, original_context=65536, attention_factor=1.0),
    "yarn that shrinks": yarn(factor=0.5, original_context=4096),
    "llama3": Llama3(kind="llama3", factor=8.0, original_context=8192),
    "llama3 of other edges": Llama3(
        kind="llama3", factor=32.0, original_context=1024, low_freq_factor=2.0, high_freq_factor=7.0
    ),
}


@pytest.mark.parametrize("head_dim", [18, 64, 128])
@pytest.mark.parametrize("theta", [10000.0, 150000.0])
@pytest.mark.parametrize("name", STRETCHED)
def test_stretched_frequencies(name, theta, head_dim):
    scaling = STRETCHED[name]
    fields = scaling.model_dump(exclude={"kind", "original_context"}, exclude_none=True)
    fields["original_max_position_embeddings"] = scaling.original_context
    expected, expected_factor = theirs(scaling.kind, head_dim, rope_theta=theta, **fields)
    frequencies, factor = inverse_frequencies(Rope(theta=theta, scaling=scaling), head_dim)
    torch.testing.assert_close(frequencies, expected, **CLOSE)
    assert factor == pytest.approx(expected_factor, rel=1e-12)


@pytest.mark.parametrize("dim", [2, 64, 128, 512])
def test_proportional_frequencies(dim):
    """Of a head of 512: those of the whole head, and none beyond the first `dim` channels."""
    expected, _ = theirs("proportional", 512, rope_theta=1e6, partial_rotary_factor=dim / 512)
    frequencies, factor = inverse_frequencies(Rope(theta=1e6, dim=dim, proportional=True), 512)
    torch.testing.assert_close(frequencies, expected, **CLOSE)
    assert factor == 1.0
    assert frequencies.count_nonzero() == dim // 2


def test_plain_frequencies():
    frequencies, factor = inverse_frequencies(Rope(theta=100.0), 4)
    assert frequencies.tolist() == pytest.approx([1.0, 0.1])
    assert frequencies.dtype == torch.float32
    assert factor == 1.0


def test_an_odd_head_turns_all_but_one_channel():
    assert inverse_frequencies(Rope(), 7)[0].shape == (3,)
    assert inverse_frequencies(Rope(dim=5), 7)[0].shape == (2,)
    torch.testing.assert_close(inverse_frequencies(Rope(), 7)[0], inverse_frequencies(Rope(), 6)[0])


def test_a_head_narrower_than_the_rotated_channels():
    assert inverse_frequencies(Rope(dim=64), 6)[0].shape == (3,)


def test_softmax_scale_factor():
    """DeepSeek-V3: 0.1 ln 40 + 1, squared; only where the release gives the temperature of all channels."""
    v3 = Rope(scaling=yarn(factor=40.0, original_context=4096, mscale=1.0, mscale_all_dim=1.0))
    assert softmax_scale_factor(v3) == pytest.approx((0.1 * math.log(40) + 1) ** 2)
    assert softmax_scale_factor(Rope(scaling=STRETCHED["yarn"])) == 1.0
    assert softmax_scale_factor(Rope(scaling=STRETCHED["llama3"])) == 1.0
    assert softmax_scale_factor(Rope()) == softmax_scale_factor(None) == 1.0


# What the catalogue says of each release, against the rotary embedding of its class with its config.json's values.
YARN_40 = {"rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}
RELEASES = {
    "llama-3.1-8b": (
        "Llama",
        {"head_dim": 128},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_theta": 500000.0,
        },
    ),
    "deepseek-v2-lite": (
        "DeepseekV2",
        {},
        {**YARN_40, "mscale": 0.707, "mscale_all_dim": 0.707, "rope_theta": 10000.0},
    ),
    "deepseek-v3": (
        "DeepseekV3",
        {},
        {**YARN_40, "mscale": 1.0, "mscale_all_dim": 1.0, "rope_theta": 10000.0},
    ),
    "gpt-oss-20b": (
        "GptOss",
        {"head_dim": 64},
        {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
            "rope_theta": 150000.0,
        },
    ),
    "glm-4.5-air": (
        "Glm4Moe",
        {"head_dim": 128},
        {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
    ),
    "qwen3-next-80b-a3b": (
        "Qwen3Next",
        {"head_dim": 256},
        {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25},
    ),
    "hunyuan-a13b": (
        "HunYuanMoEV1",
        {"head_dim": 128},
        {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 10000.0},
    ),
    "mistral-small-4-119b": (
        "Mistral4",
        {},
        {
            "rope_type": "yarn",
            "factor": 128.0,
            "original_max_position_embeddings": 8192,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "rope_theta": 10000.0,
        },
    ),
}


@pytest.mark.parametrize("name", RELEASES)
def test_releases(name):
    family, facts, parameters = RELEASES[name]
    config = getattr(transformers, f"{family}Config")(**facts, rope_parameters=dict(parameters))
    module = import_module(type(config).__module__.replace("configuration", "modeling"))
    rotary = getattr(module, f"{family}RotaryEmbedding")(config)
    block = next(block for block in find(name).attention.values() if getattr(block, "rope", None) is not None)
    head_dim = block.rope_dim if block.kind == "mla" else block.head_dim
    frequencies, factor = inverse_frequencies(block.rope, head_dim)
    torch.testing.assert_close(frequencies, rotary.inv_freq, **CLOSE)
    assert factor == pytest.approx(rotary.attention_scaling)


def test_two_kinds_of_layer_in_gemma_4():
    """Gemma 4: sliding layers turn whole heads of 256, global ones a quarter of heads of 512."""
    from transformers.models.gemma4.modeling_gemma4 import Gemma4TextRotaryEmbedding

    config = transformers.Gemma4TextConfig(
        head_dim=256,
        global_head_dim=512,
        rope_parameters={
            "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
    )
    rotary = Gemma4TextRotaryEmbedding(config)
    blocks = find("gemma-4-26b-a4b").attention
    for block, expected in (("sliding", "sliding_attention"), ("global", "full_attention")):
        frequencies, factor = inverse_frequencies(blocks[block].rope, blocks[block].head_dim)
        torch.testing.assert_close(frequencies, getattr(rotary, f"{expected}_inv_freq"), **CLOSE)
        assert factor == getattr(rotary, f"{expected}_attention_scaling")


def test_two_kinds_of_layer_in_deepseek_v4():
    """DeepSeek-V4: layers of a window alone turn by another base than those with compressed entries."""
    from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4RotaryEmbedding

    config = transformers.DeepseekV4Config(
        rope_parameters={"rope_type": "yarn", "factor": 16, "original_max_position_embeddings": 65536}
    )
    rotary = DeepseekV4RotaryEmbedding(config)
    blocks = find("deepseek-v4-flash").attention
    for block, expected in (("window", "main"), ("every-4", "compress"), ("every-128", "compress")):
        frequencies, factor = inverse_frequencies(blocks[block].rope, blocks[block].head_dim)
        torch.testing.assert_close(frequencies, getattr(rotary, f"{expected}_inv_freq"), **CLOSE)
        assert factor == getattr(rotary, f"{expected}_attention_scaling")


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def both(rope, head_dim, tokens=9, start=3):
    """Our tables, and theirs with the angles written twice, [1, T, channels]."""
    cos, sin = tables(rope, head_dim, torch.arange(start, start + tokens), torch.float32)
    return (cos, sin), (torch.cat((cos, cos), -1)[None], torch.cat((sin, sin), -1)[None])


def test_tables():
    cos, sin = tables(Rope(theta=100.0), 4, torch.tensor([0, 2]), torch.float32)
    assert cos.tolist() == [[1.0, 1.0], pytest.approx([math.cos(2.0), math.cos(0.2)])]
    assert sin.tolist() == [[0.0, 0.0], pytest.approx([math.sin(2.0), math.sin(0.2)])]
    stretched = Rope(scaling=STRETCHED["yarn"])
    factor = 0.1 * math.log(32) + 1
    assert tables(stretched, 8, torch.tensor([0]), torch.bfloat16)[0].dtype == torch.bfloat16
    assert tables(stretched, 8, torch.tensor([0]), torch.float32)[0].tolist() == [pytest.approx([factor] * 4)]


def test_halves():
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    queries, keys = drawn(2, 4, 9, 16), drawn(2, 1, 9, 16)
    (cos, sin), wide = both(Rope(), 16)
    expected = apply_rotary_pos_emb(queries, keys, *wide)
    for x, turned in zip((queries, keys), expected, strict=True):
        torch.testing.assert_close(rotate(x, cos, sin, interleaved=False), turned, **CLOSE)


def test_first_channels_of_halves():
    from transformers.models.glm4_moe.modeling_glm4_moe import apply_rotary_pos_emb

    x = drawn(2, 4, 9, 16)
    (cos, sin), wide = both(Rope(dim=6), 16)
    expected, _ = apply_rotary_pos_emb(x, x, *wide)
    torch.testing.assert_close(rotate(x, cos, sin, interleaved=False), expected, **CLOSE)


def test_proportional_halves():
    """Pairs of the whole head, of which those without a frequency stay."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    x = drawn(2, 4, 9, 16)
    (cos, sin), wide = both(Rope(dim=4, proportional=True), 16)
    turned = rotate(x, cos, sin, interleaved=False)
    torch.testing.assert_close(turned, apply_rotary_pos_emb(x, x, *wide)[0], **CLOSE)
    torch.testing.assert_close(turned[..., 2:8], x[..., 2:8])
    assert not torch.allclose(turned[..., 8:10], x[..., 8:10])


def test_neighbours():
    """Ernie's real arithmetic, Llama 4's complex one."""
    from transformers.models.ernie4_5_moe import modeling_ernie4_5_moe as ernie
    from transformers.models.llama4 import modeling_llama4 as llama4

    x = drawn(2, 4, 9, 16)
    (cos, sin), wide = both(Rope(theta=500.0, interleaved=True), 16)
    turned = rotate(x, cos, sin, interleaved=True)
    torch.testing.assert_close(turned, ernie.apply_rotary_pos_emb(x, x, *wide)[0], **CLOSE)
    by_token = x.transpose(1, 2)
    expected, _ = llama4.apply_rotary_emb(by_token, by_token, torch.complex(cos, sin)[None])
    torch.testing.assert_close(turned, expected.transpose(1, 2), **CLOSE)


def test_neighbours_of_mla():
    """DeepSeek-V3's function gives the first channels of the pairs, then the second: the same products."""
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import apply_rotary_pos_emb_interleave

    queries, keys = drawn(2, 4, 9, 16), drawn(2, 1, 9, 16)
    (cos, sin), wide = both(Rope(interleaved=True), 16)
    ours = [rotate(x, cos, sin, interleaved=True) for x in (queries, keys)]
    expected = apply_rotary_pos_emb_interleave(queries, keys, *wide)
    apart = torch.cat((ours[0][..., ::2], ours[0][..., 1::2]), -1)
    torch.testing.assert_close(apart, expected[0], **CLOSE)
    torch.testing.assert_close(ours[0] @ ours[1].mT, expected[0] @ expected[1].mT, rtol=1e-5, atol=1e-5)


def test_last_neighbours():
    """DeepSeek-V4 turns the end of a head, and turns it back with the sines negated."""
    from transformers.models.deepseek_v4.modeling_deepseek_v4 import apply_rotary_pos_emb

    x = drawn(2, 4, 9, 16)
    cos, sin = tables(Rope(dim=6, interleaved=True), 16, torch.arange(9), torch.float32)
    turned = rotate(x, cos, sin, interleaved=True, last=True)
    torch.testing.assert_close(turned, apply_rotary_pos_emb(x, cos[None], sin[None]), **CLOSE)
    torch.testing.assert_close(turned[..., :10], x[..., :10])
    back = rotate(turned, cos, -sin, interleaved=True, last=True)
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_what_is_returned(interleaved):
    """A new contiguous tensor, whatever the strides of the old; a table of bf16 turns bf16."""
    x = drawn(2, 9, 4, 7).transpose(1, 2).to(torch.bfloat16)
    kept = x.clone()
    cos, sin = tables(Rope(), 7, torch.arange(9), torch.bfloat16)
    turned = rotate(x, cos, sin, interleaved=interleaved)
    assert turned.is_contiguous()
    assert turned.dtype == torch.bfloat16
    assert torch.equal(x, kept)
    assert torch.equal(turned[..., 6], x[..., 6])
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.equal(turned[:, :, 1:, :6], x[:, :, 1:, :6])


def test_nothing_is_allocated_but_the_result():
    x = drawn(2, 4, 64, 32)
    cos, sin = tables(Rope(dim=24), 32, torch.arange(64), torch.float32)
    with torch.profiler.profile(profile_memory=True) as profile:
        rotate(x, cos, sin, interleaved=False)
    taken = [
        event.self_cpu_memory_usage for event in profile.key_averages() if event.self_cpu_memory_usage > 0
    ]
    assert sum(taken) == x.numel() * x.element_size()
