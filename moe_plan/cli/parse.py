"""From arguments to an action, through typer, whose own ways of failing are translated here."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import typer

from moe_plan.cli.app import PROGRAM, app
from moe_plan.cli.options import Action
from moe_plan.cli.streams import ReaderGone, silence_output
from moe_plan.errors import UnavailableError, UsageError


def parse(arguments: Sequence[str]) -> Action | int:
    """The action to run, or the exit code where typer has done all there was to do.

    Raises UsageError, UnavailableError, and ReaderGone where the reader of a help text has gone.
    """
    command = typer.main.get_command(app)
    try:
        parsed = command.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except SystemExit as error:
        return _exited(error)
    except OSError as error:
        # A help text that cannot be printed; a shell's start-up file that completion cannot be added to.
        silence_output()
        message = f"cannot write: {error.strerror or error}"
        raise UnavailableError(message) from None
    except Exception as error:
        if hasattr(error, "format_message"):
            raise UsageError(_usage(error)) from None
        raise
    return parsed if callable(parsed) or isinstance(parsed, int) else 0


def _exited(error: SystemExit) -> int:
    """A closed pipe becomes exit code 1 in typer; only the cause tells it from other exits."""
    cause = error.__context__
    if isinstance(cause, OSError) and cause.errno == errno.EPIPE:
        silence_output()
        raise ReaderGone from None
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _usage(error: Any) -> str:
    """What was wrong, in one line, and where the help is."""
    where = error.ctx.command_path if getattr(error, "ctx", None) is not None else PROGRAM
    return f"{error.format_message()}\nTry '{where} --help'."
