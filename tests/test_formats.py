"""Weight formats: bits with their scales, to the byte, against closed forms and published layouts."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, prod
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import FORMAT_NAMES, deterministic, on_models, specs

from moe_plan.anatomy.inventory import Weight
from moe_plan.api import model
from moe_plan.estimate import formats, params
from moe_plan.estimate.formats import DTYPE_BYTES, FORMATS, matrix_bytes
from moe_plan.estimate.weights import (
    Storage,
    checkpoint_bytes,
    checkpoint_storage,
    uniform_storage,
    weight_bytes_of,
)
from moe_plan.spec.fields import WeightFormat
from moe_plan.spec.model import Checkpoint, FormatRule


def test_every_format_of_the_schema_is_known():
    assert set(get_args(WeightFormat)) == set(FORMATS)


# Bits a weight with scales, on a matrix whose sides are multiples of 256; matrix_bytes come on top.
BITS_PER_WEIGHT = {
    "fp32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "fp8-block": 8 + Fraction(32, 16384),
    "fp8-block-bf16": 8 + Fraction(16, 16384),
    "fp8-block-e8m0": 8 + Fraction(8, 16384),
    "int4-g32": 4 + Fraction(16, 32),
    "int4-g64": 4 + Fraction(16, 64),
    "int4-g128": 4 + Fraction(16, 128),
    "int4-g32-zp": 4 + Fraction(16 + 4, 32),
    "int4-g64-zp": 4 + Fraction(16 + 4, 64),
    "int4-g128-zp": 4 + Fraction(16 + 4, 128),
    "mxfp4": 4 + Fraction(8, 32),
    "nvfp4": 4 + Fraction(8, 16),
    "q2_k": Fraction("2.625"),
    "q3_k": Fraction("3.4375"),
    "q4_k": Fraction("4.5"),
    "q5_k": Fraction("5.5"),
    "q6_k": Fraction("6.5625"),
    "q8_0": Fraction("8.5"),
}
MATRIX_BYTES = {"fp8": 4, "nvfp4": 8}


def test_bits_per_weight():
    for name, bits in BITS_PER_WEIGHT.items():
        expected = bits * 1024 * 2048 / 8 + MATRIX_BYTES.get(name, 0)
        assert matrix_bytes(name, (1024, 2048)) == expected, name


def test_channel_scales():
    assert matrix_bytes("fp8-channel", (1000, 300)) == 1000 * 300 + 2 * 1000
    assert matrix_bytes("int8", (1000, 300)) == 1000 * 300 + 2 * 1000


def test_tiles_are_rounded_up():
    """129 x 300 is 2 x 3 tiles of 128; DeepSeek-V3's kv_a, 576 x 7168, is 5 x 56 (4.5 x 56 rounded up)."""
    assert matrix_bytes("fp8-block", (129, 300)) == 129 * 300 + 4 * 6
    assert matrix_bytes("fp8-block", (576, 7168)) == 576 * 7168 + 4 * 5 * 56
    assert matrix_bytes("fp8-block-bf16", (1, 1)) == 1 + 2
    assert matrix_bytes("fp8-block-e8m0", (1, 1)) == 1 + 1


def test_mxfp4_group_is_32():
    """gpt-oss stores a 2880-wide row in 90 groups: 1,440 bytes and 90 scales (OCP Microscaling 1.0)."""
    assert matrix_bytes("mxfp4", (2880, 2880)) == 2880 * (1440 + 90)
    assert matrix_bytes("mxfp4", (3, 33)) == 50 + 3 * 2


def test_nvfp4_scalars():
    """An e4m3 scale for 16 weights, and weight_scale_2 and input_scale in fp32 once a matrix."""
    assert matrix_bytes("nvfp4", (64, 128)) == 64 * 128 // 2 + 64 * 8 + 8


def test_zero_points():
    """A 4-bit zero point a group, two to a byte."""
    assert matrix_bytes("int4-g128-zp", (64, 256)) == 64 * 128 + 128 * 2 + 64
    assert matrix_bytes("int4-g128", (64, 256)) == 64 * 128 + 128 * 2


