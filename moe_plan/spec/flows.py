"""What each flow of a layer needs: how many attention blocks, which FFN blocks, how many norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from moe_plan.spec.model import Flow, Run


class Shape(NamedTuple):
    """The blocks of a flow that joins certain blocks in a certain order."""

    attention: int
    ffn: tuple[str, ...]
    """Kinds, in their order."""
    norms: int


# Flows that are not here take any blocks.
SHAPES: dict[Flow, Shape] = {
    "dense-residual": Shape(1, ("dense", "moe"), 3),
    "shortcut": Shape(2, ("dense", "dense", "moe"), 4),
    "parallel-sandwich": Shape(1, ("dense", "moe"), 7),
}


def norm_count(run: Run) -> int:
    """Norms of hidden width in a layer of `run`: what its flow takes, unless the run says it."""
    return flow_norms(run) if run.norms is None else run.norms


def flow_norms(run: Run) -> int:
    """Norms that the flow of `run` takes: two a block in a sandwich, one a block in most."""
    shape = SHAPES.get(run.flow)
    if shape is not None:
        return shape.norms
    blocks = len(block_names(run.attention)) + len(block_names(run.ffn))
    return 2 * blocks if run.flow == "sandwich" else blocks


def block_names(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The blocks that a run names, in order."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value
