"""What standard output can show: its width, colour, and characters; decided from flag and environment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moe_plan.cli.choices import Color

WIDEST = 100_000


class Screen(NamedTuple):
    """How to lay out text for people."""

    width: int | None
    """Columns; None where nothing limits them, as in a pipe."""
    is_terminal: bool
    has_color: bool
    ascii_only: bool

    @property
    def is_rich(self) -> bool:
        """Whether rules and styles are drawn at all."""
        return self.is_terminal or self.has_color


def screen(color: Color, environ: Mapping[str, str]) -> Screen:
    """The screen that standard output is."""
    stream = sys.stdout
    is_terminal = _is_terminal(stream) and environ.get("TERM") != "dumb"
    return Screen(
        width=_width(environ, stream),
        is_terminal=is_terminal,
        has_color=_has_color(color, environ, is_terminal=is_terminal),
        ascii_only=_is_ascii(environ, stream),
    )


def _has_color(choice: Color, environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """The flag, then NO_COLOR, FORCE_COLOR, CLICOLOR, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    force = environ.get("FORCE_COLOR")
    if force:
        return force.casefold() not in ("0", "false")
    if environ.get("CLICOLOR") == "0":
        return False
    return is_terminal


def _width(environ: Mapping[str, str], stream: object) -> int | None:
    """COLUMNS where it is a believable number, then the terminal's own."""
    columns = environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and 0 < len(columns) <= len(str(WIDEST)) and int(columns):
        return int(columns)
    if not _is_terminal(stream):
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return None


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream is not None and stream.isatty())  # type: ignore[attr-defined]
    except (ValueError, AttributeError):
        return False


def _is_ascii(environ: Mapping[str, str], stream: object) -> bool:
    """An encoding without the signs that tables use, or a locale that asks for plain ASCII.

    Python writes UTF-8 even under LC_ALL=C, where a terminal may not read it.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        "\u00d7\u2500\u2026".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    locale = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG")
    return locale in ("C", "POSIX") and not environ.get("PYTHONIOENCODING")
