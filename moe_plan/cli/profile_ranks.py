"""`moe-plan profile --ranks N`: expert parallelism for real, its bytes, bits and times against prediction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.cli.checking import conclude, exit_code
from moe_plan.cli.collecting import collected
from moe_plan.cli.output import Output, Result
from moe_plan.cli.progress import Progress
from moe_plan.cli.streams import write_error
from moe_plan.cli.witnesses import loaded
from moe_plan.errors import UsageError
from moe_plan.replica.parallel.environment import is_first_rank, joined

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from moe_plan.cli.collecting import Stopped
    from moe_plan.cli.files import Target
    from moe_plan.plan.profiling import Request
    from moe_plan.plan.profiling_ranks import BatchOverRanks, RanksProfile
    from moe_plan.spec.model import ModelSpec
    from moe_plan.witness.profile_ranks import Over, Sized

LONGEST_S = 600
"""Seconds that the ranks may take for a batch, unless told otherwise."""
EXCLUDED = {
    "--plot": "there is no picture of a profile over ranks",
    "--layer": "over ranks all sparse layers run",
}


class Wanted(NamedTuple):
    """Which model, whether to draw, and over how many ranks."""

    name: str
    plot: str | None = None
    ranks: int | None = None
    timeout_s: int | None = None
    detailed: bool = False


class Delivery(NamedTuple):
    """Where the result goes."""

    output: Output
    files: tuple[Target, ...]
    notes: tuple[str, ...]


def is_asked(wanted: Wanted) -> bool:
    """Whether ranks are asked for, or torchrun or srun has started this process as one of several."""
    if wanted.ranks is not None:
        return True
    place = joined(os.environ)
    # A container may say that its one process is the first of one.
    return place is not None and place.ranks > 1


def run(spec: ModelSpec, wanted: Wanted, request: Request, delivery: Delivery) -> int:
    """Exit code of the command; where others have started the ranks, only the first of them prints."""
    given = {"--plot": wanted.plot, "--layer": request.layer}
    for option, why in EXCLUDED.items():
        if given[option] is not None:
            message = f"{option} and --ranks exclude each other: {why}"
            raise UsageError(message)
    prints = is_first_rank(os.environ)
    profile, stopped = _measured(spec, wanted, request, quiet=delivery.output.quiet or not prints)
    checked = [batch.check for batch in profile.batches]
    if not prints:
        return stopped.code if stopped else exit_code(checked, detailed=wanted.detailed)
    result = _result(profile, request, delivery.notes)
    code = conclude(checked, result, delivery.output, delivery.files, detailed=wanted.detailed)
    if stopped is None:
        return code
    write_error(stopped_text(stopped, len(profile.batches), request))
    return stopped.code


def stopped_text(stopped: Stopped, measured: int, request: Request) -> str:
    """What ended the run, and how far it had come."""
    return f"moe-plan: {stopped.reason}; {measured} of {len(request.tokens)} batches were measured"


def _measured(
    spec: ModelSpec, wanted: Wanted, request: Request, *, quiet: bool
) -> tuple[RanksProfile, Stopped | None]:
    """What was measured, of one batch at least, and why there is no more; raises as `collected`."""
    place = joined(os.environ)
    ranks = wanted.ranks or (place.ranks if place else 1)
    with Progress(quiet=quiet) as progress:
        progress.say("loading torch")
        witness = loaded(_witness)
        over: Over = witness.Over(ranks, wanted.timeout_s or LONGEST_S)
        progress.say(f"shrinking {spec.name}")
        model: Sized = witness.sized(spec, request, over)
        profile: RanksProfile = witness.begun(model, spec, request, over)

        def batches() -> Iterator[BatchOverRanks]:
            for number, tokens in enumerate(request.tokens, 1):
                progress.say(f"{tokens:,} tokens over {ranks} ranks, {number} of {len(request.tokens)}")
                yield witness.measured(model, spec, request, tokens, over)

        found, stopped = collected(batches(), request.device)
    return profile._replace(batches=found, is_complete=stopped is None), stopped


def _witness() -> ModuleType:
    from moe_plan.witness import profile_ranks  # noqa: PLC0415  torch takes seconds to load

    return profile_ranks


def _result(profile: RanksProfile, request: Request, notes: tuple[str, ...]) -> Result:
    from moe_plan.report import profile_ranks as report  # noqa: PLC0415  nothing to print before

    return Result(
        "profile-ranks",
        lambda _: report.document(profile, request),
        lambda: report.content(profile, request),
        lambda: report.csv_lines(profile),
        notes,
    )
