"""Routers: scores of every choice for every token, and what is made of them to choose and to weigh.

Scores and choice are in float32; the order is that of the forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments.norm import rms
from moe_plan.witness.moments.tape import BOOL, FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.witness.moments.tape import Run, Tape

JUDGES = 2
"""Experts that a group is judged by, where it is not by its best alone."""


def moments(tape: Tape, spec: MoeFfn, run: Run) -> int:
    """Bytes of the choice, which stay taken: ids in int64 and weights of [T, K]."""
    tape.stage("router")
    tokens, router = run.rows, spec.router
    each = FP32 * tokens * (spec.experts + spec.zero_experts)
    chosen = INT64 * tokens * spec.top_k
    logits = _logits(tape, spec, run)
    if router.score == "sparsemixer":
        scores, weights = 0, _sparsemixer(tape, spec, tokens)
    else:
        if router.token_table:
            tape.take(chosen)
        scores = tape.take(each)
        if not router.token_table:
            _best(tape, spec, tokens, scores)
        weights = tape.take(FP32 * tokens * spec.top_k)
    weights = _scaled(tape, spec, run, weights)
    tape.give(logits, scores)
    return chosen + weights


def _logits(tape: Tape, spec: MoeFfn, run: Run) -> int:
    choices = spec.experts + spec.zero_experts
    normed = 0
    if spec.router.input_scale:
        normed = rms(tape, run.rows * run.hidden, run.hidden, run.itemsize, weighs=False)
        normed = tape.swap(tape.swap(normed, run.wide), run.wide)
    logits = tape.take(run.rows * choices * run.itemsize)
    logits = tape.swap(logits, FP32 * run.rows * choices) if run.narrow else logits
    tape.give(normed)
    return logits


def _best(tape: Tape, spec: MoeFfn, tokens: int, scores: int) -> None:
    """The ids of the chosen stay; the copies of the scores that they are chosen from do not."""
    router, held = spec.router, 0
    if router.correction_bias is not None:
        held = tape.take(scores)
    if router.groups is not None and router.top_groups is not None:
        # What they are made of is looked at again for the zero-compute experts, and lives as long.
        held += _within_groups(tape, spec, tokens)
        held += tape.take(scores) if spec.zero_experts else 0
    tape.take(INT64 * tokens * spec.top_k)
    tape.flash(FP32 * tokens * spec.top_k)
    tape.give(held)


def _within_groups(tape: Tape, spec: MoeFfn, tokens: int) -> int:
    """Scores of the experts, with those of all but the best groups put out of reach."""
    router = spec.router
    assert router.groups is not None
    assert router.top_groups is not None
    all_scores, groups = FP32 * tokens * spec.experts, tokens * router.groups
    # Beside zero-compute experts, those of a group stand together only in a copy.
    copied = tape.take(all_scores) if spec.zero_experts and tokens > 1 else 0
    if router.group_score == "max":
        judged = tape.take(FP32 * groups)
    else:
        judges = min(JUDGES, spec.experts // router.groups)
        values = tape.take(FP32 * groups * judges)
        tape.flash(INT64 * groups * judges)
        judged = tape.swap(values, FP32 * groups)
    best = tape.take(INT64 * tokens * router.top_groups)
    tape.flash(FP32 * tokens * router.top_groups)
    out = tape.take(BOOL * groups)
    masked = tape.take(all_scores)
    tape.give(copied, judged, best, out)
    return masked


def _scaled(tape: Tape, spec: MoeFfn, run: Run, first: int) -> int:
    """Weights of the chosen, normed and scaled; the `first` ones live until the router returns."""
    router, weights = spec.router, 0
    if router.normalize:
        sums = tape.take(FP32 * run.rows)
        weights = tape.swap(sums, first)
    if router.scale != 1.0:
        weights = tape.swap(weights, first)
    if router.expert_scale:
        factors = tape.take(run.rows * spec.top_k * run.itemsize)
        weights = tape.swap(weights, first)
        tape.give(factors)
    if run.narrow:
        weights = tape.swap(weights, run.rows * spec.top_k * run.itemsize)
    if weights:
        tape.give(first)
    return weights or first


def _sparsemixer(tape: Tape, spec: MoeFfn, tokens: int) -> int:
    """Bytes of ids and weights, made slot after slot over the scores that are left."""
    choices = spec.experts + spec.zero_experts
    each, one = FP32 * tokens * choices, FP32 * tokens
    held = tape.take(each)
    best = far = left = 0
    for _ in range(spec.top_k):
        better = tape.take(one)
        held += tape.take(INT64 * tokens)
        tape.give(best)
        best = better
        both = tape.take(each) + tape.take(each)
        further = tape.swap(tape.swap(both, each), BOOL * tokens * choices)
        tape.give(far)
        far = further
        shares = tape.swap(tape.take(each), each)
        held += tape.take(one)
        tape.give(shares)
        left = tape.swap(left, each)
    tape.take(INT64 * tokens * spec.top_k)
    weights = tape.take(one * spec.top_k)
    tape.give(held, best, far, left)
    return weights
