"""Mixture of attention experts (JetMoE, arXiv 2404.07413): routed query and output projections.

An expert is a pair of projections with `heads` heads of its own; all experts share keys and values. A token
runs the attention of its K experts beside each other, and their outputs are weighed by the router.

Widest moment of a prefill of one sequence in float32 and one block of queries, beside input, cache and the
tables of cosines and sines: in the attention, turned queries and its output, 2 x N x W, and the scores twice
(before and after the softmax), 2 x H x K x T x T; or, where heads are wider than the tokens are many, once
with the block's part of the output, N x W. For each row also its weight and, as int64, its place and its
token. Without a cache also keys and values, 2 x T x W.

Legend: B sequences, T new tokens of all of them, D hidden, X experts, K experts of a token, N = T x K rows, H
heads of an expert, d width of a head, W = H x d.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from moe_plan.replica.attention.attend import Asking, Keys, Scoring, Visible, attend
from moe_plan.replica.mixer import Mixer
from moe_plan.replica.rope import rotate
from moe_plan.replica.routing import Balanced
from moe_plan.replica.store import State, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import AttentionExperts
    from moe_plan.spec.model import Norm


class Rows(NamedTuple):
    """Rows of one expert."""

    expert: int
    row_n: Tensor
    """Where each stands among the N rows, int64: those of a token lie together."""
    token_n: Tensor
    weight_n1: Tensor
    """In float32, as the sum over a token's experts."""


class AttentionMixture(Mixer):
    """One attention block of kind `moa`."""

    router: Tensor
    q: Tensor
    o: Tensor
    k: Tensor
    v: Tensor
    o_bias: Tensor

    def __init__(self, spec: AttentionExperts, hidden: int, norm: Norm) -> None:  # noqa: ARG002  as every mixer
        super().__init__()
        self.spec = spec
        self.width = spec.heads * spec.head_dim
        self.visible = Visible()
        self.declare("router", spec.experts, hidden)
        self.declare("q", spec.experts, self.width, hidden)
        self.declare("o", spec.experts, hidden, self.width)
        self.declare("k", self.width, hidden)
        self.declare("v", self.width, hidden)
        if spec.output_bias:
            self.declare("o_bias", hidden, start="vector")

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """Keys and values of each head, shared by all experts."""
        names, rows = ("attention.keys", "attention.values"), batch * self.spec.heads
        return {name: Store(rows, self.spec.head_dim, capacity, like) for name in names}

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Attention output of the new tokens, [B, T, D]."""
        x_TD = x_BTD.reshape(-1, x_BTD.shape[2])
        routed = list(self._routed(x_TD, call))
        mixed_NW = self._mixed(x_BTD, routed, state, call)
        out_TD = torch.zeros(x_TD.shape, dtype=torch.float32, device=x_TD.device)
        for expert, row_n, token_n, weight_n1 in routed:
            y_nD = functional.linear(mixed_NW.index_select(0, row_n), self.o[expert]).float()
            out_TD.index_add_(0, token_n, y_nD.mul_(weight_n1))
            del y_nD
        out_BTD = out_TD.to(x_BTD.dtype).view(x_BTD.shape)
        return out_BTD.add_(self.o_bias) if self.spec.output_bias else out_BTD

    def _routed(self, x_TD: Tensor, call: Call) -> Iterator[Rows]:
        """Rows of each expert that has any; the best of the router, or those of a forced routing.

        On the meta device, where no score has a value, experts are dealt out in turn.
        """
        experts, top_k = self.spec.experts, self.spec.top_k
        logits_TX = functional.linear(x_TD, self.router).float()
        routing = call.options.routing or (Balanced() if x_TD.is_meta else None)
        if routing is None:
            best_TK, chosen_TK = logits_TX.topk(top_k)
            counts = chosen_TK.reshape(-1).bincount(minlength=experts).tolist()
        else:
            forced_TK = routing.choose(call.layer, len(x_TD), top_k, experts)
            counts = forced_TK.reshape(-1).bincount(minlength=experts).tolist()
            chosen_TK = forced_TK.to(x_TD.device)
            best_TK = logits_TX.gather(1, chosen_TK)
        weight_N1 = best_TK.softmax(1).reshape(-1, 1)
        row_N = chosen_TK.reshape(-1).argsort(stable=True)
        for expert, (count, end) in enumerate(zip(counts, accumulate(counts), strict=True)):
            if count:
                row_n = row_N[end - count : end]
                yield Rows(expert, row_n, row_n // top_k, weight_N1.index_select(0, row_n))

    def _mixed(self, x_BTD: Tensor, routed: list[Rows], state: State | None, call: Call) -> Tensor:
        """What each expert of each token reads from the values, [N, W]."""
        batch, tokens, _ = x_BTD.shape
        queries_NKTd = self._queries(x_BTD, routed, call)
        seen = self._seen(x_BTD, state, call)
        scoring = Scoring(self.spec.head_dim**-0.5)
        asking = Asking(call.start, call.options.query_block)
        out_NKTd = attend(queries_NKTd, seen, asking, self.visible, scoring)
        del queries_NKTd, seen
        out_BTKHd = out_NKTd.view(batch, -1, *out_NKTd.shape[1:]).permute(0, 3, 2, 1, 4)
        return out_BTKHd.reshape(batch * tokens * self.spec.top_k, self.width)

    def _queries(self, x_BTD: Tensor, routed: list[Rows], call: Call) -> Tensor:
        """Each token's queries by its experts, turned: [B x H, K, T, d]."""
        batch, tokens, hidden = x_BTD.shape
        x_TD = x_BTD.reshape(-1, hidden)
        queries_NW = x_TD.new_empty((len(x_TD) * self.spec.top_k, self.width))
        for expert, row_n, token_n, _ in routed:
            rows_nW = functional.linear(x_TD.index_select(0, token_n), self.q[expert])
            queries_NW.index_copy_(0, row_n, rows_nW)
            del rows_nW
        queries_BTKHd = queries_NW.view(batch, tokens, self.spec.top_k, self.spec.heads, -1)
        return self._turned(queries_BTKHd.permute(0, 3, 2, 1, 4), call).flatten(0, 1)

    def _seen(self, x_BTD: Tensor, state: State | None, call: Call) -> Keys:
        """Keys and values that the new tokens may look at, the same for all experts."""
        by_head = (x_BTD.shape[0], x_BTD.shape[1], self.spec.heads, self.spec.head_dim)
        keys_BTHd = functional.linear(x_BTD, self.k).view(by_head)
        keys = self._turned(keys_BTHd.transpose(1, 2), call).flatten(0, 1)
        del keys_BTHd
        values = functional.linear(x_BTD, self.v).view(by_head).transpose(1, 2).flatten(0, 1)
        if state is None:
            return Keys(keys, values)
        kept_keys, kept_values = state["attention.keys"], state["attention.values"]
        assert isinstance(kept_keys, Store)
        assert isinstance(kept_values, Store)
        return Keys(kept_keys.extend(keys, call.start), kept_values.extend(values, call.start))

    def _turned(self, x: Tensor, call: Call) -> Tensor:
        rope = self.spec.rope
        if rope is None:
            return x.contiguous()
        cos, sin = call.rope(rope, self.spec.head_dim, x.dtype)
        return rotate(x, cos, sin, interleaved=rope.interleaved)
