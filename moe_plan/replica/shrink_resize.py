"""All sizes of a model made smaller together; its layers stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.replica.shrink_blocks import Sizing, smaller_attention, smaller_ffn
from moe_plan.replica.shrink_heads import COUNTS, head_counts, head_factors
from moe_plan.replica.shrink_lengths import DECODED, lengths
from moe_plan.replica.shrink_sizes import Tie, friendly, odd_sizes
from moe_plan.replica.shrink_widths import HIDDEN, STEP, VOCAB, WIDTHS, Width, least_width, widths
from moe_plan.spec.ffn import MoeFfn
from moe_plan.spec.stacks import stacks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from fractions import Fraction

    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.model import ModelSpec, Part, Run, Tensor

    Factors = Mapping[str, Fraction]

_LEAST_HIDDEN, _LEAST_VOCAB, _LEAST_OTHER = 16, 64, 16
# Releases of these kinds derive the width of a head from the residual stream's, or the reverse.
_TIED = ("gqa", "moa", "mamba2")


def resized(spec: ModelSpec, scale: Fraction, tokens: int, *, odd: bool) -> ModelSpec:
    """The model at `scale`, in every block and tensor."""
    sizing = _sizing(spec, scale, tokens, odd=odd)
    parts = {
        name: part.model_copy(update=_resized_stack(spec, part, sizing)) for name, part in spec.parts.items()
    }
    context = None if spec.context is None else max(tokens + DECODED, int(spec.context * scale))
    update = {"vocab": sizing.sizes[VOCAB, spec.vocab], "context": context, "parts": parts}
    return spec.model_copy(update=_resized_stack(spec, spec, sizing) | update)


def _sizing(spec: ModelSpec, scale: Fraction, tokens: int, *, odd: bool) -> Sizing:
    blocks = [block for stack in stacks(spec) for block in stack.part.attention.values()]
    factors = head_factors(blocks, scale, odd=odd)
    hidden = Width((HIDDEN, spec.hidden), spec.hidden * scale, _LEAST_HIDDEN)
    found = [hidden, *_widths(spec, scale, factors)]
    if odd:
        sizes = odd_sizes(found, _counts(spec, blocks, factors))
    else:
        sizes = friendly(found, hidden, _ties(spec, factors))
    return Sizing(scale, odd, factors, sizes, lengths(blocks, tokens))


def _widths(spec: ModelSpec, scale: Fraction, factors: Factors) -> Iterator[Width]:
    """Every width of the model: vocabulary, residual streams, then block by block."""
    yield Width((VOCAB, spec.vocab), spec.vocab * scale, _LEAST_VOCAB)
    for stack in stacks(spec):
        yield Width((HIDDEN, stack.hidden), stack.hidden * scale, _LEAST_HIDDEN)
    for stack in stacks(spec):
        for block in (*stack.part.attention.values(), *stack.part.ffn.values()):
            yield from widths(block, stack.hidden, scale, factors)
            indexer = getattr(block, "indexer", None)
            if indexer is not None:
                yield from widths(indexer, stack.hidden, scale, factors)


def _ties(spec: ModelSpec, factors: Factors) -> Iterator[Tie]:
    """Blocks of the decoder whose heads are together as wide as its residual stream, or a multiple of it."""
    for block in spec.attention.values():
        if block.kind in _TIED:
            heads, width = getattr(block, "heads", 1), getattr(block, "head_dim", 1)
            if heads * width % spec.hidden == 0:
                field = WIDTHS[block.kind][0]
                fewer = head_counts(block, COUNTS[block.kind], factors)["heads"]
                ratio = heads * width // spec.hidden
                yield Tie((field.role, width), fewer, ratio, max(STEP, least_width(field, block)))


def _counts(spec: ModelSpec, blocks: list[AnyAttention], factors: Factors) -> set[int]:
    """Heads and experts that there will be: odd widths must differ from them too."""
    heads = {
        count
        for block in blocks
        if block.kind in COUNTS
        for count in head_counts(block, COUNTS[block.kind], factors).values()
    }
    pools = [
        block for stack in stacks(spec) for block in stack.part.ffn.values() if isinstance(block, MoeFfn)
    ]
    return heads | {block.experts - 1 + block.experts % 2 for block in pools}


def _resized_stack(spec: ModelSpec, part: ModelSpec | Part, sizing: Sizing) -> dict[str, object]:
    """The fields of a stack that change: its width, its blocks, and the tensors that no block describes."""
    old = part.hidden or spec.hidden
    known = {spec.vocab: sizing.sizes[VOCAB, spec.vocab], old: sizing.sizes[HIDDEN, old]}

    def tensors(described: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(_resized_tensor(tensor, known, old, sizing.scale) for tensor in described)

    def run(layers: Run) -> Run:
        return layers.model_copy(update={"tensors": tensors(layers.tensors)})

    return {
        "hidden": None if part.hidden is None else sizing.sizes[HIDDEN, old],
        "attention": {name: smaller_attention(block, sizing) for name, block in part.attention.items()},
        "ffn": {name: smaller_ffn(block, sizing, old) for name, block in part.ffn.items()},
        "layers": tuple(run(layers) for layers in part.layers),
        "tensors": tensors(part.tensors),
    }


def _resized_tensor(tensor: Tensor, known: Mapping[int, int], hidden: int, scale: Fraction) -> Tensor:
    """Dimensions of hidden width or vocabulary as the model's; others follow the scale, small ones stay."""

    def resized_dim(size: int) -> int:
        if size in known:
            return known[size]
        if size % hidden == 0 and hidden > 1:
            return size // hidden * known[hidden]
        return min(size, max(_LEAST_OTHER, round(size * scale)))

    return tensor.model_copy(update={"shape": tuple(resized_dim(size) for size in tensor.shape)})