def test_gguf_falls_back_where_rows_are_no_multiple_of_256():
    """llama.cpp, tensor_type_fallback: Q4_K to Q5_0, Q5_K to Q5_1, Q6_K to Q8_0, Q2_K and Q3_K to IQ4_NL."""
    rows, blocks = 10, 2880 // 32
    assert matrix_bytes("q2_k", (rows, 2880)) == rows * blocks * 18
    assert matrix_bytes("q3_k", (rows, 2880)) == rows * blocks * 18
    assert matrix_bytes("q4_k", (rows, 2880)) == rows * blocks * 22
    assert matrix_bytes("q5_k", (rows, 2880)) == rows * blocks * 24
    assert matrix_bytes("q6_k", (rows, 2880)) == rows * blocks * 34
    assert matrix_bytes("q8_0", (rows, 2880)) == rows * blocks * 34
    for name in formats.GGUF_FALLBACK:
        assert matrix_bytes(name, (rows, 33)) == 2 * rows * 33


def closed_form(name: str, rows: int, columns: int) -> int:
    """The same bytes, format by format, without the table."""
    cells = rows * columns
    if name in DTYPE_BYTES:
        return cells * DTYPE_BYTES[name]
    if name == "fp8":
        return cells + 4
    if name in ("fp8-channel", "int8"):
        return cells + 2 * rows
    if name.startswith("fp8-block"):
        scale = {"fp8-block": 4, "fp8-block-bf16": 2, "fp8-block-e8m0": 1}[name]
        return cells + scale * ceil(rows / 128) * ceil(columns / 128)
    half = ceil(cells / 2)
    if name == "mxfp4":
        return half + rows * ceil(columns / 32)
    if name == "nvfp4":
        return half + rows * ceil(columns / 16) + 8
    group, zeros = int(name.removesuffix("-zp").removeprefix("int4-g")), name.endswith("-zp")
    groups = rows * ceil(columns / group)
    return half + 2 * groups + (ceil(groups / 2) if zeros else 0)


NOT_GGUF = sorted(name for name in FORMATS if not name.startswith("q"))


@deterministic
@given(st.sampled_from(NOT_GGUF), st.integers(1, 3000), st.integers(1, 3000))
def test_matrix_bytes_closed_form(name, rows, columns):
    assert matrix_bytes(name, (rows, columns)) == closed_form(name, rows, columns)


