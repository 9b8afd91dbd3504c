"""FLOPs by operation: what the inventory predicts for a forward, against what torch was seen to multiply."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.plan.ledger import Line
from moe_plan.witness.lines import compared
from moe_plan.witness.names import Place, place, rows, unnumbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moe_plan.anatomy.inventory import Block, Inventory, Operation, Phase, Weight
    from moe_plan.replica.model import Replica

Books = dict[Place, float]


class Forward(NamedTuple):
    """What was run: `sequences` of `tokens` new tokens each, at a context of `context` when they are in."""

    phase: Phase
    sequences: int
    tokens: int
    context: int
    source: int
    """Tokens of an encoder's input."""
    routed_rows: Mapping[int, int]
    """Rows that went through experts that hold weights, for each decoder layer that routes; asked for where a
    token may choose experts that hold none."""


def predicted_flops(inventory: Inventory, forward: Forward) -> Books:
    """FLOPs of each weight and operation of each layer; a decode step is one token at a context."""
    books: Books = {}
    for block, layer in rows(inventory):
        for weight in block.weights:
            flops = _of_weight(weight, block, layer, forward)
            if flops:
                _add(books, Place(block.part, layer, weight.name), flops)
        for operation in block.operations:
            if operation.phase in ("both", forward.phase):
                flops = forward.sequences * _of_operation(operation, forward)
                _add(books, Place(block.part, layer, unnumbered(operation.name)), flops)
    return books


def _of_weight(weight: Weight, block: Block, layer: int | None, forward: Forward) -> int:
    if weight.phase not in ("both", forward.phase) or weight.use not in ("matmul", "conv"):
        return 0
    # Without zero-compute experts every choice is a row, and what was run has no say in the prediction.
    if weight.pool > weight.copies and block.part == "decoder" and layer in forward.routed_rows:
        assert layer is not None
        return 2 * weight.elements * forward.routed_rows[layer]
    return weight.flops_per_token * forward.tokens * forward.sequences


def _of_operation(operation: Operation, forward: Forward) -> int:
    if operation.reach is None:
        return operation.flops * forward.tokens
    if forward.phase == "decode":
        return operation.flops * operation.reach.entries(
            forward.source if operation.source else forward.context
        )
    return operation.flops * operation.reach.entries_over_prefill(forward.context)


def _add(books: Books, where: Place, flops: float) -> None:
    books[where] = books.get(where, 0) + flops


def flop_lines(
    group: str, inventory: Inventory, replica: Replica, forward: Forward, counted: Mapping[str, int]
) -> Iterator[Line]:
    """One line an operation, then the sum; tensors that the replica stores as one are one line."""
    first = _first_names(replica)
    predicted: Books = defaultdict(int)
    for where, flops in predicted_flops(inventory, forward).items():
        predicted[_joined(where, first)] += flops
    measured: Books = defaultdict(int)
    for path, flops in counted.items():
        measured[_joined(_head(place(path), replica), first)] += flops
    yield from compared(group, "FLOP", predicted, measured)
    yield Line(group, "all operations", sum(predicted.values()), sum(measured.values()), "FLOP")


def _head(where: Place, replica: Replica) -> Place:
    """A tied head multiplies by the embedding table."""
    if replica.spec.tied and where.name == "embedding":
        return where._replace(name="lm_head")
    return where


def _joined(where: Place, first: Mapping[str, str]) -> Place:
    joined = place(first.get(where.path, where.path))
    return joined._replace(name=unnumbered(joined.name))


def _first_names(replica: Replica) -> dict[str, str]:
    """For each tensor, the name of the first that shares its storage."""
    owners: dict[int, str] = {}
    return {
        name: owners.setdefault(tensor.untyped_storage()._cdata, name)  # noqa: SLF001  identity of a storage
        for name, tensor in replica.tensors()
    }
