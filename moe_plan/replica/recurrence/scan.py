"""The recurrences themselves, a token at a time: a state that decays, is written to, and is read.

Legend: T tokens, B sequences, G heads that keep a state, N = B x G, R value heads that share keys and
queries, e width of a value head, E = R x e, K key width. A state is [N, K, E], always in float32.

Exactly the products of the definition are done; a scan by chunks would do more. What does not depend on the
state is made for all tokens before, and a token's output replaces its values, so that a scan allocates
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from moe_plan.replica.labels import named
from moe_plan.replica.store import Fixed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from moe_plan.replica.store import State


class Steps(NamedTuple):
    """What each token does to the state; the values are overwritten with the outputs."""

    decays: Iterable[Tensor]
    """One a token, to multiply the state as [N, K, R, e]."""
    keys_TNK: Tensor
    queries_TNK: Tensor
    values_TNRe: Tensor


def token_major(x_BTC: Tensor, parts: int = 1) -> Tensor:
    """Channels in equal `parts`, float32, [parts, T, B, C / parts]; one token of one part is one piece.

    A view of `x` where it is float32 already and B or (with one part) T is 1; a copy otherwise.
    """
    x_PTBC = parted(x_BTC, parts, -1).permute(2, 1, 0, 3)
    if x_PTBC.dtype == torch.float32 and (x_BTC.shape[0] == 1 or x_PTBC.is_contiguous()):
        return x_PTBC
    return torch.empty(x_PTBC.shape, dtype=torch.float32, device=x_PTBC.device).copy_(x_PTBC)


def parted(x: Tensor, *shape: int) -> Tensor:
    """A view of `x` whose last dimension is split into `shape`, which may have one -1."""
    return x.view(*x.shape[:-1], *shape)


def by_head(x_TBC: Tensor, *shape: int) -> Tensor:
    """A view [T, N, *shape] of tokens whose channels are G heads of that shape."""
    return parted(x_TBC, -1, *shape).flatten(1, 2)


def carried(state: State | None, name: str) -> Tensor | None:
    """The tensor of a state of fixed size; None where nothing is kept."""
    if state is None:
        return None
    kept = state[name]
    assert isinstance(kept, Fixed)
    return kept.value


def started(state: State | None, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """The state [N, K, E] to go on from: the one kept, to be changed in place, or zeros [B, *shape]."""
    kept = carried(state, name)
    if kept is None:
        kept = torch.zeros((like.shape[0], *shape), dtype=torch.float32, device=like.device)
    return kept.flatten(0, 1)


def write_and_read(state_NKE: Tensor, steps: Steps) -> None:
    """S = decay S + k v', then o = S' q: 4 FLOPs for each element of the state."""
    decayed_NKRe = parted(state_NKE, *steps.values_TNRe.shape[2:])
    for decay, key_NK1, query_N1K, value_N1E in zip(
        steps.decays,
        steps.keys_TNK.unsqueeze(3).unbind(0),
        steps.queries_TNK.unsqueeze(2).unbind(0),
        steps.values_TNRe.flatten(2).unsqueeze(2).unbind(0),
        strict=True,
    ):
        decayed_NKRe.mul_(decay)
        with named("attention.state_write"):
            state_NKE.baddbmm_(key_NK1, value_N1E)
        with named("attention.state_read"):
            torch.bmm(query_N1K, state_NKE, out=value_N1E)


def delta_rule(state_NKE: Tensor, steps: Steps, betas_TNR1: Tensor) -> None:
    """S = decay S, S = S + k (beta (v - S' k))', then o = S' q: 6 FLOPs for each element of the state."""
    decayed_NKRe = parted(state_NKE, *steps.values_TNRe.shape[2:])
    for decay, beta_NR1, key_N1K, query_N1K, value_NRe, value_N1E in zip(
        steps.decays,
        betas_TNR1.unbind(0),
        steps.keys_TNK.unsqueeze(2).unbind(0),
        steps.queries_TNK.unsqueeze(2).unbind(0),
        steps.values_TNRe.unbind(0),
        steps.values_TNRe.flatten(2).unsqueeze(2).unbind(0),
        strict=True,
    ):
        decayed_NKRe.mul_(decay)
        with named("attention.state_recall"):
            value_N1E.baddbmm_(key_N1K, state_NKE, alpha=-1)
        value_NRe.mul_(beta_NR1)
        with named("attention.state_write"):
            state_NKE.baddbmm_(key_N1K.transpose(1, 2), value_N1E)
        with named("attention.state_read"):
            torch.bmm(query_N1K, state_NKE, out=value_N1E)
