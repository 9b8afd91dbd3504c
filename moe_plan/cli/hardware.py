"""`moe-plan hardware`: list the catalogue, show one entry in full, look at this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moe_plan.cli.files import targets
from moe_plan.cli.output import Output, Result, deliver
from moe_plan.errors import UsageError
from moe_plan.hardware.resolve import shelf
from moe_plan.plan.hardware import Wanted, detail, is_one, listing

if TYPE_CHECKING:
    from moe_plan.hardware.resolve import Shelf

COMMAND = "hardware"


def run(wanted: Wanted, output: Output, *, local: bool = False) -> int:
    """Exit code of the command: 0, or 3 for a name that is neither one nor a part of one."""
    if local and (wanted.substring or not wanted.is_plain):
        message = "--local takes no filter"
        raise UsageError(message)
    files = targets(output.files, COMMAND)
    return deliver(_result(wanted, local=local, is_csv=output.format == "csv"), output, files)


def _result(wanted: Wanted, *, local: bool, is_csv: bool) -> Result:
    on = shelf()
    if local:
        return _machine(on)
    if wanted.substring and wanted.is_plain and is_one(wanted.substring, on):
        return _one(wanted.substring, on, is_csv=is_csv)
    entries = listing(on, wanted)
    if not entries and wanted.substring and wanted.is_plain:
        # Raises with the nearest names, or finds what no list has: a family with a size of memory.
        return _one(wanted.substring, on, is_csv=is_csv)
    from moe_plan.report import hardware as report  # noqa: PLC0415  each answer has a report of its own

    hidden = [entry for entry in entries if entry.kind == "instance"] if wanted == Wanted() else []
    shown = entries[: len(entries) - len(hidden)]
    return Result(
        COMMAND,
        lambda _width: report.document(shown, hidden=len(hidden)),
        lambda: report.content(entries),
        lambda: report.csv_lines(entries),
        () if entries else ("nothing in the catalogue of hardware matches",),
    )


def _one(text: str, on: Shelf, *, is_csv: bool) -> Result:
    from moe_plan.report import hardware_detail as report  # noqa: PLC0415

    asked = detail(text, on)
    return Result(
        "hardware-detail",
        lambda _width: report.document(asked),
        lambda: report.content(asked),
        lambda: report.csv_lines(asked),
        # The other formats have them inside.
        asked.cluster.notes if is_csv else (),
    )


def _machine(on: Shelf) -> Result:
    from moe_plan.hardware.machine import look  # noqa: PLC0415
    from moe_plan.plan.this_machine import seen  # noqa: PLC0415
    from moe_plan.report import hardware_local as report  # noqa: PLC0415

    machine = seen(look(), on)
    return Result(
        "hardware-local",
        lambda _width: report.document(machine),
        lambda: report.content(machine),
        lambda: report.csv_lines(machine),
    )
