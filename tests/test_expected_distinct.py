"""Distinct experts where experts differ in popularity: exact enumeration, closed forms, and real draws."""

from __future__ import annotations

import random
import time
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import deterministic

from moe_plan.anatomy.inventory import Weight
from moe_plan.estimate import inclusion
from moe_plan.estimate.inclusion import inclusion_probabilities
from moe_plan.estimate.reads import expected_distinct

BOUND = 1e-12
"""The error that the module's docstring promises, of each probability."""


def enumerated(popularity, top_k):
    """Exact P of each expert: every order in which `top_k` experts can be drawn, in fractions."""
    weights = [Fraction(weight) for weight in popularity]
    experts = range(len(weights))

    @cache
    def chosen(taken, left):
        total = sum(weights[e] for e in experts if not taken >> e & 1)
        sums = [Fraction(0)] * len(weights)
        for e in experts:
            if left and weights[e] and not taken >> e & 1:
                first = weights[e] / total
                sums[e] += first
                later = chosen(taken | 1 << e, left - 1)
                sums = [s + first * p for s, p in zip(sums, later, strict=True)]
        return tuple(sums)

    return chosen(0, top_k)


@st.composite
def skewed(draw):
    even = st.integers(1, 50)
    spread = st.sampled_from([10**power for power in range(13)])
    popularity = draw(st.lists(draw(st.sampled_from([even, spread])), min_size=1, max_size=7))
    return popularity, draw(st.integers(1, len(popularity)))


@deterministic
@given(skewed())
def test_every_probability_is_exact_to_the_promised_bound(case):
    popularity, top_k = case
    found = inclusion_probabilities(popularity, top_k)
    for p, exact in zip(found, enumerated(tuple(popularity), top_k), strict=True):
        assert isclose(p, exact, rel_tol=BOUND), (found, exact)


@pytest.mark.parametrize(
    ("popularity", "top_k"),
    [
        ((1, 2), 1),
        ((1, 1, 1), 2),
        ((5, 3, 0, 2), 2),
        ((10**12, 1, 1), 2),
        ((1, 10**6, 10**12), 2),
        ((7, 1, 1, 1, 1, 1), 5),
        (tuple(range(1, 10)), 4),
    ],
)
def test_by_enumeration(popularity, top_k):
    found = inclusion_probabilities(popularity, top_k)
    exact = enumerated(popularity, top_k)
    assert all(isclose(p, q, rel_tol=BOUND) for p, q in zip(found, exact, strict=True))
    for tokens in (0, 1, 2, 31):
        expected = sum(1 - (1 - q) ** tokens for q in exact)
        assert isclose(expected_distinct(popularity, top_k, tokens), expected, rel_tol=BOUND)


def test_two_experts_by_hand():
    """One of two experts, three to one: two tokens meet 2 - (1/4)^2 - (3/4)^2 = 1.375 of them."""
    assert expected_distinct((3, 1), 1, 2) == pytest.approx(1.375, rel=BOUND)
    assert inclusion_probabilities((3, 1), 1) == pytest.approx((0.75, 0.25), rel=BOUND)


def test_two_of_three_by_hand():
    """Weights 2, 1, 1: the heavy one is missed only by 1/4 * 1/3 twice, so P = 5/6 and 7/12."""
    assert inclusion_probabilities((2, 1, 1), 2) == pytest.approx((5 / 6, 7 / 12, 7 / 12), rel=BOUND)


@pytest.mark.parametrize(
    ("experts", "top_k"), [(8, 2), (64, 6), (128, 8), (512, 10), (7, 6), (61, 60), (9, 9)]
)
@pytest.mark.parametrize("tokens", [1, 8, 300])
def test_equal_popularity_is_the_uniform_formula(experts, top_k, tokens):
    touched = Weight("experts.down", "routed_experts", (3, 5), experts, top_k).copies_touched(tokens)
    assert isclose(expected_distinct((0.3,) * experts, top_k, tokens), touched, rel_tol=BOUND)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
@pytest.mark.parametrize(("experts", "top_k"), [(16, 1), (67, 6), (130, 8), (33, 30)])
def test_the_sum_and_a_finer_step_agree(experts, top_k, exponent, monkeypatch):
    """Two checks that need no enumeration: P(e) add up to k, and half the step changes nothing."""
    popularity = [rank**-exponent for rank in range(1, experts + 1)]
    found = inclusion_probabilities(popularity, top_k)
    assert isclose(sum(found), top_k, rel_tol=BOUND)
    assert all(more >= less * (1 - BOUND) for more, less in pairwise(found))
    monkeypatch.setattr(inclusion, "WIDEST_STEP", inclusion.WIDEST_STEP / 2)
    monkeypatch.setattr(inclusion, "STEP_OF_A_TRANSITION", inclusion.STEP_OF_A_TRANSITION / 2)
    finer = inclusion_probabilities(popularity, top_k)
    assert max(abs(p / q - 1) for p, q in zip(found, finer, strict=True)) < 1e-14


def test_one_of_many_is_the_share():
    popularity = [rank**-1.3 for rank in range(1, 101)]
    shares = [weight / sum(popularity) for weight in popularity]
    assert inclusion_probabilities(popularity, 1) == pytest.approx(shares, rel=BOUND)


def test_real_draws():
    """4,000 batches of 9 tokens, each drawing 3 of 20 experts one after another: within four standard errors."""
    popularity = [rank**-1.1 for rank in range(1, 21)]
    draws = random.Random(5)

    def token():
        left = dict(enumerate(popularity))
        for _ in range(3):
            (expert,) = draws.choices(list(left), list(left.values()))
            del left[expert]
            yield expert

    seen = [len({expert for _ in range(9) for expert in token()}) for _ in range(4000)]
    mean = sum(seen) / len(seen)
    error = (sum((s - mean) ** 2 for s in seen) / len(seen) / len(seen)) ** 0.5
    assert abs(mean - expected_distinct(popularity, 3, 9)) < 4 * error
    uniform = 20 * (1 - (1 - 3 / 20) ** 9)
    assert mean < uniform - 10 * error, "the skew is large enough to tell the formulas apart"


@deterministic
@given(skewed(), st.integers(1, 40))
def test_more_tokens_touch_more_and_never_all_that_cannot_be(case, tokens):
    popularity, top_k = case
    here, more = (expected_distinct(popularity, top_k, t) for t in (tokens, tokens + 1))
    assert top_k * (1 - BOUND) <= here <= more * (1 + BOUND)
    assert more <= len(popularity)


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ValueError, match="cannot choose 3 of 2 experts"):
        inclusion_probabilities((1, 0, 2, 0), 3)
    with pytest.raises(ValueError, match="cannot choose 0"):
        inclusion_probabilities((1, 2), 0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and not negative"):
            inclusion_probabilities((1.0, wrong), 1)
    with pytest.raises(ValueError, match=r"span more than 1e\+100"):
        inclusion_probabilities((1.0, 1e-200), 1)
    assert inclusion_probabilities((0, 4, 0), 1) == (0.0, 1.0, 0.0)


def test_the_largest_pool_of_the_catalogue_takes_little_time():
    """LongCat chooses 12 of 768; a sweep over layers and batches needs it often."""
    start = time.process_time()
    inclusion_probabilities([rank**-1.0 for rank in range(1, 769)], 12)
    assert time.process_time() - start < 5
