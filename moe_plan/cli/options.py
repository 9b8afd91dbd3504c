"""Arguments and options that several commands share, declared once, and the parsers of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from moe_plan.cli.choices import Color, Format
from moe_plan.cli.completion import (
    complete_attention,
    complete_component,
    complete_kv,
    complete_model,
    complete_weights,
)

LARGEST = 10**12
_LONGEST_COUNT = 20

Action = Callable[[], int]
"""What a command returns to main: work still to be done, whose result is the exit code."""


def number_between(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers in plain ASCII digits. It raises BadParameter for `4k` and `1e6` too."""

    def number(text: str) -> int:
        text = str(text)
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        message = f"{text[:40]!a} is not a whole number from {least:,} to {most:,}, written in digits alone."
        raise typer.BadParameter(message)

    return number


whole_number = number_between(1, LARGEST)


def byte_count(text: str) -> int:
    """`2GiB`, `500MB`. Raises BadParameter for everything else."""
    from moe_plan.units import byte_size  # noqa: PLC0415  few commands take sizes

    try:
        return byte_size(str(text))
    except ValueError as error:
        message = f"{error}."
        raise typer.BadParameter(message) from None


def scale_text(text: str) -> str:
    """`1/16` or `0.1`, as it was written. Raises BadParameter for everything else."""
    from moe_plan.units import scale_factor  # noqa: PLC0415  few commands take scales

    try:
        scale_factor(str(text))
    except ValueError as error:
        message = f"{error}."
        raise typer.BadParameter(message) from None
    return str(text)


def parameter_count(text: str) -> int:
    """`100B`, `1.5T`, `400M`: the vendors' notation. Raises BadParameter for everything else."""
    from moe_plan.units import COUNT_SUFFIXES, printed_count  # noqa: PLC0415  only filters need it

    text = str(text)
    digits = text[:-1] if text[-1:] in COUNT_SUFFIXES else text
    whole, point, tenths = digits.partition(".")
    figures = whole + tenths
    is_number = figures.isascii() and figures.isdigit() and whole and bool(point) == bool(tenths)
    if not is_number or len(text) > _LONGEST_COUNT:
        message = f"{text[:40]!a} is not a number of parameters such as 7B, 46.7B or 1.5T."
        raise typer.BadParameter(message)
    return int(printed_count(text))


Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Names from the catalogue, or paths to YAML specs.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
OneModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name from the catalogue, or a path to a YAML spec.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Context = Annotated[
    int, typer.Option("--context", metavar="N", parser=whole_number, help="Tokens of a sequence.")
]
Batch = Annotated[
    int,
    typer.Option("--batch", metavar="N", parser=whole_number, help="Sequences in one decode step."),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="FORMAT",
        autocompletion=complete_weights,
        help="Format of the weights: native, bf16, fp8, fp8-block, int4-g128, mxfp4, nvfp4, q4_k, ...",
    ),
]
Kv = Annotated[
    str,
    typer.Option(
        "--kv",
        metavar="FORMAT",
        autocompletion=complete_kv,
        help="Format of the KV cache: bf16, fp8, q8_0, ...",
    ),
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Check each model by running it shrunk; `moe-plan verify` says more."),
]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="[PART:]N",
        help="One layer, counted from 0: 3, encoder:3, mtp:0.",
        show_default=False,
    ),
]
Component = Annotated[
    str | None,
    typer.Option(
        "--component",
        metavar="NAME",
        autocompletion=complete_component,
        help="One component: attention, routed_experts, router, ...",
        show_default=False,
    ),
]
Attention = Annotated[
    str | None,
    typer.Option(
        "--attention",
        metavar="KIND",
        autocompletion=complete_attention,
        help="Only models with this kind of attention: gqa, window, mla, mamba2, ...",
        show_default=False,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Format of standard output.")]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FORMAT[=PATH]",
        help="Write a file too; may be repeated.",
        show_default=False,
    ),
]
ColorOption = Annotated[
    Color,
    typer.Option("--color", help="Colour; auto follows NO_COLOR, FORCE_COLOR, CLICOLOR and the terminal."),
]
Detailed = Annotated[
    bool,
    typer.Option("--detailed-exitcode", help="Exit 15 instead of 10 where a verification failed."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes and warnings on standard error.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a bug.")]
