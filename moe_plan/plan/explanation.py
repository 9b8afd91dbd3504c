"""The rows of `explain`: tensors, operations and states, and what they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from moe_plan.anatomy.inventory import Phase, Role, Use
    from moe_plan.plan.question import Question
    from moe_plan.plan.scope import Scope

TEXT = "text model"
Remark = Literal["", "tied", "copy", "buffer"]


class Place(NamedTuple):
    """Where a row stands: the part, its role, and the run of identical layers."""

    part: str
    role: Role
    layers: tuple[tuple[int, int], ...]
    """First and last layer of each stretch; empty for what stands outside the layers."""
    layer_count: int
    """Layers that the row's sums cover, 1 outside the layers."""


class TensorRow(NamedTuple):
    """One tensor of a run; `parameters`, `flops_per_token` and `bytes` are of all its layers."""

    place: Place
    tensor: str
    component: str
    shape: tuple[int, ...]
    copies: int
    used: int
    use: Use
    parameters: int
    buffer_elements: int
    flops_per_token: int
    phase: Phase
    """`prefill` where a decode step does not run it: an encoder, the keys of its output."""
    format: str
    bytes: int
    remark: Remark
    """Why a tensor counts no parameters: tied, a copy, or a buffer; '' otherwise."""


class OperationRow(NamedTuple):
    """Work that belongs to no tensor, of all layers of a run, for the last token of the context."""

    place: Place
    operation: str
    component: str
    phase: Phase
    flops_per_entry: int
    entries: int
    flops_per_token: int
    """Of a decode step; 0 where the operation belongs to prefill alone."""
    prefill_flops: int
    """Of a causal prefill of the whole context; 0 where the operation belongs to decode alone."""


class StateRow(NamedTuple):
    """What one sequence keeps between tokens, of all layers of a run."""

    place: Place
    state: str
    elements_per_entry: int
    entries: int
    elements: int
    format: str
    bytes: int
    in_cache_format: bool
    """False for recurrent states, whose storage type `--kv` does not change."""


class Sums(NamedTuple):
    """What the rows add up to."""

    parameters: int
    buffer_elements: int
    weight_flops: int
    prefill_only_weight_flops: int
    """Of `weight_flops`, what a decode step does not run."""
    weight_bytes: int
    operation_flops: int
    prefill_operation_flops: int
    state_bytes: int


class Group(NamedTuple):
    """Rows that are summed together: those of the text model, or of one part beside it."""

    name: str
    in_text: bool
    tensors: tuple[TensorRow, ...]
    operations: tuple[OperationRow, ...]
    states: tuple[StateRow, ...]
    sums: Sums


class Explanation(NamedTuple):
    """The answer of `explain`: the text model first, then each part beside it."""

    name: str
    source: str
    question: Question
    scope: Scope
    groups: tuple[Group, ...]
