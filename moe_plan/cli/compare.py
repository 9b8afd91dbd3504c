"""`moe-plan compare`: read the models, compare them, print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.cli.files import targets
from moe_plan.cli.given import given_models
from moe_plan.cli.output import Output, Result, deliver
from moe_plan.plan.compare import compare
from moe_plan.report import compare as table
from moe_plan.report import compare_records as records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.plan.compare import Comparison
    from moe_plan.plan.question import Question


def run(references: Sequence[str], question: Question, output: Output) -> int:
    """Exit code of the command."""
    files = targets(output.files, "compare", references)
    models, notes = given_models(references)
    return deliver(_result(compare(models, question), notes), output, files)


def _result(comparison: Comparison, notes: tuple[str, ...]) -> Result:
    return Result(
        "compare",
        lambda _width: table.document(comparison),
        lambda: records.content(comparison),
        lambda: records.csv_lines(comparison),
        notes,
    )
