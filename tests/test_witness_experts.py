"""The band of distinct experts: wide enough for chance, too narrow for a wrong formula."""

from __future__ import annotations

from math import comb

import pytest

pytest.importorskip("torch")

from moe_plan.api import load
from moe_plan.replica import build
from moe_plan.replica.shrink import shrink
from moe_plan.spec.catalogue import validated
from moe_plan.witness.experts import FALSE_ALARMS, band_of, distinct_lines


def outside(share: float, trials: int, band: float) -> float:
    """Exact probability that a binomial count strays further than `band` from what is expected of it."""
    expected = share * trials
    return sum(
        comb(trials, count) * share**count * (1 - share) ** (trials - count)
        for count in range(trials + 1)
        if abs(count / expected - 1) > band * (1 + 1e-12)
    )


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("trials", [8, 160, 1000])
def test_chance_is_within_the_band(share, trials):
    """Of independent experts the bound is exact enough to be compared with the binomial tail."""
    assert outside(share, trials, band_of(share, trials)) <= FALSE_ALARMS


def test_band_closes_as_seeds_are_added():
    bands = [band_of(0.7, trials) for trials in (100, 1_000, 10_000, 100_000)]
    assert bands == sorted(bands, reverse=True)
    assert bands[-1] == pytest.approx((2 * 0.7 * 0.3 * 14.5 / 100_000) ** 0.5 / 0.7, rel=0.02)


def test_nothing_but_rounding_where_every_expert_is_certain():
    assert band_of(1.0, 160) == 1e-9


@pytest.mark.parametrize("name", ["mixtral-8x7b", "qwen3-30b-a3b", "longcat-flash"])
def test_real_routing_is_within_and_a_wrong_formula_is_not(name):
    """Batches that touch nearly every expert have no spread of their own, and are no difference."""
    spec = shrink(validated(load(name).spec), 1 / 64).spec
    replica = build.materialise(build.on_meta(spec), build.torch.device("cpu"))
    lines = [line for line in distinct_lines(replica, 24, 20, 0) if line.judged]
    assert lines
    assert {line.verdict for line in lines} <= {"equal", "within"}
    few = next(iter(distinct_lines(replica, 2, 200, 0)))
    assert few.verdict in {"equal", "within"}
    # Experts drawn with replacement: the formula of another router.
    assert few._replace(predicted=few.predicted * 0.85).verdict == "differs"
