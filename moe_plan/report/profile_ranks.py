"""A profile over ranks as tables and records: what each rank sent and computed, and what was predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers, verify
from moe_plan.report.numbers import rounded
from moe_plan.report.table import Column, Document, Row, Table, section, texts
from moe_plan.report.verify_records import line_record
from moe_plan.report.verify_rows import Style, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moe_plan.plan.profiling import Request
    from moe_plan.plan.profiling_ranks import BatchOverRanks, Rank, RanksProfile
    from moe_plan.report.csv import Value

PHASES = ("sort", "dispatch", "experts", "combine", "add", "wait")
_RANKS = (
    Column("rank"),
    Column("tokens"),
    Column("rows"),
    Column("sent"),
    Column("predicted"),
    Column("received"),
    Column("predicted"),
    *map(Column, PHASES),
)
_LINES = (
    Column("quantity", "left"),
    Column("predicted"),
    Column("measured"),
    Column("ratio"),
    Column("verdict", "left"),
)
_BYTES = ("sent_bytes", "predicted_sent_bytes", "received_bytes", "predicted_received_bytes")
_RUN = ("model", "scale", "ranks", "backend", "device", "dtype", "batch_tokens", "imbalance")
HEADER = (*_RUN, "rank", "tokens", "rows", *_BYTES, *(f"{phase}_s" for phase in PHASES), "complete")


def document(profile: RanksProfile, request: Request) -> Document:
    """Tables of at least one batch."""
    tables = _ranks(profile), _lines(profile)
    return Document(tables, tuple(_notes(profile)), tuple(_heading(profile, request)))


def _heading(profile: RanksProfile, request: Request) -> Iterator[str]:
    yield (
        f"{profile.model}, replica at scale {profile.scale} over {profile.ranks} ranks ({profile.backend}): "
        f"{profile.device}, {profile.dtype}, {request.routing}, seed {request.seed}"
    )
    if profile.kept:
        yield f"kept: {profile.kept[0]}"
    if not profile.is_complete:
        yield f"interrupted: {len(profile.batches)} of {len(request.tokens)} batches were measured"


def _ranks(profile: RanksProfile) -> Table:
    body: list[Row] = []
    for batch in profile.batches:
        busiest = f"the busiest rank has {numbers.ratio(batch.imbalance)} times the mean of rows"
        body.append(section(f"{_tokens(batch)}: {busiest}"))
        body += [Row(texts(*_rank_cells(rank))) for rank in batch.ranks]
    return Table(_RANKS, tuple(body), "each rank, all sparse layers together")


def _tokens(batch: BatchOverRanks) -> str:
    return f"{numbers.exact(batch.tokens)} token{'' if batch.tokens == 1 else 's'}"


def _rank_cells(rank: Rank) -> Iterator[str]:
    yield from (numbers.exact(count) for count in (rank.rank, rank.tokens, rank.rows))
    for measured, predicted in zip(rank.measured, rank.predicted, strict=True):
        yield numbers.size(measured)
        yield numbers.size(predicted)
    yield from (numbers.seconds(rank.seconds[phase]) for phase in PHASES)


def _lines(profile: RanksProfile) -> Table:
    body: list[Row] = []
    for batch in profile.batches:
        body.append(section(_tokens(batch)))
        body += rows(batch.ledger.lines, "auto", Style(narrow=False, notes=False))
    return Table(_LINES, tuple(body), "predicted and measured")


def _notes(profile: RanksProfile) -> Iterator[str]:
    yield (
        "sent, received: bytes to and from other ranks, bookkeeping included; predicted from who chose what, "
        "and nothing of the code that exchanges it"
    )
    if all(batch.is_exact for batch in profile.batches):
        yield "logits: those of all ranks must be those of one process with every expert, to the bit"
    else:
        yield "logits: noted, not judged: products of this type or shape round by the place of their rows"
    # The same line of every batch has the same reason, but for its figures.
    yield from verify.notes_of(profile.batches[-1].ledger.lines)
    cores = f"{profile.machine['cores']} core{'' if profile.machine['cores'] == 1 else 's'}"
    yield f"time: noted, not judged: {profile.ranks} ranks on {cores}; wait: for the slowest rank"


def content(profile: RanksProfile, request: Request) -> dict[str, object]:
    """The JSON of `profile --ranks` without its format line."""
    from moe_plan.report.profile_records import requested  # noqa: PLC0415  what one process measures has its own

    return {
        "request": {**requested(request), "ranks": profile.ranks},
        "model": profile.model,
        "scale": profile.scale,
        "kept": list(profile.kept),
        "ranks": profile.ranks,
        "backend": profile.backend,
        "device": profile.device,
        "dtype": profile.dtype,
        "machine": profile.machine,
        "versions": profile.versions,
        "complete": profile.is_complete,
        "batches": [_batch(batch) for batch in profile.batches],
    }


def _batch(batch: BatchOverRanks) -> dict[str, object]:
    return {
        "tokens": batch.tokens,
        "status": batch.check.status,
        "bit_equality_judged": batch.is_exact,
        "imbalance": rounded(batch.imbalance),
        "ranks": [_rank(rank) for rank in batch.ranks],
        "lines": [line_record(line) for line in batch.ledger.lines],
    }


def _rank(rank: Rank) -> dict[str, Value]:
    moved = (rank.measured.sent, rank.predicted.sent, rank.measured.received, rank.predicted.received)
    return {
        "rank": rank.rank,
        "tokens": rank.tokens,
        "rows": rank.rows,
        **dict(zip(_BYTES, moved, strict=True)),
        **{f"{phase}_s": rounded(rank.seconds[phase]) for phase in PHASES},
    }


def csv_lines(profile: RanksProfile) -> tuple[tuple[str, ...], list[list[Value]]]:
    """Header and one line for each batch and rank."""
    records = [
        {
            "model": profile.model,
            "scale": profile.scale,
            "ranks": profile.ranks,
            "backend": profile.backend,
            "device": profile.device,
            "dtype": profile.dtype,
            "batch_tokens": batch.tokens,
            "imbalance": rounded(batch.imbalance),
            **_rank(rank),
            "complete": profile.is_complete,
        }
        for batch in profile.batches
        for rank in batch.ranks
    ]
    return HEADER, [[record[name] for name in HEADER] for record in records]
