"""`moe-plan compare`: read the models, compare them, print."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.cli.files import targets
from moe_plan.cli.given import given_models
from moe_plan.cli.output import Output, Result, deliver
from moe_plan.errors import UsageError
from moe_plan.plan.compare import compare

if TYPE_CHECKING:
    from moe_plan.plan.compare import Comparison
    from moe_plan.plan.question import Question
    from moe_plan.report.csv import Value
    from moe_plan.report.table import Document


class Wanted(NamedTuple):
    """Which models, whether replicas of them are run, and how exactly the exit code speaks."""

    names: tuple[str, ...]
    verify: bool = False
    detailed: bool = False


def run(wanted: Wanted, question: Question, output: Output) -> int:
    """Exit code of the command."""
    if wanted.detailed and not wanted.verify:
        message = "--detailed-exitcode tells what --verify found; give it with --verify"
        raise UsageError(message)
    files = targets(output.files, "compare", wanted.names)
    models, notes = given_models(wanted.names)
    comparison = compare(models, question)
    if not wanted.verify:
        return deliver(_result(comparison, notes), output, files)
    from moe_plan.cli.checking import checks, conclude  # noqa: PLC0415  only a check needs it
    from moe_plan.plan.verification import Request  # noqa: PLC0415

    checked = checks(models, Request(time=False, full_width=False), quiet=output.quiet)
    result = _result(comparison._replace(checks=checked), notes)
    return conclude(checked, result, output, files, detailed=wanted.detailed)


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
