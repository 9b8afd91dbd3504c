"""DeepSeek-V4's attention: a window of shared key-value vectors, and entries that stand for older tokens.

One vector of `head_dim` serves every head as key and as value. Its last channels are turned by its position,
so the mixed values are turned back by the query's. With an indexer a token sees the best `top_k` entries,
without one all that are complete. After transformers' DeepseekV4 classes.

Widest moments, beside input and cache: query and output [B, T, H, d] each, the window's and the entries' new
vectors, and of a block of b queries the scores of the window [B, b * H, W] and of the entries [B, b * H, E],
once, weighed in place (in a narrow type while both that and float32 are there), then its mixed vectors
[B, b * H, d]; or, where these are small, the query before and after its norm or its rotation.

Legend: B sequences, T new tokens, D hidden, H heads, d width of a head, b queries of a block, W keys of the
window, E entries, G groups of the output, R width of the compressed query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.attention.attend import Visible
from moe_plan.replica.attention.compressor import Compressor, EntryIndexer
from moe_plan.replica.attention.indexer import KEPT, Choice
from moe_plan.replica.attention.parts import Part, attend_to
from moe_plan.replica.attention.spans import Span, looked_at, spans
from moe_plan.replica.mixer import Mixer
from moe_plan.replica.norm import rms
from moe_plan.replica.rope import rotate
from moe_plan.replica.store import State, Store

if TYPE_CHECKING:
    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import CompressedAttention
    from moe_plan.spec.model import Norm


class Seen(NamedTuple):
    """What the new tokens may look at."""

    window_BWd: Tensor
    first: int
    """Position of the window's first key."""
    entries_BEd: Tensor | None
    choice: Choice | None


class Compressed(Mixer):
    """One block of window and compressed attention."""

    q_a: Tensor
    q_a_norm: Tensor
    q_b: Tensor
    kv: Tensor
    kv_norm: Tensor
    o_a: Tensor
    o_b: Tensor
    sinks: Tensor

    def __init__(self, spec: CompressedAttention, hidden: int, norm: Norm) -> None:
        super().__init__()
        self.spec, self.eps, self.visible = spec, norm.eps, Visible(spec.window)
        width = spec.heads * spec.head_dim
        self.declare("q_a", spec.q_rank, hidden)
        self.declare("q_a_norm", spec.q_rank, start="norm")
        self.declare("q_b", width, spec.q_rank)
        self.declare("kv", spec.head_dim, hidden)
        self.declare("kv_norm", spec.head_dim, start="norm")
        self.declare("o_a", spec.o_groups, spec.o_rank, width // spec.o_groups)
        self.declare("o_b", hidden, spec.o_groups * spec.o_rank)
        if spec.sinks:
            self.declare("sinks", spec.heads, start="vector")
        has_entries = spec.ratio is not None
        indexer = spec.indexer if has_entries else None
        self.compressor = Compressor(spec, spec.head_dim, hidden, norm) if has_entries else None
        own = indexer is not None and not indexer.shared
        self.indexer = EntryIndexer(spec, indexer, hidden, norm) if own and indexer else None
        self.chooses = indexer is not None

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """The window's vectors in a ring; entries, and keys of the indexer, with what they wait for."""
        kept: State = {"attention.window": Store(batch, self.spec.head_dim, capacity, like, self.spec.window)}
        for block in (self.compressor, self.indexer):
            if block is not None:
                kept |= block.state(batch, capacity, like)
        return kept

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Attention output of the new tokens, [B, T, D]."""
        low_BTR = rms(functional.linear(x_BTD, self.q_a), self.q_a_norm, self.eps)
        choice = self._choice(x_BTD, low_BTR, state, call)
        query_BTHd = self._query(low_BTR, call)
        del low_BTR
        entries = None if self.compressor is None else self.compressor.entries(x_BTD, state, call)
        seen = self._seen(x_BTD, state, call)._replace(entries_BEd=entries, choice=choice)
        sinks_H = self.sinks if self.spec.sinks else None
        out_BTHd = torch.empty_like(query_BTHd)
        for index, span in enumerate(spans(call.start, call.tokens, call.options.query_block)):
            block = slice(span.first, span.last)
            out_BTHd[:, block] = attend_to(self._parts(seen, span, index), query_BTHd[:, block], sinks_H)
        del query_BTHd, seen, entries
        out_BTHd = self._turned(out_BTHd, call, back=True)
        return self._projected(out_BTHd)

    def _choice(self, x_BTD: Tensor, low_BTR: Tensor, state: State | None, call: Call) -> Choice | None:
        """Which entries each new token attends to; None where it sees them all."""
        if not self.chooses:
            return None
        if self.indexer is not None:
            call.kept[KEPT] = self.indexer(x_BTD, low_BTR, state, call)
        kept: Choice = call.kept[KEPT]
        return kept

    def _query(self, low_BTR: Tensor, call: Call) -> Tensor:
        shape = (*low_BTR.shape[:2], self.spec.heads, self.spec.head_dim)
        heads_BTHd = functional.linear(low_BTR, self.q_b).view(shape)
        normed = rms(heads_BTHd, None, self.eps)
        del heads_BTHd
        return self._turned(normed.mul_(self.spec.head_dim**-0.5), call)

    def _turned(self, x_BTHd: Tensor, call: Call, *, back: bool = False) -> Tensor:
        """The last channels of each head turned by its position, or back."""
        rope = self.spec.rope
        if rope is None:
            return x_BTHd
        cos_TR, sin_TR = call.rope(rope, self.spec.head_dim, x_BTHd.dtype)
        sin_TR = sin_TR.neg() if back else sin_TR
        return rotate(x_BTHd, cos_TR[:, None], sin_TR[:, None], interleaved=rope.interleaved, last=True)

    def _seen(self, x_BTD: Tensor, state: State | None, call: Call) -> Seen:
        """The vectors of the windows of the new tokens."""
        flat = rms(functional.linear(x_BTD, self.kv), self.kv_norm, self.eps)
        vectors_BTd = self._turned(flat.unsqueeze(2), call).squeeze(2)
        del flat
        if not state:
            return Seen(vectors_BTd, call.start, None, None)
        store = state["attention.window"]
        assert isinstance(store, Store)
        low = self.visible.low(call.start)
        return Seen(store.extend(vectors_BTd, call.start - low), low, None, None)

    def _parts(self, seen: Seen, span: Span, index: int) -> list[Part]:
        """What a block of queries looks at: its window, and the entries that it sees."""
        queries, ratio = span.positions, self.spec.ratio
        low = self.visible.low(queries.start)
        near = seen.window_BWd[:, low - seen.first : queries.stop - seen.first]
        window = Part(near, self.visible.mask(queries, range(low, queries.stop), near.device), "")
        if seen.entries_BEd is None or ratio is None or span.entries(ratio) == 0:
            return [window]
        chosen_Bbk = None if seen.choice is None else seen.choice[index]
        (entries_BEd,), mask = looked_at((seen.entries_BEd,), span, chosen_Bbk, ratio)
        return [window, Part(entries_BEd, mask, "_compressed")]

    def _projected(self, out_BTHd: Tensor) -> Tensor:
        """The low-rank output of each group of heads, then all groups together, [B, T, D]."""
        batch, tokens = out_BTHd.shape[:2]
        rows_GMw = out_BTHd.view(batch * tokens, self.spec.o_groups, -1).transpose(0, 1)
        low_GMr = torch.bmm(rows_GMw, self.o_a.transpose(1, 2))
        low_BTW = low_GMr.transpose(0, 1).reshape(batch, tokens, -1)
        return functional.linear(low_BTW, self.o_b)
