"""The sparse layer: rows sorted by expert, each expert's two products back to back, rows added to tokens.

Legend: T tokens, K experts of a token, E experts, N rows in all (T*K less those of zero-compute experts),
n rows of one group of experts, D width of the layer, F width of an expert, U columns of the up product
(2F where gated, else F).

Inference only. A token's sum runs over its experts in ascending order of their ids, from zero, each output
multiplied by its weight first; zero-compute experts come last, their weights added in slot order. It is
done in float32 where the layer's type is narrower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from moe_plan.replica.ffn.dispatch import Choice, Dispatch, accumulate, dispatch
from moe_plan.replica.ffn.packed import PackedExperts, pack, packable, packed
from moe_plan.replica.ffn.products import Act, ExpertWeights, Group, is_native, plain, widened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = [
    "Choice",
    "Dispatch",
    "ExpertWeights",
    "PackedExperts",
    "accumulate",
    "add_identity",
    "combine",
    "dispatch",
    "expert_rows",
    "pack",
    "packable",
    "run_experts",
]

GROUP_ROWS = 512
"""Rows, at most, that are gathered, multiplied and added to tokens together: few enough for the caches."""


def run_experts(
    x_TD: Tensor,
    choice: Choice,
    weights: ExpertWeights | PackedExperts,
    act: Act,
    *,
    weigh_input: bool = False,
) -> Tensor:
    """Weighted sum of each token's experts, [T, D].

    `act` is `activations.activation(...)`. With `weigh_input` the weight multiplies what goes into the
    expert and not what comes out (Llama 4).

    Allocates what `dispatch` does; [T, D] in the type of sums; and for one group of rows after the other its
    [n, D], freed when the next group has its own, what `plain`, `widened` or `packed` allocates, and in
    narrow types its weights and [n, D] in the type of sums.
    """
    experts = weights.experts
    plan = dispatch(choice, experts)
    out_TD = x_TD.new_zeros(x_TD.shape, dtype=_sum_type(x_TD.dtype))
    for span, group in groups(plan.counts):
        rows = _part(plan, span, group)
        x_nD = x_TD.index_select(0, rows.token_N)
        if weigh_input:
            x_nD.mul_(rows.weight_N1)
        _group(x_nD, x_nD, group, weights, act)
        accumulate(out_TD, x_nD, rows, weighs=not weigh_input)
    if sum(plan.counts) < choice.experts_TK.numel():
        add_identity(out_TD, x_TD, choice, experts)
    return out_TD.to(x_TD.dtype)


def expert_rows(
    x_ND: Tensor, counts: tuple[int, ...], weights: ExpertWeights | PackedExperts, act: Act
) -> Tensor:
    """Outputs [N, D], unweighted, of rows that are sorted by expert: `counts[e]` of them for expert e."""
    y_ND = torch.empty_like(x_ND)
    for span, group in groups(counts):
        _group(x_ND[span], y_ND[span], group, weights, act)
    return y_ND


def combine(y_ND: Tensor, plan: Dispatch, tokens: int) -> Tensor:
    """Tokens [T, D] of rows sorted by expert, in the type of sums; y may be overwritten."""
    out_TD = y_ND.new_zeros((tokens, y_ND.shape[1]), dtype=_sum_type(y_ND.dtype))
    for span, group in groups(plan.counts):
        accumulate(out_TD, y_ND[span], _part(plan, span, group))
    return out_TD


def add_identity(out_TD: Tensor, x_TD: Tensor, choice: Choice, experts: int) -> None:
    """Add what the zero-compute experts return: the token itself, times their weights' sum."""
    weight_TK = choice.weights_TK.to(out_TD.dtype).masked_fill(choice.experts_TK < experts, 0)
    out_TD.addcmul_(x_TD.to(out_TD.dtype), weight_TK.sum(1, keepdim=True))


def groups(counts: tuple[int, ...]) -> Iterator[tuple[slice, Group]]:
    """Runs of at most `GROUP_ROWS` rows, with the experts that they are for and the rows of each.

    An expert with more rows than that is met again: its rows are cut into equal parts, which depend on their
    number alone, so that experts elsewhere multiply the same rows at once.
    """
    start, rows = 0, 0
    group: Group = []
    for expert, count in enumerate(counts):
        for part in _parts(count) if count else ():
            if group and rows + part > GROUP_ROWS:
                yield slice(start, start + rows), group
                start, rows, group = start + rows, 0, []
            group.append((expert, part))
            rows += part
    if group:
        yield slice(start, start + rows), group


def _parts(count: int) -> list[int]:
    cuts = -(-count // GROUP_ROWS)
    return [(index + 1) * count // cuts - index * count // cuts for index in range(cuts)]


def _part(plan: Dispatch, span: slice, group: Group) -> Dispatch:
    return Dispatch(plan.token_N[span], plan.weight_N1[span], tuple(count for _, count in group))


def _group(
    x_nD: Tensor, y_nD: Tensor, group: Group, weights: ExpertWeights | PackedExperts, act: Act
) -> None:
    if isinstance(weights, PackedExperts):
        packed(x_nD, y_nD, group, weights, act)
    elif x_nD.device.type == "cpu" and not is_native(x_nD.dtype):
        widened(x_nD, y_nD, group, weights, act)
    else:
        plain(x_nD, y_nD, group, weights, act)


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in {torch.bfloat16, torch.float16} else dtype
