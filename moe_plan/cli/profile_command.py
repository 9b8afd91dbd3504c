"""The options of `moe-plan profile`; what the command does stands in `profile`, imported when it runs."""

from typing import Annotated

import typer

from moe_plan.cli.options import (
    Action,
    ColorOption,
    Debug,
    Detailed,
    FormatOption,
    OneModel,
    Outputs,
    Quiet,
    number_between,
)
from moe_plan.cli.profile_values import batches, routing
from moe_plan.cli.verify_command import DeviceOption, DtypeOption, MaxMemory, Scale, Seed, Threads

MOST_RANKS = 64
MOST_REPEATS = 1_000
LONGEST_WAIT_S = 86_400
SUMMARY = "What sparsity costs on this machine, by tokens per batch."


def tokens_text(text: str) -> str:
    """`1..4096` or `1,8,64`, as it was written. Raises BadParameter for everything else."""
    return _checked(batches, text)


def routing_text(text: str) -> str:
    """`uniform`, `zipf:1.2` or a path, as it was written. Raises BadParameter for everything else."""
    return _checked(routing, text)


def _checked(parse: object, text: str) -> str:
    try:
        parse(str(text))  # type: ignore[operator]
    except ValueError as error:
        message = f"{error}."
        raise typer.BadParameter(message) from None
    return str(text)


Tokens = Annotated[
    str | None,
    typer.Option(
        "--tokens",
        metavar="LIST",
        parser=tokens_text,
        help="Tokens per batch: 1..4096 (powers of two; the default), 1,8,64,512 (with --ranks).",
        show_default=False,
    ),
]
RoutingOption = Annotated[
    str,
    typer.Option(
        "--routing",
        metavar="ROUTING",
        parser=routing_text,
        help="uniform, zipf, zipf:EXPONENT, or a file of expert counts.",
    ),
]
Layer = Annotated[
    int | None,
    typer.Option(
        "--layer",
        metavar="N",
        parser=number_between(0, 10_000),
        help="The sparse layer to measure, counted from 0; by default the first.",
        show_default=False,
    ),
]
Repeats = Annotated[
    int,
    typer.Option(
        "--repeats", metavar="N", parser=number_between(1, MOST_REPEATS), help="Timed runs of each batch."
    ),
]
Ranks = Annotated[
    int | None,
    typer.Option(
        "--ranks",
        metavar="N",
        parser=number_between(1, MOST_RANKS),
        help="Expert parallelism over N processes instead; torchrun or srun may have started them.",
        show_default=False,
    ),
]
Timeout = Annotated[
    int | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        parser=number_between(1, LONGEST_WAIT_S),
        help="With --ranks: how long they may take for a batch; 600 by default.",
        show_default=False,
    ),
]
Plot = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="PATH",
        help="Draw it too: out.svg or out.png (needs the extra plot).",
        show_default=False,
    ),
]


def profile(
    model: OneModel,
    *,
    tokens: Tokens = None,
    routing: RoutingOption = "uniform",
    layer: Layer = None,
    repeats: Repeats = 5,
    ranks: Ranks = None,
    timeout: Timeout = None,
    plot: Plot = None,
    scale: Scale = None,
    max_memory: MaxMemory = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "fp32",
    seed: Seed = 0,
    threads: Threads = 1,
    detailed_exitcode: Detailed = False,
    format: FormatOption = "table",  # noqa: A002  the option's name
    output: Outputs = None,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """What sparsity costs on this machine: a sparse layer of the model, shrunk, by tokens per batch.

    Time, FLOP/s, bytes/s, experts touched and their load, dense layers of equal size, where compute binds.
    """

    def action() -> int:
        from moe_plan.cli import profile as command  # noqa: PLC0415
        from moe_plan.cli import profile_values as values  # noqa: PLC0415
        from moe_plan.cli.output import Output  # noqa: PLC0415
        from moe_plan.cli.profile_ranks import Wanted, is_asked  # noqa: PLC0415
        from moe_plan.plan.profiling import Request  # noqa: PLC0415
        from moe_plan.units import scale_factor  # noqa: PLC0415

        wanted = Wanted(model, plot, ranks, timeout, detailed_exitcode)
        request = Request(
            values.batches(tokens or (values.BATCHES_OVER_RANKS if is_asked(wanted) else values.BATCHES)),
            values.routing(routing),
            layer,
            scale_factor(scale) if scale else None,
            max_memory,
            device,
            dtype,
            repeats,
            seed,
            threads,
        )
        return command.run(wanted, request, Output(format, tuple(output or ()), color, quiet))

    return action
