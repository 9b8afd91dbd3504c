"""Distinct experts that a batch touches: the formula against routing that was really done."""

from __future__ import annotations

from math import log
from statistics import fmean
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
FALSE_ALARMS = 1e-6
"""How often a check may be outside its band by chance."""


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
    yield _line(f"{tokens} tokens, uniform", uniform, _touched(moe, tokens, routings), spec.experts)
    if not spec.zero_experts:
        skewed = [Zipf(1.0, seed + index) for index in range(seeds)]
        popularity = [1.0 / rank for rank in range(1, spec.experts + 1)]
        expected = expected_distinct(popularity, spec.top_k, tokens)
        yield _line(f"{tokens} tokens, Zipf 1.0", expected, _touched(moe, tokens, skewed), spec.experts)
    own = _touched(moe, tokens, [None] * seeds)
    name = f"{tokens} tokens, the router's own choice"
    note = "random weights, not trained ones"
    yield Line(GROUP, name, uniform, fmean(own), "experts", judged=False, note=note)


def _line(name: str, expected: float, touched: list[int], experts: int) -> Line:
    band = band_of(expected / experts, experts * len(touched))
    return Line(GROUP, name, expected, fmean(touched), "experts", band, note=f"mean of {len(touched)} seeds")


def band_of(share: float, trials: int) -> float:
    """How far, as a part of `share`, the share of experts with work may be from what is expected of it.

    Chernoff's bound in Hoeffding's form (JASA 58, 1963): n * KL(observed | expected) exceeds ln(2 / p) with
    probability p at most. It holds for unequal experts, and for those of one token, which exclude each other,
    as for independent ones (negative association: Dubhashi and Ranjan, 1998). The formula alone sets it: the
    spread of a sample is nothing where nearly every batch touches every expert.
    """
    allowed = log(2 / FALSE_ALARMS) / trials
    ends = (_farthest(share, end, allowed) for end in (0.0, 1.0))
    # Where every expert is touched every time, rounding is all that is left.
    return max(*(abs(end / share - 1) for end in ends), 1e-9)


def _farthest(share: float, end: float, allowed: float) -> float:
    """The observed share towards `end` whose divergence from `share` is `allowed`, by bisection."""
    near, far = share, end
    if _divergence(far, share) <= allowed:
        return far
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if _divergence(middle, share) <= allowed else (near, middle)
    return far


def _divergence(observed: float, expected: float) -> float:
    """Kullback-Leibler divergence of two coins, in nats."""
    pairs = ((observed, expected), (1 - observed, 1 - expected))
    return sum(seen * log(seen / due) if due > 0 else float("inf") for seen, due in pairs if seen > 0)


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