@deterministic
@given(st.integers(1, 2000), st.integers(1, 2000))
def test_bytes_grow_with_bits(rows, columns):
    def at(name: str) -> int:
        return matrix_bytes(name, (rows, columns))

    # 12 bytes: the two scalars of NVFP4 beside formats that have none.
    assert at("nvfp4") <= at("bf16") + 12
    assert at("bf16") <= at("fp32")
    assert at("int4-g128") <= at("int4-g64") <= at("int4-g32")
    assert at("int4-g128") <= at("int4-g128-zp")
    assert at("fp8-block-e8m0") <= at("fp8-block-bf16") <= at("fp8-block")
    assert at("mxfp4") <= at("nvfp4")
    if columns % 256 == 0:
        ladder = [at(name) for name in ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q8_0", "fp16")]
        assert ladder == sorted(ladder)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_huge_matrices_stay_exact(name):
    size = 1 << 30
    bits = Fraction(matrix_bytes(name, (size, size)) * 8, size * size)
    assert isinstance(matrix_bytes(name, (size, size)), int)
    assert 0 <= bits - Fraction(BITS_PER_WEIGHT.get(name, 8)) < Fraction(1, 1000)


def test_rules_later_wins_vectors_and_buffers_keep_theirs():
    storage = checkpoint_storage(
        "mix",
        Checkpoint(
            default="bf16",
            rules=(
                FormatRule(format="fp8-block", tensors=("attention", "router")),
                FormatRule(format="nvfp4", tensors=("attention.q",)),
                FormatRule(format="fp32", tensors=("norm", "router.weight")),
            ),
        ),
    )
    assert storage.format_of(Weight("attention.o", "attention", (4, 4))) == "fp8-block"
    assert storage.format_of(Weight("attention.q", "attention", (4, 4))) == "nvfp4"
    assert storage.format_of(Weight("attention.1.q", "attention", (4, 4))) == "nvfp4"
    assert storage.format_of(Weight("attention.q_bias", "attention", (4,), use="vector")) == "bf16"
    assert storage.format_of(Weight("norm.weight", "norm", (4,), use="vector")) == "fp32"
    assert storage.format_of(Weight("router.weight", "router", (4, 4))) == "fp32"
    buffer = Weight("router.correction_bias", "router", (4,), use="vector", buffer="fp32")
    assert storage.format_of(buffer) == "fp32"
    assert storage.format_of(Weight("lm_head", "lm_head", (4, 4))) == "bf16"


def test_uniform_formats_leave_head_router_and_table():
    storage = uniform_storage("fp8-block")
    kept = [
        Weight("embedding", "embedding", (4,), 9, 1, use="lookup"),
        Weight("router.weight", "router", (4, 4)),
        Weight("lm_head", "lm_head", (9, 4)),
        Weight("norm.weight", "norm", (4,), use="vector"),
        Weight("attention.conv", "linear_attention_or_ssm", (4, 1, 4), use="conv"),
    ]
    assert {storage.format_of(weight) for weight in kept} == {"bf16"}
    for component in formats.LINEAR:
        assert storage.format_of(Weight("any", component, (4, 4))) == "fp8-block"
    gguf = uniform_storage("q4_k")
    assert [gguf.format_of(weight) for weight in kept] == ["q4_k", "fp32", "q4_k", "fp32", "fp32"]


def test_scales_are_per_expert_and_per_table():
    """Each expert is a matrix with its own tiles; the rows of a table are one matrix."""
    storage = Storage("blocks", "fp8-block", (("fp8-block", frozenset({"embedding", "routed_experts"})),))
    expert = Weight("experts.up", "routed_experts", (130, 100), 8, 2)
    table = Weight("embedding", "embedding", (100,), 1000, 1, use="lookup")
    assert weight_bytes_of(expert, storage) == 8 * (130 * 100 + 4 * 2)
    assert weight_bytes_of(table, storage) == 1000 * 100 + 4 * 8


@on_models
@given(specs())
def test_bf16_is_two_bytes_a_parameter_and_buffers_on_top(spec):
    counted = model(spec)
    buffers = sum(
        n * w.copies * w.elements * DTYPE_BYTES[w.buffer]
        for w, n in counted.inventory.text_weights()
        if w.buffer
    )
    assert counted.weight_bytes("bf16") == 2 * counted.total_params + buffers
    assert counted.weight_bytes("fp32") == 4 * counted.total_params + buffers
    assert (buffers > 0) == (params.buffer_elements(counted.inventory) > 0)


@on_models
@given(specs(), st.sampled_from(FORMAT_NAMES))
def test_weight_bytes_closed_form(spec, name):
    """Matrices that the format converts by its closed form, the rest at two bytes (GGUF: four)."""
    counted, form = model(spec), FORMATS[name]
    expected = 0
    for weight, layers in counted.inventory.text_weights():
        if not weight.stored or weight.copy:
            continue
        copies, elements = weight.copies, weight.elements
        if weight.buffer:
            size = copies * elements * {"fp32": 4, "bf16": 2, "int64": 8}[weight.buffer]
        elif name == "fp32":
            size = 4 * copies * elements
        elif weight.component in form.quantises and weight.use in ("matmul", "lookup"):
            lookup = weight.use == "lookup"
            matrices, shape = (1, (copies, *weight.shape)) if lookup else (copies, weight.shape)
            rows, columns = prod(shape[:-1]), shape[-1]
            gguf = name.startswith("q")
            size = matrices * (
                matrix_bytes(name, (rows, columns)) if gguf else closed_form(name, rows, columns)
            )
        else:
            size = copies * elements * (4 if name.startswith("q") else 2)
        expected += layers * size
    assert counted.weight_bytes(name) == expected
    assert sum(counted.component_bytes(name).values()) == expected


@on_models
@given(specs())
def test_checkpoint_bytes_hold_everything(spec):
    """At bf16: every part, second copies too, and a tied head only where the release repeats it."""
    counted = model(spec)
    rows = [(b.count, w) for b in counted.inventory.blocks for w in b.weights if w.stored]
    sizes = {"fp32": 4, "bf16": 2, "fp16": 2, "int64": 8, None: 2}
    assert counted.checkpoint_bytes("bf16") == sum(
        n * w.copies * w.elements * sizes[w.buffer] for n, w in rows
    )
    native = counted.storage()
    head = spec.vocab * spec.hidden if spec.tied and native.stores_tied_head else 0
    repeated = Storage("x", "bf16", (), stores_tied_head=native.stores_tied_head)
    assert checkpoint_bytes(counted.inventory, repeated) - counted.checkpoint_bytes("bf16") == 2 * head
