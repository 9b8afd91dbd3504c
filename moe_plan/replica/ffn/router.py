"""Routers: which experts a token uses, and with what weights.

Legend: T tokens, D hidden, E choices (experts, then zero-compute ones), K experts of a token, G groups,
n experts of a group.

The product with the router's matrix is done in the type of the weights; scores and choice in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from moe_plan.replica.block import Block
from moe_plan.replica.ffn.dispatch import Choice
from moe_plan.replica.ffn.distinct import distinct_rows
from moe_plan.replica.norm import rms

if TYPE_CHECKING:
    from moe_plan.spec.ffn import MoeFfn
    from moe_plan.spec.ffn import Router as RouterSpec
    from moe_plan.spec.model import Norm

NEAR_BEST = 0.02
"""Sparsemixer's margin: twice the `router_jitter_noise` of Phi-3.5-MoE's config.json."""
SMALLEST_SUM = 1e-20
"""Added to the sum that weights are divided by, as DeepSeek-V3 does. Other releases add nothing, or up to
1e-6 (LFM2), which moves a weight by less than one part in a million."""
JUDGES = 2
"""Experts whose scores add up to that of their group (DeepSeek-V3)."""


class Router(Block):
    """The router of one mixture of experts."""

    owner = "router"
    weight: Tensor
    bias: Tensor | None
    correction_bias: Tensor
    input_scale: Tensor
    expert_scale: Tensor
    token_table: Tensor

    def __init__(self, spec: MoeFfn, hidden: int, vocab: int, norm: Norm) -> None:
        super().__init__()
        self.spec: RouterSpec = spec.router
        self.experts, self.top_k, self.norm = spec.experts, spec.top_k, norm
        self.choices = spec.experts + spec.zero_experts
        self.declare("weight", self.choices, hidden)
        if spec.router.bias:
            self.declare("bias", self.choices, start="vector")
        else:
            self.bias = None
        if spec.router.correction_bias == "buffer":
            self.declare_buffer("correction_bias", self.choices, dtype=torch.float32)
        elif spec.router.correction_bias == "parameter":
            self.declare("correction_bias", self.choices, start="vector")
        if spec.router.input_scale:
            self.declare("input_scale", hidden, start="norm")
        if spec.router.expert_scale:
            self.declare("expert_scale", self.choices, start="norm")
        if spec.router.token_table:
            shape = (vocab, self.top_k)
            self.declare_buffer("token_table", *shape, dtype=torch.int64, start="index", below=self.choices)

    def materialise(self, device: torch.device, generator: torch.Generator) -> None:
        """As every block; the experts in a row of the token table are distinct, as in a release."""
        super().materialise(device, generator)
        if self.spec.token_table:
            rows = len(self.token_table)
            self.token_table.copy_(distinct_rows(rows, self.top_k, self.choices, generator))

    def forward(self, x_TD: Tensor, ids_T: Tensor, forced_TK: Tensor | None = None) -> Choice:
        """Experts of each token and their weights, in the type of `x`.

        `ids_T` are the tokens' ids, for a table. With `forced_TK` those experts are taken, and weighed by
        their scores; without it nothing can be chosen on the meta device, where scores have no values.
        """
        logits_TE = self._logits(x_TD)
        chosen_TK = None
        if forced_TK is not None:
            chosen_TK = forced_TK.to(x_TD.device)
        elif self.spec.token_table:
            chosen_TK = self.token_table.index_select(0, ids_T)
        if self.spec.score == "sparsemixer":
            chosen_TK, weights_TK = sparsemixer(logits_TE, self.top_k, chosen_TK)
        else:
            scores_TE = _scores(logits_TE, self.spec.score)
            if chosen_TK is None:
                chosen_TK = self._best(scores_TE)
            weights_TK = scores_TE.gather(1, chosen_TK)
        return Choice(chosen_TK, self._scaled(weights_TK, chosen_TK).to(x_TD.dtype))

    def _logits(self, x_TD: Tensor) -> Tensor:
        if self.spec.input_scale:
            # Gemma 4: a norm without weights, a learned scale, and one by the square root of the width.
            x_TD = rms(x_TD, None, self.norm.eps) * self.input_scale * x_TD.shape[1] ** -0.5
        return functional.linear(x_TD, self.weight, self.bias).float()

    def _best(self, scores_TE: Tensor) -> Tensor:
        """Experts of the highest scores; a correction bias has its say here and nowhere else."""
        if self.spec.correction_bias is not None:
            scores_TE = scores_TE + self.correction_bias
        if self.spec.groups is not None and self.spec.top_groups is not None:
            grouped_TE = _within_groups(scores_TE[:, : self.experts], self.spec)
            # Zero-compute experts belong to no group.
            zero_TE = scores_TE[:, self.experts :]
            scores_TE = torch.cat((grouped_TE, zero_TE), 1) if zero_TE.shape[1] else grouped_TE
        return scores_TE.topk(self.top_k, sorted=False).indices

    def _scaled(self, weights_TK: Tensor, chosen_TK: Tensor) -> Tensor:
        if self.spec.normalize:
            weights_TK = weights_TK / weights_TK.sum(1, keepdim=True).add_(SMALLEST_SUM)
        if self.spec.scale != 1.0:
            weights_TK = weights_TK * self.spec.scale
        if self.spec.expert_scale:
            weights_TK = weights_TK * self.expert_scale[chosen_TK]
        return weights_TK


def sparsemixer(logits_TE: Tensor, top_k: int, forced_TK: Tensor | None) -> tuple[Tensor, Tensor]:
    """Experts [T, K] and their weights [T, K] at inference (arXiv 2409.12136, modeling_phimoe.py).

    Choice after choice: the best expert left, weighed by a softmax over those left that come within 2 %
    of it; the scale of "within" is the best logit, or a logit's own size where that is more.
    """
    chosen, weights = [], []
    left_TE, sizes_TE = logits_TE, logits_TE.abs()
    for slot in range(top_k):
        best_T1, index_T1 = left_TE.max(1, keepdim=True)
        if forced_TK is not None:
            index_T1 = forced_TK[:, slot : slot + 1]
        far_TE = (best_T1 - logits_TE) / torch.maximum(sizes_TE, best_T1) > NEAR_BEST
        weights.append(left_TE.masked_fill(far_TE, -torch.inf).softmax(1).gather(1, index_T1))
        left_TE = left_TE.scatter(1, index_T1, -torch.inf)
        chosen.append(index_T1)
    return torch.cat(chosen, 1), torch.cat(weights, 1)


def _scores(logits_TE: Tensor, kind: str) -> Tensor:
    if kind == "softmax":
        return logits_TE.softmax(1)
    if kind == "sigmoid":
        return logits_TE.sigmoid()
    return functional.softplus(logits_TE).sqrt_()


def _within_groups(scores_TE: Tensor, spec: RouterSpec) -> Tensor:
    """Scores with minus infinity for the experts of all but the best groups."""
    assert spec.groups is not None
    assert spec.top_groups is not None
    scores_TGn = scores_TE.reshape(len(scores_TE), spec.groups, -1)
    if spec.group_score == "max":
        groups_TG = scores_TGn.amax(2)
    else:
        groups_TG = scores_TGn.topk(min(JUDGES, scores_TGn.shape[2]), sorted=False).values.sum(2)
    best = groups_TG.topk(spec.top_groups, sorted=False).indices
    out_TG = torch.ones_like(groups_TG, dtype=torch.bool).scatter_(1, best, value=False)
    return scores_TGn.masked_fill(out_TG.unsqueeze(2), -torch.inf).flatten(1)
