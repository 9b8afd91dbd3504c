"""The commands and their options. What a command does stands in a file of its own, imported when it runs."""

from typing import Annotated, Literal

import typer

from moe_plan.cli import exit_codes, hardware_command, profile_command, verify_command
from moe_plan.cli.options import (
    Action,
    Attention,
    Batch,
    ColorOption,
    Component,
    Context,
    Debug,
    Detailed,
    FormatOption,
    Kv,
    Layer,
    Models,
    OneModel,
    Outputs,
    Quiet,
    Verify,
    Weights,
    parameter_count,
)

PROGRAM = "moe-plan"
# \b keeps the formatter from joining the lines.
EPILOG = "\b\nExit codes:\n" + exit_codes.text()

app = typer.Typer(
    name=PROGRAM,
    help="Plan sparse (Mixture-of-Experts) models: exact parameters, bytes and FLOPs from a spec.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from moe_plan import __version__  # noqa: PLC0415

        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Declare what may stand before the command; main looks for --debug itself."""


@app.command(epilog=EPILOG, short_help="Models side by side.")
def compare(
    models: Models,
    *,
    context: Context = 4096,
    batch: Batch = 1,
    weights: Weights = "native",
    kv: Kv = "bf16",
    verify: Verify = False,
    detailed_exitcode: Detailed = False,
    format: FormatOption = "table",  # noqa: A002  the option's name
    output: Outputs = None,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """Models side by side: parameters, memory, FLOPs, and what sparsity buys and costs."""

    def action() -> int:
        from moe_plan.cli import compare as command  # noqa: PLC0415
        from moe_plan.cli.output import Output  # noqa: PLC0415
        from moe_plan.plan.question import Question  # noqa: PLC0415

        question = Question(context, batch, weights, kv)
        wanted = command.Wanted(tuple(models), verify, detailed_exitcode)
        return command.run(wanted, question, Output(format, tuple(output or ()), color, quiet))

    return action


@app.command(epilog=EPILOG, short_help="Every tensor, operation and state of a model.")
def explain(
    model: OneModel,
    *,
    layer: Layer = None,
    component: Component = None,
    context: Context = 4096,
    weights: Weights = "native",
    kv: Kv = "bf16",
    format: FormatOption = "table",  # noqa: A002  the option's name
    output: Outputs = None,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """Every tensor, operation and state of a model, with the sums that all its numbers come from."""

    def action() -> int:
        from moe_plan.cli import explain as command  # noqa: PLC0415
        from moe_plan.cli.output import Output  # noqa: PLC0415
        from moe_plan.plan.question import Question  # noqa: PLC0415
        from moe_plan.plan.scope import scope  # noqa: PLC0415

        question, asked = Question(context, 1, weights, kv), scope(layer, component)
        return command.run(model, question, asked, Output(format, tuple(output or ()), color, quiet))

    return action


app.command(epilog=EPILOG, short_help=verify_command.SUMMARY)(verify_command.verify)
app.command(epilog=EPILOG, short_help=profile_command.SUMMARY)(profile_command.profile)


@app.command(epilog=EPILOG, short_help="The models of the catalogue.")
def models(
    filter: Annotated[  # noqa: A002  the argument's name
        str, typer.Argument(metavar="[FILTER]", help="Part of a name.", show_default=False)
    ] = "",
    *,
    attention: Attention = None,
    min_total: Annotated[
        int | None,
        typer.Option(metavar="COUNT", parser=parameter_count, help="At least this many parameters: 100B."),
    ] = None,
    max_total: Annotated[
        int | None,
        typer.Option(metavar="COUNT", parser=parameter_count, help="At most this many parameters: 1.5T."),
    ] = None,
    moe: Annotated[
        bool | None,
        typer.Option("--moe/--dense", help="Only sparse, or only dense models.", show_default=False),
    ] = None,
    sort: Annotated[Literal["name", "total", "active"], typer.Option(help="Order of the lines.")] = "name",
    format: FormatOption = "table",  # noqa: A002  the option's name
    output: Outputs = None,
    color: ColorOption = "auto",
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """The models of the catalogue: parameters, experts, context, attention."""

    def action() -> int:
        from moe_plan.cli import models as command  # noqa: PLC0415
        from moe_plan.cli.output import Output  # noqa: PLC0415
        from moe_plan.plan.listing import Wanted  # noqa: PLC0415

        wanted = Wanted(filter, attention, min_total, max_total, moe, sort)
        return command.run(wanted, Output(format, tuple(output or ()), color, quiet))

    return action


app.command(epilog=EPILOG, short_help=hardware_command.SUMMARY)(hardware_command.hardware)


@app.command(epilog=EPILOG, short_help="The JSON Schema of a spec, for editors.")
def schema(
    of: Annotated[
        Literal["model", "hardware"], typer.Argument(metavar="[SPEC]", help="Of which spec.")
    ] = "model",
    *,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """The JSON Schema of a model or hardware spec, for editors: # yaml-language-server: $schema=..."""

    def action() -> int:
        from moe_plan.cli import schema as command  # noqa: PLC0415

        return command.run(of)

    return action


@app.command("help", epilog=EPILOG, short_help="Help on a command, or on exit-codes.")
def help_(
    topic: Annotated[
        str, typer.Argument(metavar="[TOPIC]", help="A command, or exit-codes.", show_default=False)
    ] = "",
    *,
    debug: Debug = False,  # noqa: ARG001  main looks for it
) -> Action:
    """Help on a command, or on exit-codes."""

    def action() -> int:
        from moe_plan.cli import help as command  # noqa: PLC0415

        return command.run(topic)

    return action
