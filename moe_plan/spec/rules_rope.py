"""Rules of rotary positions: channels that a head has, bases and ramps that make frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.spec.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.spec.attention import AnyAttention
    from moe_plan.spec.rope import Rope, RopeScaling
    from moe_plan.spec.yaml_reader import Path


def rope_findings(block: AnyAttention, path: Path) -> Iterator[Finding]:
    """What contradicts itself in the rotary positions of an attention block, where it has any."""
    match block.kind:
        case "gqa" | "compressed" | "moa":
            width = block.head_dim
        case "mla":
            width = block.rope_dim
        case _:
            return
    if block.rope is not None:
        yield from _rope(block.rope, width, (*path, "rope"))


def _rope(rope: Rope, width: int, path: Path) -> Iterator[Finding]:
    if rope.dim is not None and rope.dim > width:
        yield Finding("MP132", (*path, "dim"), f"turns {rope.dim} channels of a head of {width}")
    elif rope.dim is not None and rope.dim % 2:
        yield Finding("MP133", (*path, "dim"), f"channels turn in pairs, and {rope.dim} is odd")
    if rope.theta <= 1:
        yield Finding("MP132", (*path, "theta"), "a base of 1 or less slows no channel; it must be above 1")
    if rope.scaling is None:
        return
    if rope.proportional:
        yield Finding("MP134", (*path, "proportional"), "proportional and scaling exclude each other")
    yield from _scaling(rope.scaling, (*path, "scaling"))


def _scaling(scaling: RopeScaling, path: Path) -> Iterator[Finding]:
    if scaling.kind == "llama3":
        if scaling.low_freq_factor >= scaling.high_freq_factor:
            message = f"must be below high_freq_factor ({scaling.high_freq_factor:g})"
            yield Finding("MP132", (*path, "low_freq_factor"), message)
    elif scaling.beta_slow > scaling.beta_fast:
        message = f"must not be above beta_fast ({scaling.beta_fast:g})"
        yield Finding("MP132", (*path, "beta_slow"), message)
