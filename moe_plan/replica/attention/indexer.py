"""The lightning indexer of sparse attention (DeepSeek-V3.2; GLM-5): it scores all keys, few are attended to.

A query's score of a key is the sum over the indexer's heads of weight * relu(q . k). The head-weighted sum is
elementwise here. Widest moment of a block of b queries: its scores by head [B, b * H, E] (in a narrow type
once more in float32) and their sum, beside queries, weights and what the caller holds.

Legend: B sequences, T new tokens, b queries of a block, E keys, D hidden, R width of the indexer's query
input, H heads of the indexer, d width of a head, k keys that are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.attention.spans import Span, spans
from moe_plan.replica.block import Block
from moe_plan.replica.labels import named
from moe_plan.replica.rope import rotate
from moe_plan.replica.store import Store

if TYPE_CHECKING:
    from moe_plan.replica.call import Call
    from moe_plan.replica.store import State
    from moe_plan.spec.attention import Indexer, MlaAttention

EPS = 1e-6
"""Of the layer norm of the keys, in every release."""

Choice = list[Tensor | None]
"""For each block of queries the keys that each query keeps, [B, b, k] int64; None where it keeps them all."""

KEPT = "indexer.choice"
"""Where a layer leaves its choice for layers that share it."""


class Asked(NamedTuple):
    """What an indexer asks of the keys: queries, and the weight of each head."""

    q_BTHd: Tensor
    weights_BTH: Tensor


class LightningIndexer(Block):
    """The indexer beside multi-head latent attention: a key of its own for each token."""

    owner = "indexer"
    q: Tensor
    k: Tensor
    k_norm: Tensor
    weights: Tensor

    def __init__(self, spec: MlaAttention, indexer: Indexer, hidden: int) -> None:
        super().__init__()
        self.spec = indexer
        self.rope, self.rope_dim = spec.rope, min(spec.rope_dim, indexer.head_dim)
        self.declare("q", indexer.heads * indexer.head_dim, spec.q_rank or hidden)
        self.declare("k", indexer.head_dim, hidden)
        # Weight and bias of a layer norm.
        self.declare("k_norm", 2, indexer.head_dim, start="vector")
        self.declare("weights", indexer.heads, hidden)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """A key for each token."""
        return {"indexer.keys": Store(batch, self.spec.head_dim, capacity, like)}

    def forward(self, x_BTD: Tensor, low_BTR: Tensor, state: State | None, call: Call) -> Choice:
        """The keys that each new token keeps; `low` is the compressed query, or the input without one."""
        key = functional.linear(x_BTD, self.k)
        key = functional.layer_norm(key, key.shape[-1:], self.k_norm[0], self.k_norm[1], EPS)
        keys_BEd = self._turned(key.unsqueeze(2), call).squeeze(2)
        if state:
            store = state["indexer.keys"]
            assert isinstance(store, Store)
            keys_BEd = store.extend(keys_BEd, call.start)
        del key
        shape = (*x_BTD.shape[:2], self.spec.heads, self.spec.head_dim)
        query = functional.linear(low_BTR, self.q).view(shape)
        weights_BTH = functional.linear(x_BTD, self.weights).mul_(weight_scale(self.spec))
        asked = Asked(self._turned(query, call), weights_BTH)
        del query
        return choose(asked, keys_BEd, self.spec.top_k, call)

    def _turned(self, x_BTHd: Tensor, call: Call) -> Tensor:
        """The first channels turned by the angles of the attention."""
        if self.rope is None:
            return x_BTHd
        cos_TR, sin_TR = call.rope(self.rope, self.rope_dim, x_BTHd.dtype)
        return rotate(x_BTHd, cos_TR[:, None], sin_TR[:, None], interleaved=self.spec.interleaved)


def weight_scale(indexer: Indexer) -> float:
    """Factor on the heads' weights: 1 / sqrt(heads), and the scale of the scores, positive as well."""
    return float((indexer.heads * indexer.head_dim) ** -0.5)


def choose(asked: Asked, keys_BEd: Tensor, top_k: int, call: Call, ratio: int = 1) -> Choice:
    """The `top_k` best keys of each query, a block of queries at once; one key for `ratio` tokens.

    Keys are scored even where a query will keep them all, as the models' own code does.
    """
    every = spans(call.start, call.tokens, call.options.query_block)
    return [_choice(asked, keys_BEd, top_k, span, ratio) for span in every]


def _choice(asked: Asked, keys_BEd: Tensor, top_k: int, span: Span, ratio: int) -> Tensor | None:
    entries, block = span.entries(ratio), slice(span.first, span.last)
    if entries == 0:
        return None
    scores_BbE = _scores(Asked(asked.q_BTHd[:, block], asked.weights_BTH[:, block]), keys_BEd[:, :entries])
    if entries <= top_k:
        return None
    unseen = span.unseen(ratio, scores_BbE.device)
    if unseen is not None:
        scores_BbE.masked_fill_(unseen, float("-inf"))
    return scores_BbE.topk(top_k, dim=-1, sorted=False).indices


def _scores(asked: Asked, keys_BEd: Tensor) -> Tensor:
    """Sum over heads of weight * relu(q . k), in float32: [B, b, E]."""
    batch, block, heads, _ = asked.q_BTHd.shape
    with named("indexer.scores"):
        scores = torch.bmm(asked.q_BTHd.flatten(1, 2), keys_BEd.transpose(1, 2))
    # Cast before the sum, which would cast it all inside itself.
    scores = scores.float()
    scores_BbHE = scores.view(batch, block, heads, keys_BEd.shape[1])
    return scores_BbHE.relu_().mul_(asked.weights_BTH.unsqueeze(-1)).sum(2)
