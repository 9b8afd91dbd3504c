"""What transformers' own forward computes beyond the model's definition, term by term.

A FLOP counter on transformers 5.23 sees the algorithm that its Python code runs, not the recurrence
that the paper defines: chunked scans padded to whole chunks, convolutions over their padding, an index
sum written as a matrix product. Each term below is one such difference, exact at every length S.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from moe_plan.anatomy.build import unfolded
from moe_plan.spec.flows import block_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.anatomy.inventory import Block, Weight
    from moe_plan.api import Model

Term = tuple[str, Fraction]


def reference_terms(model: Model, length: int) -> Iterator[Term]:
    """FLOPs of transformers' forward over `length` tokens less `weights*S + per_token*S + quadratic*S^2`."""
    for block in model.inventory.text:
        for weight in block.weights:
            if weight.use == "conv":
                yield from ((name, block.count * flops) for name, flops in _conv(weight, length))
        for spec in _attention(model, block):
            yield from ((name, block.count * flops) for name, flops in _mixer(spec, length))
        yield from _floored_entries(block, length)


def _attention(model: Model, block: Block) -> Iterator[Any]:
    """The attention specs of the layers that `block` gathers."""
    if not block.layers or block.role != "decoder":
        return
    run = list(unfolded(model.fields.layers))[block.layers[0]]
    for name in block_names(run.attention):
        yield model.fields.attention[name]


def _conv(weight: Weight, length: int) -> Iterator[Term]:
    """Padding on both sides: S + taps - 1 outputs, of which S are kept; one token also meets its cache."""
    channels, _, taps = weight.shape
    extra = Fraction(2 * channels * taps * (taps - 1))
    yield "convolution also computed over its padding", extra
    if length == 1:
        yield "convolution also computed over its cached inputs", extra


def _mixer(spec: Any, length: int) -> Iterator[Term]:
    if spec.kind == "gated-delta":
        yield from _delta(spec.value_heads, spec.key_dim, spec.value_dim, length)
    elif spec.kind == "kda":
        yield from _delta(spec.heads, spec.head_dim, spec.head_dim, length)
    elif spec.kind == "lightning":
        yield from _lightning(spec.heads, spec.head_dim, length)
    elif spec.kind == "mamba2":
        yield from _mamba2(spec, length)
    elif spec.kind == "mla" and spec.indexer is not None:
        flops = Fraction(2 * spec.indexer.heads * length**2)
        yield "indexer's weighted sum over heads as a matrix product", flops


def _delta(heads: int, key_dim: int, value_dim: int, length: int) -> Iterator[Term]:
    """Chunks of 64: three products of 64 keys inside a chunk; the recurrence also over the padding."""
    chunk = 64
    padded = -(-length // chunk) * chunk
    inside = 2 * chunk * (2 * key_dim + value_dim) * heads
    yield "delta rule: products inside chunks of 64", Fraction(padded * inside)
    yield (
        "delta rule: recurrence over the padding",
        Fraction((padded - length) * 6 * heads * key_dim * value_dim),
    )


def _lightning(heads: int, dim: int, length: int) -> Iterator[Term]:
    """Blocks of 256: scores and values inside a block, beside the recurrence."""
    blocks = [256] * (length // 256) + [length % 256]
    inside = sum(4 * heads * dim * block * block for block in blocks)
    yield "lightning attention: products inside blocks of 256", Fraction(inside)


def _mamba2(spec: Any, length: int) -> Iterator[Term]:
    """Chunks of 128 (Nemotron's config): scores and values inside a chunk, states passed between chunks."""
    chunk = 128
    heads, dim, state = spec.heads, spec.head_dim, spec.state
    chunks = -(-length // chunk)
    padded = chunks * chunk
    yield "Mamba-2: products inside chunks of 128", Fraction(padded * 2 * chunk * heads * (state + dim))
    yield "Mamba-2: recurrence over the padding", Fraction((padded - length) * 4 * heads * dim * state)
    passing = 2 * heads * (chunks + 1) ** 2 * dim * state
    yield "Mamba-2: states passed between chunks", Fraction(passing)


def _floored_entries(block: Block, length: int) -> Iterator[Term]:
    """Compressed entries come in whole numbers: S // stride of them, not S / stride."""
    for operation in block.operations:
        if operation.reach is not None and operation.reach.stride > 1:
            stride = operation.reach.stride
            missing = Fraction(length, stride) - length // stride
            yield "compressed entries in whole numbers", -block.count * operation.flops * length * missing
