"""Mixture of attention experts: routed queries and outputs around an attention with shared keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.witness.moments import rope
from moe_plan.witness.moments.attend import Heads, Sight, attend
from moe_plan.witness.moments.tape import FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import AttentionExperts
    from moe_plan.witness.moments.tape import Run, Tape


def moments(tape: Tape, spec: AttentionExperts, run: Run, counts: tuple[int, ...]) -> int:
    """One block with `counts` rows for each expert; its input is live already. Returns the output's bytes."""
    width = spec.heads * spec.head_dim * run.itemsize
    routed = _routed(tape, spec, run)
    queries = _queries(tape, spec, run, counts)
    seen = _seen(tape, spec, run)
    heads = Heads(run.sequences * spec.heads, spec.top_k, spec.head_dim, spec.head_dim)
    mixed = attend(tape, run, Sight(), heads, run.start + run.tokens)
    tape.give(queries, seen)
    tape.stage("attention output")
    if _moved(spec, run):
        mixed = tape.swap(mixed, mixed)
    out = tape.take(FP32 * run.rows * run.hidden)
    for count in filter(None, counts):
        picked = tape.take(count * width)
        projected = tape.swap(picked, count * run.hidden * run.itemsize)
        tape.give(tape.swap(projected, FP32 * count * run.hidden) if run.narrow else projected)
    if run.narrow:
        tape.take(run.wide)
        tape.give(out)
    tape.give(mixed, routed)
    return run.wide


def _moved(spec: AttentionExperts, run: Run) -> bool:
    """Whether heads, experts and tokens change places, which takes a copy."""
    return sum(size > 1 for size in (spec.heads, spec.top_k, run.tokens)) > 1


def _routed(tape: Tape, spec: AttentionExperts, run: Run) -> int:
    """Place, token and weight of each row; returns their bytes."""
    tape.stage("attention router")
    rows = run.rows * spec.top_k
    logits = tape.take(run.rows * spec.experts * run.itemsize)
    if run.narrow:
        logits = tape.swap(logits, FP32 * run.rows * spec.experts)
    best = tape.take((FP32 + INT64) * rows)
    tape.flash(INT64 * spec.experts)
    weights = tape.take(FP32 * rows)
    places = tape.take(INT64 * rows)
    tape.flash(INT64 * rows)
    kept = tape.take((INT64 + FP32) * rows)
    tape.give(logits, best, weights)
    return places + kept


def _queries(tape: Tape, spec: AttentionExperts, run: Run, counts: tuple[int, ...]) -> int:
    """Each token's queries by its experts, turned."""
    tape.stage("queries")
    width = spec.heads * spec.head_dim * run.itemsize
    queries = tape.take(run.rows * spec.top_k * width)
    for count in filter(None, counts):
        tape.give(tape.swap(tape.take(count * run.hidden * run.itemsize), count * width))
    return _turned(tape, spec, run, queries, copies=_moved(spec, run))


def _seen(tape: Tape, spec: AttentionExperts, run: Run) -> int:
    """Keys and values, where no cache takes them."""
    tape.stage("keys and values")
    size = run.rows * spec.heads * spec.head_dim * run.itemsize
    by_head = run.tokens > 1 and spec.heads > 1
    keys = _turned(tape, spec, run, tape.take(size), copies=by_head)
    values = tape.take(size)
    if by_head and run.sequences > 1:
        values = tape.swap(values, size)
    if not run.cached:
        return keys + values
    tape.give(keys, values)
    return 0


def _turned(tape: Tape, spec: AttentionExperts, run: Run, size: int, *, copies: bool) -> int:
    if spec.rope is not None:
        rope.tables(tape, run, spec.rope, spec.head_dim)
    return tape.swap(size, size) if spec.rope is not None or copies else size
