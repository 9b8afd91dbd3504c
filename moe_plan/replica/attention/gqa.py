"""Multi-head, grouped-query and multi-query attention, with every option that a spec has for it.

Legend: B sequences, T new tokens, S keys, D hidden, G key-value heads, R query heads of each, d width of a
head, e width of a value head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.attention.attend import Asking, Keys, Scoring, Visible, attend
from moe_plan.replica.attention.relative import position_bias
from moe_plan.replica.attention.temperature import position_factors
from moe_plan.replica.mixer import Mixer
from moe_plan.replica.norm import rms
from moe_plan.replica.rope import rotate
from moe_plan.replica.store import State, Store

if TYPE_CHECKING:
    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import Attention
    from moe_plan.spec.model import Norm


class Widths(NamedTuple):
    """Widths of what an attention block reads."""

    hidden: int
    source: int


class GroupedQueryAttention(Mixer):
    """One attention block of kind `gqa`."""

    q: Tensor
    q_a: Tensor
    q_a_norm: Tensor
    q_b: Tensor
    q_norm: Tensor
    k: Tensor
    v: Tensor
    k_norm: Tensor
    o: Tensor
    gate: Tensor
    sinks: Tensor
    position_bias: Tensor
    q_bias: Tensor | None
    k_bias: Tensor | None
    v_bias: Tensor | None
    o_bias: Tensor | None

    def __init__(self, spec: Attention, widths: Widths, norm: Norm) -> None:
        super().__init__()
        self.spec, self.norm = spec, norm
        self.value_dim = spec.value_dim or spec.head_dim
        self.visible = Visible(spec.window, spec.chunk, causal=spec.causal and not spec.cross)
        self._declare_query(widths.hidden)
        if not spec.shared_kv:
            self._declare_keys(widths.source if spec.cross else widths.hidden)
        self._declare_output(widths.hidden)

    def _declare_query(self, hidden: int) -> None:
        spec, width = self.spec, self.spec.heads * self.spec.head_dim
        if spec.q_rank is None:
            self.declare("q", width, hidden)
        else:
            self.declare("q_a", spec.q_rank, hidden)
            self.declare("q_a_norm", spec.q_rank, start="norm")
            self.declare("q_b", width, spec.q_rank)
        self._declare_bias("q", width)
        if spec.qk_norm in ("head", "whole"):
            self.declare("q_norm", spec.head_dim if spec.qk_norm == "head" else width, start="norm")
        if spec.position_buckets is not None:
            self.declare("position_bias", spec.position_buckets, spec.heads, start="vector")

    def _declare_keys(self, hidden: int) -> None:
        spec = self.spec
        key_width, value_width = spec.kv_heads * spec.head_dim, spec.kv_heads * self.value_dim
        self.declare("k", key_width, hidden)
        if not spec.keys_as_values:
            self.declare("v", value_width, hidden)
            self._declare_bias("v", value_width)
        self._declare_bias("k", key_width)
        if spec.qk_norm in ("head", "whole"):
            self.declare("k_norm", spec.head_dim if spec.qk_norm == "head" else key_width, start="norm")

    def _declare_output(self, hidden: int) -> None:
        spec, width = self.spec, self.spec.heads * self.value_dim
        self.declare("o", hidden, width)
        self._declare_bias("o", hidden)
        if spec.gate:
            self.declare("gate", width, hidden)
        if spec.sinks:
            self.declare("sinks", spec.heads, start="vector")

    def _declare_bias(self, projection: str, width: int) -> None:
        if projection in self.spec.bias:
            self.declare(f"{projection}_bias", width, start="vector")
        else:
            setattr(self, f"{projection}_bias", None)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """Keys and values of each key-value head; none where they are another layer's or never read again."""
        spec, rows = self.spec, batch * self.spec.kv_heads
        if spec.shared_kv or not (spec.causal or spec.cross):
            return {}
        limit = spec.window or spec.chunk
        return {
            "attention.keys": Store(rows, spec.head_dim, capacity, like, limit),
            "attention.values": Store(rows, self.value_dim, capacity, like, limit),
        }

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Attention output of the new tokens, [B, T, D]."""
        q_NRTd = self._queries(x_BTD, call)
        seen = self._seen(x_BTD, state, call)
        asking = Asking(call.start, call.options.query_block)
        out_NRTe = attend(q_NRTd, seen, asking, self.visible, self._scoring(call, seen))
        del q_NRTd, seen
        batch, tokens = x_BTD.shape[:2]
        heads_BTHe = out_NRTe.view(batch, self.spec.heads, tokens, self.value_dim).transpose(1, 2)
        mixed = heads_BTHe.reshape(batch, tokens, self.spec.heads * self.value_dim)
        del heads_BTHe, out_NRTe
        if self.spec.gate:
            mixed.mul_(torch.sigmoid_(functional.linear(x_BTD, self.gate)))
        return functional.linear(mixed, self.o, self.o_bias)

    def _scoring(self, call: Call, seen: Keys) -> Scoring:
        spec = self.spec
        scale = spec.scale if spec.scale is not None else spec.head_dim**-0.5
        batch = call.ids_BT.shape[0]
        sinks = self.sinks.view(1, spec.kv_heads, -1).expand(batch, -1, -1) if spec.sinks else None
        return Scoring(
            scale,
            spec.softcap,
            None if sinks is None else sinks.reshape(batch * spec.kv_heads, -1),
            self._positions(call, seen),
        )

    def _positions(self, call: Call, seen: Keys) -> Tensor | None:
        """T5's bias [1, H, T, S], from this layer's table or from the last one that had one."""
        spec = self.spec
        if spec.cross or not (spec.shared_positions or spec.position_buckets is not None):
            return None
        if spec.position_buckets is not None:
            call.kept["position_table"] = self.position_bias
        table: Tensor = call.kept["position_table"]
        keys = range(seen.first, seen.first + seen.keys_NSd.shape[1])
        queries = range(call.start, call.start + call.tokens)
        bias_HTS = position_bias(table, queries, keys, spec.position_distance, causal=spec.causal)
        batch = call.ids_BT.shape[0]
        return (
            bias_HTS.view(1, spec.kv_heads, -1, *bias_HTS.shape[1:])
            .expand(batch, -1, -1, -1, -1)
            .flatten(0, 1)
        )

    def _queries(self, x_BTD: Tensor, call: Call) -> Tensor:
        spec = self.spec
        if spec.q_rank is None:
            flat = functional.linear(x_BTD, self.q, self.q_bias)
        else:
            low = rms(functional.linear(x_BTD, self.q_a), self.q_a_norm, self.norm.eps)
            flat = functional.linear(low, self.q_b, self.q_bias)
        weight = self.q_norm if spec.qk_norm in ("head", "whole") else None
        heads_BHTd = self._heads(flat, spec.heads, weight, call)
        if spec.temperature is not None:
            positions = range(call.start, call.start + call.tokens)
            factors_T = position_factors(spec.temperature, positions, flat.dtype, flat.device)
            heads_BHTd.mul_(factors_T[:, None])
        return heads_BHTd.view(-1, spec.heads // spec.kv_heads, *heads_BHTd.shape[2:])

    def _seen(self, x_BTD: Tensor, state: State | None, call: Call) -> Keys:
        """Keys and values that the new tokens may look at."""
        spec = self.spec
        if spec.cross:
            return self._source(state, call)
        if spec.shared_kv:
            kept: Keys = call.kept["keys"]
            return kept
        keys_NTd, values_NTe = self._keys(x_BTD, call)
        first = call.start
        if state:
            back = call.start - self.visible.low(call.start)
            keys_NTd = _store(state, "attention.keys").extend(keys_NTd, back)
            values_NTe = _store(state, "attention.values").extend(values_NTe, back)
            first -= back
        seen = Keys(keys_NTd, values_NTe, first)
        call.kept["keys"] = seen
        return seen

    def _keys(self, x_BTD: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        spec = self.spec
        key = functional.linear(x_BTD, self.k, self.k_bias)
        value = key if spec.keys_as_values else functional.linear(x_BTD, self.v, self.v_bias)
        weight = self.k_norm if spec.qk_norm in ("head", "whole") else None
        values_BGTe = _clipped(value, spec.clip).view(*value.shape[:2], spec.kv_heads, -1).transpose(1, 2)
        if spec.value_norm:
            values_BGTe = rms(values_BGTe, None, self.norm.eps)
        values_NTe = values_BGTe.reshape(-1, *values_BGTe.shape[2:])
        keys_BGTd = self._heads(key, spec.kv_heads, weight, call)
        return keys_BGTd.reshape(-1, *keys_BGTd.shape[2:]), values_NTe

    def _heads(self, flat_BTW: Tensor, heads: int, weight: Tensor | None, call: Call) -> Tensor:
        """Projected rows as normed and rotated heads, [B, heads, T, d]."""
        spec = self.spec
        flat_BTW = _clipped(flat_BTW, spec.clip)
        if spec.qk_norm == "whole":
            flat_BTW = self._normed(flat_BTW, weight)
        x_BHTd = flat_BTW.view(*flat_BTW.shape[:2], heads, spec.head_dim).transpose(1, 2)
        late = spec.qk_norm_after_rope
        if spec.qk_norm in ("head", "unit") and not late:
            x_BHTd = self._normed(x_BHTd, weight)
        if spec.rope is not None and not spec.cross:
            cos, sin = call.rope(spec.rope, spec.head_dim, x_BHTd.dtype)
            x_BHTd = rotate(x_BHTd, cos, sin, interleaved=spec.rope.interleaved)
        if spec.qk_norm in ("head", "unit") and late:
            x_BHTd = self._normed(x_BHTd, weight)
        return x_BHTd.contiguous()

    def _normed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return rms(x, weight, self.norm.eps, zero_centered=self.norm.zero_centered)

    def _source(self, state: State | None, call: Call) -> Keys:
        """Keys and values of the encoder's output: made once for a sequence."""
        keys = None if state is None else _store(state, "attention.keys")
        values = None if state is None else _store(state, "attention.values")
        if keys is None or values is None or keys.count == 0:
            assert call.source_BSD is not None
            keys_NSd, values_NSe = self._keys(call.source_BSD, call)
            if keys is None or values is None:
                return Keys(keys_NSd, values_NSe)
            return Keys(keys.extend(keys_NSd, 0), values.extend(values_NSe, 0))
        return Keys(keys.slots_NSW[:, : keys.count], values.slots_NSW[:, : values.count])


def _store(state: State, name: str) -> Store:
    kept = state[name]
    assert isinstance(kept, Store)
    return kept


def _clipped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp_(-limit, limit)
