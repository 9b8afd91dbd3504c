"""Multi-head, grouped-query and multi-query attention, with every option that a spec has for it.

In the order of the forward: queries, keys and values, the cache, scores and weights, output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments import relative, rope, store
from moe_plan.witness.moments.attend import Heads, Sight, attend
from moe_plan.witness.moments.norm import rms, rms_zero_centered
from moe_plan.witness.moments.tape import FP32, INT64

if TYPE_CHECKING:
    from moe_plan.spec.attention import Attention
    from moe_plan.spec.model import Norm
    from moe_plan.witness.moments.tape import Run, Tape

KEYS = "keys"
"""What the last attention block leaves for those that share its keys and values."""


class Made(NamedTuple):
    """Keys and values that were just made: bytes that are taken."""

    keys: int
    values: int


def moments(tape: Tape, spec: Attention, run: Run, norm: Norm) -> int:
    """One block; its input is live already. Returns the bytes of its output."""
    queries = _queries(tape, spec, run, norm)
    seen = _seen(tape, spec, run, norm)
    sight = Sight(spec.window, spec.chunk, causal=spec.causal and not spec.cross)
    keys = run.source if spec.cross else run.tokens + (sight.back(run.start) if run.cached else 0)
    scoring = _sinks(tape, spec, run) + relative.bias(tape, spec, run, keys)
    out = attend(tape, run, sight, _sizes(spec, run), keys)
    tape.give(scoring, queries, seen)
    tape.stage("attention output")
    if run.tokens > 1 and spec.heads > 1:
        # Heads of a token stand side by side only in a copy.
        out = tape.swap(out, out)
    if spec.gate:
        tape.flash(out)
    return tape.swap(out, run.wide)


def _sizes(spec: Attention, run: Run) -> Heads:
    groups, heads = run.sequences * spec.kv_heads, spec.heads // spec.kv_heads
    return Heads(groups, heads, spec.value_dim or spec.head_dim, spec.head_dim, sinks=spec.sinks)


def _queries(tape: Tape, spec: Attention, run: Run, norm: Norm) -> int:
    tape.stage("queries")
    low = 0
    if spec.q_rank is not None:
        flat = tape.take(run.rows * spec.q_rank * run.itemsize)
        low = rms(tape, run.rows * spec.q_rank, spec.q_rank, run.itemsize)
        tape.give(flat)
    flat = tape.take(run.rows * spec.heads * spec.head_dim * run.itemsize)
    queries = _heads(tape, spec, run, norm, spec.heads)
    if spec.temperature is not None:
        tape.flash((INT64 + FP32 + (run.itemsize if run.narrow else 0)) * run.tokens)
    tape.give(low)
    return _without(tape, flat, queries)


def _heads(tape: Tape, spec: Attention, run: Run, norm: Norm, heads: int) -> int:
    """Bytes of the heads made from flat rows, which stay; 0 where they are the rows themselves."""
    size, out = run.rows * heads * spec.head_dim * run.itemsize, 0
    late = spec.qk_norm_after_rope and spec.qk_norm != "whole"
    if spec.qk_norm is not None and not late:
        out = _normed(tape, spec, run, norm, heads)
    turns = spec.rope is not None and not spec.cross
    if spec.rope is not None and turns:
        rope.tables(tape, run, spec.rope, spec.head_dim)
        tape.stage("turned heads")
        out = tape.swap(out, size)
    if spec.qk_norm is not None and late:
        normed = _normed(tape, spec, run, norm, heads)
        tape.give(out)
        out = normed
    if not turns and run.tokens > 1 and heads > 1:
        # A head's tokens stand one after the other only in a copy.
        out = tape.swap(out, size)
    return out


def _normed(tape: Tape, spec: Attention, run: Run, norm: Norm, heads: int) -> int:
    """A norm over each head, or over all of them."""
    elements = run.rows * heads * spec.head_dim
    width = heads * spec.head_dim if spec.qk_norm == "whole" else spec.head_dim
    if spec.qk_norm != "unit" and norm.zero_centered:
        return rms_zero_centered(tape, elements, width, run.itemsize)
    return rms(tape, elements, width, run.itemsize, weighs=spec.qk_norm != "unit")


def _without(tape: Tape, flat: int, made: int) -> int:
    """Free the rows that something was made from; returns what is left of the two."""
    if not made:
        return flat
    tape.give(flat)
    return made


def _seen(tape: Tape, spec: Attention, run: Run, norm: Norm) -> int:
    """Bytes of keys and values that are freed after the attention, if they are."""
    if spec.shared_kv or (spec.cross and run.start):
        return 0
    if spec.cross:
        made = _keys(tape, spec, run._replace(tokens=run.source), norm)
        tape.give(*(made if run.cached else ()))
        return 0 if run.cached else sum(made)
    made = _keys(tape, spec, run, norm)
    if run.cached and spec.causal:
        back, heads = Sight(spec.window, spec.chunk).back(run.start), run.sequences * spec.kv_heads
        widths = (spec.head_dim, spec.value_dim or spec.head_dim)
        rings = [store.Ring(spec.window or spec.chunk, back, heads * w * run.itemsize) for w in widths]
        keys = store.extend(tape, run, rings[0], made.keys)
        made = Made(keys, store.extend(tape, run, rings[1], made.values))
    tape.hand(KEYS, sum(made))
    return 0


def _keys(tape: Tape, spec: Attention, run: Run, norm: Norm) -> Made:
    """Keys and values of the rows of `run`."""
    tape.stage("keys and values")
    value_dim = spec.value_dim or spec.head_dim
    elements = run.rows * spec.kv_heads * value_dim
    key = tape.take(run.rows * spec.kv_heads * spec.head_dim * run.itemsize)
    value = 0 if spec.keys_as_values else tape.take(elements * run.itemsize)
    values = rms(tape, elements, value_dim, run.itemsize, weighs=False) if spec.value_norm else 0
    copied = 0
    if run.sequences > 1 and spec.kv_heads > 1 and run.tokens > 1:
        # Sequences and heads become one dimension only in a copy.
        copied = tape.take(elements * run.itemsize)
    keys = _heads(tape, spec, run, norm, spec.kv_heads)
    if copied:
        tape.give(values)
        values = copied
    if not spec.keys_as_values:
        return Made(_without(tape, key, keys), _without(tape, value, values))
    if keys and values:
        tape.give(key)
    # One product is both, until each has a copy of its own.
    return Made(keys or key, values or (key if keys else 0))


def _sinks(tape: Tape, spec: Attention, run: Run) -> int:
    """The sinks' logits once for each sequence."""
    if spec.sinks and run.sequences > 1 and spec.kv_heads > 1:
        return tape.take(run.sequences * spec.heads * run.itemsize)
    return 0
