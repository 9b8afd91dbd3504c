"""A profile as records: the batches of JSON, and the lines of CSV, one for each batch and layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.plan.profiling import TWINS
from moe_plan.report.numbers import rounded
from moe_plan.report.profile_chart import histogram

if TYPE_CHECKING:
    from moe_plan.plan.profiling import Ceiling, Point, Profile, Request, Routing, Spread, Step, Twin
    from moe_plan.report.csv import Value

_RUN = ("model", "layer", "scale", "device", "dtype", "threads", "routing", "seed")
_SIZE = ("size", "params", "active_params")
_STEP = (
    "runs", "seconds", "seconds_min", "seconds_max", "seconds_per_token", "flops", "bytes", "flops_per_s",
    "bytes_per_s", "flops_per_byte", "bound", "least_seconds",
)  # fmt: skip
_LOAD = ("distinct_experts", "expected_distinct_experts", "imbalance")
HEADER = (*_RUN, "tokens", *_SIZE, *_STEP, *_LOAD, "complete")
NAMES: dict[Twin, str] = {"sparse": "sparse", "active": "dense_equal_active", "total": "dense_equal_total"}


def content(profile: Profile, request: Request) -> dict[str, object]:
    """The JSON of `profile` without its format line."""
    about = profile.about
    return {
        "request": requested(request),
        "model": about.model,
        "layer": about.layer,
        "block": about.block,
        "scale": about.scale,
        "hidden": about.hidden,
        "experts": about.experts,
        "zero_experts": about.zero_experts,
        "top_k": about.top_k,
        "sizes": {NAMES[twin]: about.size(twin)._asdict() for twin in TWINS},
        "device": about.device,
        "device_name": about.device_name,
        "dtype": about.dtype,
        "machine": about.machine,
        "versions": about.versions,
        "ceiling": _ceiling(profile.ceiling),
        "complete": profile.is_complete,
        "crossings": {NAMES[twin]: _crossing(profile, twin) for twin in TWINS},
        "batches": [_batch(profile, point) for point in profile.points],
    }


def csv_lines(profile: Profile, request: Request) -> tuple[tuple[str, ...], list[list[Value]]]:
    """Header and one line for each batch and layer."""
    records = [_flat(profile, request, point, twin) for point in profile.points for twin in TWINS]
    return HEADER, [[record[name] for name in HEADER] for record in records]


def requested(request: Request) -> dict[str, object]:
    """What was asked, without the counts of a routing file."""
    return {
        **request._asdict(),
        "tokens": list(request.tokens),
        "routing": routing(request.routing),
        "scale": None if request.scale is None else str(request.scale),
    }


def routing(asked: Routing) -> dict[str, object]:
    """Without the counts of a file, which the file holds."""
    return {"kind": asked.kind, "exponent": asked.exponent, "path": asked.path}


def _ceiling(ceiling: Ceiling) -> dict[str, float]:
    return {
        "flops_per_s": rounded(ceiling.flops_per_s),
        "bytes_per_s": rounded(ceiling.bytes_per_s),
        "ridge_flops_per_byte": rounded(ceiling.ridge),
    }


def _crossing(profile: Profile, twin: Twin) -> dict[str, Value]:
    found = profile.crossing(twin)
    tokens = None if found.tokens is None else rounded(found.tokens)
    return {"tokens": tokens, "bound_at_first_batch": found.below}


def _batch(profile: Profile, point: Point) -> dict[str, object]:
    load = point.load
    return {
        "tokens": point.tokens,
        "layers": {NAMES[twin]: _step(point.step(twin), profile.ceiling, point.tokens) for twin in TWINS},
        "distinct_experts": {**_spread(load.distinct), "expected": rounded(load.expected)},
        "imbalance": _spread(load.imbalance),
        "histogram": [rounded(share) for share in histogram(load)],
        "rows": [list(rows) for rows in load.rows],
        "ceiling": _ceiling(point.ceiling),
    }


def _step(step: Step, ceiling: Ceiling, tokens: int) -> dict[str, Value]:
    return {
        "runs": step.seconds.runs,
        "seconds": rounded(step.seconds.middle),
        "seconds_min": rounded(step.seconds.least),
        "seconds_max": rounded(step.seconds.most),
        "seconds_per_token": rounded(step.seconds.middle / tokens),
        "flops": round(step.flops),
        "bytes": round(step.bytes),
        "flops_per_s": rounded(step.flops_per_s),
        "bytes_per_s": rounded(step.bytes_per_s),
        "flops_per_byte": rounded(step.intensity),
        "bound": ceiling.bound(step),
        "least_seconds": rounded(ceiling.least_seconds(step)),
    }


def _spread(of: Spread) -> dict[str, float]:
    return {"mean": rounded(of.middle), "min": rounded(of.least), "max": rounded(of.most)}


def _flat(profile: Profile, request: Request, point: Point, twin: Twin) -> dict[str, Value]:
    about, size, load = profile.about, profile.about.size(twin), point.load
    return {
        "model": about.model,
        "layer": about.layer,
        "scale": about.scale,
        "device": about.device,
        "dtype": about.dtype,
        "threads": request.threads,
        "routing": str(request.routing),
        "seed": request.seed,
        "tokens": point.tokens,
        "size": NAMES[twin],
        "params": size.parameters,
        "active_params": size.active_parameters,
        **_step(point.step(twin), profile.ceiling, point.tokens),
        "distinct_experts": rounded(load.distinct.middle),
        "expected_distinct_experts": rounded(load.expected),
        "imbalance": rounded(load.imbalance.middle),
        "complete": profile.is_complete,
    }
