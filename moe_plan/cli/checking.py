"""Replicas run and held against the calculator, for the commands that offer it; torch comes in here, late."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from moe_plan.cli import exit_codes
from moe_plan.cli.output import deliver
from moe_plan.cli.progress import Progress
from moe_plan.cli.streams import ReaderGone, write_error
from moe_plan.cli.witnesses import is_out_of_memory, loaded
from moe_plan.errors import ReplicaError
from moe_plan.plan.verification import Check, worst
from moe_plan.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moe_plan.api import Model
    from moe_plan.cli.files import Target
    from moe_plan.cli.output import Output, Result
    from moe_plan.plan.ledger import Ledger, Line
    from moe_plan.plan.verification import Request

    Verify = Callable[[Model, Request], Ledger]

_LINES_NAMED = 5


def checks(models: Sequence[Model], request: Request, *, quiet: bool) -> tuple[Check, ...]:
    """One check a model, in their order; a replica that fails is no error here, and ends nothing.

    Raises UnavailableError without torch, and whatever else than a failed replica the witness raises.
    """
    refused = {index: _refusal(model, request) for index, model in enumerate(models)}
    found = []
    with Progress(quiet=quiet) as progress:
        if not all(refused.values()):
            progress.say("loading torch")
            verify = loaded(_witness)
        for index, model in enumerate(models):
            place = f", {index + 1} of {len(models)}" if models[1:] else ""
            progress.say(f"verifying {model.name}{place}")
            failure = refused[index]
            found.append(Check(model.name, None, failure) if failure else _check(verify, model, request))
    return tuple(found)


def conclude(
    checked: Sequence[Check], result: Result, output: Output, files: Sequence[Target], *, detailed: bool
) -> int:
    """Deliver `result`, name on standard error what does not hold, and return the exit code."""
    code = exit_code(checked, detailed=detailed)
    complaints = "\n".join(_complaint(check) for check in checked if check.status != "holds")
    try:
        deliver(result, output, files)
    except ReaderGone as gone:
        # A verdict outlives the reader.
        code = code or gone.exit_code
    finally:
        write_error(complaints)
    return code


def exit_code(checked: Sequence[Check], *, detailed: bool) -> int:
    """5 where a replica failed, else 10 (15 if `detailed`) where a quantity differs, else 0."""
    status = worst(checked)
    if status == "failed":
        return exit_codes.REPLICA
    if status == "differs":
        return exit_codes.VERIFICATION if detailed else exit_codes.NO
    return exit_codes.OK


def complain(checked: Sequence[Check]) -> int:
    """The exit code where no model has a ledger, so that there is nothing to deliver."""
    write_error("\n".join(map(_complaint, checked)))
    return exit_code(checked, detailed=False)


def _witness() -> Verify:
    from moe_plan.witness.verify import verify  # noqa: PLC0415  torch takes seconds to load

    return verify


def _refusal(model: Model, request: Request) -> str:
    """Why memory forbids the replica, where that can be told before torch is loaded; else nothing.

    What is refused is refused at once.
    """
    if request.device != "cpu":
        return ""
    from moe_plan.replica.memory import available_memory  # noqa: PLC0415  as the rest, only where it is asked
    from moe_plan.spec.catalogue import validated  # noqa: PLC0415
    from moe_plan.witness.budget import Asked  # noqa: PLC0415

    asked = Asked(validated(model.spec), request, available_memory())
    try:
        asked.guard(asked.shrunk())
    except ReplicaError as error:
        return clean(str(error), 600)
    return ""


def _check(verify: Verify, model: Model, request: Request) -> Check:
    start = perf_counter()
    ledger, failure = None, ""
    try:
        ledger = verify(model, request)
    except ReplicaError as error:
        failure = clean(str(error), 600)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failure = f"out of memory on {request.device}; try a smaller --scale or --max-memory"
    return Check(model.name, ledger, failure, perf_counter() - start)


def _complaint(check: Check) -> str:
    if check.ledger is None:
        return f"moe-plan: error: {clean(check.model)}: the replica failed: {check.failure}"
    differing = check.ledger.differences
    named = "; ".join(map(_named, differing[:_LINES_NAMED]))
    more = len(differing) - _LINES_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    verb = "differs" if len(differing) == 1 else "differ"
    quantities = f"{len(differing)} of {len(check.ledger.lines)} quantities {verb}"
    return f"moe-plan: {clean(check.model)}: {quantities}: {named}{rest}"


def _named(line: Line) -> str:
    return clean(f"{line.group}, {line.name}")
