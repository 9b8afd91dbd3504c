"""FLOPs per token: matrix products of the weights on a token's path, plus attention over what it sees.

A multiply-add is 2. Softmax, norms, rotary embeddings, activations and decays are elementwise and not
counted, nor is the embedding lookup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

    from moe_plan.anatomy.inventory import Inventory, Operation, Phase

TRAINING_FACTOR = 3
"""Forward once and backward twice (arXiv 2001.08361, section 2.1)."""


class FlopTerms(NamedTuple):
    """Terms of F(S) of a forward over S tokens with every key computed, as a FLOP counter sees it."""

    weights: int
    """Per token, from weights."""
    per_token: int
    """Per token, from operations that see no earlier entries: recurrent states, stream mixing."""
    quadratic: Fraction
    """Per token and key, prefill form; windows, top-k and causality ignored, as an eager forward does."""


def weight_flops(inventory: Inventory, phase: Phase = "prefill") -> int:
    """FLOPs of one token in the weights: 2 for each parameter on its path that is multiplied.

    A decode step of an encoder-decoder runs neither the encoder nor the keys of its output again.
    """
    return sum(n * w.flops_per_token for w, n in inventory.text_weights_run(phase))


def flop_terms(inventory: Inventory) -> FlopTerms:
    """The terms to hold against a FLOP counter's linear and quadratic parts."""
    from fractions import Fraction  # noqa: PLC0415  only a FLOP counter is held against fractions

    per_token, quadratic = 0, Fraction(0)
    for operation, count in _operations(inventory, "prefill"):
        if operation.reach is None:
            per_token += count * operation.flops
        else:
            quadratic += Fraction(count * operation.flops, operation.reach.stride)
    return FlopTerms(weight_flops(inventory), per_token, quadratic)


def decode_flops(inventory: Inventory, context: int) -> int:
    """FLOPs of the next token of a sequence whose context, that token included, is `context` tokens."""
    attention = sum(
        n * o.flops * (1 if o.reach is None else o.reach.entries(context))
        for o, n in _operations(inventory, "decode")
    )
    return weight_flops(inventory, "decode") + attention


def prefill_flops(inventory: Inventory, context: int) -> int:
    """FLOPs of a causal prefill of `context` tokens in all, logits computed for every token."""
    attention = sum(
        n * o.flops * (context if o.reach is None else o.reach.entries_over_prefill(context))
        for o, n in _operations(inventory, "prefill")
    )
    return weight_flops(inventory) * context + attention


def prefill_flops_per_token(inventory: Inventory, context: int) -> Fraction:
    """`prefill_flops` averaged over its tokens: full attention averages (context + 1) / 2 keys."""
    from fractions import Fraction  # noqa: PLC0415  `compare` rounds and does without

    return Fraction(prefill_flops(inventory, context), context)


def training_flops_per_token(inventory: Inventory, context: int) -> Fraction:
    """Forward and backward of a token of a causal sequence of `context` tokens: 3 times the prefill."""
    return TRAINING_FACTOR * prefill_flops_per_token(inventory, context)


def _operations(inventory: Inventory, phase: Phase) -> list[tuple[Operation, int]]:
    return [
        (operation, block.count)
        for block in inventory.text
        for operation in block.operations
        if operation.phase in ("both", phase)
    ]
