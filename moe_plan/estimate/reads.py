"""What a decode step reads: distinct experts, and weight bytes, at a batch of sequences."""

from __future__ import annotations

from math import expm1, log1p
from typing import TYPE_CHECKING

from moe_plan.estimate.inclusion import inclusion_probabilities
from moe_plan.estimate.weights import weight_bytes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def expected_distinct(popularity: Sequence[float], top_k: int, tokens: int) -> float:
    """Experts that `tokens` independent tokens touch on average, where experts differ in popularity.

    The sum over experts of 1 - (1 - P(e)) ** tokens, with P(e) the chance that one token's `top_k` draws
    without replacement hold expert e; equal popularities give `Weight.copies_touched`. Zero-compute experts
    count like others where `popularity` names them. Within 1e-12 of the sum, relatively; ValueError as
    `inclusion_probabilities`.
    """
    each = inclusion_probabilities(popularity, top_k)
    return sum(-expm1(tokens * log1p(-p)) if p < 1 else float(tokens > 0) for p in each)


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
