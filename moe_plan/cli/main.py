"""Run one command line: parse, act, and turn whatever is raised into one line and an exit code."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType

from moe_plan.cli import exit_codes
from moe_plan.cli.parse import parse
from moe_plan.cli.streams import ReaderGone, write_error
from moe_plan.errors import InputError, MoePlanError
from moe_plan.text import clean

_LONGEST_LINE = 2_000
REPORT = "internal error in moe-plan: {}; rerun with --debug for the traceback, and please report it"


class Terminated(BaseException):
    """SIGTERM arrived: files half written are removed on the way out."""


def run(arguments: Sequence[str]) -> int:
    """Exit code of the command line `arguments`."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        action = parse(arguments)
        return action if isinstance(action, int) else action()
    except ReaderGone as gone:
        return gone.exit_code
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Terminated:
        return exit_codes.TERMINATED
    except MoePlanError as error:
        write_error(message(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001  whatever is left is a bug, and is reported as one
        return _failed(error, debug="--debug" in arguments)


def message(error: MoePlanError) -> str:
    """The lines that report `error`; an InputError's lines carry their own place and code."""
    text = str(error)
    return text if isinstance(error, InputError) else f"moe-plan: error: {text}"


def _failed(error: Exception, *, debug: bool) -> int:
    if debug:
        import traceback  # noqa: PLC0415  only a bug needs it

        write_error("".join(traceback.format_exception(error)).rstrip())
    write_error(REPORT.format(clean(f"{type(error).__name__}: {error}", 300)))
    return exit_codes.BUG


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
