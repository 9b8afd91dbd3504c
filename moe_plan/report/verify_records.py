"""Ledgers as records: the models and lines of JSON, and the lines of CSV. Numbers are exact here."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from moe_plan.plan.verification import (
    FULL_WIDTH_DTYPE,
    FULL_WIDTH_STEPS,
    FULL_WIDTH_TOKENS,
    SEQUENCES,
)
from moe_plan.report.numbers import rounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.plan.ledger import Ledger, Line, Unit
    from moe_plan.plan.verification import Check, Request
    from moe_plan.report.csv import Value

_LINE = ("group", "name", "unit", "predicted", "measured", "ratio", "band", "verdict", "note")
HEADER = ("model", "scale", "device", "dtype", "tokens", "steps", *_LINE)
_CONTINUOUS: frozenset[Unit] = frozenset({"s", "experts"})


def content(checks: Sequence[Check], request: Request) -> dict[str, object]:
    """The JSON of `verify` without its format line; wall times only where they were asked for."""
    full_width = {"tokens": FULL_WIDTH_TOKENS, "steps": FULL_WIDTH_STEPS, "dtype": FULL_WIDTH_DTYPE}
    return {
        "request": {**request._asdict(), "scale": None if request.scale is None else str(request.scale)},
        "sequences": SEQUENCES,
        "full_width": {"sequences": 1, **full_width} if request.full_width else None,
        "models": [{**record(check, timed=request.time), "lines": _lines(check)} for check in checks],
    }


def record(check: Check, *, timed: bool) -> dict[str, object]:
    """What came of one model, without its lines; what a failed replica does not have is None."""
    ledger = check.ledger
    return {
        "name": check.model,
        "status": check.status,
        "failure": check.failure or None,
        "scale": ledger and ledger.scale,
        "kept": list(ledger.kept) if ledger else [],
        "device": ledger and ledger.device,
        "dtype": ledger and ledger.dtype,
        "tokens": ledger and ledger.tokens,
        "steps": ledger and ledger.steps,
        "replica_params": check.parameters,
        "quantities": sum(check.counts.values()),
        **{str(verdict): count for verdict, count in check.counts.items()},
        "wall_s": rounded(check.seconds) if timed else None,
    }


def csv_lines(checks: Sequence[Check]) -> tuple[tuple[str, ...], list[list[Value]]]:
    """Header and one line a quantity; a failed replica is one line with its reason as the note."""
    records = [record for check in checks for record in _flat(check)]
    return HEADER, [[record.get(name) for name in HEADER] for record in records]


def _lines(check: Check) -> list[dict[str, Value | bool]]:
    return [line_record(line) for line in check.ledger.lines] if check.ledger else []


def line_record(line: Line) -> dict[str, Value | bool]:
    """One line of a ledger, with exact numbers."""
    return {
        "group": line.group,
        "name": line.name,
        "unit": line.unit,
        "predicted": _number(line.predicted, line.unit),
        "measured": _number(line.measured, line.unit),
        "ratio": _rounded(line.ratio),
        "band": _rounded(line.band),
        "judged": line.judged,
        "verdict": line.verdict,
        "note": line.note or None,
    }


def _flat(check: Check) -> Iterator[dict[str, Value]]:
    if check.ledger is None:
        yield {"model": check.model, "verdict": "failed", "note": check.failure}
        return
    run = _run(check.ledger)
    yield from ({**run, **line} for line in _lines(check))


def _run(ledger: Ledger) -> dict[str, Value]:
    return {
        "model": ledger.model,
        "scale": ledger.scale,
        "device": ledger.device,
        "dtype": ledger.dtype,
        "tokens": ledger.tokens,
        "steps": ledger.steps,
    }


def _number(value: float, unit: Unit) -> float | None:
    """Whole where the quantity is counted; JSON has no word for what is not finite."""
    if not isfinite(value):
        return None
    if unit in _CONTINUOUS:
        return rounded(value)
    return round(value) if value == round(value) else value


def _rounded(value: float | None) -> float | None:
    return None if value is None or not isfinite(value) else rounded(value)
