"""`moe-plan models`: list the catalogue, filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.api import load, models
from moe_plan.cli.files import targets
from moe_plan.cli.output import Output, Result, deliver
from moe_plan.errors import UsageError
from moe_plan.plan.listing import listing
from moe_plan.plan.structure import ATTENTION_KINDS, is_of_kind
from moe_plan.report import listing as report
from moe_plan.text import clean, did_you_mean

if TYPE_CHECKING:
    from moe_plan.plan.listing import Wanted


def run(wanted: Wanted, output: Output) -> int:
    """Exit code of the command: 0 even where no model is found, with a note."""
    _check_kind(wanted.attention)
    files = targets(output.files, "models")
    names = models()
    entries = listing(map(load, names), wanted)
    found = () if entries else (f"none of the {len(names)} models of the catalogue matches",)
    result = Result(
        "models",
        lambda _width: report.document(entries),
        lambda: report.content(entries),
        lambda: report.csv_lines(entries),
        found,
    )
    return deliver(result, output, files)


def _check_kind(kind: str | None) -> None:
    if kind is None or any(is_of_kind(known, kind) for known in ATTENTION_KINDS):
        return
    near = did_you_mean(kind, ATTENTION_KINDS)
    message = f"--attention: no kind {clean(kind, 40)!r}{near}; known: {', '.join(ATTENTION_KINDS)}"
    raise UsageError(message)
