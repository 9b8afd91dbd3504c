"""Weight formats: what one stored copy of a tensor takes, scales and zero points included, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

DTYPE_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "int64": 8}

# Matrices that a checkpoint quantiser converts: every linear layer but the output head and the router.
LINEAR = frozenset(
    {
        "attention",
        "attention_indexer",
        "attention_compressor",
        "linear_attention_or_ssm",
        "routed_attention_experts",
        "routed_experts",
        "shared_experts",
        "dense_mlp",
    }
)
# llama.cpp converts every matrix but the router's and the shared-expert gate, which it keeps as a vector.
GGUF = LINEAR | {"embedding", "lm_head", "hyper_connections", "other"}


class Format(NamedTuple):
    """How the elements of one matrix [rows, columns] are stored.

    `group` columns share one scale of `scale_bytes` (and a zero point of `zero_bits`); with `tile_rows`
    a scale covers a tile of rows x group. `matrix_bytes` are added once a matrix.
    """

    bits: int
    source: str
    group: int = 0
    scale_bytes: int = 0
    tile_rows: int = 1
    zero_bits: int = 0
    row_scale_bytes: int = 0
    matrix_bytes: int = 0
    block_bytes: int = 0
    """Bytes of one whole block of `group` elements, where the format packs its scales (GGUF)."""
    quantises: frozenset[str] = LINEAR
    otherwise: str = "bf16"
    """Format of the tensors that it does not convert."""


def _plain(bits: int, name: str) -> Format:
    return Format(bits, "IEEE 754 / bfloat16", quantises=frozenset(), otherwise=name)


def _int4(group: int, *, zeros: bool) -> Format:
    # GPTQ and AWQ: an fp16 scale a group, and in asymmetric releases a 4-bit zero point.
    return Format(4, "AutoGPTQ, AutoAWQ", group, scale_bytes=2, zero_bits=4 if zeros else 0)


def _fp8_block(scale_bytes: int, source: str) -> Format:
    return Format(8, source, 128, scale_bytes=scale_bytes, tile_rows=128)


def _gguf(bits: int, block_bytes: int, group: int = 256) -> Format:
    source = "ggml-common.h, block_q*"
    return Format(bits, source, group, block_bytes=block_bytes, quantises=GGUF, otherwise="fp32")


FORMATS: dict[str, Format] = {
    "fp32": _plain(32, "fp32"),
    "bf16": _plain(16, "bf16"),
    "fp16": _plain(16, "fp16"),
    "fp8": Format(8, "vLLM fp8, one fp32 scale a matrix", matrix_bytes=4),
    "fp8-block": _fp8_block(4, "DeepSeek-V3 technical report, section 3.3; fp32 scale a 128x128 tile"),
    "fp8-block-bf16": _fp8_block(2, "Qwen3 FP8 releases; bf16 scale a 128x128 tile"),
    "fp8-block-e8m0": _fp8_block(1, "DeepSeek-V3.2 and V4, scale_fmt ue8m0; one byte a 128x128 tile"),
    "fp8-channel": Format(8, "compressed-tensors float-quantized, strategy channel", row_scale_bytes=2),
    "int8": Format(8, "compressed-tensors int-quantized, strategy channel", row_scale_bytes=2),
    "int4-g32": _int4(32, zeros=False),
    "int4-g64": _int4(64, zeros=False),
    "int4-g128": _int4(128, zeros=False),
    "int4-g32-zp": _int4(32, zeros=True),
    "int4-g64-zp": _int4(64, zeros=True),
    "int4-g128-zp": _int4(128, zeros=True),
    "mxfp4": Format(4, "OCP Microscaling 1.0: E8M0 scale a group of 32", 32, scale_bytes=1),
    # weight_scale_2 and input_scale, one fp32 each, beside one fp8 scale a group of 16.
    "nvfp4": Format(4, "NVIDIA ModelOpt NVFP4 releases", 16, scale_bytes=1, matrix_bytes=8),
    "q2_k": _gguf(2, 84),
    "q3_k": _gguf(3, 110),
    "q4_k": _gguf(4, 144),
    "q5_k": _gguf(5, 176),
    "q6_k": _gguf(6, 210),
    "q8_0": _gguf(8, 34, 32),
}

# What llama.cpp stores instead where a row is no multiple of 256 (llama_tensor_get_type).
GGUF_FALLBACK = {
    "q2_k": "iq4_nl",
    "q3_k": "iq4_nl",
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
    "q8_0": "fp16",
}
_FALLBACKS = {
    "iq4_nl": _gguf(4, 18, 32),
    "q5_0": _gguf(5, 22, 32),
    "q5_1": _gguf(5, 24, 32),
    "q8_0": FORMATS["q8_0"],
}


def matrix_bytes(name: str, shape: Sequence[int]) -> int:
    """Bytes of one matrix of `shape` (outputs first; leading dimensions are rows) in format `name`."""
    rows, columns = _rows(shape), shape[-1]
    if name in DTYPE_BYTES:
        return rows * columns * DTYPE_BYTES[name]
    form = FORMATS[name]
    if form.block_bytes:
        return _gguf_bytes(name, rows, columns)
    groups = _ceil(columns, form.group) * _ceil(rows, form.tile_rows) if form.group else 0
    data = _ceil(rows * columns * form.bits, 8)
    zeros = _ceil(groups * form.zero_bits, 8)
    return data + groups * form.scale_bytes + zeros + rows * form.row_scale_bytes + form.matrix_bytes


def _gguf_bytes(name: str, rows: int, columns: int) -> int:
    form = FORMATS[name]
    while columns % form.group:
        name = GGUF_FALLBACK[name]
        if name in DTYPE_BYTES or columns % 32:
            return rows * columns * DTYPE_BYTES["fp16"]
        form = _FALLBACKS[name]
    return rows * (columns // form.group) * form.block_bytes


def _rows(shape: Sequence[int]) -> int:
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)
