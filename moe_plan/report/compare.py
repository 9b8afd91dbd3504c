"""A comparison as a table for people, and as flat records for machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.report import numbers
from moe_plan.report.numbers import MISSING, TIMES
from moe_plan.report.table import Cell, Column, Document, Row, Table, section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.plan.compare import Comparison, Figures
    from moe_plan.plan.question import Question

LEGEND = "* lowest of the row, where lower is better"
Shown = Callable[["Figures"], str]
Ranked = Callable[["Figures"], "float | None"]


class Line(NamedTuple):
    """A row to be: its label, the text of a model's cell, and the number whose lowest value wins."""

    label: str
    shown: Shown
    ranked: Ranked | None = None


def document(comparison: Comparison) -> Document:
    """The table of `compare`, with its assumptions below."""
    models = comparison.models
    columns = (Column("", "left"), *(Column(figures.name) for figures in models))
    rows: list[Row] = []
    for heading, lines in _sections(comparison.question):
        body = [row for row in (_row(line, models) for line in lines) if _says_something(row)]
        rows += [section(heading), *body] if body else []
    notes = [*comparison.assumptions]
    if comparison.checks:
        from moe_plan.report import checked  # noqa: PLC0415  without a check nothing of it is needed

        rows += checked.rows(comparison.checks)
        notes += checked.notes(comparison.checks)
    table = Table(columns, tuple(rows))
    return Document((table,), (*((LEGEND,) if table.has_marks else ()), *notes))


def _row(line: Line, models: Sequence[Figures]) -> Row:
    shown = [line.shown(figures) for figures in models]
    best = _best([line.ranked(figures) for figures in models], shown) if line.ranked else None
    cells = tuple(Cell(text, index == best) for index, text in enumerate(shown))
    return Row((Cell("  " + line.label), *cells))


def _best(values: Sequence[float | None], shown: Sequence[str]) -> int | None:
    """Index of the one lowest value; None for a single model, and where two look the same."""
    known = [(value, index) for index, value in enumerate(values) if value is not None]
    if not known or len(values) == 1:
        return None
    _, index = min(known)
    return index if shown.count(shown[index]) == 1 else None


def _says_something(row: Row) -> bool:
    return any(cell.text != MISSING for cell in row.cells[1:])


def _sections(question: Question) -> Iterator[tuple[str, tuple[Line, ...]]]:
    tokens = f"{question.context:,}"
    yield "size", _SIZE
    yield "structure", _STRUCTURE
    yield "memory", _memory(question)
    yield (
        "FLOPs per token",
        (
            Line(
                f"decode at {tokens}",
                lambda f: numbers.flops(f.work.decode_flops),
                lambda f: f.work.decode_flops,
            ),
            Line(
                f"mean prefill of {tokens}",
                lambda f: numbers.flops(f.work.prefill_flops),
                lambda f: f.work.prefill_flops,
            ),
            Line(
                f"training at {tokens}",
                lambda f: numbers.flops(f.work.training_flops),
                lambda f: f.work.training_flops,
            ),
        ),
    )
    yield f"one decode step, batch {question.batch:,}", _STEP
    yield "against a dense model", _DENSE


def _published(figures: Figures) -> str:
    published = figures.published
    if published.total is None and published.active is None:
        return MISSING
    return f"{published.total or MISSING} / {published.active or MISSING}"


def _experts(figures: Figures) -> str:
    made_of = figures.structure
    if made_of.experts is None:
        return MISSING
    shared = " + shared" if made_of.has_shared_experts else ""
    return f"{made_of.top_k}/{made_of.experts}{shared}"


def _layers(figures: Figures) -> str:
    made_of = figures.structure
    return f"{made_of.layers} ({made_of.moe_layers} MoE)" if made_of.moe_layers else str(made_of.layers)


def _expert_sparsity(figures: Figures) -> str:
    sparsity = figures.size.expert_sparsity
    return MISSING if sparsity is None else f"{numbers.ratio(sparsity)}{TIMES}"


def _distinct(figures: Figures) -> str:
    touched, experts = figures.work.distinct_experts, figures.structure.experts
    return MISSING if touched is None else f"{touched:.1f} of {experts}"


def _mean_active(figures: Figures) -> str:
    mean = figures.size.active_mean
    return MISSING if mean is None else numbers.count(mean)


def _stored_as(figures: Figures) -> str:
    first_two, rest = figures.memory.weight_formats[:2], figures.memory.weight_formats[2:]
    return "+".join((*first_two, "…") if rest else first_two)


def _size_or_missing(n_bytes: int) -> str:
    return numbers.size(n_bytes) if n_bytes else MISSING


_SIZE = (
    Line("total parameters", lambda f: numbers.count(f.size.total)),
    Line("active per token", lambda f: numbers.count(f.size.active)),
    Line("mean active", _mean_active),
    Line("active in compute", lambda f: numbers.count(f.size.active_compute)),
    Line("as published", _published),
    Line("total/active sparsity", lambda f: f"{numbers.ratio(f.size.sparsity)}{TIMES}"),
)
_STRUCTURE = (
    Line("experts, top-k/routed", _experts),
    Line("expert sparsity E/k", _expert_sparsity),
    Line("layers", _layers),
    Line("attention", lambda f: ", ".join(f.structure.attention_kinds) or MISSING),
)


def _memory(question: Question) -> tuple[Line, ...]:
    return (
        Line(
            f"weights, {question.weights}",
            lambda f: numbers.size(f.memory.weight_bytes),
            lambda f: f.memory.weight_bytes,
        ),
        Line("stored as", _stored_as),
        Line(
            "released files",
            lambda f: numbers.size(f.memory.checkpoint_bytes),
            lambda f: f.memory.checkpoint_bytes,
        ),
        Line("beside the text model", lambda f: _size_or_missing(sum(f.memory.part_bytes.values()))),
        Line("namely", lambda f: "+".join(f.memory.part_bytes) or MISSING),
        Line(
            f"KV per token, {question.kv}",
            lambda f: f"{numbers.exact(f.memory.kv_bytes_per_token)} B",
            lambda f: f.memory.kv_bytes_per_token,
        ),
        Line(
            f"KV at {question.context:,} tokens",
            lambda f: numbers.size(f.memory.kv_bytes),
            lambda f: f.memory.kv_bytes,
        ),
        Line("of it recurrent state", lambda f: _size_or_missing(f.memory.state_bytes)),
    )


_STEP = (
    Line("distinct experts", _distinct),
    Line("weights read", lambda f: numbers.size(f.work.decode_bytes), lambda f: f.work.decode_bytes),
    Line("KV held", lambda f: numbers.size(f.work.decode_kv_bytes), lambda f: f.work.decode_kv_bytes),
)
_DENSE = (
    Line(
        "FLOPs, equal total",
        lambda f: f"1/{numbers.ratio(1 / f.size.dense_compute_ratio)} of {numbers.count(f.size.total)}",
        lambda f: f.size.dense_compute_ratio,
    ),
    Line(
        "bytes, equal active",
        lambda f: f"{numbers.ratio(f.size.dense_memory_ratio)}{TIMES} of {numbers.count(f.size.active)}",
        lambda f: f.size.dense_memory_ratio,
    ),
)
