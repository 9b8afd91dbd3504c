"""Is the model believable? A bound on its size, so that a slip of a unit is told and not computed with."""

from __future__ import annotations

from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, assert_never

from moe_plan.spec import attention, ffn, limits
from moe_plan.spec.finding import Finding
from moe_plan.spec.stacks import Stack, repeated, uses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.model import Tensor
    from moe_plan.spec.yaml_reader import Path

Block = attention.AnyAttention | ffn.AnyFfn


def size_findings(stack: Stack) -> Iterator[Finding]:
    """At most one finding, at the largest share: the stack's elements, roughly, against limits.PARAMETERS."""
    shares = tuple(_shares(stack))
    count = sum(share for share, _ in shares)
    if count > limits.PARAMETERS:
        path = max(shares, key=itemgetter(0))[1]
        message = f"implausible: about 1e{len(str(count)) - 1} parameters; check the counts and their units"
        yield Finding("MP135", path, message)


def _shares(stack: Stack) -> Iterator[tuple[int, Path]]:
    yield (0 if stack.path else stack.spec.vocab * stack.spec.hidden), ("vocab",)
    yield _tensor_elements(stack.part.tensors), (*stack.path, "tensors")
    blocks: dict[str, dict[str, Block]] = {"attention": {**stack.attention}, "ffn": {**stack.ffn}}
    for run, path, repeat in repeated(stack.part.layers, (*stack.path, "layers")):
        yield repeat * _tensor_elements(run.tensors), (*path, "tensors")
        for use in uses(run, path):
            block = blocks[use.slot].get(use.name)
            yield repeat * _elements(block, stack.hidden) if block else 0, use.path


def _tensor_elements(tensors: tuple[Tensor, ...]) -> int:
    return sum(prod(tensor.shape) for tensor in tensors)


def _elements(block: Block, d: int) -> int:  # noqa: C901, PLR0911  one line a kind of block
    """The order of magnitude of a block's largest matrices. The exact count is the inventory's."""
    match block:
        case attention.Attention():
            return d * block.head_dim * (block.heads + block.kv_heads)
        case attention.MlaAttention():
            q_width = block.heads * (block.nope_dim + block.rope_dim)
            return q_width * (block.q_rank or d) + block.heads * block.v_dim * (block.kv_rank + d)
        case attention.CompressedAttention():
            return (
                block.heads * block.head_dim * (block.q_rank + block.o_rank)
                + block.o_groups * block.o_rank * d
            )
        case attention.AttentionExperts():
            return block.experts * block.heads * block.head_dim * d
        case attention.GatedDelta():
            return d * (block.key_heads * block.key_dim + block.value_heads * block.value_dim)
        case attention.KimiDelta() | attention.LightningAttention():
            return d * block.heads * block.head_dim
        case attention.Mamba1():
            return block.inner * (d + block.state + block.dt_rank + block.conv)
        case attention.Mamba2():
            return (d + block.conv) * (block.heads * block.head_dim + block.groups * block.state)
        case attention.ShortConv():
            return d * (d + block.taps)
        case ffn.DenseFfn():
            return d * block.width
        case ffn.MoeFfn():
            return block.experts * block.width * (block.latent or d) + d * (block.shared_width or 0)
        case _:
            assert_never(block)
