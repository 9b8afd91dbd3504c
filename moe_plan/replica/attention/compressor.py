"""DeepSeek-V4's compressor: each `ratio` tokens become one entry, a gated mean of what they project to.

Every channel has a softmax of its own over the tokens of an entry. With overlap a token projects twice, for
its own entry and for the next one, which is so a mean over twice as many tokens. An entry is normed, and its
last channels are turned by the angles of its first token.

Projections of tokens whose entry is not complete, and with overlap those of the entry before, are kept in a
ring of their own (`pending_kv`, `pending_gate`): working memory of at most `ratio` tokens, twice that with
overlap, which does not grow with the context.

Widest moment: both projections of the new tokens (with those kept before them), the gates with their biases,
and the gates' softmax, each [B, E * ratio, W] for E new entries.

Legend: B sequences, T new tokens, D hidden, E entries, s tokens of an entry, W width of a projection, d width
of an entry, R width of the compressed query, H heads of the indexer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.attention.indexer import Asked, Choice, choose, weight_scale
from moe_plan.replica.block import Block
from moe_plan.replica.norm import rms
from moe_plan.replica.rope import rotate, tables
from moe_plan.replica.store import Store

if TYPE_CHECKING:
    from moe_plan.replica.call import Call
    from moe_plan.replica.store import State
    from moe_plan.spec.attention import CompressedAttention, Indexer
    from moe_plan.spec.model import Norm


class Compressor(Block):
    """Entries of width `head_dim` from hidden states; `owner.entries` is their cache."""

    kv: Tensor
    gate: Tensor
    position_bias: Tensor
    kv_norm: Tensor
    owner = "compressor"
    cached = "compressor.entries"

    def __init__(self, spec: CompressedAttention, head_dim: int, hidden: int, norm: Norm) -> None:
        super().__init__()
        assert spec.ratio is not None
        self.ratio, self.head_dim, self.eps, self.rope = spec.ratio, head_dim, norm.eps, spec.rope
        self.overlap = int(spec.overlap)
        self.width = head_dim * (1 + self.overlap)
        self.declare("kv", self.width, hidden)
        self.declare("gate", self.width, hidden)
        self.declare("position_bias", self.ratio, self.width, start="vector")
        self.declare("kv_norm", head_dim, start="norm")

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """Entries, and the projections of tokens that an entry still needs."""
        pending = self.ratio * (1 + self.overlap)
        return {
            self.cached: Store(batch, self.head_dim, capacity // self.ratio, like),
            f"{self.owner}.pending_kv": Store(batch, self.width, capacity, like, pending),
            f"{self.owner}.pending_gate": Store(batch, self.width, capacity, like, pending),
        }

    def entries(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Every complete entry up to the last new token, [B, E, d]."""
        made = range(call.start // self.ratio, (call.start + call.tokens) // self.ratio)
        lead = self.overlap if made.start else 0
        back = call.start - (made.start - lead) * self.ratio
        # Projections wait, and nothing is read of them, until an entry is complete.
        back = back if made else 0
        kv = self._with_pending("pending_kv", functional.linear(x_BTD, self.kv), state, back)
        gate = self._with_pending("pending_gate", functional.linear(x_BTD, self.gate), state, back)
        cache = None if not state else _store(state, self.cached)
        if not made:
            empty = x_BTD.new_empty((x_BTD.shape[0], 0, self.head_dim))
            return empty if cache is None else cache.slots_NSW[:, : cache.count]
        used = (len(made) + lead) * self.ratio
        pooled = self._pooled(kv[:, :used], gate[:, :used], lead)
        del kv, gate
        new_BEd = self._placed(rms(pooled, self.kv_norm, self.eps), made)
        return new_BEd if cache is None else cache.extend(new_BEd, cache.count)

    def _with_pending(self, name: str, new_BTW: Tensor, state: State | None, back: int) -> Tensor:
        """The projections of the last `back` earlier tokens and of the new ones, in order of time."""
        if not state:
            return new_BTW
        store = _store(state, f"{self.owner}.{name}")
        seen = store.extend(new_BTW, back)
        ring = 2 * self.ratio
        if self.overlap and new_BTW.shape[1] == 1 and back + 1 == ring and store.count % ring:
            # A ring that is full holds the newer half first here.
            return seen.view(-1, 2, self.ratio, self.width).flip(1).flatten(1, 2)
        return seen

    def _pooled(self, kv_BtW: Tensor, gate_BtW: Tensor, lead: int) -> Tensor:
        """Gated means [B, E, d] over whole entries; with `lead` the first is only there for the next."""
        shape = (kv_BtW.shape[0], -1, self.ratio, self.width)
        kv_BEsW = kv_BtW.reshape(shape)
        gate_BEsW = gate_BtW.reshape(shape) + self.position_bias
        if not self.overlap:
            return _softmax_over_tokens(gate_BEsW).mul_(kv_BEsW).sum(2)
        count, width = kv_BEsW.shape[1] - lead, self.head_dim
        both = gate_BEsW.new_full((gate_BEsW.shape[0], count, 2 * self.ratio, width), float("-inf"))
        # The first entry of a sequence has none before it: nothing weighs there.
        before, earlier, own = 1 - lead, slice(0, count - 1 + lead), slice(self.ratio, None)
        both[:, before:, : self.ratio] = gate_BEsW[:, earlier, :, :width]
        both[:, :, own] = gate_BEsW[:, lead:, :, width:]
        del gate_BEsW
        weights = _softmax_over_tokens(both)
        del both
        weights[:, before:, : self.ratio].mul_(kv_BEsW[:, earlier, :, :width])
        weights[:, :, own].mul_(kv_BEsW[:, lead:, :, width:])
        return weights.sum(2)

    def _placed(self, new_BEd: Tensor, made: range) -> Tensor:
        """Entries with the angles of the first of their tokens."""
        if self.rope is None:
            return new_BEd
        positions = torch.arange(made.start, made.stop, device=new_BEd.device).mul_(self.ratio)
        angles = tables(self.rope, self.head_dim, positions, new_BEd.dtype)
        return rotate(new_BEd, *angles, interleaved=self.rope.interleaved, last=True)


class EntryIndexer(Compressor):
    """The lightning indexer over entries: a smaller compressor makes its keys."""

    q: Tensor
    weights: Tensor
    owner = "indexer"
    cached = "indexer.keys"

    def __init__(self, spec: CompressedAttention, indexer: Indexer, hidden: int, norm: Norm) -> None:
        super().__init__(spec, indexer.head_dim, hidden, norm)
        self.spec = indexer
        self.declare("q", indexer.heads * indexer.head_dim, spec.q_rank)
        self.declare("weights", indexer.heads, hidden)

    def forward(self, x_BTD: Tensor, low_BTR: Tensor, state: State | None, call: Call) -> Choice:
        """The entries that each new token keeps; `low` is the compressed query of the attention."""
        keys_BEd = self.entries(x_BTD, state, call)
        shape = (*x_BTD.shape[:2], self.spec.heads, self.head_dim)
        query_BTHd = functional.linear(low_BTR, self.q).view(shape)
        if self.rope is not None:
            cos_TR, sin_TR = call.rope(self.rope, self.head_dim, x_BTD.dtype)
            query_BTHd = rotate(
                query_BTHd, cos_TR[:, None], sin_TR[:, None], interleaved=self.rope.interleaved, last=True
            )
        weights_BTH = functional.linear(x_BTD, self.weights).mul_(weight_scale(self.spec))
        return choose(Asked(query_BTHd, weights_BTH), keys_BEd, self.spec.top_k, call, self.ratio)


def _softmax_over_tokens(gate_BEsd: Tensor) -> Tensor:
    return torch.softmax(gate_BEsd, dim=2, dtype=torch.float32).to(gate_BEsd.dtype)


def _store(state: State, name: str) -> Store:
    kept = state[name]
    assert isinstance(kept, Store)
    return kept
