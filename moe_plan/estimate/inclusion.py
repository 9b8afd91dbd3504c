"""How likely a token is to choose each expert, where experts differ in popularity.

A token draws k distinct experts one after another, each time in proportion to popularity among those left.
That is the order in which independent exponential clocks ring whose rates are the popularities (Gumbel
top-k, arXiv 1903.06059): expert e is chosen where fewer than k of the other clocks ring before its own.

    P(e) = integral over t of  w_e exp(-w_e t) * P(fewer than k others have rung by t)

With u = log t the integrand is analytic and vanishes at both ends, so that the trapezoidal rule converges
faster than any power of its step. Two things bound the step. The first factor is a Gumbel density in u,
whose Fourier transform at frequency f is |Gamma(1 + i f)|, about exp(-pi f / 2). The second falls from 1 to
0 over a width of at least 1 / sqrt(k): the count of rung clocks is about k there, and changes with u by at
most sqrt(k) times its own standard deviation. What is cut off at the ends is about 1e-15 of P(e), and every
term is positive, so that rounding does not grow. Error bound: 1e-12 of each P(e), held by the tests against
exact enumeration and the closed form of equal popularities; halving the step moves none by more than 4e-15.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, expm1, isfinite, lgamma, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST = 1e-15
"""Share of an integral that may be cut off at an end."""
LEAST_RATE = 1e-100
"""Of the most popular expert; far beyond any count, and within what exp can say."""
WIDEST_STEP = 0.2
STEP_OF_A_TRANSITION = 0.5


def inclusion_probabilities(popularity: Sequence[float], top_k: int) -> tuple[float, ...]:
    """P that one token chooses expert e, for each e; they add up to `top_k`.

    `popularity` is relative, and 0 for an expert that is never chosen. ValueError where it holds a negative
    number, no number or numbers too far apart, or fewer than `top_k` experts that can be chosen.
    """
    rates = _rates(popularity)
    if not 1 <= top_k <= len(rates):
        message = f"a token cannot choose {top_k} of {len(rates)} experts that have any popularity"
        raise ValueError(message)
    each = iter([1.0] * top_k if top_k == len(rates) else _integrated(rates, top_k))
    return tuple(next(each) if weight > 0 else 0.0 for weight in popularity)


def _rates(popularity: Sequence[float]) -> list[float]:
    """The positive popularities, the largest made 1."""
    if not all(isfinite(weight) and weight >= 0 for weight in popularity):
        message = "popularity must be finite and not negative"
        raise ValueError(message)
    positive = [weight for weight in popularity if weight > 0]
    most = max(positive, default=0.0)
    if positive and min(positive) < LEAST_RATE * most:
        message = f"popularity may not span more than {1 / LEAST_RATE:.0e}; give 0 for what is never chosen"
        raise ValueError(message)
    return [weight / most for weight in positive]


def _integrated(rates: list[float], top_k: int) -> list[float]:
    """The integrals for clocks of positive `rates`, the fastest of rate 1, more than `top_k` of them."""
    step = min(WIDEST_STEP, STEP_OF_A_TRANSITION / sqrt(top_k))
    # Until `early` k clocks have rung with a probability of at most mean^k / k! = LEAST (union bound).
    early = (log(LEAST) + lgamma(top_k + 1)) / top_k - log(sum(rates))
    start = early + log(LEAST)
    sums = [0.0] * len(rates)
    node = 0
    while True:
        u = start + node * step
        rung = [-expm1(-rate * exp(u)) for rate in rates]
        fewer = _fewer_others(rung, top_k) if u > early else [1.0] * len(rates)
        terms = [exp(u - rate * exp(u)) * rate * few for rate, few in zip(rates, fewer, strict=True)]
        for index, term in enumerate(terms):
            sums[index] += term
        if u > early and all(t <= LEAST * s for t, s in zip(terms, sums, strict=True)):
            return [min(step * s, 1.0) for s in sums]
        node += 1


def _fewer_others(rung: list[float], top_k: int) -> list[float]:
    """For each clock: P that fewer than `top_k` of the others have rung, given each one's probability."""
    before = [[1.0] + [0.0] * (top_k - 1)]
    for p in rung[:-1]:
        before.append(_with(before[-1], p))
    after = [1.0] + [0.0] * (top_k - 1)
    fewer = []
    for index in range(len(rung) - 1, -1, -1):
        at_most, total = [], 0.0
        for share in after:
            total += share
            at_most.append(total)
        fewer.append(sum(b * a for b, a in zip(before[index], reversed(at_most), strict=True)))
        after = _with(after, rung[index])
    return fewer[::-1]


def _with(counts: list[float], p: float) -> list[float]:
    """P of 0, 1, ... rung clocks, cut off at the same length, once a clock of probability `p` is added."""
    q = 1.0 - p
    return [counts[0] * q, *(here * q + below * p for below, here in pairwise(counts))]
