"""The sparse layer: rows sorted by expert, each expert's two products back to back, rows added to tokens.

Legend: T tokens, K experts of a token, E experts, N rows in all (T*K less those of zero-compute experts),
n rows of one group of experts, D width of the layer, F width of an expert, U columns of the up product
(2F where gated, else F).

Inference only. A token's sum runs over its experts in ascending order of their ids, from zero, each output
multiplied by its weight first; zero-compute experts come last, their weights added in slot order. It is
done in float32 where the layer's type is narrower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from moe_plan.replica.ffn.dispatch import Choice, Dispatch, accumulate, dispatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Choice",
    "Dispatch",
    "ExpertWeights",
    "accumulate",
    "add_identity",
    "combine",
    "dispatch",
    "expert_rows",
    "run_experts",
]

GROUP_ROWS = 512
"""Rows that are gathered, multiplied and added to their tokens together: few enough for the caches."""


class ExpertWeights(NamedTuple):
    """Weights of E experts, [E, in, out]; the strides may be those of a transposed [E, out, in]."""

    up_EDF: Tensor
    """Gated: [E, D, 2F], gate columns first, then up; plain: [E, D, F]."""
    down_EFD: Tensor
    up_bias_EF: Tensor | None = None
    down_bias_ED: Tensor | None = None


def run_experts(
    x_TD: Tensor,
    choice: Choice,
    weights: ExpertWeights,
    act: Callable[[Tensor], Tensor],
    *,
    weigh_input: bool = False,
) -> Tensor:
    """Weighted sum of each token's experts, [T, D].

    `act` is `activations.activation(...)`. With `weigh_input` the weight multiplies what goes into the
    expert and not what comes out (Llama 4).
    """
    experts = len(weights.up_EDF)
    plan = dispatch(choice, experts)
    out_TD = x_TD.new_zeros(x_TD.shape, dtype=_sum_type(x_TD.dtype))
    for rows, group in groups(plan.counts):
        token_n, weight_n1 = plan.token_N[rows], plan.weight_N1[rows]
        x_nD = x_TD.index_select(0, token_n)
        if weigh_input:
            x_nD.mul_(weight_n1)
        _group(x_nD, x_nD, group, weights, act)
        accumulate(out_TD, x_nD, token_n, None if weigh_input else weight_n1)
    if sum(plan.counts) < choice.experts_TK.numel():
        add_identity(out_TD, x_TD, choice, experts)
    return out_TD.to(x_TD.dtype)


def expert_rows(
    x_ND: Tensor, counts: tuple[int, ...], weights: ExpertWeights, act: Callable[[Tensor], Tensor]
) -> Tensor:
    """Outputs [N, D], unweighted, of rows that are sorted by expert: `counts[e]` of them for expert e."""
    y_ND = torch.empty_like(x_ND)
    for rows, group in groups(counts):
        _group(x_ND[rows], y_ND[rows], group, weights, act)
    return y_ND


def combine(y_ND: Tensor, plan: Dispatch, tokens: int) -> Tensor:
    """Tokens [T, D] of rows sorted by expert, in the type of sums; y may be overwritten."""
    out_TD = y_ND.new_zeros((tokens, y_ND.shape[1]), dtype=_sum_type(y_ND.dtype))
    for rows, _ in groups(plan.counts):
        accumulate(out_TD, y_ND[rows], plan.token_N[rows], plan.weight_N1[rows])
    return out_TD


def add_identity(out_TD: Tensor, x_TD: Tensor, choice: Choice, experts: int) -> None:
    """Add what the zero-compute experts return: the token itself, times their weights' sum."""
    weight_TK = choice.weights_TK.to(out_TD.dtype).masked_fill(choice.experts_TK < experts, 0)
    out_TD.addcmul_(x_TD.to(out_TD.dtype), weight_TK.sum(1, keepdim=True))


def groups(counts: tuple[int, ...]) -> Iterator[tuple[slice, list[tuple[int, int]]]]:
    """Runs of rows with the experts, and the rows of each, that they are for."""
    start, rows = 0, 0
    group: list[tuple[int, int]] = []
    for expert, count in enumerate(counts):
        if not count:
            continue
        if group and rows + count > GROUP_ROWS:
            yield slice(start, start + rows), group
            start, rows, group = start + rows, 0, []
        group.append((expert, count))
        rows += count
    if group:
        yield slice(start, start + rows), group


def _group(
    x_nD: Tensor,
    y_nD: Tensor,
    group: list[tuple[int, int]],
    weights: ExpertWeights,
    act: Callable[[Tensor], Tensor],
) -> None:
    """Write a group's outputs to y, which may be x."""
    sizes = [count for _, count in group]
    up_nU = x_nD.new_empty((len(x_nD), weights.up_EDF.shape[2]))
    for (expert, _), rows, out in zip(group, x_nD.split(sizes), up_nU.split(sizes), strict=True):
        _product(rows, weights.up_EDF[expert], weights.up_bias_EF, expert, out)
    for (expert, _), rows, out in zip(group, act(up_nU).split(sizes), y_nD.split(sizes), strict=True):
        _product(rows, weights.down_EFD[expert], weights.down_bias_ED, expert, out)


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None, expert: int, out: Tensor) -> None:
    if bias is None:
        torch.mm(rows, weight, out=out)
    else:
        torch.addmm(bias[expert], rows, weight, out=out)


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in {torch.bfloat16, torch.float16} else dtype
