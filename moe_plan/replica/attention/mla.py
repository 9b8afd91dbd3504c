"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), with the sparse choice of DeepSeek-V3.2.

Expanded, for prefill: kv_b makes keys and values of every head from the latents. Absorbed, for decode: kv_b
goes into the query and into the output instead, attention runs over the latents themselves, and nothing is
projected again for tokens that are cached. Both give the same.

The channels with rotary positions are one key for all heads: their scores are added in place to those of the
other channels, so that the key is never copied for each head of a sequence.

Widest moments, beside input and cache. Expanded: query, expanded keys and values [H, B * S, n + v], output,
and of a block of b queries the scores twice (before and after softmax), H * B * b * S each. Absorbed: query,
its latent form and the mixed latents [B, T, H, r] each, and the scores twice.

Legend: B sequences, T new tokens, S tokens seen, D hidden, H heads, R width of the compressed query, r width
of the latent, n channels of a key without positions, p with positions, v width of a value, b queries of a
block, k chosen keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.attention.indexer import KEPT, Choice, LightningIndexer
from moe_plan.replica.attention.spans import Span, hidden, picked, spans
from moe_plan.replica.attention.temperature import position_factors
from moe_plan.replica.labels import named
from moe_plan.replica.mixer import Mixer
from moe_plan.replica.norm import rms
from moe_plan.replica.rope import rotate, softmax_scale_factor
from moe_plan.replica.store import State, Store

if TYPE_CHECKING:
    from moe_plan.replica.call import Call
    from moe_plan.spec.attention import MlaAttention
    from moe_plan.spec.model import Norm


class Query(NamedTuple):
    """Scaled queries, in the two parts of a head."""

    plain_BTHn: Tensor
    turned_BTHp: Tensor


class Latents(NamedTuple):
    """What is cached of every token seen."""

    latent_BSr: Tensor
    turned_BSp: Tensor


