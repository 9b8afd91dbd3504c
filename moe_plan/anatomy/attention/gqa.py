"""Multi-head, grouped-query and multi-query attention: arXiv 1706.03762, 1911.02150, 2305.13245.

Per layer: q d*h*dh, k and v d*g*dh, o h*dh*d; scores and values 4*h*dh FLOPs for each token seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.anatomy.inventory import Body, Operation, Reach, State, Weight

if TYPE_CHECKING:
    from moe_plan.spec.attention import Attention

ATTENTION = "attention"


def body(spec: Attention, hidden: int, source: int) -> Body:
    """Weights, KV cache and score operations of one attention block over `hidden` inputs.

    Cross-attention takes keys and values from an encoder's output, `source` wide, once for a sequence.
    """
    value_dim = spec.value_dim or spec.head_dim
    key_value = _key_value(spec, source if spec.cross else hidden, value_dim)
    if spec.cross:
        key_value = Body(key_value).in_prefill().weights
    return Body(
        (*_query(spec, hidden), *key_value, *_output(spec, hidden, value_dim)),
        _cache(spec, value_dim),
        _operations(spec, value_dim),
    )


def _query(spec: Attention, hidden: int) -> tuple[Weight, ...]:
    width = spec.heads * spec.head_dim
    rows = []
    if spec.q_rank is None:
        rows.append(Weight("attention.q", ATTENTION, (width, hidden), max_tp=spec.heads))
    else:
        rows.append(Weight("attention.q_a", ATTENTION, (spec.q_rank, hidden)))
        rows.append(Weight("attention.q_a_norm", ATTENTION, (spec.q_rank,), use="vector"))
        rows.append(Weight("attention.q_b", ATTENTION, (width, spec.q_rank), max_tp=spec.heads))
    if "q" in spec.bias:
        rows.append(Weight("attention.q_bias", ATTENTION, (width,), use="vector", max_tp=spec.heads))
    if spec.qk_norm in ("head", "whole"):
        rows.append(_norm("attention.q_norm", spec.head_dim, spec.heads, whole=spec.qk_norm == "whole"))
    if spec.position_buckets is not None:
        shape = (spec.position_buckets, spec.heads)
        rows.append(Weight("attention.position_bias", ATTENTION, shape, use="vector", max_tp=spec.heads))
    return tuple(rows)


def _key_value(spec: Attention, hidden: int, value_dim: int) -> tuple[Weight, ...]:
    if spec.shared_kv:
        return ()
    tp = spec.kv_heads
    key_width, value_width = tp * spec.head_dim, tp * value_dim
    rows = [Weight("attention.k", ATTENTION, (key_width, hidden), max_tp=tp)]
    if not spec.keys_as_values:
        rows.append(Weight("attention.v", ATTENTION, (value_width, hidden), max_tp=tp))
    if "k" in spec.bias:
        rows.append(Weight("attention.k_bias", ATTENTION, (key_width,), use="vector", max_tp=tp))
    if "v" in spec.bias and not spec.keys_as_values:
        rows.append(Weight("attention.v_bias", ATTENTION, (value_width,), use="vector", max_tp=tp))
    if spec.qk_norm in ("head", "whole"):
        rows.append(_norm("attention.k_norm", spec.head_dim, tp, whole=spec.qk_norm == "whole"))
    return tuple(rows)


def _output(spec: Attention, hidden: int, value_dim: int) -> tuple[Weight, ...]:
    width = spec.heads * value_dim
    rows = [Weight("attention.o", ATTENTION, (hidden, width), max_tp=spec.heads)]
    if "o" in spec.bias:
        rows.append(Weight("attention.o_bias", ATTENTION, (hidden,), use="vector"))
    if spec.gate:
        rows.append(Weight("attention.gate", ATTENTION, (width, hidden), max_tp=spec.heads))
    if spec.sinks:
        rows.append(Weight("attention.sinks", ATTENTION, (spec.heads,), use="vector", max_tp=spec.heads))
    return tuple(rows)


def _norm(name: str, head_dim: int, heads: int, *, whole: bool) -> Weight:
    if whole:
        return Weight(name, ATTENTION, (heads * head_dim,), use="vector", max_tp=heads)
    return Weight(name, ATTENTION, (head_dim,), use="vector")


def _cache(spec: Attention, value_dim: int) -> tuple[State, ...]:
    if spec.shared_kv or not (spec.causal or spec.cross):
        return ()
    # A chunked layer needs no more than its chunk; engines keep a rolling buffer of that size.
    reach = Reach(limit=spec.window or spec.chunk)
    tp = spec.kv_heads
    return (
        State("attention.keys", tp * spec.head_dim, reach, max_tp=tp, source=spec.cross),
        State("attention.values", tp * value_dim, reach, max_tp=tp, source=spec.cross),
    )


def _operations(spec: Attention, value_dim: int) -> tuple[Operation, ...]:
    reach = Reach(spec.window, spec.chunk, causal=spec.causal and not spec.cross)
    return (
        Operation("attention.scores", ATTENTION, 2 * spec.heads * spec.head_dim, reach, source=spec.cross),
        Operation("attention.mix", ATTENTION, 2 * spec.heads * value_dim, reach, source=spec.cross),
    )
