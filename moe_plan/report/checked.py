"""What replicas of compared models gave: rows for the end of the comparison, and the notes below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.report import numbers
from moe_plan.report.numbers import MISSING
from moe_plan.report.table import Row, section, texts
from moe_plan.report.verify import run_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moe_plan.plan.verification import Check

MEANING = "checked: a shrunk model of the same structure, built from the spec alone, was run and counted"
MORE = "`moe-plan verify MODEL` lists every quantity"


def rows(checks: Sequence[Check]) -> tuple[Row, ...]:
    """One column a model, as in the comparison."""
    ledgers = [check.ledger for check in checks]
    scales = (MISSING if ledger is None else ledger.scale for ledger in ledgers)
    quantities = (MISSING if ledger is None else numbers.exact(len(ledger.lines)) for ledger in ledgers)
    differences = (
        "failed" if ledger is None else numbers.exact(len(ledger.differences)) for ledger in ledgers
    )
    is_alarming = any(check.status != "holds" for check in checks)
    return (
        section("checked in a replica"),
        Row(texts("  at scale", *scales)),
        Row(texts("  quantities", *quantities)),
        Row(texts("  differences", *differences), "alarm" if is_alarming else "body"),
    )


def notes(checks: Sequence[Check]) -> Iterator[str]:
    """How the replicas were run, and why some were not."""
    runs = dict.fromkeys(run_text(check.ledger) for check in checks if check.ledger)
    if runs:
        yield f"{MEANING} ({'; '.join(runs)}); {MORE}"
    for check in checks:
        if check.ledger is None:
            yield f"{check.model}: the replica failed: {check.failure}"
