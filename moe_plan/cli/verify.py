"""`moe-plan verify`: run replicas of the models, hold them against the calculator, print the ledgers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moe_plan.api import models
from moe_plan.cli.checking import checks, complain, conclude
from moe_plan.cli.files import targets
from moe_plan.cli.given import given_models
from moe_plan.cli.output import Output, Result
from moe_plan.errors import UsageError
from moe_plan.report import verify as table
from moe_plan.report import verify_records as records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moe_plan.cli.choices import Lines
    from moe_plan.plan.verification import Request


class Wanted(NamedTuple):
    """Which models, how much of their ledgers, and how exactly the exit code speaks."""

    names: tuple[str, ...]
    all: bool = False
    lines: Lines = "auto"
    detailed: bool = False


def run(wanted: Wanted, request: Request, output: Output) -> int:
    """Exit code of the command."""
    references = _references(wanted)
    files = targets(output.files, "verify", references)
    found, notes = given_models(references)
    checked = checks(found, request, quiet=output.quiet)
    if all(check.ledger is None for check in checked):
        return complain(checked)
    result = Result(
        "verify",
        lambda width: table.document(checked, wanted.lines, width),
        lambda: records.content(checked, request),
        lambda: records.csv_lines(checked),
        notes,
    )
    return conclude(checked, result, output, files, detailed=wanted.detailed)


def _references(wanted: Wanted) -> Sequence[str]:
    if wanted.all and wanted.names:
        message = "--all names every model of the catalogue; give either names or --all"
        raise UsageError(message)
    if not wanted.all and not wanted.names:
        message = "nothing to verify: give names of models, or --all\nTry 'moe-plan verify --help'."
        raise UsageError(message)
    return models() if wanted.all else wanted.names
