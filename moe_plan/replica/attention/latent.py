"""The two forms of attention over latents: expanded into keys and values of every head, and absorbed.

The channels with rotary positions are one key for all heads: their scores are added in place to those of the
other channels, so that this key is not copied for each head.

Legend: B sequences, T new tokens, S tokens seen, H heads, N = H * B, r width of the latent, n channels of a
key without positions, p with positions, v width of a value, b queries of a block, k chosen keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.attention.spans import Span, looked_at, spans
from moe_plan.replica.labels import named

if TYPE_CHECKING:
    from torch import Tensor

    from moe_plan.replica.attention.indexer import Choice
    from moe_plan.replica.call import Call


class Query(NamedTuple):
    """Scaled queries, in the two parts of a head."""

    plain_BTHn: Tensor
    turned_BTHp: Tensor


class Latents(NamedTuple):
    """What is cached of every token seen."""

    latent_BSr: Tensor
    turned_BSp: Tensor


class Keys(NamedTuple):
    """Keys and values of every head, and the key with positions, which the heads share."""

    both_NSw: Tensor
    """n channels of a key, then v of a value."""
    turned_NSp: Tensor


def expanded(query: Query, seen: Latents, kv_b_Hwr: Tensor, choice: Choice | None, call: Call) -> Tensor:
    """Attention over keys and values of each head, [B, T, H, v]; `kv_b` has n rows for keys, v for values."""
    batch, tokens, heads, plain = query.plain_BTHn.shape
    keys = _keys(seen, kv_b_Hwr)
    del seen
    out_BTHv = query.plain_BTHn.new_empty((batch, tokens, heads, kv_b_Hwr.shape[1] - plain))
    for index, span in enumerate(spans(call.start, tokens, call.options.query_block)):
        block = slice(span.first, span.last)
        chosen = None if choice is None else choice[index]
        part = Query(*(q[:, block].permute(2, 0, 1, 3).flatten(0, 1) for q in query))
        place_HBbv = out_BTHv[:, block].permute(2, 0, 1, 3)
        place_HBbv.copy_(_block_expanded(part, keys, span, chosen).view(place_HBbv.shape))
    return out_BTHv


def _keys(seen: Latents, kv_b_Hwr: Tensor) -> Keys:
    (batch, tokens, _), (heads, width, _) = seen.latent_BSr.shape, kv_b_Hwr.shape
    flat = seen.latent_BSr.flatten(0, 1).expand(heads, -1, -1)
    both = torch.bmm(flat, kv_b_Hwr.transpose(1, 2)).view(heads * batch, tokens, width)
    # Copied only where there are several sequences.
    return Keys(both, seen.turned_BSp.expand(heads, -1, -1, -1).flatten(0, 1))


def _block_expanded(query_Nb: Query, keys: Keys, span: Span, chosen_Bbk: Tensor | None) -> Tensor:
    """Mixed values of a block of queries, [N, b, v]."""
    plain = query_Nb.plain_BTHn.shape[2]
    (both, turned), mask = looked_at(keys, span, chosen_Bbk)
    with named("attention.scores"):
        scores_NbS = torch.bmm(query_Nb.plain_BTHn, both[:, :, :plain].transpose(1, 2))
        scores_NbS.baddbmm_(query_Nb.turned_BTHp, turned.transpose(1, 2))
    if mask is not None:
        by_head = scores_NbS.view(-1, 1 if chosen_Bbk is None else mask.shape[0], *scores_NbS.shape[1:])
        by_head.masked_fill_(mask, float("-inf"))
        del by_head
    del mask
    weights_NbS = _softmax(scores_NbS)
    del scores_NbS
    with named("attention.mix"):
        return torch.bmm(weights_NbS, both[:, :, plain:])


def absorbed(query: Query, seen: Latents, kv_b_Hwr: Tensor, choice: Choice | None, call: Call) -> Tensor:
    """Attention over the latents themselves, [B, T, H, v]; cached tokens are not projected again."""
    batch, tokens, heads, plain = query.plain_BTHn.shape
    rows_HMn = query.plain_BTHn.flatten(0, 1).transpose(0, 1)
    latent_MHr = torch.bmm(rows_HMn, kv_b_Hwr[:, :plain]).transpose(0, 1)
    latent_BTHr = latent_MHr.view(batch, tokens, heads, -1)
    del latent_MHr
    mixed_BTHr = torch.empty_like(latent_BTHr)
    for index, span in enumerate(spans(call.start, tokens, call.options.query_block)):
        block = slice(span.first, span.last)
        chosen = None if choice is None else choice[index]
        part = Query(latent_BTHr[:, block], query.turned_BTHp[:, block])
        mixed_BTHr[:, block] = _block_absorbed(part, seen, span, chosen)
    del latent_BTHr, part
    rows_HMr = mixed_BTHr.flatten(0, 1).transpose(0, 1)
    values_HMv = torch.bmm(rows_HMr, kv_b_Hwr[:, plain:].transpose(1, 2))
    return values_HMv.transpose(0, 1).view(batch, tokens, heads, -1)


def _block_absorbed(query: Query, seen: Latents, span: Span, chosen_Bbk: Tensor | None) -> Tensor:
    """Mixed latents of a block of queries whose plain part is in latent form, [B, b, H, r]."""
    batch, queries, heads, _ = query.plain_BTHn.shape
    (latent_BSr, turned_BSp), mask = looked_at(seen, span, chosen_Bbk)
    with named("attention.latent_scores"):
        scores = torch.bmm(query.plain_BTHn.flatten(1, 2), latent_BSr.transpose(1, 2))
        scores.baddbmm_(query.turned_BTHp.flatten(1, 2), turned_BSp.transpose(1, 2))
    if mask is not None:
        scores.view(batch, queries, heads, -1).masked_fill_(mask.unsqueeze(-2), float("-inf"))
    del mask
    weights = _softmax(scores)
    del scores
    with named("attention.latent_mix"):
        return torch.bmm(weights, latent_BSr).view(batch, queries, heads, -1)


def _softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
