"""The options of `moe-plan hardware`; what the command does stands in `hardware`, imported when it runs."""

from typing import Annotated, Literal

import typer

from moe_plan.cli.completion import complete_hardware
from moe_plan.cli.options import Action, ColorOption, Debug, FormatOption, Outputs, Quiet

SUMMARY = "GPUs, nodes, cloud machines; this machine."

Filter = Annotated[
    str,
    typer.Argument(
        metavar="[FILTER]",
        help="Part of a name; a name, 8xH100 or a path to a YAML shows one.",
        autocompletion=complete_hardware,
        show_default=False,
    ),
]
VendorOption = Annotated[
    Literal["nvidia", "amd", "google", "aws", "intel", "apple"] | None,
    typer.Option("--vendor", help="Only of this vendor.", show_default=False),
]
KindOption = Annotated[
    Literal["accelerator", "system", "instance"] | None,
    typer.Option("--kind", help="Only of this kind.", show_default=False),
]
Local = Annotated[bool, typer.Option("--local", help="What is in this machine, and how it was found.")]


def hardware(
    filter: Filter = "",  # noqa: A002  the argument's name
    *,
    vendor: VendorOption = None,
    kind: KindOption = None,
    local: Local = False,
    format: FormatOption = "table",  # noqa: A002  the option's name
    output: Outputs = None,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """GPUs and other accelerators, nodes and racks, machines of clouds: memory, rates, links, with sources.

    FILTER lists what has it in its name. What names one thing shows it in full: h100-sxm, H100:8, 2x8xH200,
    gb200-nvl72, p5.48xlarge, H100/1g.10gb, v5litepod-8, a path to a YAML.
    """

    def action() -> int:
        from moe_plan.cli import hardware as command  # noqa: PLC0415
        from moe_plan.cli.output import Output  # noqa: PLC0415
        from moe_plan.plan.hardware import Wanted  # noqa: PLC0415

        shown = Output(format, tuple(output or ()), color, quiet)
        return command.run(Wanted(filter, vendor, kind), shown, local=local)

    return action
