"""`moe-plan compare`: read the models, compare them, print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.cli.files import targets
from moe_plan.cli.given import given_models
from moe_plan.cli.output import Output, Result, deliver
from moe_plan.plan.compare import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.plan.compare import Comparison
    from moe_plan.plan.question import Question
    from moe_plan.report.csv import Value
    from moe_plan.report.table import Document


def run(references: Sequence[str], question: Question, output: Output) -> int:
    """Exit code of the command."""
    files = targets(output.files, "compare", references)
    models, notes = given_models(references)
    return deliver(_result(compare(models, question), notes), output, files)


def _result(comparison: Comparison, notes: tuple[str, ...]) -> Result:
    """Each shape imports what it needs: a table is drawn without the code of JSON, and the reverse."""

    def document(_width: int | None) -> Document:
        from moe_plan.report import compare as table  # noqa: PLC0415

        return table.document(comparison)

    def content() -> dict[str, object]:
        from moe_plan.report import compare_records as records  # noqa: PLC0415

        return records.content(comparison)

    def csv_lines() -> tuple[list[str], list[list[Value]]]:
        from moe_plan.report import compare_records as records  # noqa: PLC0415

        return records.csv_lines(comparison)

    return Result("compare", document, content, csv_lines, notes)
