"""Which row goes to which expert, and how the experts' rows become tokens again.

Legend: T tokens, K experts of a token, E experts with weights, N rows (one for each token and each of
its experts with weights), D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
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

    One transfer to the host, of the counts, where the choice does not bring them. Allocates the order [T * K]
    int64 beside what is returned, and where it counts, one int64 for each choice of the router before that.
    """
    top_k = choice.experts_TK.shape[1]
    expert_S = choice.experts_TK.reshape(-1)
    order_S = expert_S.argsort(stable=True)
    counts = choice.counts
    if counts is None:
        counts = tuple(expert_S.bincount(minlength=experts)[:experts].tolist())
    order_N = order_S[: sum(counts)]
    return Dispatch(order_N // top_k, choice.weights_TK.reshape(-1, 1).index_select(0, order_N), counts)


def accumulate(out_TD: Tensor, y_nD: Tensor, rows: Dispatch, *, weighs: bool = True) -> None:
    """Add weighted rows to their tokens, in the order of the rows; y may be overwritten.

    `rows` are those of y alone. CUDA adds rows of equal token in no order, so there it is done expert by
    expert: no token has two rows of one expert.
    """
    if weighs:
        weight_n1 = rows.weight_N1.to(out_TD.dtype)
        y_nD = y_nD.mul_(weight_n1) if y_nD.dtype == out_TD.dtype else y_nD * weight_n1
    elif y_nD.dtype != out_TD.dtype:
        y_nD = y_nD.to(out_TD.dtype)
    if out_TD.device.type in {"cpu", "meta"}:
        out_TD.index_add_(0, rows.token_N, y_nD)
        return
    sizes = list(rows.counts)
    for token_n, part_nD in zip(
        rows.token_N.split_with_sizes(sizes), y_nD.split_with_sizes(sizes), strict=True
    ):
        out_TD.index_add_(0, token_n, part_nD)
