"""Which row goes to which expert, and how the experts' rows become tokens again.

Legend: T tokens, K experts of a token, E experts with weights, N rows (one for each token and each of
its experts with weights), D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Choice(NamedTuple):
    """Experts of each token."""

    experts_TK: Tensor
    """int64; ids from E on are zero-compute experts, which return their input."""
    weights_TK: Tensor
    """In the compute type."""
    counts: tuple[int, ...] | None = None
    """Tokens of each of the E experts, where known already: on the meta device nothing can tell them."""


class Dispatch(NamedTuple):
    """Rows sorted by expert, and within an expert by token."""

    token_N: Tensor
    """Token of each row, int64."""
    weight_N1: Tensor
    """Routing weight of each row."""
    counts: tuple[int, ...]
    """Rows of each of the E experts; they add up to N."""


def dispatch(choice: Choice, experts: int) -> Dispatch:
    """Sort the choices by expert; the sort is stable, so equal choices give equal orders.

    One transfer to the host, of the counts, where the choice does not bring them.
    """
    top_k = choice.experts_TK.shape[1]
    expert_S = choice.experts_TK.reshape(-1)
    order_S = expert_S.argsort(stable=True)
    counts = choice.counts
    if counts is None:
        counts = tuple(expert_S.bincount(minlength=experts)[:experts].tolist())
    order_N = order_S[: sum(counts)]
    return Dispatch(order_N // top_k, choice.weights_TK.reshape(-1, 1).index_select(0, order_N), counts)


def accumulate(out_TD: Tensor, y_ND: Tensor, token_N: Tensor, weight_N1: Tensor | None) -> None:
    """Add weighted rows to their tokens, in the order of the rows; y may be overwritten.

    Where every row of an expert is added at once no token occurs twice, so the order holds on CUDA too,
    whose index_add_ is atomic and without order.
    """
    if weight_N1 is not None:
        weight_N1 = weight_N1.to(out_TD.dtype)
        y_ND = y_ND.mul_(weight_N1) if y_ND.dtype == out_TD.dtype else y_ND * weight_N1
    elif y_ND.dtype != out_TD.dtype:
        y_ND = y_ND.to(out_TD.dtype)
    out_TD.index_add_(0, token_N, y_ND)
