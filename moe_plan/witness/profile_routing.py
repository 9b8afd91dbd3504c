"""Routing of a profile: drawn for each run anew, and how many experts it touches by the formula."""

from __future__ import annotations

from math import expm1, log1p
from typing import TYPE_CHECKING

from moe_plan.estimate.inclusion import inclusion_probabilities
from moe_plan.replica.routing import Counts, Uniform, Zipf
from moe_plan.witness.profile_run import Given

if TYPE_CHECKING:
    from moe_plan.plan.profiling import Request
    from moe_plan.plan.routed_layers import Routed


def routing_of(request: Request) -> Uniform | Zipf | Counts:
    """The source of all choices of a profile."""
    routing, seed = request.routing, request.seed
    if routing.kind == "zipf":
        assert routing.exponent is not None
        return Zipf(routing.exponent, seed)
    return Counts(routing.layers, seed) if routing.kind == "counts" else Uniform(seed)


class Draws:
    """Choices for one layer."""

    def __init__(self, request: Request, routed: Routed) -> None:
        self._source, self._routed = routing_of(request), routed
        popularity = self._source.popularity(routed.layer, routed.pool.choices)
        each = inclusion_probabilities(popularity, routed.pool.top_k)
        # Zero-compute experts come last and hold no weights that could be touched.
        self._each = each[: routed.block.experts]

    def draw(self, tokens: int) -> Given:
        """Experts of `tokens` tokens, drawn anew."""
        pool = self._routed.pool
        return Given(self._source.choose(self._routed.layer, tokens, pool.top_k, pool.choices))

    def expected_distinct(self, tokens: int) -> float:
        """Experts with work, on average: the sum over experts of 1 - (1 - P(e)) ** tokens."""
        return sum(-expm1(tokens * log1p(-p)) if p < 1 else float(tokens > 0) for p in self._each)
