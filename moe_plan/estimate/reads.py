"""What a decode step reads: distinct experts, and weight bytes, at a batch of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.estimate.weights import weight_bytes_of

if TYPE_CHECKING:
    from moe_plan.anatomy.inventory import Inventory
    from moe_plan.estimate.weights import Storage


def mean_distinct_experts(inventory: Inventory, tokens: int) -> float | None:
    """Routed experts that `tokens` touch in an MoE layer, averaged over those layers; None if dense."""
    touched, layers = 0.0, 0
    for weight, count in inventory.text_weights():
        if weight.pool and weight.name.endswith(".down"):
            touched += count * weight.copies_touched(tokens)
            layers += count
    return touched / layers if layers else None


def decode_weight_bytes(inventory: Inventory, storage: Storage, tokens: int) -> int:
    """Expected weight bytes that one decode step over `tokens` tokens reads from memory.

    Every tensor counts `bytes * touched / copies`: dense ones whole, experts by how many distinct ones
    the batch touches, the embedding by rows. A tied head is read although it is not stored again, so
    that a large batch on a tied model reads its table twice.
    """
    whole, expected = 0, 0.0
    for weight, count in inventory.text_weights_run("decode"):
        if weight.copy:
            continue
        stored = count * weight_bytes_of(weight, storage)
        touched = weight.copies_touched(tokens)
        if touched == weight.copies:
            whole += stored
        else:
            expected += stored * (touched / weight.copies)
    return whole + round(expected)
