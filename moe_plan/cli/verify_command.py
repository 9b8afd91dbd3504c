"""The options of `moe-plan verify`; what the command does stands in `verify`, imported when it runs."""

from typing import Annotated

import typer

from moe_plan.cli.choices import Device, Dtype, Lines
from moe_plan.cli.completion import complete_model
from moe_plan.cli.options import (
    Action,
    ColorOption,
    Debug,
    Detailed,
    FormatOption,
    Outputs,
    Quiet,
    byte_count,
    number_between,
    scale_text,
)

FEWEST_TOKENS, MOST_TOKENS, MOST_STEPS = 8, 16_384, 4_096
"""As in plan.verification, which --help does without; a test holds them equal."""
MOST_THREADS = 1_024
LARGEST_SEED = 2**32 - 1
SUMMARY = "The numbers of a model, checked by running it shrunk."

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Names from the catalogue, or paths to YAML specs.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
All = Annotated[bool, typer.Option("--all", help="Every model of the catalogue.")]
Scale = Annotated[
    str | None,
    typer.Option(
        "--scale",
        metavar="RATIO",
        parser=scale_text,
        help="Factor on widths: 1/16, 0.1, 1; by default chosen for the model.",
        show_default=False,
    ),
]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        parser=byte_count,
        help="Most that the replica may take: 2GiB; by default a share of free memory.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where it runs; auto: a GPU where there is one.")
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Type of weights and activations.")]
Tokens = Annotated[
    int,
    typer.Option(
        "--tokens",
        metavar="N",
        parser=number_between(FEWEST_TOKENS, MOST_TOKENS),
        help=f"Tokens of the prefill, {FEWEST_TOKENS} to {MOST_TOKENS}.",
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        metavar="N",
        parser=number_between(1, MOST_STEPS),
        help=f"Decode steps after the prefill, at most {MOST_STEPS}.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", parser=number_between(0, LARGEST_SEED), help="Of weights, tokens and routing."
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        metavar="N",
        parser=number_between(1, MOST_THREADS),
        help="Threads of torch; more than one wait by spinning on a shared machine.",
    ),
]
Time = Annotated[bool, typer.Option("--time/--no-time", help="Wall time against a roofline calibrated here.")]
FullWidth = Annotated[
    bool,
    typer.Option("--full-width/--no-full-width", help="Parameters and FLOPs at published size too."),
]
LinesOption = Annotated[
    Lines, typer.Option("--lines", help="Lines of the table; auto lets equal ones stand together.")
]


def verify(
    models: Names = None,
    *,
    all: All = False,  # noqa: A002  the option's name
    scale: Scale = None,
    max_memory: MaxMemory = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "fp32",
    tokens: Tokens = 24,
    steps: Steps = 4,
    seed: Seed = 0,
    threads: Threads = 1,
    time: Time = True,
    full_width: FullWidth = True,
    lines: LinesOption = "auto",
    detailed_exitcode: Detailed = False,
    format: FormatOption = "table",  # noqa: A002  the option's name
    output: Outputs = None,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """The numbers of a model, checked: a replica is built from its spec alone, shrunk, run, and measured.

    Parameters, FLOPs, cache, distinct experts, memory and time: predicted, measured, and whether they agree.
    """

    def action() -> int:
        from moe_plan.cli import verify as command  # noqa: PLC0415
        from moe_plan.cli.output import Output  # noqa: PLC0415
        from moe_plan.plan.verification import Request  # noqa: PLC0415
        from moe_plan.units import scale_factor  # noqa: PLC0415

        request = Request(
            scale_factor(scale) if scale else None,
            max_memory,
            device,
            dtype,
            tokens,
            steps,
            seed=seed,
            threads=threads,
            time=time,
            full_width=full_width,
        )
        wanted = command.Wanted(tuple(models or ()), all, lines, detailed_exitcode)
        return command.run(wanted, request, Output(format, tuple(output or ()), color, quiet))

    return action
