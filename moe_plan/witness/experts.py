"""Distinct experts that a batch touches: the formula against routing that was really done."""

from __future__ import annotations

from statistics import NormalDist, fmean, pstdev
from typing import TYPE_CHECKING

import torch

from moe_plan.estimate.reads import expected_distinct
from moe_plan.plan.ledger import Line
from moe_plan.replica.call import Call, Options
from moe_plan.replica.ffn.moe import Moe
from moe_plan.replica.routing import Uniform, Zipf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.replica.call import Routing
    from moe_plan.replica.model import Replica

GROUP = "distinct experts"
SIGMAS = NormalDist().inv_cdf(1 - 1e-6)
"""Half-width of the band in standard errors: one check in a million is outside by chance."""


def moe_of(replica: Replica) -> Moe | None:
    """The first mixture of experts of the decoder."""
    return next((module for module in replica.decoder.modules() if isinstance(module, Moe)), None)


def distinct_lines(replica: Replica, tokens: int, seeds: int, seed: int) -> Iterator[Line]:
    """Mean over `seeds` routings of the experts with work, uniform and skewed; then the router's own choice.

    What is counted is the sparse layer's own list of rows for each expert, not the routing that asked for it.
    """
    moe = moe_of(replica)
    if moe is None:
        return
    spec = moe.spec
    choices = spec.experts + spec.zero_experts
    uniform = spec.experts * -torch.expm1(tokens * torch.log1p(torch.tensor(-spec.top_k / choices))).item()
    routings = [Uniform(seed + index) for index in range(seeds)]
    yield _line(f"{tokens} tokens, uniform", uniform, _touched(moe, tokens, routings))
    if not spec.zero_experts:
        skewed = [Zipf(1.0, seed + index) for index in range(seeds)]
        popularity = [1.0 / rank for rank in range(1, spec.experts + 1)]
        expected = expected_distinct(popularity, spec.top_k, tokens)
        yield _line(f"{tokens} tokens, Zipf 1.0", expected, _touched(moe, tokens, skewed))
    own = _touched(moe, tokens, [None] * seeds)
    name = f"{tokens} tokens, the router's own choice"
    note = "random weights, not trained ones"
    yield Line(GROUP, name, uniform, fmean(own), "experts", judged=False, note=note)


def _line(name: str, expected: float, touched: list[int]) -> Line:
    error = pstdev(touched) / len(touched) ** 0.5
    # A spread of nothing (every expert touched every time) leaves room for rounding only.
    band = max(SIGMAS * error / expected, 1e-6)
    return Line(GROUP, name, expected, fmean(touched), "experts", band, note=f"mean of {len(touched)} seeds")


def _touched(moe: Moe, tokens: int, routings: Sequence[Routing | None]) -> list[int]:
    generator = torch.Generator("cpu").manual_seed(tokens)
    touched = []
    for routing in routings:
        counts: dict[int, tuple[int, ...]] = {}
        weight = moe.router.weight
        x_BTD = torch.randn((1, tokens, weight.shape[1]), generator=generator).to(weight)
        ids_BT = torch.randint(0, 7, (1, tokens), generator=generator).to(weight.device)
        call = Call(ids_BT, 0, moe.router.norm, Options(routing=routing, counts=counts))
        moe(x_BTD, call)
        touched.append(sum(count > 0 for count in counts[0][: moe.spec.experts]))
    return touched
