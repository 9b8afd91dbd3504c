"""Where results go: standard output in one format, files in others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from moe_plan.cli.files import Target, write_files
from moe_plan.cli.screen import Screen, screen
from moe_plan.cli.streams import write_error, write_output

if TYPE_CHECKING:
    from moe_plan.cli.choices import Color, Format, Picture
    from moe_plan.report.csv import Value
    from moe_plan.report.table import Document


class Output(NamedTuple):
    """What the user asked to be written, and how."""

    format: Format = "table"
    files: tuple[str, ...] = ()
    """FORMAT or FORMAT=PATH."""
    color: Color = "auto"
    quiet: bool = False


class Result(NamedTuple):
    """A result in the shapes that the formats need; each is made only when asked for."""

    kind: str
    document: Callable[[int | None], Document]
    """The tables, for a width."""
    content: Callable[[], dict[str, object]]
    csv_lines: Callable[[], tuple[Sequence[str], Sequence[Sequence[Value]]]]
    notes: tuple[str, ...] = ()
    """Lines for standard error."""
    picture: Callable[[Picture], bytes] | None = None
    """The file of a picture, for the commands that draw one."""


def deliver(result: Result, output: Output, targets: Sequence[Target]) -> int:
    """Write the files, the notes and the result; everything is rendered before anything is written."""
    text = on_screen(result, output.format, screen(output.color, os.environ))
    write_files([(target, _content(result, target.format)) for target in targets])
    if not output.quiet:
        write_error("\n".join(result.notes))
    write_output(text)
    return 0


def on_screen(result: Result, form: Format, shown: Screen) -> str:
    """The text for standard output; only tables look different there than in a file."""
    if form != "table":
        text = in_file(result, form)
    elif shown.is_rich:
        from moe_plan.report.terminal import terminal  # noqa: PLC0415  rich costs 25 ms

        document = result.document(shown.width)
        text = terminal(document, shown.width, color=shown.has_color, ascii_only=shown.ascii_only)
    else:
        from moe_plan.report.plain import plain  # noqa: PLC0415

        text = plain(result.document(shown.width), shown.width)
    return _ascii(text) if shown.ascii_only else text


def in_file(result: Result, form: Format) -> str:
    """The text of a file in `form`; each renderer is imported only where it is used."""
    if form == "json":
        from moe_plan.report.json import json  # noqa: PLC0415

        return json(result.kind, result.content())
    if form == "csv":
        from moe_plan.report.csv import csv  # noqa: PLC0415

        return csv(*result.csv_lines())
    if form == "markdown":
        from moe_plan.report.markdown import markdown  # noqa: PLC0415

        return markdown(result.document(None))
    from moe_plan.report.plain import plain  # noqa: PLC0415

    return plain(result.document(None))


def _content(result: Result, form: Format | Picture) -> str | bytes:
    if form == "svg" or form == "png":  # noqa: PLR1714  mypy narrows no set
        assert result.picture is not None  # noqa: S101  only commands that draw take a path for it
        return result.picture(form)
    return in_file(result, form)


def _ascii(text: str) -> str:
    for sign, instead in (("\u00d7", "x"), ("\u2500", "-"), ("\u2026", "..."), ("\u200b", "")):
        text = text.replace(sign, instead)
    return text.encode("ascii", "replace").decode()
