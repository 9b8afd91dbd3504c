"""`moe-plan explain`: read the model, list its rows, print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.cli.files import targets
from moe_plan.cli.given import given_models
from moe_plan.cli.output import Output, Result, deliver
from moe_plan.plan.explain import explain
from moe_plan.report import explain as table
from moe_plan.report import explain_records as records

if TYPE_CHECKING:
    from moe_plan.plan.question import Question
    from moe_plan.plan.scope import Scope


def run(reference: str, question: Question, scope: Scope, output: Output) -> int:
    """Exit code of the command."""
    files = targets(output.files, "explain", [reference])
    (model,), notes = given_models([reference])
    explanation = explain(model, question, scope)
    result = Result(
        "explain",
        lambda width: table.document(explanation, width),
        lambda: records.content(explanation),
        lambda: records.csv_lines(explanation),
        notes,
    )
    return deliver(result, output, files)
