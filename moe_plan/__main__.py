"""The `moe-plan` command. What needs no parsing is answered before anything is imported."""

# pathlib costs more than printing the help text does.
# ruff: noqa: PTH100, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_COMPLETION = "_MOE_PLAN_COMPLETE"
_HELP: tuple[list[str], ...] = ([], ["--help"], ["-h"])
# The width for which the shipped help text is laid out; the formatter uses no more.
_HELP_WIDTH = 80


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, by default the process's own, and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        text = _ready_answer(arguments)
        if text is None:
            from moe_plan.cli.main import run  # noqa: PLC0415  the start-up budget

            return run(arguments)
        return _print(text)
    except KeyboardInterrupt:
        return 130


def _ready_answer(arguments: list[str]) -> str | None:
    """The text of `--version`, and of `--help` where the screen is wide enough for the shipped one."""
    if _COMPLETION in os.environ:
        return None
    if arguments == ["--version"]:
        from moe_plan import __version__  # noqa: PLC0415

        return f"moe-plan {__version__}\n"
    if arguments not in _HELP or _screen_width() < _HELP_WIDTH:
        return None
    with open(os.path.join(_FOLDER, "cli", "help.txt"), encoding="utf-8") as file:
        return file.read()


def _print(text: str) -> int:
    from moe_plan.cli.streams import ReaderGone, write_error, write_output  # noqa: PLC0415

    try:
        write_output(text)
    except ReaderGone as gone:
        return gone.exit_code
    except Exception as error:  # noqa: BLE001  the classes of errors are not imported for a help text
        write_error(f"moe-plan: error: {error}")
        return int(getattr(error, "exit_code", 1))
    return 0


def _screen_width() -> int:
    """Columns as typer's formatter sees them (shutil.get_terminal_size, which costs an import of its own)."""
    try:
        columns = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):
            columns = 0
    return columns or _HELP_WIDTH


if __name__ == "__main__":
    sys.exit(main())
