"""Seconds of an exchange: latency and rate, calibrated in the same run, and the bytes of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.witness.wire import predicted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.replica.parallel.calibrate import Point
    from moe_plan.replica.parallel.report import EpReport
    from moe_plan.witness.wire import Layer, WireBytes

DISPATCH_EXCHANGES = 3
"""Counts, places, tokens."""
_NEAR = 1.25


class Rate(NamedTuple):
    """An exchange takes `latency_seconds`, and `seconds_per_byte` for what the busiest rank sends."""

    latency_seconds: float
    seconds_per_byte: float


class ExchangeSeconds(NamedTuple):
    """One layer's exchanges, of the rank that waits longest."""

    dispatch: float
    combine: float


def fitted(points: Iterable[Point]) -> Rate:
    """The line through the points with the least squares of relative differences; neither part is below 0."""
    known = [(float(point.sent_bytes), point.seconds, point.seconds**-2) for point in points]
    weight = sum(w for _, _, w in known)
    mean_bytes = sum(w * n for n, _, w in known) / weight
    mean_seconds = sum(w * s for _, s, w in known) / weight
    spread = sum(w * (n - mean_bytes) ** 2 for n, _, w in known)
    joint = sum(w * (n - mean_bytes) * (s - mean_seconds) for n, s, w in known)
    slope = max(0.0, joint / spread) if spread else 0.0
    latency = mean_seconds - slope * mean_bytes
    if latency >= 0:
        return Rate(latency, slope)
    # All of it is bytes: the line through zero.
    return Rate(0.0, sum(w * n * s for n, s, w in known) / sum(w * n * n for n, _, w in known))


def rate_of(report: EpReport) -> Rate:
    """Of the rank that waited longest at each size."""
    slowest = [max(of_ranks, key=lambda p: p.seconds) for of_ranks in _by_size(report)]
    return fitted(slowest)


def _by_size(report: EpReport) -> list[tuple[Point, ...]]:
    return list(zip(*(rank.exchange for rank in report.by_rank), strict=True))


def predicted_seconds(report: EpReport, index: int, layer: Layer) -> ExchangeSeconds:
    """Of sparse layer `index`: every exchange lasts as long as that of its busiest rank."""
    rate, ranks = rate_of(report), predicted(report, index, layer)
    return ExchangeSeconds(
        DISPATCH_EXCHANGES * rate.latency_seconds + rate.seconds_per_byte * max(map(_dispatched, ranks)),
        rate.latency_seconds + rate.seconds_per_byte * max(map(_combined, ranks)),
    )


def _dispatched(rank: WireBytes) -> float:
    sent = rank.dispatch_sent + rank.metadata_sent
    return max(sent, rank.dispatch_received + rank.metadata_received)


def _combined(rank: WireBytes) -> float:
    return max(rank.combine_sent, rank.combine_received)


def measured_seconds(report: EpReport, index: int) -> ExchangeSeconds:
    """Of sparse layer `index`: median over repeats of the slowest rank."""
    seconds = [rank.layers[index].seconds for rank in report.by_rank]
    return ExchangeSeconds(max(s.dispatch for s in seconds), max(s.combine for s in seconds))


def residual(report: EpReport, guess: float, seen: float) -> str:
    """Why a measured exchange is not the predicted one, in words, as far as the run itself tells."""
    if guess / _NEAR <= seen <= guess * _NEAR:
        return "within a quarter of latency and bandwidth as calibrated in the same run"
    if seen < guess:
        return "faster than the calibration, which takes the slowest rank at each size"
    if report.cores < report.ranks:
        cores = "1 core" if report.cores == 1 else f"{report.cores} cores"
        return f"{report.ranks} ranks share {cores}: an exchange ends when the last of them has had its turn"
    return (
        "not bytes: ranks leave their meeting one after the other, with unequal shares and cold buffers, "
        f"on {report.cores} cores with a load of {report.load:.1f}"
    )
