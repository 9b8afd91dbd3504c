"""Expert parallelism in the ledger: bytes, rows, logits, and seconds of the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.plan.ledger import Line
from moe_plan.witness import wire, wire_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.replica.parallel.report import EpReport
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.wire import Layer

GROUP = "bytes on the wire"
TIME = "time of the exchange"


def wire_lines(report: EpReport, spec: ModelSpec) -> Iterator[Line]:
    """Bytes of each rank, all layers together, and each layer that differs; then logits and time.

    `spec` is what was run. ValueError where it has another number of sparse layers.
    """
    layers = wire.sparse_layers(spec, report)
    guesses = [wire.predicted(report, index, layer) for index, layer in enumerate(layers)]
    counts = [wire.measured(report, index) for index in range(len(report.by_rank[0].layers))]
    for rank in range(report.ranks):
        for name in wire.WireBytes._fields:
            pairs = [
                (getattr(g[rank], name), getattr(c[rank], name)) for g, c in zip(guesses, counts, strict=True)
            ]
            label = f"rank {rank} {name.replace('_', ' ')}"
            yield Line(GROUP, label, sum(p for p, _ in pairs), sum(m for _, m in pairs), "bytes")
            wrong = [(index, pair) for index, pair in enumerate(pairs) if pair[0] != pair[1]]
            yield from (Line(GROUP, f"layer {index} {label}", *pair, "bytes") for index, pair in wrong)
    yield from _uniform_lines(report, layers)
    yield from _equality_lines(report)
    yield from _time_lines(report, layers)


def _uniform_lines(report: EpReport, layers: tuple[Layer, ...]) -> Iterator[Line]:
    measured = [wire.measured(report, index) for index in range(len(layers))]
    expected = sum(sum(map(_payload, wire.expected(report, *numbered))) for numbered in enumerate(layers))
    seen = sum(sum(map(_payload, ranks)) for ranks in measured)
    note = "on average under uniform routing; the difference is the routing's, not the exchange's"
    yield Line(GROUP, "all ranks, uniform routing", expected, seen, "bytes", judged=False, note=note)
    each = sum(_once_per_expert(report, *numbered) for numbered in enumerate(layers))
    once = sum(of.dispatch_sent for ranks in measured for of in ranks)
    note = "what a dispatch that sends a token once for each of its experts would send"
    yield Line(GROUP, "all ranks, once per expert", each, once, "bytes", judged=False, note=note)


def _payload(rank: wire.WireBytes) -> float:
    return rank.dispatch_sent + rank.combine_sent


def _once_per_expert(report: EpReport, index: int, layer: Layer) -> float:
    matrix = wire.matrix_of(report, index, layer)
    rows = sum(
        route.rows for rank, row in enumerate(matrix) for other, route in enumerate(row) if other != rank
    )
    return rows * layer.width * layer.itemsize


def _equality_lines(report: EpReport) -> Iterator[Line]:
    if report.equality is None:
        return
    grouped, whole = report.equality.grouped, report.equality.whole_batch
    note = f"largest difference {grouped.largest:.2g} of logits up to {report.equality.largest_logit:.2g}"
    yield Line(
        "logits",
        "differ from one process",
        0,
        grouped.elements,
        "elements",
        judged=report.is_exact,
        note=note,
    )
    note = f"largest difference {whole.largest:.2g}: products outside the experts have more rows there"
    yield Line("logits", "differ from one batch", 0, whole.elements, "elements", judged=False, note=note)


def _time_lines(report: EpReport, layers: tuple[Layer, ...]) -> Iterator[Line]:
    expected = [wire_time.predicted_seconds(report, index, layer) for index, layer in enumerate(layers)]
    measured = [wire_time.measured_seconds(report, index) for index in range(len(layers))]
    for stage in wire_time.ExchangeSeconds._fields:
        guess = sum(getattr(of_layer, stage) for of_layer in expected)
        seen = sum(getattr(of_layer, stage) for of_layer in measured)
        note = wire_time.residual(report, guess, seen)
        yield Line(TIME, f"{stage}, all layers", guess, seen, "s", judged=False, note=note)
