"""Rules of flows: the blocks and norms that a layer needs for its blocks to be joined as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.spec.finding import Finding
from moe_plan.spec.flows import SHAPES, block_names, flow_norms
from moe_plan.spec.stacks import runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.flows import Shape
    from moe_plan.spec.model import Run
    from moe_plan.spec.stacks import Stack
    from moe_plan.spec.yaml_reader import Path


def flow_findings(stack: Stack) -> Iterator[Finding]:
    """What in a layer contradicts the order in which its blocks are joined."""
    for run, path, _ in runs(stack.part.layers, (*stack.path, "layers")):
        if not run.pattern:
            yield from _flow(run, stack, path)


def _flow(run: Run, stack: Stack, path: Path) -> Iterator[Finding]:
    shape = SHAPES.get(run.flow)
    if shape is not None and not _fits(run, shape, stack):
        yield Finding("MP134", (*path, "flow"), f"{run.flow} joins {_wanted(shape)}, in this order")
    elif run.norms is not None and run.norms != flow_norms(run):
        message = f"{run.norms} norms, but these blocks in a {run.flow} layer have {flow_norms(run)}"
        yield Finding("MP132", (*path, "norms"), message)
    if run.residual_alpha != 1 and run.flow != "normed-residual":
        message = f"a {run.flow} layer has no residual_alpha; a normed-residual one has"
        yield Finding("MP134", (*path, "residual_alpha"), message)
    if stack.part.hyper_connections is not None and run.flow != "sequential":
        message = f"hyper_connections join the blocks of a layer themselves, without {run.flow}"
        yield Finding("MP134", (*path, "flow"), message)


def _fits(run: Run, shape: Shape, stack: Stack) -> bool:
    """Whether a run has the blocks of a flow. A name that no block has is told elsewhere."""
    names = block_names(run.ffn)
    if len(block_names(run.attention)) != shape.attention or len(names) != len(shape.ffn):
        return False
    found = (stack.ffn.get(name) for name in names)
    return all(block is None or block.kind == kind for block, kind in zip(found, shape.ffn, strict=True))


def _wanted(shape: Shape) -> str:
    blocks = "one attention block" if shape.attention == 1 else f"{shape.attention} attention blocks"
    return f"{blocks} and ffn blocks of kind {', '.join(shape.ffn[:-1])} and {shape.ffn[-1]}"
