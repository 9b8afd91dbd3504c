"""Multi-head, grouped-query and multi-query attention, with every option that a spec has for it.

In the order of the forward: queries, keys and values, the cache, scores and weights, output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.moments import relative, rope, store
from moe_plan.witness.moments.attend import Heads, Sight, attend
from moe_plan.witness.moments.norm import rms

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
    width = spec.heads * (spec.value_dim or spec.head_dim)
    queries = _queries(tape, spec, run, norm)
    sight = Sight(spec.window, spec.chunk, causal=spec.causal and not spec.cross)
    seen = _seen(tape, spec, run, norm)
    keys = run.source if spec.cross else run.tokens + (sight.back(run.start) if run.cached else 0)
    scoring = _sinks(tape, spec, run) + relative.bias(tape, spec, run, keys)
    heads = Heads(
        run.sequences * spec.kv_heads,
        spec.heads // spec.kv_heads,
        spec.value_dim or spec.head_dim,
        spec.head_dim,
        sinks=spec.sinks,
    )
    out = attend(tape, run, sight, heads, keys)
    tape.give(scoring, queries, seen)
    tape.stage("attention output")
    if run.tokens > 1 and spec.heads > 1:
        # Heads of a token stand side by side only in a copy.
        out = tape.swap(out, out)
    if spec.gate:
        tape.flash(run.rows * width * run.itemsize)
    tape.take(run.wide)
    tape.give(out)
    return run.wide


def _queries(tape: Tape, spec: Attention, run: Run, norm: Norm) -> int:
    tape.stage("queries")
    low = 0
    if spec.q_rank is not None:
        flat = tape.take(run.rows * spec.q_rank * run.itemsize)
        low = rms(tape, run.rows * spec.q_rank, spec.q_rank, run.itemsize)
        tape.give(flat)
    flat = tape.take(run.rows * spec.heads * spec.head_dim * run.itemsize)
    queries = _heads(tape, spec, run, norm, spec.heads)
    tape.give(low)
    return _without(tape, flat, queries)


def _heads(tape: Tape, spec: Attention, run: Run, norm: Norm, heads: int) -> int:
    """Bytes of the heads made from flat rows, which stay; 0 where they are the rows themselves."""
    elements = run.rows * heads * spec.head_dim
    out = 0
    if spec.qk_norm == "whole":
        out = _normed(tape, spec, run, norm, elements, heads * spec.head_dim)
    by_head = spec.qk_norm in ("head", "unit")
    if by_head and not spec.qk_norm_after_rope:
        tape.give(out)
        out = _normed(tape, spec, run, norm, elements, spec.head_dim)
    turns = spec.rope is not None and not spec.cross
    if turns and spec.rope is not None:
        rope.tables(tape, run, spec.rope, spec.head_dim)
        tape.stage("turned heads")
        out = tape.swap(out, elements * run.itemsize)
    if by_head and spec.qk_norm_after_rope:
        normed = _normed(tape, spec, run, norm, elements, spec.head_dim)
        tape.give(out)
        out = normed
    if not turns and run.tokens > 1 and heads > 1:
        out = tape.swap(out, elements * run.itemsize)
    return out


def _normed(tape: Tape, spec: Attention, run: Run, norm: Norm, elements: int, width: int) -> int:
    return rms(
        tape,
        elements,
        width,
        run.itemsize,
        weighs=spec.qk_norm in ("head", "whole"),
        zero_centered=norm.zero_centered,
    )


def _without(tape: Tape, flat: int, made: int) -> int:
    """Free the rows that something was made from; returns what is left of the two."""
    if not made:
        return flat
    tape.give(flat)
    return made


def _seen(tape: Tape, spec: Attention, run: Run, norm: Norm) -> int:
    """Bytes of keys and values that are freed after the attention, if they are."""
    if spec.cross:
        if run.start:
            return 0
        made = _keys(tape, spec, run._replace(tokens=run.source), norm)
        tape.give(*(made if run.cached else ()))
        return 0 if run.cached else sum(made)
    if spec.shared_kv:
        return 0
    made = _keys(tape, spec, run, norm)
    if run.cached and spec.causal:
        limit = spec.window or spec.chunk
        back = Sight(spec.window, spec.chunk).back(run.start)
        groups = run.sequences * spec.kv_heads
        width = spec.head_dim * run.itemsize
        keys = store.extend(tape, run, limit, back, groups * width, made.keys)
        width = (spec.value_dim or spec.head_dim) * run.itemsize
        values = store.extend(tape, run, limit, back, groups * width, made.values)
        made = Made(keys, values)
    tape.hand(KEYS, sum(made))
    return 0


def _keys(tape: Tape, spec: Attention, run: Run, norm: Norm) -> Made:
    """Keys and values of the rows of `run`."""
    tape.stage("keys and values")
    value_dim = spec.value_dim or spec.head_dim
    key = tape.take(run.rows * spec.kv_heads * spec.head_dim * run.itemsize)
    elements = run.rows * spec.kv_heads * value_dim
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
    if spec.keys_as_values:
        # One product is both, until each has a copy of its own.
        if keys and values:
            tape.give(key)
            return Made(keys, values)
        return Made(keys or key, values or (key if keys else 0))
    return Made(_without(tape, key, keys), _without(tape, value, values))


def _sinks(tape: Tape, spec: Attention, run: Run) -> int:
    """The sinks' logits once for each sequence."""
    if spec.sinks and run.sequences > 1 and spec.kv_heads > 1:
        return tape.take(run.sequences * spec.heads * run.itemsize)
    return 0