class MlaMixer(Mixer):
    """One block of multi-head latent attention."""

    q: Tensor
    q_a: Tensor
    q_a_norm: Tensor
    q_b: Tensor
    kv_a: Tensor
    kv_a_norm: Tensor
    kv_b: Tensor
    o: Tensor

    def __init__(self, spec: MlaAttention, hidden: int, norm: Norm) -> None:  # noqa: ARG002  latents have an eps of their own
        super().__init__()
        self.spec = spec
        width = spec.heads * (spec.nope_dim + spec.rope_dim)
        if spec.q_rank is None:
            self.declare("q", width, hidden)
        else:
            self.declare("q_a", spec.q_rank, hidden)
            self.declare("q_a_norm", spec.q_rank, start="norm")
            self.declare("q_b", width, spec.q_rank)
        self.declare("kv_a", spec.kv_rank + spec.rope_dim, hidden)
        self.declare("kv_a_norm", spec.kv_rank, start="norm")
        self.declare("kv_b", spec.heads * (spec.nope_dim + spec.v_dim), spec.kv_rank)
        self.declare("o", hidden, spec.heads * spec.v_dim)
        own = spec.indexer is not None and not spec.indexer.shared
        self.indexer = LightningIndexer(spec, spec.indexer, hidden) if own and spec.indexer else None
        self.latent_scale = (hidden / spec.kv_rank) ** 0.5 if spec.rank_scaling else 1.0
        rank_scale = (hidden / spec.q_rank) ** 0.5 if spec.rank_scaling and spec.q_rank else 1.0
        base = spec.scale if spec.scale is not None else (spec.nope_dim + spec.rope_dim) ** -0.5
        self.query_scale = base * rank_scale * softmax_scale_factor(spec.rope)

    def state(self, batch: int, capacity: int, like: Tensor) -> State:
        """A latent and a key with positions for each token, the same for all heads; keys of the indexer."""
        kept: State = {
            "attention.latent": Store(batch, self.spec.kv_rank, capacity, like),
            "attention.rope_keys": Store(batch, self.spec.rope_dim, capacity, like),
        }
        return kept if self.indexer is None else kept | self.indexer.state(batch, capacity, like)

    def forward(self, x_BTD: Tensor, state: State | None, call: Call) -> Tensor:
        """Attention output of the new tokens, [B, T, D]."""
        low_BTR = self._compressed(x_BTD)
        choice = self._choice(x_BTD, low_BTR, state, call)
        query = self._query(low_BTR, call)
        del low_BTR
        seen = self._seen(x_BTD, state, call)
        attend = self._absorbed if call.absorbs else self._expanded
        out_BTHv = attend(query, seen, choice, call)
        del query, seen
        return functional.linear(out_BTHv.flatten(2), self.o)

    def _compressed(self, x_BTD: Tensor) -> Tensor:
        if self.spec.q_rank is None:
            return x_BTD
        return rms(functional.linear(x_BTD, self.q_a), self.q_a_norm, self.spec.eps)

    def _choice(self, x_BTD: Tensor, low_BTR: Tensor, state: State | None, call: Call) -> Choice | None:
        """Which tokens each new one attends to; None without an indexer."""
        if self.spec.indexer is None:
            return None
        if self.indexer is not None:
            call.kept[KEPT] = self.indexer(x_BTD, low_BTR, state, call)
        kept: Choice = call.kept[KEPT]
        return kept

    def _query(self, low_BTR: Tensor, call: Call) -> Query:
        spec = self.spec
        flat = functional.linear(low_BTR, self.q if spec.q_rank is None else self.q_b)
        query_BTHd = flat.unflatten(-1, (spec.heads, -1)).mul_(self.query_scale)
        if spec.temperature is not None:
            positions = range(call.start, call.start + call.tokens)
            query_BTHd.mul_(
                position_factors(spec.temperature, positions, flat.dtype, flat.device)[:, None, None]
            )
        plain, turned = query_BTHd.split((spec.nope_dim, spec.rope_dim), dim=-1)
        return Query(plain, self._turned(turned, call))

    def _turned(self, x_BTHp: Tensor, call: Call) -> Tensor:
        rope = self.spec.rope
        if rope is None:
            return x_BTHp
        cos_TR, sin_TR = call.rope(rope, self.spec.rope_dim, x_BTHp.dtype)
        return rotate(x_BTHp, cos_TR[:, None], sin_TR[:, None], interleaved=rope.interleaved)

    def _seen(self, x_BTD: Tensor, state: State | None, call: Call) -> Latents:
        """Latents and rotated keys of every token up to now."""
        both = functional.linear(x_BTD, self.kv_a)
        latent, key = both.split((self.spec.kv_rank, self.spec.rope_dim), dim=-1)
        turned_BTp = self._turned(key.unsqueeze(2), call).squeeze(2)
        latent_BTr = rms(latent, self.kv_a_norm, self.spec.eps)
        if self.latent_scale != 1.0:
            latent_BTr.mul_(self.latent_scale)
        new = Latents(latent_BTr, turned_BTp)
        if not state:
            return new
        latents, keys = state["attention.latent"], state["attention.rope_keys"]
        assert isinstance(latents, Store)
        assert isinstance(keys, Store)
        seen = Latents(latents.extend(latent_BTr, call.start), keys.extend(turned_BTp, call.start))
        # Without earlier tokens the new ones are all there is, and lie close together.
        return seen if call.start else new

    def _heads(self) -> tuple[Tensor, Tensor]:
        """kv_b by head, [H, n, r] for keys and [H, v, r] for values."""
        by_head = self.kv_b.unflatten(0, (self.spec.heads, -1))
        return by_head[:, : self.spec.nope_dim], by_head[:, self.spec.nope_dim :]

    def _expanded(self, query: Query, seen: Latents, choice: Choice | None, call: Call) -> Tensor:
        """Attention over keys and values of each head, [B, T, H, v]."""
        spec = self.spec
        batch, tokens = query.plain_BTHn.shape[:2]
        by_head = self.kv_b.unflatten(0, (spec.heads, -1)).transpose(1, 2)
        flat = seen.latent_BSr.flatten(0, 1)
        expanded = torch.bmm(flat.expand(spec.heads, -1, -1), by_head).unflatten(1, (batch, -1)).flatten(0, 1)
        # A row of keys for each head and sequence; copied only where there are several sequences.
        turned = seen.turned_BSp.expand(spec.heads, -1, -1, -1).flatten(0, 1)
        out_BTHv = query.plain_BTHn.new_empty((batch, tokens, spec.heads, spec.v_dim))
        for index, span in enumerate(spans(call.start, tokens, call.options.query_block)):
            chosen = None if choice is None else choice[index]
            block = slice(span.first, span.last)
            part = Query(*(q[:, block].permute(2, 0, 1, 3).flatten(0, 1) for q in query))
            mixed = self._block_expanded(part, (expanded, turned), span, chosen)
            out_BTHv[:, block] = mixed.unflatten(0, (spec.heads, batch)).permute(1, 2, 0, 3)
        return out_BTHv

    def _block_expanded(
        self, query_Nb: Query, keys_NS: tuple[Tensor, Tensor], span: Span, chosen_Bbk: Tensor | None
    ) -> Tensor:
        """Mixed values of a block of queries, [N, b, v] with N = H * B."""
        spec, seen = self.spec, span.entries()
        expanded, turned = (keys[:, :seen] for keys in keys_NS)
        unseen = span.unseen(1, expanded.device)
        mask = None
        if unseen is None and chosen_Bbk is not None:
            chosen = chosen_Bbk.repeat(spec.heads, 1, 1)
            expanded, turned = picked(expanded, chosen), picked(turned, chosen)
        else:
            mask = hidden(unseen, chosen_Bbk, seen)
        plain, values_NSv = expanded.split((spec.nope_dim, spec.v_dim), dim=-1)
        with named("attention.scores"):
            scores_NbS = torch.bmm(query_Nb.plain_BTHn, plain.transpose(1, 2))
            scores_NbS.baddbmm_(query_Nb.turned_BTHp, turned.transpose(1, 2))
        if mask is not None:
            batch = 1 if mask.dim() == 2 else mask.shape[0]  # noqa: PLR2004  the same for every sequence
            scores_NbS.unflatten(0, (-1, batch)).masked_fill_(mask, float("-inf"))
        weights_NbS = _softmax(scores_NbS)
        del scores_NbS
        with named("attention.mix"):
            return torch.bmm(weights_NbS, values_NSv)

    def _absorbed(self, query: Query, seen: Latents, choice: Choice | None, call: Call) -> Tensor:
        """Attention over the latents themselves, [B, T, H, v]."""
        batch, tokens, heads = query.plain_BTHn.shape[:3]
        for_keys_Hnr, for_values_Hvr = self._heads()
        latent = torch.bmm(query.plain_BTHn.flatten(0, 1).transpose(0, 1), for_keys_Hnr)
        latent_BTHr = latent.transpose(0, 1).unflatten(0, (batch, tokens))
        mixed_BTHr = query.plain_BTHn.new_empty((batch, tokens, heads, self.spec.kv_rank))
        for index, span in enumerate(spans(call.start, tokens, call.options.query_block)):
            chosen = None if choice is None else choice[index]
            block = slice(span.first, span.last)
            part = Query(latent_BTHr[:, block], query.turned_BTHp[:, block])
            mixed_BTHr[:, block] = _block_absorbed(part, seen, span, chosen)
        del latent, latent_BTHr
        values = torch.bmm(mixed_BTHr.flatten(0, 1).transpose(0, 1), for_values_Hvr.transpose(1, 2))
        return values.transpose(0, 1).unflatten(0, (batch, tokens))


def _block_absorbed(query: Query, seen: Latents, span: Span, chosen_Bbk: Tensor | None) -> Tensor:
    """Mixed latents of a block of queries whose plain part is in latent form, [B, b, H, r]."""
    entries, shape = span.entries(), query.plain_BTHn.shape[1:3]
    latent_BSr, turned_BSp = (kept[:, :entries] for kept in seen)
    unseen = span.unseen(1, latent_BSr.device)
    mask = None
    if unseen is None and chosen_Bbk is not None:
        latent_BSr, turned_BSp = picked(latent_BSr, chosen_Bbk), picked(turned_BSp, chosen_Bbk)
    else:
        mask = hidden(unseen, chosen_Bbk, entries)
    with named("attention.latent_scores"):
        scores = torch.bmm(query.plain_BTHn.flatten(1, 2), latent_BSr.transpose(1, 2))
        scores.baddbmm_(query.turned_BTHp.flatten(1, 2), turned_BSp.transpose(1, 2))
    if mask is not None:
        scores.unflatten(1, shape).masked_fill_(mask.unsqueeze(-2), float("-inf"))
    weights = _softmax(scores)
    del scores
    with named("attention.latent_mix"):
        return torch.bmm(weights, latent_BSr).unflatten(1, shape)


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
