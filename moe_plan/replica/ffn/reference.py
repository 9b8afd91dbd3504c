"""The sparse layer as one would explain it: a loop over experts, everything out of place.

It is the oracle of the fast layer's tests. Legend: as in `experts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from moe_plan.replica.ffn.experts import Choice, ExpertWeights


def run_experts_by_loop(
    x_TD: Tensor,
    choice: Choice,
    weights: ExpertWeights,
    act: Callable[[Tensor], Tensor],
    *,
    weigh_input: bool = False,
) -> Tensor:
    """[T, D]: for each expert in turn, its tokens' weighted outputs are added to what they have so far."""
    out_TD = torch.zeros_like(x_TD)
    for expert in range(int(choice.experts_TK.max()) + 1):
        token_n, slot_n = torch.where(choice.experts_TK == expert)
        rows_nD, weight_n1 = x_TD[token_n], choice.weights_TK[token_n, slot_n, None]
        if weigh_input:
            rows_nD = rows_nD * weight_n1
        if expert < len(weights.up_EDF):
            rows_nD = _expert(rows_nD, weights, expert, act)
        out_TD.index_add_(0, token_n, rows_nD if weigh_input else rows_nD * weight_n1)
    return out_TD


def _expert(rows_nD: Tensor, weights: ExpertWeights, expert: int, act: Callable[[Tensor], Tensor]) -> Tensor:
    up_nU = rows_nD @ weights.up_EDF[expert]
    if weights.up_bias_EF is not None:
        up_nU = up_nU + weights.up_bias_EF[expert]
    down_nD = act(up_nU) @ weights.down_EFD[expert]
    return down_nD if weights.down_bias_ED is None else down_nD + weights.down_bias_ED[expert]
