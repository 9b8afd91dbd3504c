"""A profile as tables: the sparse layer, its dense twins beside it, and the load of its experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.plan.profiling import TWINS
from moe_plan.report import numbers
from moe_plan.report.numbers import MISSING, TIMES
from moe_plan.report.profile_chart import BIN_NAMES, charts, histogram
from moe_plan.report.table import Column, Document, Row, Table, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.plan.profiling import Point, Profile, Request, Twin

TOKENS = Column("tokens")
_SPARSE = (
    TOKENS,
    Column("time"),
    Column("spread"),
    Column("per token"),
    Column("FLOP/s"),
    Column("bytes/s"),
    Column("FLOP/B"),
    Column("bound", "left"),
    Column("least"),
)
_TWINS = (
    TOKENS,
    Column("equal active"),
    Column("bound", "left"),
    Column("sparse takes"),
    Column("equal total"),
    Column("bound", "left"),
    Column("sparse takes"),
)
_LOAD = (TOKENS, Column("distinct"), Column("formula"), Column("busiest"), *map(Column, BIN_NAMES))
NAMES: dict[Twin, str] = {"sparse": "sparse", "active": "equal active", "total": "equal total"}


def document(profile: Profile, request: Request, width: int | None) -> Document:
    """Tables, charts and notes of a profile with at least one batch."""
    return Document(
        (_sparse(profile), _twins(profile), _load(profile)),
        tuple(_notes(profile)),
        tuple(_heading(profile, request)),
        charts(profile, width),
    )


def _heading(profile: Profile, request: Request) -> Iterator[str]:
    about = profile.about
    experts = f"{numbers.exact(about.experts)} experts"
    if about.zero_experts:
        experts += f" and {numbers.exact(about.zero_experts)} without weights"
    yield (
        f"{about.model}, the sparse layer {about.layer} ({about.block}) at scale {about.scale}: "
        f"{experts}, {about.top_k} for each token, {request.routing}"
    )
    threads = f"{request.threads} thread{'s' if request.threads > 1 else ''}"
    yield (
        f"{about.device} ({about.device_name}), {about.dtype}, {threads}, torch {about.versions['torch']}, "
        f"seed {request.seed}"
    )
    if not profile.is_complete:
        yield f"interrupted: {len(profile.points)} of {len(request.tokens)} batches were measured"
    sizes = "; ".join(_size(profile, twin) for twin in TWINS)
    yield f"hidden width {numbers.exact(about.hidden)}; {sizes}"


def _size(profile: Profile, twin: Twin) -> str:
    size = profile.about.size(twin)
    total, active = numbers.count(size.parameters), numbers.count(size.active_parameters)
    if twin == "sparse":
        return f"sparse: experts of width {numbers.exact(size.width)}, {total} parameters, {active} active"
    return f"dense of {NAMES[twin]} size: width {numbers.exact(size.width)}, {total}"


def _sparse(profile: Profile) -> Table:
    rows = (Row(texts(*_sparse_cells(profile, point))) for point in profile.points)
    return Table(_SPARSE, tuple(rows), "the sparse layer")


def _sparse_cells(profile: Profile, point: Point) -> Iterator[str]:
    step, ceiling = point.sparse, profile.ceiling
    yield numbers.exact(point.tokens)
    yield numbers.seconds(step.seconds.middle)
    yield percent(step.seconds.relative) if step.seconds.runs > 1 else MISSING
    yield numbers.seconds(step.seconds.middle / point.tokens)
    yield numbers.brief(round(step.flops_per_s))
    yield numbers.brief(round(step.bytes_per_s))
    yield numbers.ratio(step.intensity)
    yield ceiling.bound(step)
    yield times(step.seconds.middle / ceiling.least_seconds(step))


def _twins(profile: Profile) -> Table:
    rows = (Row(texts(*_twin_cells(profile, point))) for point in profile.points)
    title = "dense layers of equal size, and how many times their time the sparse one takes"
    return Table(_TWINS, tuple(rows), title)


def _twin_cells(profile: Profile, point: Point) -> Iterator[str]:
    yield numbers.exact(point.tokens)
    for step in (point.active, point.total):
        yield numbers.seconds(step.seconds.middle)
        yield profile.ceiling.bound(step)
        yield times(point.sparse.seconds.middle / step.seconds.middle)


def _load(profile: Profile) -> Table:
    table = Table(_LOAD, tuple(map(_load_row, profile.points)), "experts: how many have work, and how much")
    # Columns of bins that no batch ever fills say nothing.
    first = len(_LOAD) - len(BIN_NAMES)
    kept = [
        index
        for index in range(len(_LOAD))
        if index < first or any(row.cells[index].text != MISSING for row in table.rows)
    ]
    return table.only(kept)


def _load_row(point: Point) -> Row:
    load = point.load
    bins = [f"{share:.1f}" if share else MISSING for share in histogram(load)]
    figures = f"{load.distinct.middle:.1f}", f"{load.expected:.1f}", f"{load.imbalance.middle:.2f}"
    return Row(texts(numbers.exact(point.tokens), *figures, *bins))


def _notes(profile: Profile) -> Iterator[str]:
    for twin in TWINS:
        yield crossing_text(profile, twin)
    ceiling = profile.ceiling
    yield (
        f"bound: memory where a batch has less than {numbers.ratio(ceiling.ridge)} FLOP for each byte, "
        f"{flops_per_s(ceiling.flops_per_s)} of a large product over {bytes_per_s(ceiling.bytes_per_s)} of "
        "reading memory, both measured between the batches"
    )
    yield "bytes: weights that the batch touches, input and output, once each; FLOP: by torch's formulas"
    yield (
        "least: time over what that product and that reading would take, whichever is more; far above 1 "
        "neither binds, but what each operation costs however small it is"
    )
    yield (
        "time: median of repeats, each with routing of its own and caches emptied before it; "
        "spread: slowest less fastest run, over the median; on a CPU with one thread, processor time"
    )
    yield (
        "busiest: rows of the busiest expert over the mean of all; none, to 1/2, ...: experts without a row, "
        "and with up to so many times the mean"
    )


def crossing_text(profile: Profile, twin: Twin) -> str:
    """Where a layer goes from memory-bound to compute-bound, in words."""
    found, points = profile.crossing(twin), profile.points
    name = "sparse layer" if twin == "sparse" else f"dense layer of {NAMES[twin]} size"
    if found.tokens is not None:
        return f"{name}: memory-bound up to {numbers.ratio(found.tokens)} tokens, compute-bound from there on"
    span = f"from {numbers.exact(points[0].tokens)} to {numbers.exact(points[-1].tokens)} tokens"
    if len(points) == 1:
        return f"{name}: {found.below}-bound at {numbers.exact(points[0].tokens)} tokens"
    return f"{name}: {found.below}-bound at every batch {span}"


def flops_per_s(rate: float) -> str:
    """`38.7 GFLOP/s`."""
    return f"{numbers.flops(round(rate))}/s"


def bytes_per_s(rate: float) -> str:
    """`22.1 GB/s`: rates are decimal, as those of datasheets."""
    return f"{numbers.brief(round(rate))}B/s"


def times(ratio: float) -> str:
    """Three digits and a sign: `2.31x` with the sign of multiplication."""
    return f"{numbers.ratio(ratio)}{TIMES}"


def percent(share: float) -> str:
    """`12%`."""
    return f"{share * 100:.0f}%"
